//! An Envoy over TLS: it gets what its certificate or its token says, secrets among it.

use serde_json::{Value, json};

use super::Rig;
use crate::harness::envoy::{Envoy, Variant, bootstrap};
use crate::harness::http::Upstream;
use crate::harness::pki::Identity;
use crate::harness::ports;
use crate::harness::programs::eventually;

/// The node says that it is of a service that is no fleet; Envoys do.
fn config(rig: &Rig, variant: Variant, by: Option<&Identity>) -> Value {
    let mut config = bootstrap(&rig.server.xds, "envoy-1", "front-proxy", variant);
    let file = |path: &std::path::Path| json!({"filename": path});
    let certificates: Vec<Value> = by
        .iter()
        .map(|by| json!({"certificate_chain": file(&by.cert), "private_key": file(&by.key)}))
        .collect();
    config["static_resources"]["clusters"][0]["transport_socket"] = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "localhost",
            "common_tls_context": {
                "tls_certificates": certificates,
                "validation_context": {"trusted_ca": file(&rig.pki.ca())},
            },
        },
    });
    config
}

/// Routes of fleet a lead to its upstream, and its certificate arrives.
async fn is_served(rig: &Rig, config: Value, identity: &str) {
    let up = Upstream::start("up").await;
    let (http, https) = (ports::free(), ports::free());
    let settings = json!({"listeners": [
        {"name": "http", "address": "127.0.0.1", "port": http},
        {"name": "https", "address": "127.0.0.1", "port": https, "tls": true},
    ]});
    let path = "/v1/fleets/a/settings";
    let reply = rig.server.call("PUT", path, &settings.to_string()).await;
    assert!(reply.status < 300, "{reply:?}");
    let node = json!({up.address.to_string(): 1});
    let route = json!({"uri": "/of-a", "upstream": {"type": "roundrobin", "nodes": node}});
    rig.put("a", "routes/1", route).await;
    let pair = rig.pki.issue("site");
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let ssl = json!({"cert": read(&pair.cert), "key": read(&pair.key), "snis": ["localhost"]});
    rig.put("a", "ssls/1", ssl).await;
    let envoy = Envoy::start(config).await;
    let ask = crate::harness::ask::Asker::new();
    for (path, status) in [("/of-a", 200), ("/of-b", 404)] {
        let url = format!("http://127.0.0.1:{http}{path}");
        eventually(&format!("{status} at {path}"), || async {
            let reply = ask.ask("GET", &url, &[], "").await.ok()?;
            (reply.status == status).then_some(())
        })
        .await;
    }
    eventually("the secret to be there", || async {
        let secrets = envoy.dump("dynamic_active_secrets").await;
        secrets["configs"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
            .then_some(())
    })
    .await;
    envoy.rejected_nothing().await;
    let node = rig.server.nodes().await.remove(0);
    assert_eq!(
        (&node["id"], &node["fleet"]),
        (&json!("envoy-1"), &json!("a"))
    );
    assert!(
        node["identity"].as_str().unwrap().starts_with(identity),
        "{node}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_is_known_by_its_certificate_by_delta() {
    let rig = Rig::mutual().await;
    let identity = rig.pki.issue_for("envoy", "spiffe://test/a/gateway");
    let config = config(&rig, Variant::Delta, Some(&identity));
    is_served(&rig, config, "certificate spiffe://test/a/gateway").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_is_known_by_its_certificate_by_state_of_the_world() {
    let rig = Rig::mutual().await;
    let identity = rig.pki.issue_for("envoy", "spiffe://test/a/gateway");
    let config = config(&rig, Variant::StateOfTheWorld, Some(&identity));
    is_served(&rig, config, "certificate spiffe://test/a/gateway").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_is_known_by_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = "0123456789abcdef-of-a fleet=a\n";
    let rig = Rig::with_tokens(folder.path(), tokens).await;
    let mut config = config(&rig, Variant::Delta, None);
    config["dynamic_resources"]["ads_config"]["grpc_services"][0]["initial_metadata"] =
        json!([{"key": "authorization", "value": "Bearer 0123456789abcdef-of-a"}]);
    is_served(&rig, config, "token").await;
}
