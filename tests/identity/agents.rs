//! The agent on a port with TLS.

use serde_json::json;

use super::Rig;
use crate::harness::ask::Named;
use crate::harness::pki::Pki;
use crate::harness::programs::{Agent, eventually};

/// With a certificate, through the rotation of everything.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_follows_by_mutual_tls() {
    let up = Named::start("up").await;
    let mut rig = Rig::mutual().await;
    let to = |uri: &str| json!({"uri": uri, "upstream": {"type": "roundrobin", "nodes": {up.node(): 1}}});
    rig.put("a", "routes/1", to("/a")).await;
    rig.pki.issue_for("agent", "spiffe://test/a/agent");
    let [ca, cert, key] = ["ca.pem", "agent.pem", "agent.key"].map(|name| rig.file(name));
    let tls = [
        "--fleet",
        "a",
        "--server-ca-file",
        &ca,
        "--cert-file",
        &cert,
        "--key-file",
        &key,
    ];
    let agent = Agent::start("agent", &[&rig.server.xds], &tls).await;
    agent.answers("/a", 200, "up").await;

    // Everything is issued anew by another authority; the agent reads it when it connects again.
    rig.pki = Pki::new(rig.folder.path());
    rig.pki.issue("server");
    rig.pki.issue_for("agent", "spiffe://test/a/agent");
    rig.server.restart().await;
    rig.put("a", "routes/2", to("/b")).await;
    agent.answers("/b", 200, "up").await;

    let liar = [&tls[2..], &["--fleet", "b"]].concat();
    let liar = Agent::start("liar", &[&rig.server.xds], &liar).await;
    eventually("the liar to know why", || async {
        liar.log().contains("code=PermissionDenied").then_some(())
    })
    .await;
}

/// With a token; and an agent whose server is not who it should be says so.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_follows_with_a_token() {
    let up = Named::start("up").await;
    let folder = tempfile::tempdir().unwrap();
    let (tokens, token) = (folder.path().join("tokens"), folder.path().join("token"));
    std::fs::write(&tokens, "secret-token-of-a-node fleet=default\n").unwrap();
    std::fs::write(&token, "secret-token-of-a-node\n").unwrap();
    let rig = Rig::start(&["--xds-token-file", tokens.to_str().unwrap()]).await;
    let to = json!({"uri": "/a", "upstream": {"type": "roundrobin", "nodes": {up.node(): 1}}});
    rig.put("default", "routes/1", to).await;
    let token = token.to_str().unwrap();
    let ca = rig.file("ca.pem");
    let options = ["--server-ca-file", &ca, "--token-file", token];
    let agent = Agent::start("agent", &[&rig.server.xds], &options).await;
    agent.answers("/a", 200, "up").await;

    let other = Pki::new(&folder.path().join("other")).ca();
    let options = [
        "--server-ca-file",
        other.to_str().unwrap(),
        "--token-file",
        token,
    ];
    let misled = Agent::start("misled", &[&rig.server.xds], &options).await;
    eventually(
        "the agent to say that it does not know the server",
        || async {
            misled
                .log()
                .contains("invalid peer certificate")
                .then_some(())
        },
    )
    .await;
    assert!(!agent.log().contains("secret-token") && !misled.log().contains("secret-token"));
}
