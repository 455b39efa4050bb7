//! They find their backends over TLS, and are known by their certificate. In two languages: Java's
//! library takes no files for it, and Node.js's has no TLS for discovery (`docs/grpc.md`).

use serde_json::json;
use tempfile::tempdir;

use super::backend::Backend;
use super::caller::{ASK, Caller, ME};
use super::{TARGET, route, upstream};
use crate::harness::pki::Pki;
use crate::harness::polyglot::{GO, Language, PYTHON};
use crate::harness::programs::Server;

#[tokio::test(flavor = "multi_thread")]
async fn python_is_known_by_its_certificate() {
    is_known_by_its_certificate(&PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go_is_known_by_its_certificate() {
    is_known_by_its_certificate(&GO).await;
}

/// gRFC A65: the bootstrap names the files. The fleet is the certificate's; what the node says of its
/// cluster is no fleet at all.
async fn is_known_by_its_certificate(language: &Language) {
    let folder = tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let ours = pki.issue("server");
    let theirs = pki.issue_for("client", "spiffe://test/shop/caller");
    let rules = folder.path().join("rules.toml");
    let text = "[[identity]]\nsan = \"spiffe://test/shop/*\"\nfleet = \"shop\"\n";
    std::fs::write(&rules, text).unwrap();
    let options = [
        ("--xds-tls-cert-file", ours.cert),
        ("--xds-tls-key-file", ours.key),
        ("--xds-client-ca-file", pki.ca()),
        ("--xds-identity-file", rules),
    ];
    let options = options.map(|(option, file)| [option.to_owned(), file.display().to_string()]);
    let fleets = ["--fleet", "shop=/shop", "--fleet", "other=/other"].map(str::to_owned);
    let options: Vec<&str> = options
        .as_flattened()
        .iter()
        .chain(&fleets)
        .map(String::as_str)
        .collect();
    let server = Server::embedded(&options).await;
    let backend = Backend::start("a").await;
    for (path, value) in [
        ("upstreams/names", upstream(&[&backend])),
        ("routes/names", route()),
    ] {
        let path = format!("/fleets/shop/apisix/admin/{path}");
        let reply = server.call("PUT", &path, &value.to_string()).await;
        assert!(reply.status < 300, "{reply:?}");
    }
    let credentials = json!({"type": "tls", "config": {
        "ca_certificate_file": pki.ca(),
        "certificate_file": theirs.cert,
        "private_key_file": theirs.key,
    }});
    let dialled = Caller::dial_by(language, TARGET, &[&server.xds], &[ASK], &credentials).await;
    let Some(caller) = dialled else {
        return;
    };
    caller.hears_only(&["a"]).await;
    server.nodes_in_sync(1).await;
    let node = server.nodes().await.remove(0);
    assert_eq!((&node["id"], &node["fleet"]), (&json!(ME), &json!("shop")));
    assert_eq!(node["identity"], "certificate spiffe://test/shop/caller");
    assert_eq!(caller.errors(), [""; 0]);
}
