//! Owns how we know a server and how a server knows us: files, read again for every connection, so that
//! what was rotated is used from the next one on. Must not know: what is said on a connection.

use std::path::{Path, PathBuf};

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// Files for the connections to discovery servers.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Who may sign a server's certificate, as PEM.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key, as PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// A bearer token.
    pub token: Option<PathBuf>,
}

impl Credentials {
    /// The endpoint with what a TLS handshake needs.
    pub(super) async fn dress(&self, server: &Endpoint) -> Result<Endpoint, String> {
        if server.uri().scheme_str() != Some("https") {
            return Ok(server.clone());
        }
        let mut tls = ClientTlsConfig::new();
        if let Some(ca) = &self.ca {
            tls = tls.ca_certificate(Certificate::from_pem(read(ca).await?));
        }
        if let Some((cert, key)) = &self.identity {
            tls = tls.identity(Identity::from_pem(read(cert).await?, read(key).await?));
        }
        let dressed = server.clone().tls_config(tls);
        dressed.map_err(|error| super::client::causes(&error))
    }

    /// What goes with a stream as `authorization`.
    pub(super) async fn authorization(&self) -> Result<Option<MetadataValue<Ascii>>, String> {
        let Some(path) = &self.token else {
            return Ok(None);
        };
        let bytes = read(path).await?;
        let token = String::from_utf8_lossy(&bytes);
        let value = format!("Bearer {}", token.trim()).parse();
        let mut value: MetadataValue<Ascii> =
            value.map_err(|_| format!("{} holds no token", path.display()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = tokio::fs::read(path).await;
    bytes.map_err(|error| format!("can't read {}: {error}", path.display()))
}
