//! Files that are replaced while the server runs.

use super::Rig;
use crate::harness::pki::Pki;
use crate::harness::programs::eventually;
use crate::harness::stream::Stream;

const ROUTE: &str = "type.googleapis.com/bellwether.v1.Route";

/// The next connection sees the new certificate and the new authority; those that are up stay up. A bad
/// file changes nothing and is in the log.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_rotated_without_a_restart() {
    let rig = Rig::mutual().await;
    let before = rig.pki.issue_for("before", "spiffe://test/a/gateway");
    let old_ca = rig.folder.path().join("old-ca.pem");
    std::fs::copy(rig.pki.ca(), &old_ca).unwrap();
    let mut old = Stream::to(rig.endpoint(Some(&before)), None).await.unwrap();
    old.follow("old", "", ROUTE).await;
    let first = old.hear().await;
    old.ack(&first).await;

    std::fs::write(rig.file("server.key"), "not a key").unwrap();
    eventually("the bad key to be said", || async {
        rig.server
            .log()
            .contains("what was read before stays in force")
            .then_some(())
    })
    .await;
    assert!(!rig.server.log().contains("not a key"));
    let still = Stream::to(rig.endpoint(Some(&before)), None).await;
    still.unwrap();

    // Another authority takes the place of the first, with a certificate of its own for the server.
    let second = Pki::new(rig.folder.path());
    second.issue("server");
    let after = second.issue_for("after", "spiffe://test/b/gateway");
    let mut new = eventually("the new certificate to be shown", || async {
        let stream = Stream::to(rig.endpoint(Some(&after)), None).await.ok()?;
        stream.follow("new", "", ROUTE).await;
        Some(stream)
    })
    .await;
    let heard = new.hear().await;
    new.ack(&heard).await;
    assert_eq!(heard.resources[0].name, "routes/1");
    let with_the_old = Stream::to(rig.endpoint_by(&old_ca, Some(&before)), None).await;
    with_the_old.expect_err("the server shows another certificate now");

    rig.put("a", "routes/2", super::route("/later")).await;
    assert_eq!(old.hear().await.resources[0].name, "routes/2");
    assert_eq!(rig.server.nodes().await.len(), 2);
}

/// The rules are read again too; a node's next stream is judged by the new ones.
#[tokio::test(flavor = "multi_thread")]
async fn rules_are_read_again() {
    let rig = Rig::mutual().await;
    let identity = rig.pki.issue_for("mover", "spiffe://test/c/gateway");
    let rules = format!(
        "{}\n[[identity]]\nsan = \"spiffe://test/c/*\"\nfleet = \"b\"\n",
        super::RULES
    );
    std::fs::write(rig.file("rules.toml"), rules).unwrap();
    eventually("the new rule to count", || async {
        let endpoint = rig.endpoint(Some(&identity));
        let stream = Stream::to(endpoint, None).await.unwrap();
        stream.follow("mover", "", ROUTE).await;
        let nodes = rig.server.nodes().await;
        let is_of_b = |node: &serde_json::Value| node["fleet"] == "b";
        nodes.iter().any(is_of_b).then_some(())
    })
    .await;
}

/// A rule that is gone counts for streams that are up too, and for those alone whom it concerns.
#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_nothing_vouches_for_them_any_more() {
    let rig = Rig::mutual().await;
    let mut streams = Vec::new();
    for fleet in ["a", "b"] {
        let uri = format!("spiffe://test/{fleet}/gateway");
        let identity = rig.pki.issue_for(fleet, &uri);
        let endpoint = rig.endpoint(Some(&identity));
        let mut stream = Stream::to(endpoint, None).await.unwrap();
        stream.follow("n", "", ROUTE).await;
        let heard = stream.hear().await;
        stream.ack(&heard).await;
        streams.push(stream);
    }
    let only_b = super::RULES.replace("test/a/", "test/c/");
    std::fs::write(rig.file("rules.toml"), only_b).unwrap();
    let ended = streams[0].end().await;
    assert_eq!(ended.code(), tonic::Code::PermissionDenied, "{ended:?}");
    assert!(ended.message().contains("test/a/gateway"), "{ended:?}");
    rig.put("b", "routes/2", super::route("/later")).await;
    assert_eq!(streams[1].hear().await.resources[0].name, "routes/2");
}
