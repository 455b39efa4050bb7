//! Who gets what on the discovery port: certificates, tokens, and what the network may do to handshakes.

mod agents;
mod envoys;
mod handshakes;
mod nodes;
mod rotation;
mod secrets;

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::harness::pki::{Identity, Pki};
use crate::harness::programs::Server;

/// What says who is who in these tests.
const RULES: &str = r#"
[[identity]]
san = "spiffe://test/a/*"
fleet = "a"
labels = { tier = "edge" }

[[identity]]
san = "spiffe://test/b/*"
fleet = "b"
"#;

/// A server with TLS, its authority, and the folder they are in.
struct Rig {
    folder: TempDir,
    pki: Pki,
    server: Server,
}

impl Rig {
    /// With these options besides; `DIR` in them is the folder.
    async fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::new(folder.path());
        pki.issue("server");
        std::fs::write(folder.path().join("rules.toml"), RULES).unwrap();
        let at = folder.path().display().to_string();
        let own = [
            "--xds-tls-cert-file",
            "DIR/server.pem",
            "--xds-tls-key-file",
            "DIR/server.key",
        ];
        let all: Vec<String> = own
            .iter()
            .chain(options)
            .map(|option| option.replace("DIR", &at))
            .collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let server = Server::embedded(&all).await;
        Self {
            folder,
            pki,
            server,
        }
    }

    /// Certificates are required, and of one of two fleets.
    async fn mutual() -> Self {
        let rig = Self::start(&[
            "--fleet",
            "a=/a",
            "--fleet",
            "b=/b",
            "--xds-client-ca-file",
            "DIR/ca.pem",
            "--xds-identity-file",
            "DIR/rules.toml",
        ])
        .await;
        for fleet in ["a", "b"] {
            rig.put(fleet, "routes/1", route(&format!("/of-{fleet}")))
                .await;
        }
        rig
    }

    /// Certificates are asked for, and not needed.
    async fn optional() -> Self {
        let options = [
            "--xds-client-ca-file",
            "DIR/ca.pem",
            "--xds-client-auth",
            "optional",
        ];
        Self::start(&options).await
    }

    /// Tokens, one a line, say of which of two fleets a node is. The file is `tokens` in a folder.
    async fn with_tokens(folder: &Path, lines: &str) -> Self {
        let file = folder.join("tokens");
        std::fs::write(&file, lines).unwrap();
        let file = file.to_str().unwrap();
        Self::start(&[
            "--fleet",
            "a=/a",
            "--fleet",
            "b=/b",
            "--xds-token-file",
            file,
        ])
        .await
    }

    async fn put(&self, fleet: &str, path: &str, body: Value) {
        let path = format!("/fleets/{fleet}/apisix/admin/{path}");
        let reply = self.server.call("PUT", &path, &body.to_string()).await;
        assert!(reply.status < 300, "{path}: {reply:?}");
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// To our server, with this certificate.
    fn endpoint(&self, identity: Option<&Identity>) -> Endpoint {
        self.endpoint_by(&self.pki.ca(), identity)
    }

    fn endpoint_by(&self, ca: &Path, identity: Option<&Identity>) -> Endpoint {
        let read = |path: &Path| std::fs::read(path).unwrap();
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)));
        if let Some(identity) = identity {
            tls = tls.identity(tonic::transport::Identity::from_pem(
                read(&identity.cert),
                read(&identity.key),
            ));
        }
        let endpoint = Endpoint::from_shared(self.server.xds.clone()).unwrap();
        endpoint.tls_config(tls).unwrap()
    }
}

fn route(uri: &str) -> Value {
    json!({"uri": uri, "upstream": {"type": "roundrobin", "nodes": {"127.0.0.1:1": 1}}})
}
