//! Owns a real server and a real Envoy, put together by nothing but the Admin API. Must not know: how
//! routes are matched.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::harness::envoy::{Envoy, Variant, bootstrap};
use crate::harness::http::{Answer, Connection, Upstream};
use crate::harness::ports;
use crate::harness::programs::{Server, eventually};

/// A server, and an Envoy that knows nothing but where it is.
pub(super) struct Served {
    pub(super) server: Server,
    pub(super) envoy: Envoy,
    http: u16,
    pub(super) https: u16,
}

impl Served {
    pub(super) async fn start(variant: Variant) -> Self {
        let server = Server::embedded(&[]).await;
        let (http, https) = (ports::free(), ports::free());
        let settings = json!({"listeners": [
            {"name": "web", "address": "127.0.0.1", "port": http},
            {"name": "web-tls", "address": "127.0.0.1", "port": https, "tls": true},
        ]});
        let path = "/v1/fleets/default/settings";
        let reply = server.call("PUT", path, &settings.to_string()).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let envoy = Envoy::start(bootstrap(&server.xds, "envoy", "default", variant)).await;
        Self {
            server,
            envoy,
            http,
            https,
        }
    }

    /// One request in plain text.
    async fn get(&self, host: &str, path: &str) -> Option<Answer> {
        let address = ([127, 0, 0, 1], self.http).into();
        TcpStream::connect(address).await.ok()?;
        let mut connection = Connection::http1(address).await;
        let mut request = connection.request("GET", path, "");
        request.headers_mut().insert("host", host.parse().unwrap());
        Some(connection.ask(request).await)
    }

    pub(super) async fn answers(&self, host: &str, path: &str, status: u16, text: &str) {
        eventually(&format!("{status} {text:?} at {host}{path}"), || async {
            let answer = self.get(host, path).await?;
            (answer.status == status && answer.text().contains(text)).then_some(())
        })
        .await;
    }

    /// Whether a connection that asks for `name` is shown this certificate.
    pub(super) async fn shows(&self, name: &str, certificate: &CertificateDer<'static>) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let Ok(tcp) = TcpStream::connect(("127.0.0.1", self.https)).await else {
            return false;
        };
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connected = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await;
        connected.is_ok()
    }

    pub(super) async fn comes_to_show(&self, name: &str, certificate: &CertificateDer<'static>) {
        eventually(&format!("the certificate of {name}"), || async {
            self.shows(name, certificate).await.then_some(())
        })
        .await;
    }
}

pub(super) fn certified(names: &[&str]) -> (CertificateDer<'static>, Value) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names.clone()).unwrap();
    let ssl = json!({
        "snis": names,
        "cert": cert.pem(),
        "key": signing_key.serialize_pem(),
    });
    (cert.der().clone(), ssl)
}

pub(super) fn node(upstream: &Upstream) -> Value {
    json!([{"host": "127.0.0.1", "port": upstream.address.port(), "weight": 1}])
}

/// Listeners, routes, clusters, endpoints and secrets, all found over the stream, and all their changes.
async fn a_fleet_is_served(variant: Variant) {
    let served = Served::start(variant).await;
    let (one, two) = (Upstream::start("one").await, Upstream::start("two").await);
    let server = &served.server;
    server
        .put(
            "upstreams/1",
            json!({"type": "roundrobin", "nodes": node(&one)}),
        )
        .await;
    server
        .put(
            "routes/1",
            json!({"uri": "/*", "host": "a.com", "upstream_id": "1"}),
        )
        .await;
    served.answers("a.com", "/x", 200, "one").await;
    served.answers("b.com", "/x", 404, "").await;

    // Endpoints alone.
    let of_clusters = || {
        served
            .envoy
            .sum("^cluster_manager.cluster_(added|modified|removed)$")
    };
    let before = of_clusters().await;
    server
        .put(
            "upstreams/1",
            json!({"type": "roundrobin", "nodes": node(&two)}),
        )
        .await;
    served.answers("a.com", "/x", 200, "two").await;
    assert_eq!(of_clusters().await, before);

    // A certificate, another one, and the first rotated.
    let listeners = || {
        served
            .envoy
            .sum("^listener_manager.listener_(added|modified)$")
    };
    let (first, ssl) = certified(&["a.com"]);
    server.put("ssls/1", ssl).await;
    served.comes_to_show("a.com", &first).await;
    let (other, ssl) = certified(&["*.b.com", "b.com"]);
    server.put("ssls/2", ssl).await;
    served.comes_to_show("x.b.com", &other).await;
    let before = listeners().await;
    let (rotated, ssl) = certified(&["a.com"]);
    server.put("ssls/1", ssl).await;
    served.comes_to_show("a.com", &rotated).await;
    assert!(!served.shows("a.com", &first).await);
    assert_eq!(listeners().await, before, "a new key touched a listener");

    // What can't be expressed is answered 503, and the status says whose fault it is.
    let plugins = json!({"serverless-pre-function": {"functions": ["return function() end"]}});
    server
        .put(
            "routes/2",
            json!({"uri": "/closed", "host": "a.com", "upstream_id": "1", "plugins": plugins}),
        )
        .await;
    served.answers("a.com", "/closed", 503, "").await;
    let translation = &server.status().await["translations"]["envoy"];
    assert_eq!(translation["unsupported"][0]["resource"], "routes/2");
    assert_eq!(translation["resources"]["Listener"], 2);

    served.envoy.rejected_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_served_by_state_of_the_world() {
    a_fleet_is_served(Variant::StateOfTheWorld).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_served_by_delta() {
    a_fleet_is_served(Variant::Delta).await;
}

/// A name for a route, its upstream, and who answers.
type Kind = (&'static str, Value, &'static str);

fn probe(port: u16) -> Value {
    json!({"active": {
        "http_path": "/", "port": port, "req_headers": ["X-Probe: 1"],
        "healthy": {"interval": 1, "successes": 1},
        "unhealthy": {"interval": 1, "http_failures": 2, "http_statuses": [500, 503]},
    }, "passive": {"unhealthy": {"http_failures": 3, "tcp_failures": 2}}})
}

fn in_plain_text(one: &Upstream) -> Vec<Kind> {
    let (port, nodes) = (one.address.port(), node(one));
    let names = json!({(format!("localhost:{port}")): 1});
    let several = json!([
        {"host": "localhost", "port": port, "weight": 1},
        {"host": "127.0.0.1", "port": port, "weight": 2},
        {"host": "127.0.0.1", "port": port, "weight": 3, "priority": -1},
    ]);
    let kinds = [
        ("plain", json!({"nodes": nodes})),
        (
            "hash",
            json!({"nodes": nodes, "type": "chash", "key": "uri"}),
        ),
        ("least", json!({"nodes": nodes, "type": "least_conn"})),
        ("ewma", json!({"nodes": nodes, "type": "ewma"})),
        ("name", json!({"nodes": names, "pass_host": "node"})),
        (
            "names",
            json!({"nodes": several, "pass_host": "rewrite", "upstream_host": "x.y"}),
        ),
        ("probed", json!({"nodes": nodes, "checks": probe(port)})),
        (
            "limits",
            json!({"nodes": nodes, "retries": 0, "retry_timeout": 1,
            "timeout": {"connect": 1, "send": 2, "read": 3},
            "keepalive_pool": {"size": 4, "idle_timeout": 8, "requests": 100}}),
        ),
    ];
    kinds.map(|(name, upstream)| (name, upstream, "one")).into()
}

fn by_tls(nodes: &Value, probed: u16, client: (&str, &str)) -> Vec<Kind> {
    let (cert, key) = client;
    let kinds = [
        ("tls", json!({"nodes": nodes, "scheme": "https"})),
        (
            "tls-node",
            json!({"nodes": nodes, "scheme": "https", "pass_host": "node"}),
        ),
        (
            "tls-probed",
            json!({"nodes": nodes, "scheme": "https", "checks": probe(probed)}),
        ),
        (
            "tls-cert",
            json!({"nodes": nodes, "scheme": "https", "tls": {"client_cert": cert, "client_key": key}}),
        ),
    ];
    kinds
        .map(|(name, upstream)| (name, upstream, "secure"))
        .into()
}

/// Every way to talk to endpoints that a key can ask for is one that Envoy takes.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_upstream_is_one_that_envoy_takes() {
    let served = Served::start(Variant::Delta).await;
    let server = &served.server;
    let one = Upstream::start("one").await;
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["secure.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let secure = Upstream::start_tls("secure", tls).await;
    let to_tls = json!([{"host": "localhost", "port": secure.address.port(), "weight": 1}]);
    let client = (cert.pem(), signing_key.serialize_pem());
    let mut kinds = in_plain_text(&one);
    let encrypted = by_tls(&to_tls, one.address.port(), (&client.0, &client.1));
    kinds.extend(encrypted);
    for (name, upstream, _) in &kinds {
        let route = json!({"uri": format!("/{name}"), "upstream": upstream});
        server.put(&format!("routes/{name}"), route).await;
    }
    for (name, _, answer) in &kinds {
        served
            .answers("a.com", &format!("/{name}"), 200, answer)
            .await;
    }
    served.envoy.rejected_nothing().await;
    let none = json!({"uri": "/none", "upstream": {"nodes": []}});
    server.put("routes/none", none).await;
    served.answers("a.com", "/none", 503, "").await;
    let unverified = json!({"nodes": to_tls, "scheme": "https", "tls": {"verify": true}});
    let route = json!({"uri": "/verified", "upstream": unverified});
    server.put("routes/verified", route).await;
    served.answers("a.com", "/verified", 503, "").await;
    served.envoy.rejected_nothing().await;
}
