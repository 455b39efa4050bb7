//! The discovery services in a server of somebody else's, beside services that are not ours.

use std::sync::Arc;

use axum::routing::get;
use bellwether::name::TypeUrl;
use bellwether_xds::nodes::Nodes;
use bellwether_xds::{Discovery, DiscoveryService, Groups};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Code;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};

use super::rig::{resource, snapshot};
use crate::harness::ask::Asker;
use crate::harness::stream::Stream;

#[tokio::test]
async fn a_router_of_ones_own_falls_back_to_the_discovery_services() {
    let groups = Groups::by_cluster();
    let cluster = |name| resource(&TypeUrl::ENVOY_CLUSTER, name, name);
    groups.set("shop", snapshot("v1", vec![cluster("a"), cluster("b")]));
    let (_up, going_down) = watch::channel(false);
    let nodes = Nodes::start();
    let service = DiscoveryService::new(Discovery {
        admission: Arc::new(groups),
        observer: Arc::new(()),
        nodes: nodes.clone(),
        going_down,
    });
    let router = axum::Router::new()
        .route("/hello", get(|| async { "hello" }))
        .fallback_service(service);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = Server::builder()
        .accept_http1(true)
        .serve_with_incoming(router, TcpIncoming::from(listener));
    tokio::spawn(serving);

    let mut stream = Stream::open(&url).await;
    stream
        .follow("n", "shop", TypeUrl::ENVOY_CLUSTER.as_str())
        .await;
    assert_eq!(stream.hear().await.resources.len(), 2);
    let known = nodes.list().await;
    assert!(known[0].address.starts_with("127.0.0.1:"), "{known:?}");
    let hello = Asker::new().get(&format!("{url}/hello")).await;
    assert_eq!(hello.body, "hello");
    let endpoint = Endpoint::from_shared(url).unwrap();
    let nowhere: Result<Stream, _> = Stream::dial(endpoint, "/some.Other/Method", None).await;
    assert_eq!(nowhere.unwrap_err().code(), Code::Unimplemented);
}
