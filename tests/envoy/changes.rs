//! Owns the tests of change: endpoints, clusters and certificates that come and go, a server that dies.
//! Each by both variants of the protocol. Must not know: how the translation is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::Request;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::envoy::rig::{Outcome, outcome};
use crate::envoy::whole::Whole;
use crate::harness::envoy::Variant;
use crate::harness::http::{Connection, body};
use crate::harness::pki::{Identity, Pki};
use crate::harness::programs::eventually;

/// How often clusters come and go under load.
const ROUNDS: usize = 25;
/// Connections that ask all the time.
const CLIENTS: usize = 4;

fn upstream(name: &str) -> Outcome {
    Outcome::Upstream(name.to_owned())
}

fn nodes(whole: &Whole, names: &[&'static str]) -> Value {
    let mut nodes = serde_json::Map::new();
    for name in names {
        nodes.insert(whole.upstreams[name].address.to_string(), json!(1));
    }
    json!({"type": "roundrobin", "nodes": nodes})
}

async fn endpoints(variant: Variant) {
    let whole = Whole::start(variant).await;
    whole
        .server
        .put("upstreams/moves", nodes(&whole, &["a"]))
        .await;
    let route = json!({"uri": "/*", "upstream_id": "moves"});
    whole.server.put("routes/1", route).await;
    whole.answers("/x", &upstream("a")).await;
    for name in ["b", "c", "a"] {
        whole
            .server
            .put("upstreams/moves", nodes(&whole, &[name]))
            .await;
        whole.answers("/x", &upstream(name)).await;
    }
    // None is no reason to go elsewhere.
    whole
        .server
        .put("upstreams/moves", nodes(&whole, &[]))
        .await;
    whole.answers("/x", &Outcome::Status(503)).await;
    whole
        .server
        .put("upstreams/moves", nodes(&whole, &["d"]))
        .await;
    whole.answers("/x", &upstream("d")).await;
    whole.envoy.rejected_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_changes_by_state_of_the_world() {
    endpoints(Variant::StateOfTheWorld).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_changes_by_delta() {
    endpoints(Variant::Delta).await;
}

/// R84, R85: a route never names a cluster that is not there, and a cluster stays until none does.
async fn clusters_under_load(variant: Variant) {
    let mut whole = Whole::start(variant).await;
    whole
        .server
        .put("upstreams/round-0", nodes(&whole, &["a"]))
        .await;
    let route = |round: usize| json!({"uri": "/*", "upstream_id": format!("round-{round}")});
    whole.server.put("routes/1", route(0)).await;
    whole.answers("/x", &upstream("a")).await;
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (stop, asked, address) = (stop.clone(), asked.clone(), whole.http);
            tokio::spawn(async move {
                let mut failed = Vec::new();
                let mut connection = Connection::http1(address).await;
                while !stop.load(Ordering::Relaxed) {
                    let request = Request::get("/x").header("host", "h");
                    let answer = connection.ask(request.body(body("")).unwrap()).await;
                    asked.fetch_add(1, Ordering::Relaxed);
                    if !matches!(outcome(&answer), Outcome::Upstream(_)) {
                        failed.push(format!("{answer:?}"));
                    }
                }
                failed
            })
        })
        .collect();
    for round in 1..=ROUNDS {
        let name = ["a", "b", "c", "d"][round % 4];
        let before = asked.load(Ordering::Relaxed);
        whole
            .server
            .put(&format!("upstreams/round-{round}"), nodes(&whole, &[name]))
            .await;
        whole.server.put("routes/1", route(round)).await;
        whole
            .delete(&format!("upstreams/round-{}", round - 1))
            .await;
        whole.answers("/x", &upstream(name)).await;
        // Each round is under load.
        eventually("requests in this round", || async {
            (asked.load(Ordering::Relaxed) > before).then_some(())
        })
        .await;
    }
    whole.settle().await;
    stop.store(true, Ordering::Relaxed);
    let mut failed = Vec::new();
    for client in clients {
        failed.extend(client.await.unwrap());
    }
    let asked = asked.load(Ordering::Relaxed);
    assert!(
        failed.is_empty(),
        "{} of {asked}: {:?}",
        failed.len(),
        failed.first()
    );
    whole.envoy.rejected_nothing().await;
    // What is gone is gone from Envoy, too.
    eventually("removed clusters to be gone", || async {
        let clusters = whole.envoy.page("/clusters").await.body;
        let left =
            (0..ROUNDS).filter(|round| clusters.contains(&format!("upstreams/round-{round}::")));
        (left.count() == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_come_and_go_under_load_without_a_failure_by_state_of_the_world() {
    clusters_under_load(Variant::StateOfTheWorld).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_come_and_go_under_load_without_a_failure_by_delta() {
    clusters_under_load(Variant::Delta).await;
}

fn ssl(identity: &Identity) -> Value {
    let read = |path| std::fs::read_to_string(path).unwrap();
    json!({"snis": ["localhost"], "cert": read(&identity.cert), "key": read(&identity.key)})
}

/// The certificate that a new connection is shown, and the answer to a request on it.
async fn over_tls(whole: &Whole, pki: &Pki) -> Option<(Vec<u8>, Outcome)> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(pki.ca()).unwrap();
    roots.add(authority).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(whole.https).await.ok()?;
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.ok()?;
    let shown = stream.get_ref().1.peer_certificates()?.first()?.to_vec();
    let mut connection = Connection::http1_over(stream).await;
    let request = Request::get("/x").header("host", "localhost");
    let answer = connection.ask(request.body(body("")).unwrap()).await;
    Some((shown, outcome(&answer)))
}

async fn certificates(variant: Variant) {
    let mut whole = Whole::start(variant).await;
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let route = json!({"uri": "/*", "upstream_id": "a"});
    whole.server.put("routes/1", route).await;
    let mut listeners = None;
    for round in 0..3 {
        let identity = pki.issue("server");
        let want = CertificateDer::from_pem_file(&identity.cert).unwrap();
        whole.server.put("ssls/1", ssl(&identity)).await;
        eventually("the new certificate to be shown", || async {
            let (shown, answer) = over_tls(&whole, &pki).await?;
            (shown == want.to_vec() && answer == upstream("a")).then_some(())
        })
        .await;
        // A rotation is a matter of the secret: no listener is made anew, no connection closed.
        whole.settle().await;
        let now = whole
            .envoy
            .sum("listener_manager.listener_create_success")
            .await;
        let modified = whole.envoy.sum("listener_manager.listener_modified").await;
        if round > 0 {
            assert_eq!(listeners, Some((now, modified)), "round {round}");
        }
        listeners = Some((now, modified));
    }
    whole.envoy.rejected_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_rotated_by_state_of_the_world() {
    certificates(Variant::StateOfTheWorld).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_rotated_by_delta() {
    certificates(Variant::Delta).await;
}

async fn server_dies(variant: Variant) {
    let mut whole = Whole::start(variant).await;
    let route = |name: &str| json!({"uri": "/*", "upstream_id": name});
    whole.server.put("routes/1", route("a")).await;
    whole.answers("/x", &upstream("a")).await;
    whole.server.kill();
    for _ in 0..20 {
        assert_eq!(whole.get("/x").await, upstream("a"));
    }
    whole.server.restart().await;
    whole.server.put("routes/1", route("b")).await;
    whole.answers("/x", &upstream("b")).await;
    // An Envoy that starts anew gets everything.
    whole.envoy.restart().await;
    whole.envoy.is_ready().await;
    whole.settle().await;
    assert_eq!(whole.get("/x").await, upstream("b"));
    whole.envoy.rejected_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_killed_and_comes_back_by_state_of_the_world() {
    server_dies(Variant::StateOfTheWorld).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_killed_and_comes_back_by_delta() {
    server_dies(Variant::Delta).await;
}

/// Endpoints of a lower priority stand in for those that can't be reached, though no probe says so.
async fn priorities(variant: Variant) {
    let mut whole = Whole::start(variant).await;
    let dead = crate::harness::ports::free();
    let other = crate::harness::ports::free();
    let port = whole.upstreams["b"].address.port();
    let node = |port: u16, priority: i32| json!({"host": "127.0.0.1", "port": port, "weight": 1, "priority": priority});
    for (name, retries, nodes) in [
        ("one", None, json!([node(dead, 1), node(port, 0)])),
        ("once", Some(1), json!([node(dead, 1), node(port, 0)])),
        (
            "two",
            None,
            json!([node(dead, 2), node(other, 2), node(port, 1)]),
        ),
        (
            "three",
            None,
            json!([node(dead, 2), node(other, 1), node(port, 0)]),
        ),
    ] {
        let mut upstream = json!({"type": "roundrobin", "nodes": nodes});
        if let Some(retries) = retries {
            upstream["retries"] = json!(retries);
        }
        let route = json!({"uri": format!("/{name}"), "upstream": upstream});
        whole.server.put(&format!("routes/{name}"), route).await;
    }
    whole.settle().await;
    for name in ["one", "once", "two", "three"] {
        for _ in 0..6 {
            assert_eq!(
                whole.get(&format!("/{name}")).await,
                upstream("b"),
                "{name}"
            );
        }
    }
    whole.envoy.rejected_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_priority_stands_in_by_state_of_the_world() {
    priorities(Variant::StateOfTheWorld).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_priority_stands_in_by_delta() {
    priorities(Variant::Delta).await;
}
