//! Owns hosts for which clients must show a certificate: they are not reached by the name of another.
//! Must not know: how routes are matched.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::served::{Served, certified, node};
use crate::harness::envoy::Variant;
use crate::harness::http::Upstream;
use crate::harness::programs::eventually;

/// Who connects.
struct Caller {
    roots: RootCertStore,
    identity: (CertificateDer<'static>, PrivateKeyDer<'static>),
}

impl Caller {
    /// The status of one request, for `host` over a connection for `name`; `None`: no connection.
    async fn ask(&self, port: u16, name: &str, host: &str, shows: bool) -> Option<u16> {
        let config = ClientConfig::builder().with_root_certificates(self.roots.clone());
        let (certificate, key) = &self.identity;
        let config = if shows {
            config.with_client_auth_cert(vec![certificate.clone()], key.clone_key())
        } else {
            Ok(config.with_no_client_auth())
        };
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let server = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::new(config.unwrap()));
        let mut tls = connector.connect(server, tcp).await.ok()?;
        let request = format!("GET /x HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        tls.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        tls.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        answer.split(' ').nth(1)?.parse().ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_host_is_not_reached_by_the_name_of_another() {
    let served = Served::start(Variant::Delta).await;
    let server = &served.server;
    let up = Upstream::start("up").await;
    let upstream = json!({"type": "roundrobin", "nodes": node(&up)});
    let route = json!({"uri": "/*", "upstream": upstream});
    server.put("routes/1", route).await;

    let named = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let mut authority = named("authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = CertifiedIssuer::self_signed(authority, key).unwrap();
    let key = KeyPair::generate().unwrap();
    let client = named("client").signed_by(&key, &authority).unwrap();
    let identity = PrivateKeyDer::try_from(key.serialize_der()).unwrap();

    let (guarded, mut ssl) = certified(&["a.com", "*.b.com"]);
    ssl["client"] = json!({"ca": authority.pem(), "depth": 2});
    server.put("ssls/1", ssl).await;
    let (open, ssl) = certified(&["open.b.com"]);
    server.put("ssls/2", ssl).await;
    let mut roots = RootCertStore::empty();
    roots.add(guarded).unwrap();
    roots.add(open).unwrap();
    let caller = Caller {
        roots,
        identity: (client.der().clone(), identity),
    };

    eventually("both names to be served", || async {
        let open = caller.ask(served.https, "open.b.com", "open.b.com", false);
        let guarded = caller.ask(served.https, "a.com", "a.com", true);
        let both = (open.await, guarded.await);
        (both == (Some(200), Some(200))).then_some(())
    })
    .await;
    for (name, host, shows, status) in [
        ("open.b.com", "a.com", false, Some(403)),
        ("open.b.com", "A.COM:443", false, Some(403)),
        ("open.b.com", "x.b.com", false, Some(403)),
        ("open.b.com", "other.com", false, Some(200)),
        ("a.com", "open.b.com", true, Some(200)),
        ("x.b.com", "x.b.com", true, Some(200)),
        ("x.b.com", "a.com", true, Some(403)),
        ("a.com", "a.com", false, None),
    ] {
        let answer = caller.ask(served.https, name, host, shows).await;
        assert_eq!(answer, status, "{host} by {name}");
    }
    served.envoy.rejected_nothing().await;
}
