//! Owns the endpoints that are Bellwether's own, and what is answered when the store is away.
//! Must not know: configuration.

use std::sync::Arc;

use bellwether_server::fleet::{FleetStatus, KeyProblem};
use bellwether_server::store::etcd::EtcdStore;
use bellwether_xds::nodes::Identity;
use serde_json::json;

use super::api::{ADMIN, Api, of_member};
use crate::harness::ports;

#[tokio::test]
async fn ready_after_the_first_sync() {
    let api = Api::start().await;
    api.raw("GET", "/livez", &[], "").await.is(200);
    let waiting = api.raw("GET", "/readyz", &[], "").await.is(503);
    assert_eq!(waiting.body["pending"], json!(["default", "shop"]));
    assert_eq!(
        waiting.error(),
        "waiting for the first sync of fleet default, shop"
    );
    let synced = FleetStatus {
        revision: 1,
        ..FleetStatus::default()
    };
    api.status.send_replace(Arc::new(synced));
    api.raw("GET", "/readyz", &[], "").await.is(200);
    let metrics = api.raw("GET", "/metrics", &[], "").await.is(200);
    assert_eq!(metrics.text, "bellwether_up 1\n# EOF\n");
    assert!(
        metrics.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
}

#[tokio::test]
async fn status_and_fleets() {
    let api = Api::start().await;
    let status = FleetStatus {
        fleet: "default".into(),
        revision: 9,
        problems: vec![KeyProblem {
            key: "/apisix/routes/1".into(),
            reason: "bad".into(),
            revision: 8,
            last_good: true,
        }],
        ..FleetStatus::default()
    };
    api.status.send_replace(Arc::new(status.clone()));
    let headers = [("x-api-key", ADMIN)];
    let body = api
        .raw("GET", "/v1/status", &headers, "")
        .await
        .is(200)
        .body;
    assert_eq!(body["total"], 2);
    let read: FleetStatus = serde_json::from_value(body["list"][0].clone()).unwrap();
    assert_eq!(read, status);
    let body = api
        .raw("GET", "/v1/fleets", &headers, "")
        .await
        .is(200)
        .body;
    assert_eq!(
        body["list"],
        json!([
            {"name": "default", "prefix": "/apisix", "mode": "direct", "admin": "/apisix/admin"},
            {"name": "shop", "prefix": "/shop", "mode": "direct", "admin": "/fleets/shop/apisix/admin"},
        ])
    );
}

#[tokio::test]
async fn nodes() {
    let api = Api::start().await;
    let node = async |id: &str, fleet: &str| {
        let identity = Identity {
            id: id.into(),
            group: fleet.into(),
            user_agent: "test".into(),
            address: "127.0.0.1:1".into(),
            ..Identity::default()
        };
        api.nodes.register(identity).await
    };
    let _held = (
        node("a", "default").await,
        node("a", "shop").await,
        node("b/c", "shop").await,
    );
    let headers = [("x-api-key", ADMIN)];
    let get = async |path: &str| api.raw("GET", path, &headers, "").await;
    assert_eq!(get("/v1/nodes").await.is(200).body["total"], 3);
    assert_eq!(get("/v1/nodes?fleet=shop").await.is(200).body["total"], 2);
    assert_eq!(get("/v1/nodes/b%2Fc").await.is(200).body["id"], "b/c");
    assert_eq!(
        get("/v1/nodes/a?fleet=default").await.is(200).body["fleet"],
        "default"
    );
    let reply = get("/v1/nodes/a").await.is(400);
    assert_eq!(
        reply.error(),
        "there is a node \"a\" in the fleets default, shop, name one by ?fleet="
    );
    let reply = get("/v1/nodes/z").await.is(404);
    assert_eq!(reply.error(), "no node \"z\" is connected");
}

#[tokio::test]
async fn metrics_can_be_closed() {
    let open = Api::start().await;
    let closed = Api::over_with(open.store.clone(), true).await;
    closed.raw("GET", "/metrics", &[], "").await.is(401);
    let headers = [("x-api-key", ADMIN)];
    closed.raw("GET", "/metrics", &headers, "").await.is(200);
    closed.raw("GET", "/livez", &[], "").await.is(200);
}

/// Nobody listens there.
#[tokio::test]
async fn a_store_that_is_down_is_a_503() {
    let config = of_member(format!("http://127.0.0.1:{}", ports::free()));
    let api = Api::over(Arc::new(EtcdStore::new(config).unwrap())).await;
    for (method, path) in [
        ("GET", "routes/1"),
        ("PUT", "upstreams/1"),
        ("GET", "routes"),
    ] {
        let reply = api.call(method, path, json!({"nodes": {}})).await.is(503);
        assert!(!reply.error().is_empty());
    }
}

/// Somebody listens and never says anything.
#[tokio::test]
async fn a_store_that_is_silent_is_a_503() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = of_member(format!("http://{}", silent.local_addr().unwrap()));
    let api = Api::over(Arc::new(EtcdStore::new(config).unwrap())).await;
    let reply = api.get("routes/1").await.is(503);
    assert!(!reply.error().is_empty());
}
