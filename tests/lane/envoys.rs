//! An Envoy gets the instances of a service as an agent does.

use serde_json::json;
use tokio::net::TcpStream;

use super::follows;
use crate::harness::ask::Named;
use crate::harness::envoy::{Envoy, Variant, bootstrap};
use crate::harness::http::Connection;
use crate::harness::ports;
use crate::harness::programs::{Server, eventually};

async fn answers(port: u16, status: u16, text: &str) {
    eventually(&format!("{status} {text:?}"), || async {
        let address = ([127, 0, 0, 1], port).into();
        TcpStream::connect(address).await.ok()?;
        let answer = Connection::http1(address).await.get("/").await;
        (answer.status == status && answer.text().contains(text)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_follows_a_service() {
    let server = Server::embedded(&[]).await;
    let port = ports::free();
    let settings = json!({"listeners": [{"name": "web", "address": "127.0.0.1", "port": port}]});
    let path = "/v1/fleets/default/settings";
    let reply = server.call("PUT", path, &settings.to_string()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    server.put("upstreams/1", follows("users")).await;
    server
        .put("routes/1", json!({"uri": "/*", "upstream_id": "1"}))
        .await;
    let start = bootstrap(&server.xds, "envoy", "default", Variant::Delta);
    let envoy = Envoy::start(start).await;
    answers(port, 503, "").await;
    let (one, two) = (Named::start("one").await, Named::start("two").await);
    let instances = "/v1/fleets/default/instances";
    for upstream in [&one, &two] {
        let body = json!({"service": "users", "address": upstream.node(), "ttl": 60});
        let reply = server.call("POST", instances, &body.to_string()).await;
        assert_eq!(reply.status, 201, "{reply:?}");
    }
    // A name is nothing that an Envoy looks up beside addresses.
    let named = format!("localhost:{}", one.address.port());
    let path = format!("{instances}/users/{named}");
    let reply = server.call("PUT", &path, r#"{"ttl": 60}"#).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    answers(port, 200, "one").await;
    answers(port, 200, "two").await;
    let told = eventually("the name to be told of", || async {
        let said = server.status().await["translations"]["envoy"]["unsupported"].clone();
        said.get(0).cloned()
    })
    .await;
    let reason = told["reason"].as_str().unwrap();
    assert!(
        reason.contains("instances of users with a host name"),
        "{reason}"
    );
    for id in [one.node(), two.node(), named] {
        let path = format!("{instances}/users/{id}");
        assert_eq!(server.call("DELETE", &path, "").await.status, 200);
    }
    answers(port, 503, "").await;
    envoy.rejected_nothing().await;
}
