//! What a node gets by its certificate or its token, and what it is told when it gets nothing.

use bellwether::wire::discovery::DeltaDiscoveryResponse;
use bellwether::wire::native;
use prost::Message;
use serde_json::json;
use tonic::{Code, Status};

use super::Rig;
use crate::harness::pki::{Identity, Pki};
use crate::harness::programs::eventually;
use crate::harness::stream::Stream;

const ROUTE: &str = "type.googleapis.com/bellwether.v1.Route";
const CERTIFICATE: &str = "type.googleapis.com/bellwether.v1.Certificate";

/// The first response that has resources.
async fn first_of(stream: &mut Stream) -> DeltaDiscoveryResponse {
    loop {
        let heard = stream.hear().await;
        stream.ack(&heard).await;
        if !heard.resources.is_empty() {
            return heard;
        }
    }
}

fn path_of(response: &DeltaDiscoveryResponse) -> String {
    let any = response.resources[0].resource.clone().unwrap();
    native::Route::decode(any.value).unwrap().paths[0].clone()
}

/// How a stream with this certificate or token ends that names this fleet.
async fn refused(rig: &Rig, by: Option<&Identity>, token: Option<&str>, fleet: &str) -> Status {
    match Stream::to(rig.endpoint(by), token).await {
        Err(status) => status,
        Ok(mut stream) => {
            stream.follow("liar", fleet, ROUTE).await;
            stream.end().await
        }
    }
}

/// R10: the fleet is the certificate's, whether the node names it or nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_decides_the_fleet() {
    let rig = Rig::mutual().await;
    for (fleet, named) in [("a", "a"), ("a", ""), ("b", "b"), ("b", "some-service")] {
        let identity = rig
            .pki
            .issue_for("node", &format!("spiffe://test/{fleet}/gateway"));
        let endpoint = rig.endpoint(Some(&identity));
        let mut stream = Stream::to(endpoint, None).await.unwrap();
        stream.follow("n", named, ROUTE).await;
        assert_eq!(
            path_of(&first_of(&mut stream).await),
            format!("/of-{fleet}")
        );
        let node = rig.server.nodes().await.pop().unwrap();
        assert_eq!(node["fleet"], fleet);
        let identity = format!("certificate spiffe://test/{fleet}/gateway");
        assert_eq!(node["identity"], identity);
        let labels = if fleet == "a" {
            json!({"tier": "edge"})
        } else {
            json!({})
        };
        assert_eq!(node["labels"], labels);
        drop(stream);
        eventually("the node to be gone", || async {
            rig.server.nodes().await.is_empty().then_some(())
        })
        .await;
    }
}

/// It is refused in so many words, and it is in the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lies_about_its_fleet_gets_nothing() {
    let rig = Rig::mutual().await;
    let of_a = rig.pki.issue_for("of-a", "spiffe://test/a/gateway");
    let status = refused(&rig, Some(&of_a), None, "b").await;
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    let text = "node \"liar\" names fleet \"b\" in node.cluster, and its certificate spiffe://test/a/gateway is of fleet \"a\"";
    assert_eq!(status.message(), text);
    eventually("the log to say so", || async {
        let log = rig.server.log();
        (log.contains("node refused") && log.contains("spiffe://test/a/gateway")).then_some(())
    })
    .await;
    assert_eq!(rig.server.metric("bellwether_xds_refused_total").await, 1);

    let unknown = rig.pki.issue_for("unknown", "spiffe://test/c/gateway");
    let status = refused(&rig, Some(&unknown), None, "a").await;
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert!(
        status.message().contains("spiffe://test/c/gateway"),
        "{status:?}"
    );
}

/// Without a certificate of our authority there is no stream, and the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_not_good_are_refused() {
    let rig = Rig::mutual().await;
    let good = rig.pki.issue_for("good", "spiffe://test/a/gateway");
    let mut stream = Stream::to(rig.endpoint(Some(&good)), None).await.unwrap();
    stream.follow("good", "a", ROUTE).await;
    first_of(&mut stream).await;

    let other = Pki::new(&rig.folder.path().join("other"));
    let foreign = other.issue_for("foreign", "spiffe://test/a/gateway");
    let expired = rig.pki.issue_expired("expired", "spiffe://test/a/gateway");
    for by in [None, Some(&foreign), Some(&expired)] {
        let status = refused(&rig, by, None, "a").await;
        // The connection breaks; which part of the client notices first is chance.
        assert_ne!(status.code(), Code::Ok, "{by:?}: {status:?}");
    }
    assert_eq!(rig.server.nodes().await.len(), 1);
    rig.put("a", "routes/2", super::route("/more")).await;
    assert_eq!(path_of(&first_of(&mut stream).await), "/more");
}

/// A token counts where certificates are optional, and is not shown anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_decides_the_fleet() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    let lines = "secret-token-of-a-node fleet=a zone=eu\nsecret-token-of-b-node fleet=b\n";
    let rig = Rig::with_tokens(folder.path(), lines).await;
    rig.put("a", "routes/1", super::route("/of-a")).await;
    let token = Some("secret-token-of-a-node");
    let mut stream = Stream::to(rig.endpoint(None), token).await.unwrap();
    stream.follow("n", "", ROUTE).await;
    assert_eq!(path_of(&first_of(&mut stream).await), "/of-a");
    let node = rig.server.nodes().await.pop().unwrap();
    assert_eq!(node["labels"], json!({"zone": "eu"}));
    assert_eq!(node["identity"], "token of line 1");

    for (token, fleet, code) in [
        (None, "a", Code::Unauthenticated),
        (Some("secret-token-of-nobody"), "a", Code::Unauthenticated),
        (token, "b", Code::PermissionDenied),
    ] {
        let status = refused(&rig, None, token, fleet).await;
        assert_eq!(status.code(), code, "{status:?}");
        assert!(!status.message().contains("secret-token"), "{status:?}");
    }
    assert!(!rig.server.log().contains("secret-token"));

    // A new token is good without a restart; one that is gone is good for nothing, and what it opened ends.
    std::fs::write(&tokens, "secret-token-of-another fleet=b\n").unwrap();
    let ended = stream.end().await;
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended:?}");
    let mut another = Stream::to(rig.endpoint(None), Some("secret-token-of-another"))
        .await
        .unwrap();
    another.follow("other", "", ROUTE).await;
    another.hear().await;
    let status = refused(&rig, None, token, "a").await;
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");

    // Lines may move: it is the same node. Other labels are another node, which is to connect again.
    let moved = "# ours\nsecret-token-of-a-node fleet=a\nsecret-token-of-another fleet=b\n";
    std::fs::write(&tokens, moved).unwrap();
    eventually("the moved line to count", || async {
        let mut stream = Stream::to(rig.endpoint(None), token).await.ok()?;
        stream.follow("n", "", ROUTE).await;
        stream.try_hear().await.ok()
    })
    .await;
    rig.put("b", "routes/1", super::route("/still")).await;
    assert_eq!(path_of(&first_of(&mut another).await), "/still");
    std::fs::write(&tokens, "secret-token-of-another fleet=b zone=us\n").unwrap();
    let ended = another.end().await;
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
}

/// A certificate vouches until it ends, and not longer because a stream is up.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_certificate() {
    let rig = Rig::mutual().await;
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(6);
    let short = rig
        .pki
        .issue_until("short", "spiffe://test/a/gateway", soon);
    let long = rig.pki.issue_for("long", "spiffe://test/a/gateway");
    let mut streams = Vec::new();
    for by in [&short, &long] {
        let mut stream = Stream::to(rig.endpoint(Some(by)), None).await.unwrap();
        stream.follow("n", "", ROUTE).await;
        first_of(&mut stream).await;
        streams.push(stream);
    }
    let ended = streams[0].end().await;
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended:?}");
    assert!(ended.message().contains("expired"), "{ended:?}");
    rig.put("a", "routes/2", super::route("/more")).await;
    assert_eq!(path_of(&first_of(&mut streams[1]).await), "/more");
}

/// Whoever brings two tokens does not get to choose which counts.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_tokens_none_counts() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "secret-token-of-a-node fleet=default\n").unwrap();
    let rig = Rig::start(&["--xds-token-file", tokens.to_str().unwrap()]).await;
    for sent in [
        &["secret-token-of-a-node"; 2][..],
        &["secret-token-of-a-node", "something-else"],
        &["something-else", "secret-token-of-a-node"],
        &["secret-token-of-a-node,secret-token-of-a-node"],
        &[""],
    ] {
        let mut stream = Stream::with_tokens(rig.endpoint(None), sent).await.unwrap();
        stream.follow("n", "", ROUTE).await;
        let ended = stream.end().await;
        assert_eq!(ended.code(), Code::Unauthenticated, "{sent:?} {ended:?}");
        assert!(!ended.message().contains("secret-token"), "{ended:?}");
    }
    assert!(!rig.server.log().contains("secret-token"));
}

/// Keys and credentials are for nodes that somebody vouches for; the others get the rest, and it is
/// said that they do not get these.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_for_identified_nodes() {
    let rig = Rig::optional().await;
    let pair = rig.pki.issue("site");
    let ssl = json!({
        "cert": std::fs::read_to_string(&pair.cert).unwrap(),
        "key": std::fs::read_to_string(&pair.key).unwrap(),
        "snis": ["localhost"],
    });
    rig.server.put("ssls/1", ssl).await;
    rig.server.put("routes/1", super::route("/a")).await;

    let own = rig.pki.issue("own");
    let mut known = Stream::to(rig.endpoint(Some(&own)), None).await.unwrap();
    known.follow("known", "", CERTIFICATE).await;
    assert_eq!(first_of(&mut known).await.resources[0].name, "ssls/1");

    let mut unknown = Stream::to(rig.endpoint(None), None).await.unwrap();
    unknown.follow("unknown", "", CERTIFICATE).await;
    let nothing = unknown.hear().await;
    assert!(nothing.resources.is_empty(), "{nothing:?}");
    unknown.ack(&nothing).await;
    unknown.follow("unknown", "", ROUTE).await;
    assert_eq!(first_of(&mut unknown).await.resources[0].name, "routes/1");
    let nodes = rig.server.nodes().await;
    let of = |id: &str| nodes.iter().find(|node| node["id"] == id).unwrap();
    assert_eq!(of("known")["withheld"], json!([]));
    let withheld = of("unknown")["withheld"].as_array().unwrap();
    assert!(withheld.contains(&json!(CERTIFICATE)), "{withheld:?}");
}
