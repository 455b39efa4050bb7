//! The protocol as a stranger meets it on the wire.

use std::time::Duration;

use bellwether::wire::discovery::DeltaDiscoveryRequest;
use bellwether::wire::native;
use prost::Message;
use serde_json::json;
use tonic::Code;

use crate::harness::programs::{Server, eventually};
use crate::harness::stream::Stream;

use super::route;

const ROUTE: &str = "type.googleapis.com/bellwether.v1.Route";
const CLUSTER: &str = "type.googleapis.com/bellwether.v1.Cluster";

/// A program in any language needs no more than this.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_follows_routes_by_name_or_all_of_them() {
    let server = Server::embedded(&[]).await;
    server.put("routes/1", route("/a", "127.0.0.1:1")).await;
    eventually("the route to be in force", || async {
        let fleet = server.status().await;
        (fleet["resources"]["Route"] == 1).then_some(())
    })
    .await;
    let mut all = Stream::open(&server.xds).await;
    all.follow("all", "", ROUTE).await;
    let first = all.hear().await;
    assert_eq!(first.resources.len(), 1);
    let any = first.resources[0].resource.clone().unwrap();
    let decoded = native::Route::decode(any.value).unwrap();
    assert_eq!(decoded.paths, ["/a"]);
    assert_eq!(
        decoded.action,
        Some(native::route::Action::Cluster("routes/1".into()))
    );
    all.ack(&first).await;

    let mut one = Stream::open(&server.xds).await;
    one.say(DeltaDiscoveryRequest {
        type_url: ROUTE.into(),
        resource_names_subscribe: vec!["routes/1".into(), "routes/none".into()],
        ..DeltaDiscoveryRequest::default()
    })
    .await;
    let named = one.hear().await;
    assert_eq!(named.removed_resources, ["routes/none"], "R72");
    one.ack(&named).await;

    server.put("routes/2", route("/b", "127.0.0.1:1")).await;
    let second = all.hear().await;
    assert_eq!(second.resources[0].name, "routes/2");
    one.silence(Duration::from_millis(200)).await;
    eventually("the list of nodes to tell the two apart", || async {
        let nodes = server.nodes().await;
        let of = |id: &str| nodes.iter().find(|node| node["id"] == id).cloned();
        let (all, one) = (of("all")?, of("")?);
        (all["types"][0]["wildcard"] == true && one["types"][0]["names"] == 2).then_some(())
    })
    .await;
}

/// Each refusal has a status and a text that say what to do.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_refused_with_a_reason() {
    let server = Server::embedded(&["--fleet", "a=/a", "--fleet", "b=/b"]).await;
    let mut stream = Stream::open(&server.xds).await;
    stream.follow("n", "c", ROUTE).await;
    let status = stream.end().await;
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("names fleet \"c\""), "{status:?}");

    let mut stream = Stream::open(&server.xds).await;
    stream.follow("n", "b", "").await;
    assert_eq!(stream.end().await.code(), Code::InvalidArgument, "R4");
}

/// Fleets share a server and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_gets_its_own_fleets_resources() {
    let server = Server::embedded(&["--fleet", "a=/a", "--fleet", "b=/b"]).await;
    let put = |fleet: &str, uri: &str| {
        let path = format!("/fleets/{fleet}/apisix/admin/routes/1");
        let body = route(uri, "127.0.0.1:1").to_string();
        let server = &server;
        async move { assert_eq!(server.call("PUT", &path, &body).await.status, 201) }
    };
    put("a", "/of-a").await;
    put("b", "/of-b").await;
    for fleet in ["a", "b"] {
        let mut stream = Stream::open(&server.xds).await;
        stream.follow("n", fleet, ROUTE).await;
        let first = loop {
            let heard = stream.hear().await;
            stream.ack(&heard).await;
            if !heard.resources.is_empty() {
                break heard;
            }
        };
        let any = first.resources[0].resource.clone().unwrap();
        let paths = native::Route::decode(any.value).unwrap().paths;
        assert_eq!(paths, [format!("/of-{fleet}")]);
    }
}

/// R84 on the wire: the cluster comes first and goes last.
#[tokio::test(flavor = "multi_thread")]
async fn clusters_come_before_routes_and_go_after_them() {
    let server = Server::embedded(&[]).await;
    let mut stream = Stream::open(&server.xds).await;
    stream.follow("n", "", CLUSTER).await;
    stream.follow("n", "", ROUTE).await;
    for _ in 0..2 {
        let greeting = stream.hear().await;
        stream.ack(&greeting).await;
    }
    server
        .put("upstreams/1", json!({"nodes": {"127.0.0.1:1": 1}}))
        .await;
    server
        .put("routes/1", json!({"uri": "/a", "upstream_id": "1"}))
        .await;
    let mut order = Vec::new();
    let note = |response: &bellwether::wire::discovery::DeltaDiscoveryResponse,
                order: &mut Vec<String>| {
        let kind = if response.type_url == CLUSTER {
            "cluster"
        } else {
            "route"
        };
        order.extend(response.resources.iter().map(|_| format!("+{kind}")));
        order.extend(
            response
                .removed_resources
                .iter()
                .map(|_| format!("-{kind}")),
        );
    };
    while order.len() < 2 {
        let response = stream.hear().await;
        note(&response, &mut order);
        stream.ack(&response).await;
    }
    server.call("DELETE", "/apisix/admin/routes/1", "").await;
    server.call("DELETE", "/apisix/admin/upstreams/1", "").await;
    while order.len() < 4 {
        let response = stream.hear().await;
        note(&response, &mut order);
        stream.ack(&response).await;
    }
    assert_eq!(order, ["+cluster", "+route", "-route", "-cluster"]);
}
