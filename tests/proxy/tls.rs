//! TLS towards endpoints.

use std::sync::Arc;

use bellwether::name::{Name, TypeUrl};
use bellwether::wire::native::{self, UpstreamTls, cluster::Scheme};
use prost::Message;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::rig::{Rig, put};
use crate::harness::http::Upstream;
use crate::harness::pki::{Identity, Pki};

/// A server's configuration; `clients_of` demands a certificate from that authority.
fn server(identity: &Identity, clients_of: Option<&Pki>) -> ServerConfig {
    let provider = Arc::new(default_provider());
    let chain = CertificateDer::pem_file_iter(&identity.cert).unwrap();
    let chain: Vec<_> = chain.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients_of {
        None => builder.with_no_client_auth(),
        Some(pki) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_file(pki.ca()).unwrap())
                .unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// §1.5: an endpoint is not verified unless asked; §3.4: it is asked for by the Host that it sees.
#[tokio::test]
async fn https_and_grpcs_go_out() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let upstream = Upstream::start_tls("up", server(&pki.issue("server"), None)).await;
    let rig = Rig::start().await;
    let mut client = rig.http1().await;
    for (scheme, version) in [(Scheme::Https, "HTTP/1.1"), (Scheme::Grpcs, "HTTP/2.0")] {
        rig.forward(&[upstream.address], |c| c.scheme = scheme.into(), |_| {});
        for host in ["a.com", "b.com:8443", "a.com"] {
            let mut request = client.request("POST", "/", "text");
            request.headers_mut().insert("host", host.parse().unwrap());
            let seen = client.ask(request).await.json();
            assert_eq!(seen["version"], version);
            assert_eq!(seen["host"], host);
            assert_eq!(seen["server_name"], host.split(':').next().unwrap());
            assert_eq!(seen["body"], "text");
        }
    }
    // One for each server name and scheme: the third request took the first one's.
    assert_eq!(upstream.connections(), 4);

    let verified = |cluster: &mut native::Cluster| {
        cluster.scheme = Scheme::Https.into();
        cluster.tls = Some(UpstreamTls {
            verify: true,
            ..UpstreamTls::default()
        });
    };
    // A system without any authority rejects the cluster instead.
    if std::path::Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
        rig.forward(&[upstream.address], verified, |_| {});
        assert_eq!(
            client.get("/").await.status,
            502,
            "the authority is unknown here"
        );
    }
}

/// A client certificate given inline, or by the name of a Certificate, is presented.
#[tokio::test]
async fn a_client_certificate_is_presented() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let upstream = Upstream::start_tls("up", server(&pki.issue("server"), Some(&pki))).await;
    let own = pki.issue("client");
    let pair = native::KeyPair {
        certificate: std::fs::read_to_string(&own.cert).unwrap(),
        private_key: std::fs::read_to_string(&own.key).unwrap(),
    };
    let rig = Rig::start().await;
    let mut client = rig.http1().await;
    let with = |tls: UpstreamTls| {
        move |cluster: &mut native::Cluster| {
            cluster.scheme = Scheme::Https.into();
            cluster.tls = Some(tls);
        }
    };
    rig.forward(&[upstream.address], with(UpstreamTls::default()), |_| {});
    assert_eq!(
        client.get("/").await.status,
        502,
        "the endpoint wants a certificate"
    );
    let inline = UpstreamTls {
        client_key_pair: Some(pair.clone()),
        ..UpstreamTls::default()
    };
    rig.forward(&[upstream.address], with(inline), |_| {});
    assert_eq!(client.get("/").await.status, 200);
    let named = UpstreamTls {
        client_certificate: "ssls/1".into(),
        ..UpstreamTls::default()
    };
    rig.forward(&[upstream.address], with(named), |_| {});
    assert_eq!(client.get("/").await.status, 502, "it is not there yet");
    let certificate = native::Certificate {
        usage: native::certificate::Usage::Client.into(),
        key_pairs: vec![pair.clone()],
        ..native::Certificate::default()
    };
    rig.edit(|edit| put(edit, &TypeUrl::CERTIFICATE, "ssls/1", &certificate));
    assert_eq!(client.get("/").await.status, 200);
    let dump = rig.page("/config_dump").await;
    assert!(!dump.contains("PRIVATE KEY"));

    // A key that belongs to another certificate is rejected, and named.
    let other = pki.issue("other");
    let mixed = native::Certificate {
        key_pairs: vec![native::KeyPair {
            private_key: std::fs::read_to_string(&other.key).unwrap(),
            ..pair
        }],
        ..certificate
    };
    rig.edit(|edit| {
        let body = mixed.encode_to_vec().into();
        let reason = edit.upsert(&TypeUrl::CERTIFICATE, &Name::from("ssls/1"), &body);
        let want = "key_pairs[0].private_key: does not belong to the certificate";
        assert_eq!(reason.unwrap_err(), want);
    });
    assert_eq!(client.get("/").await.status, 200);
}
