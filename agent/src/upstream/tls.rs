//! Owns TLS towards endpoints: whether they are verified, what is presented to them.
//! Must not know: which endpoint.

use std::sync::{Arc, LazyLock};

use bellwether::wire::native::UpstreamTls;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::table::Reason;
use crate::table::identity::{Certificate, certified};

/// Where systems keep the authorities they trust.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Read once: a system's authorities do not change under a running proxy.
static ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    let found = SYSTEM_ROOTS
        .iter()
        .find_map(|path| CertificateDer::pem_file_iter(path).ok());
    roots.add_parsable_certificates(found.into_iter().flatten().filter_map(Result::ok));
    Arc::new(roots)
});

/// What a handshake needs.
#[derive(Debug, Clone)]
pub(crate) struct ClientTls {
    pub(crate) config: Arc<ClientConfig>,
    message: UpstreamTls,
    certificate: Option<Arc<Certificate>>,
}

impl ClientTls {
    /// `message` went through [`check`].
    pub(crate) fn new(
        message: &UpstreamTls,
        certificate: Option<&Arc<Certificate>>,
        http2: bool,
    ) -> Self {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for the default versions");
        let builder = if message.verify {
            builder.with_root_certificates(ROOTS.clone())
        } else {
            let verifier = Arc::new(Unverified(provider));
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        };
        let inline = message
            .client_key_pair
            .as_ref()
            .and_then(|pair| certified("tls.client_key_pair", pair).ok());
        let named = || certificate.and_then(|certificate| certificate.keys.first().cloned());
        let mut config = match inline.or_else(named) {
            Some(key) => builder.with_client_cert_resolver(Arc::new(Presented(key))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![if http2 {
            b"h2".to_vec()
        } else {
            b"http/1.1".to_vec()
        }];
        Self {
            config: Arc::new(config),
            message: message.clone(),
            certificate: certificate.cloned(),
        }
    }

    /// Whether connections made by one may be used by the other.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let body = |tls: &Self| tls.certificate.as_ref().map(|found| found.body.clone());
        self.message == other.message && body(self) == body(other)
    }
}

/// Whether a cluster's TLS can be put in force.
pub(crate) fn check(message: &UpstreamTls) -> Result<(), Reason> {
    if let Some(pair) = &message.client_key_pair {
        certified("tls.client_key_pair", pair)?;
    }
    if message.verify {
        let roots = WebPkiServerVerifier::builder_with_provider(
            ROOTS.clone(),
            Arc::new(ring::default_provider()),
        );
        roots.build().map_err(|_| {
            Reason::new(
                "tls.verify",
                "this system has no certificate authorities to trust",
            )
        })?;
    }
    Ok(())
}

/// One certificate, whichever authority the endpoint would like it from.
#[derive(Debug)]
struct Presented(Arc<CertifiedKey>);

impl ResolvesClientCert for Presented {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// APISIX does not verify endpoints unless it is asked to (§1.5). The signatures are still checked,
/// so that the connection is to whoever holds the certificate's key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
