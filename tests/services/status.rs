//! Client status discovery: what the server says of its nodes (R111, R112).

use std::collections::BTreeMap;

use bellwether::wire::core::Node;
use bellwether::wire::discovery::DeltaDiscoveryRequest;
use bellwether::wire::envoy::admin::v3::ClientResourceStatus as State;
use bellwether::wire::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use bellwether::wire::envoy::r#type::matcher::v3::{NodeMatcher, StringMatcher};
use bellwether::wire::google::rpc;
use bellwether::wire::status::{ClientConfig, ClientStatusRequest, ClientStatusResponse};
use envoy_types::pb::envoy::service::status::v3 as theirs;
use prost::Message;
use serde_json::json;
use tonic::Code;
use tonic::transport::Endpoint;

use super::rig::{Rig, resource, snapshot};
use crate::harness::programs::{Server, eventually};
use crate::harness::stream::Stream;
use bellwether::name::TypeUrl;

const FETCH: &str = "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus";
const STREAM: &str = "/envoy.service.status.v3.ClientStatusDiscoveryService/StreamClientStatus";

type StatusStream = Stream<ClientStatusRequest, ClientStatusResponse>;

fn only(pattern: MatchPattern) -> ClientStatusRequest {
    ClientStatusRequest {
        node_matchers: vec![NodeMatcher {
            node_id: Some(StringMatcher {
                match_pattern: Some(pattern),
                ignore_case: false,
            }),
            node_metadatas: Vec::new(),
        }],
        ..ClientStatusRequest::default()
    }
}

fn states(config: &ClientConfig) -> BTreeMap<String, State> {
    let all = config.generic_xds_configs.iter();
    all.map(|said| (said.name.clone(), said.client_status()))
        .collect()
}

/// A node that follows these routes by name.
async fn follow(rig: &Rig, id: &str, names: &[&str]) -> Stream {
    let stream = Stream::open(&rig.url).await;
    stream
        .say(DeltaDiscoveryRequest {
            node: Some(Node {
                id: id.into(),
                cluster: "g".into(),
                ..Node::default()
            }),
            type_url: TypeUrl::ROUTE.as_str().into(),
            resource_names_subscribe: names.iter().map(|name| (*name).into()).collect(),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    stream
}

/// Each state, over both methods, as any client reads it.
#[tokio::test(flavor = "multi_thread")]
async fn each_resource_of_each_node_is_told() {
    let rig = Rig::start().await;
    let good = || resource(&TypeUrl::ROUTE, "good", "1");
    let first = snapshot("1", vec![good(), resource(&TypeUrl::ROUTE, "bad", "1")]);
    rig.groups.set("g", first.clone());
    let mut gateway = follow(&rig, "gw-1", &["good", "bad", "none"]).await;
    let heard = gateway.hear().await;
    gateway.ack(&heard).await;
    let of = async |request: ClientStatusRequest| -> ClientStatusResponse {
        rig.call(FETCH, request).await.unwrap()
    };
    let acked = eventually("the acknowledgement to be known", || async {
        let said = of(only(MatchPattern::Exact("gw-1".into()))).await;
        let config = said.config.into_iter().next()?;
        (states(&config).get("good") == Some(&State::Acked)).then_some(config)
    })
    .await;
    assert_eq!(states(&acked)["none"], State::DoesNotExist);
    let before = &acked.generic_xds_configs[0];
    assert_eq!(before.type_url, TypeUrl::ROUTE.as_str());
    assert_eq!(before.version_info, heard.resources[0].version);
    assert!(before.xds_config.is_none(), "bodies are not told");
    assert!(before.last_updated.is_some());

    let second = first.replace("2", vec![good(), resource(&TypeUrl::ROUTE, "bad", "2")]);
    rig.groups.set("g", second.unwrap());
    let heard = gateway.hear().await;
    assert_eq!(
        states(&of(Default::default()).await.config[0])["bad"],
        State::Requested
    );
    gateway
        .say(DeltaDiscoveryRequest {
            type_url: heard.type_url.clone(),
            response_nonce: heard.nonce.clone(),
            error_detail: Some(rpc::Status {
                code: 3,
                message: "bad regex".into(),
                ..rpc::Status::default()
            }),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    let nacked = eventually("the rejection to be known", || async {
        let config = of(Default::default()).await.config.into_iter().next()?;
        (states(&config)["bad"] == State::Nacked).then_some(config)
    })
    .await;
    let bad = &nacked.generic_xds_configs[0];
    let error = bad.error_state.as_ref().unwrap();
    assert_eq!(error.details, "bad regex");
    assert_eq!(error.version_info, heard.resources[0].version);
    assert_ne!(bad.version_info, error.version_info);
    assert_eq!(bad.version_info, before.version_info, "what it still has");
    assert!(bad.last_updated.is_some() && error.last_update_attempt.is_some());
    assert_eq!(states(&nacked)["good"], State::Acked);

    is_read_by_others(&nacked);
    is_told_on_a_stream(&rig, &nacked).await;
    drop(gateway);
    eventually("the node to be gone", || async {
        of(Default::default()).await.config.is_empty().then_some(())
    })
    .await;
}

/// Envoy's own messages say the same.
fn is_read_by_others(nacked: &ClientConfig) {
    let other = theirs::ClientConfig::decode(nacked.encode_to_vec().as_slice()).unwrap();
    assert_eq!(other.node.as_ref().unwrap().id, "gw-1");
    let read = &other.generic_xds_configs[0];
    assert_eq!((read.name.as_str(), read.client_status), ("bad", 4));
    assert_eq!(read.config_status, theirs::ConfigStatus::Error as i32);
    assert_eq!(read.error_state.as_ref().unwrap().details, "bad regex");
}

async fn is_told_on_a_stream(rig: &Rig, nacked: &ClientConfig) {
    let mut watching: StatusStream = rig.stream(STREAM).await;
    for _ in 0..2 {
        watching.say(only(MatchPattern::Prefix("gw-".into()))).await;
        let told = watching.hear().await.config;
        assert_eq!(told.len(), 1);
        assert_eq!(states(&told[0]), states(nacked));
        watching.say(only(MatchPattern::Exact("gw".into()))).await;
        assert_eq!(watching.hear().await.config, []);
    }
}

/// R11: many answers on a stream, and one that would be too large is refused.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_bounded() {
    let rig = Rig::start().await;
    let names: Vec<String> = (0..40_000).map(|n| format!("routes/{n}")).collect();
    let all = names
        .iter()
        .map(|name| resource(&TypeUrl::ROUTE, name, "1"));
    rig.groups.set("g", snapshot("1", all.collect()));
    let mut gateway = follow(&rig, "gw", &["*"]).await;
    let mut held = 0;
    while held < names.len() {
        let heard = gateway.hear().await;
        held += heard.resources.len();
        gateway.ack(&heard).await;
    }
    let mut watching: StatusStream = rig.stream(STREAM).await;
    watching.say(ClientStatusRequest::default()).await;
    let (mut told, mut answers) = (0, 0);
    while told < names.len() {
        let answer = watching.hear().await;
        assert!(answer.encoded_len() < 4 << 20);
        told += answer.config[0].generic_xds_configs.len();
        answers += 1;
    }
    assert!(answers > 1);
    let answer = rig
        .call::<ClientStatusRequest, ClientStatusResponse>(FETCH, ClientStatusRequest::default())
        .await;
    let status = answer.expect_err("it is too much for one answer");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(
        status.message().contains("StreamClientStatus"),
        "{status:?}"
    );
}

/// The server tells it too, and the Admin API and client status agree.
#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_tells_the_same() {
    let server = Server::embedded(&[]).await;
    let route =
        json!({"uri": "/a", "upstream": {"type": "roundrobin", "nodes": {"127.0.0.1:1": 1}}});
    server.put("routes/1", route).await;
    let mut stream = Stream::open(&server.xds).await;
    stream.follow("n/1", "", TypeUrl::ROUTE.as_str()).await;
    // What was written may be in force only after the first answer.
    let heard = loop {
        let heard = stream.hear().await;
        stream.ack(&heard).await;
        if !heard.resources.is_empty() {
            break heard;
        }
    };
    let node = eventually("the acknowledgement to be known", || async {
        let node = server.call("GET", "/v1/nodes/n%2F1", "").await.json();
        (node["types"][0]["resources"][0]["state"] == "ACKED").then_some(node)
    })
    .await;
    let resource = &node["types"][0]["resources"][0];
    assert_eq!(resource["name"], "routes/1");
    assert_eq!(resource["version"], heard.resources[0].version);
    assert_eq!(
        server.nodes().await[0]["types"][0]["resources"],
        json!(null)
    );

    let endpoint = Endpoint::from_shared(server.xds.clone()).unwrap();
    let mut watching: StatusStream = Stream::dial(endpoint, STREAM, None).await.unwrap();
    watching.say(ClientStatusRequest::default()).await;
    let told = watching.hear().await;
    assert_eq!(states(&told.config[0])["routes/1"], State::Acked);
    assert_eq!(told.config[0].node.as_ref().unwrap().cluster, "default");
}
