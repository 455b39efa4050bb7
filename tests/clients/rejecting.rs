//! They reject what they can't read, by name and with a reason, and keep what they had.

use bellwether::name::{ResourceId, TypeUrl};
use bellwether::resource::Resource;
use bellwether::snapshot::Changes;
use bellwether::wire::native;
use serde_json::json;

use super::{changes, client, short};
use crate::harness::polyglot::{Language, in_every_language};
use crate::harness::programs::{Server, eventually};
use crate::harness::publisher::Publisher;

in_every_language!(what_can_not_be_read_is_rejected, what_is_refused_is_seen);

/// A field of wire type 7, which does not exist: no protobuf reader takes it.
const UNREADABLE: &[u8] = &[0x0f];

fn id(name: &str) -> ResourceId {
    ResourceId::new(TypeUrl::ROUTE, name)
}

fn readable(name: &str, path: &str) -> Resource {
    let route = native::Route {
        id: name.to_owned(),
        paths: vec![path.to_owned()],
        ..native::Route::default()
    };
    Resource::new(id(name), &route, Vec::new())
}

fn changed(upserts: Vec<Resource>) -> Changes {
    Changes {
        upserts,
        ..Changes::default()
    }
}

/// One resource that can't be read among others: it is named with a reason, the others are in force, it
/// is not sent again although others change, and the next one that can be read heals it.
async fn what_can_not_be_read_is_rejected(language: &Language) {
    let unreadable = Resource::from_encoded(id("bad"), UNREADABLE, Vec::new());
    let server =
        Publisher::start(changed(vec![readable("good", "/a"), readable("bad", "/a")])).await;
    let Some(client) = client(language, &server.xds, &["--types", "Route"]) else {
        return;
    };
    client.says(0, "+ Route good ").await;
    client.says(0, "+ Route bad ").await;
    server.publish("2", changed(vec![readable("good", "/b"), unreadable]));
    client.says(0, "nack Route bad ").await;
    let rejected = eventually("the server to know", || async {
        let rejected = server.rejected_by("me").await?;
        (!rejected.is_empty()).then_some(rejected)
    })
    .await;
    let [(name, reason)] = &rejected[..] else {
        panic!("{rejected:?}");
    };
    assert_eq!(name, "bad");
    assert!(
        client.said().contains(reason.as_str()) && !reason.is_empty(),
        "{reason:?}"
    );

    server.publish("3", changed(vec![readable("good", "/c")]));
    let good = client.says(3, "~ Route good ").await;
    client.says(good, "~ Route good ").await;
    assert_eq!(
        server.metric("bellwether_xds_nacks_total").await,
        1,
        "never sent again"
    );
    server.publish("4", changed(vec![readable("bad", "/d")]));
    client.says(good, "~ Route bad ").await;
    eventually("the rejection to be gone", || async {
        server.rejected_by("me").await?.is_empty().then_some(())
    })
    .await;
    let (said, _) = client.terminate().await;
    let mut lines = short(&changes(&said));
    lines[..2].sort();
    lines[2..4].sort();
    let expected = [
        "+ Route bad",
        "+ Route good",
        "nack Route bad",
        "~ Route good",
        "~ Route good",
        "~ Route bad",
    ];
    assert_eq!(lines, expected, "{said}");
}

/// In `/v1/nodes` of a server as it is run; and still there when the server was killed, without a second
/// try.
async fn what_is_refused_is_seen(language: &Language) {
    let mut server = Server::embedded(&[]).await;
    for id in ["1", "2"] {
        let route = json!({"uri": "/a", "upstream": {"nodes": {"127.0.0.1:1": 1}}});
        server.put(&format!("routes/{id}"), route).await;
    }
    let options = ["--types", "Route", "--refuse", "routes/2"];
    let Some(client) = client(language, &server.xds, &options) else {
        return;
    };
    refused(&server).await;
    client.says(0, "+ Route routes/1 ").await;
    assert!(
        server.log().contains("refused by --refuse"),
        "{}",
        server.log()
    );
    assert_eq!(
        server
            .metric("bellwether_xds_rejected_resources_total")
            .await,
        1
    );
    server.kill();
    server.restart().await;
    refused(&server).await;
    assert_eq!(
        server.metric("bellwether_xds_nacks_total").await,
        0,
        "it was told, not tried"
    );
    let (said, _) = client.terminate().await;
    let mut lines = short(&changes(&said));
    lines.sort();
    assert_eq!(lines, ["+ Route routes/1", "nack Route routes/2"], "{said}");
}

async fn refused(server: &Server) {
    let rejected = eventually("the rejection to be seen", || async {
        let nodes = server.nodes().await;
        let of_type = nodes.first()?["types"].as_array()?.first()?.clone();
        let rejected = of_type["rejected"].as_array()?.clone();
        (!rejected.is_empty()).then_some(rejected)
    })
    .await;
    let named = rejected.iter().map(|one| (&one["name"], &one["reason"]));
    let expected = (&json!("routes/2"), &json!("refused by --refuse"));
    assert_eq!(named.collect::<Vec<_>>(), [expected]);
}
