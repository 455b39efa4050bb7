//! The example that embeds the discovery port, as a reader would run it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use bellwether::wire::core::Node;
use bellwether::wire::discovery::{DiscoveryRequest, DiscoveryResponse};
use bellwether::wire::google::rpc;
use tonic::transport::Endpoint;

use crate::harness::programs::example;
use crate::harness::stream::Stream;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_ones_own_is_small_and_works() {
    let text = include_str!("../../examples/embed.rs");
    assert!(text.lines().count() < 60, "it is to be a small example");

    let mut child = Command::new(example("embed"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || said.next().unwrap().unwrap();
    let first = next();
    let url = first.strip_prefix("nodes connect to ").unwrap().to_owned();

    let path = "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters";
    let endpoint = Endpoint::from_shared(url).unwrap();
    let mut stream: Stream<DiscoveryRequest, DiscoveryResponse> =
        Stream::dial(endpoint, path, None).await.unwrap();
    let request = DiscoveryRequest {
        node: Some(Node {
            id: "envoy-1".into(),
            cluster: "shop".into(),
            ..Node::default()
        }),
        ..DiscoveryRequest::default()
    };
    stream.say(request.clone()).await;
    let heard = stream.hear().await;
    assert_eq!(heard.version_info, "v1");
    let answer = |to: &DiscoveryResponse| DiscoveryRequest {
        version_info: to.version_info.clone(),
        response_nonce: to.nonce.clone(),
        ..request.clone()
    };
    stream.say(answer(&heard)).await;
    assert_eq!(next(), "ACK of envoy-1: 1 x Cluster at v1");

    let mut keys = child.stdin.take().unwrap();
    writeln!(keys).unwrap();
    let heard = stream.hear().await;
    assert_eq!(heard.version_info, "v2");
    let error_detail = Some(rpc::Status {
        code: 3,
        message: "no such backend".into(),
        ..rpc::Status::default()
    });
    stream
        .say(DiscoveryRequest {
            error_detail,
            ..answer(&heard)
        })
        .await;
    assert_eq!(next(), "NACK of envoy-1: backend-2: no such backend");
    drop(keys);
    assert!(child.wait().unwrap().success());
}
