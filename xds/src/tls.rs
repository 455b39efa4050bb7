//! Owns TLS on the discovery port: what we show, and whose certificates we ask for. Must not know: what
//! a certificate entitles to.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;
use tracing::warn;

use crate::certificate::Certificate;
use crate::files::{FileError, follow};

/// Whether nodes must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    None,
    /// They are asked, and need not have one. One that is not good is refused nevertheless.
    Optional,
    /// Who has none is not let in.
    #[default]
    Required,
}

/// The files that TLS is made of, all PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Our certificate, and those between it and its root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who may sign the nodes' certificates.
    pub clients: Option<PathBuf>,
    /// Whether they must have one. Without `clients` they are not asked.
    pub auth: ClientAuth,
}

/// What a handshake needs, latest wins: a connection that is up stays as it is. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    config: watch::Receiver<Arc<ServerConfig>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl From<Arc<ServerConfig>> for Tls {
    /// For those who know rustls. ALPN should offer `h2`.
    fn from(config: Arc<ServerConfig>) -> Self {
        Self {
            config: watch::channel(config).1,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error("the {0} can't be read as PEM: {1}")]
    Pem(&'static str, pem::Error),
    #[error("there is no certificate among the {0}")]
    Empty(&'static str),
    #[error("the certificate and its key can't be used: {0}")]
    Pair(rustls::Error),
    #[error("an authority for the nodes' certificates can't be used: {0}")]
    Authority(rustls::Error),
    #[error("the authorities for the nodes' certificates can't be used: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

impl Tls {
    /// Reads the files, and reads them again when they change.
    ///
    /// # Errors
    /// They can't be read, or do not fit.
    pub async fn from_files(files: &TlsFiles) -> Result<Self, FileError> {
        let auth = files.auth;
        let mut paths = vec![files.cert.clone(), files.key.clone()];
        paths.extend(files.clients.clone().filter(|_| auth != ClientAuth::None));
        let config = follow(paths, move |contents| match contents {
            [cert, key] => server_config(cert, key, None),
            [cert, key, clients] => server_config(cert, key, Some((clients, auth))),
            _ => Err(Bad::Empty("files")),
        })
        .await?;
        Ok(Self { config })
    }

    pub(crate) fn newest(&self) -> Arc<ServerConfig> {
        self.config.borrow().clone()
    }
}

fn certificates(what: &'static str, file: &[u8]) -> Result<Vec<CertificateDer<'static>>, Bad> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(file).collect();
    let read = read.map_err(|error| Bad::Pem(what, error))?;
    if read.is_empty() {
        return Err(Bad::Empty(what));
    }
    Ok(read)
}

fn server_config(
    cert: &[u8],
    key: &[u8],
    clients: Option<(&[u8], ClientAuth)>,
) -> Result<ServerConfig, Bad> {
    let chain = certificates("certificates", cert)?;
    if let Some(own) = chain.first().map(|der| Certificate::read(der))
        && own.expires.is_some_and(|at| at < SystemTime::now())
    {
        warn!("the certificate that nodes are shown has expired; they will refuse it");
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| Bad::Pem("key", error))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(Bad::Pair)?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some((file, auth)) => {
            let mut roots = RootCertStore::empty();
            for root in certificates("authorities", file)? {
                roots.add(root).map_err(Bad::Authority)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match auth {
                ClientAuth::Required => verifier,
                ClientAuth::None | ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(Bad::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Connections last, so little is saved by resuming a session; and one that is resumed is not
    // verified again, although its certificate may have expired in the meantime.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
