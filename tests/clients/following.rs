//! They follow what is there, and after a reconnect only what differs.

use serde_json::{Value, json};

use super::{changes, client, short};
use crate::harness::gate::Gate;
use crate::harness::polyglot::{Language, in_every_language};
use crate::harness::programs::{Server, eventually};

in_every_language!(follows_and_stops, resumes);

/// A route to an upstream of its own.
fn route(uri: &str, port: u16) -> Value {
    json!({"uri": uri, "upstream": {"nodes": {format!("127.0.0.1:{port}"): 1}}})
}

/// The versions of these lines.
fn version<'a>(changes: &[&'a str], start: &str) -> &'a str {
    let line = changes.iter().find(|line| line.starts_with(start));
    let line = line.unwrap_or_else(|| panic!("no {start:?} in {changes:?}"));
    line.split(' ').nth(3).expect("a version")
}

/// What is there, a change of one resource, a removal; and a clean end.
async fn follows_and_stops(language: &Language) {
    let server = Server::embedded(&[]).await;
    server.put("routes/1", route("/a", 1)).await;
    let Some(client) = client(language, &server.xds, &[]) else {
        return;
    };
    let first = client.says(0, "+ Route routes/1 ").await;
    server.nodes_in_sync(1).await;
    let node = server.nodes().await.remove(0);
    let agent = format!("example-{}", language.folder);
    assert_eq!(
        (&node["id"], &node["user_agent"]),
        (&json!("me"), &json!(agent))
    );
    assert_eq!(
        node["types"].as_array().unwrap().len(),
        6,
        "all types: {node}"
    );

    server.put("routes/1", route("/b", 1)).await;
    let second = client.says(first, "~ Route routes/1 ").await;
    let gone = server.call("DELETE", "/apisix/admin/routes/1", "").await;
    assert_eq!(gone.status, 200);
    client.says(second, "- Endpoints routes/1").await;
    server.nodes_in_sync(1).await;

    let (said, code) = client.terminate().await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.lines().last(), Some("stopped"), "{said}");
    let lines = changes(&said);
    let expected = [
        "+ Endpoints routes/1",
        "+ Cluster routes/1",
        "+ Route routes/1",
        "~ Route routes/1",
        "- Route routes/1",
        "- Cluster routes/1",
        "- Endpoints routes/1",
    ];
    assert_eq!(short(&lines), expected, "{said}");
    assert_ne!(
        version(&lines, "+ Route"),
        version(&lines, "~ Route"),
        "{said}"
    );
    eventually("the server to see it go", || async {
        server.nodes().await.is_empty().then_some(())
    })
    .await;
}

/// The server is killed, and comes back with one route changed, one removed and one untouched.
async fn resumes(language: &Language) {
    let mut server = Server::embedded(&[]).await;
    for id in 1..=3 {
        server.put(&format!("routes/{id}"), route("/a", id)).await;
    }
    let address = server.xds["http://".len()..].parse().unwrap();
    let gate = Gate::before(address).await;
    let types = ["--types", "Cluster,Route"];
    let Some(client) = client(language, &gate.address().to_string(), &types) else {
        return;
    };
    server.nodes_in_sync(1).await;
    let before = client.said();
    let mut held = short(&changes(&before));
    held.sort();
    let expected = [1, 2, 3].map(|id| format!("+ Cluster routes/{id}"));
    assert_eq!(held[..3], expected, "{before}");
    let expected = [1, 2, 3].map(|id| format!("+ Route routes/{id}"));
    assert_eq!(held[3..], expected, "{before}");

    server.kill();
    gate.shut();
    let lost = client.says(0, "lost: ").await;
    server.restart().await;
    server.put("routes/2", route("/b", 2)).await;
    server.call("DELETE", "/apisix/admin/routes/3", "").await;
    gate.open();
    let changed = client.says(lost, "~ Route routes/2 ").await;
    client.says(lost, "- Cluster routes/3").await;
    server.nodes_in_sync(1).await;
    server.put("routes/1", route("/c", 1)).await;
    client.says(changed, "~ Route routes/1 ").await;

    let (said, code) = client.terminate().await;
    assert_eq!(code, Some(0), "{said}");
    let mut after = short(&changes(&said)[6..]);
    assert_eq!(after.pop().as_deref(), Some("~ Route routes/1"), "{said}");
    after.sort();
    let expected = ["- Cluster routes/3", "- Route routes/3", "~ Route routes/2"];
    assert_eq!(after, expected, "only what differs: {said}");
}
