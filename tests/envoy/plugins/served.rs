//! Owns plugins that a real server serves, through the listener that it makes. Must not know: how.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{ask, to_a};
use crate::envoy::rig::to;
use crate::envoy::whole::Whole;
use crate::harness::envoy::Variant;
use crate::harness::http::Answer;
use crate::harness::programs::eventually;

async fn get(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Answer {
    to(address, &ask("GET", target, headers)).await
}

fn routes() -> Vec<(&'static str, Value)> {
    vec![
        (
            "routes/1",
            to_a(
                "/in/*",
                json!({
                    "key-auth": {"hide_credentials": true}, "request-id": {},
                    "proxy-rewrite": {"regex_uri": ["^/in/(.*)$", "/$1"]},
                    "limit-count": {"count": 2, "time_window": 100_000, "rejected_code": 429, "key": "consumer_name"},
                }),
            ),
        ),
        (
            "routes/2",
            to_a("/tls", json!({"redirect": {"http_to_https": true}})),
        ),
        ("routes/3", to_a("/closed", json!({"openid-connect": {}}))),
        (
            "routes/4",
            json!({"uri": "/upgrade", "upstream_id": "a", "enable_websocket": true,
            "plugins": {"key-auth": {}}}),
        ),
        ("routes/5", to_a("/plain", json!({}))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_serves_plugins() {
    let mut whole = Whole::start(Variant::StateOfTheWorld).await;
    let jack = json!({"username": "jack", "plugins": {"key-auth": {"key": "k"}}});
    let reply = whole
        .server
        .call("PUT", "/apisix/admin/consumers", &jack.to_string())
        .await;
    assert!(reply.status < 300, "{reply:?}");
    for (key, value) in routes() {
        whole.server.put(key, value).await;
    }
    whole.settle().await;
    let http = whole.http;
    assert_eq!(get(http, "/in/x", &[]).await.status, 401);
    let answer = get(http, "/in/x?q=1", &[("apikey", "k")]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["target"], "/x?q=1");
    assert_eq!(answer.seen("x-consumer-username"), ["jack"]);
    assert!(answer.seen("apikey").is_empty());
    assert_eq!(answer.seen("x-request-id"), answer.all("x-request-id"));
    for own in ["x-envoy-original-path", "x-envoy-expected-rq-timeout-ms"] {
        assert!(answer.seen(own).is_empty(), "{own}");
    }
    assert_eq!(get(http, "/in/x", &[("apikey", "k")]).await.status, 200);
    assert_eq!(get(http, "/in/y", &[("apikey", "k")]).await.status, 429);
    let plain = get(http, "/plain", &[]).await;
    assert!(
        plain.seen("x-request-id").is_empty(),
        "only where a plugin asks for it"
    );

    let redirect = get(http, "/tls", &[]).await;
    assert_eq!(
        (redirect.status, redirect.all("location")),
        (301, vec!["https://shop.test:443/tls"])
    );
    assert_eq!(get(http, "/closed", &[]).await.status, 503);
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    assert_eq!(get(http, "/upgrade", &upgrade).await.status, 401);

    // A consumer that is gone is out, with nothing else written.
    whole.delete("consumers/jack").await;
    eventually("the consumer to be out", || async {
        (get(http, "/in/x", &[("apikey", "k")]).await.status == 401).then_some(())
    })
    .await;
    whole.envoy.rejected_nothing().await;
}
