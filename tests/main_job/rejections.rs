//! What happens to what a node can't take, or can't run.

use serde_json::json;

use crate::harness::ask::Named;
use crate::harness::programs::{Agent, Server, eventually};

use super::route;

/// A limit that only the agent knows: the resource is rejected with its reason, traffic is untouched,
/// and the next good value heals it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_resource_is_named_and_traffic_is_untouched() {
    let up = Named::start("up").await;
    let server = Server::embedded(&[]).await;
    server.put("routes/1", route("/a", &up.node())).await;
    server.put("routes/2", route("/b", &up.node())).await;
    let strict = Agent::start("strict", &[&server.xds], &["--max-endpoints", "2"]).await;
    let lax = Agent::start("lax", &[&server.xds], &[]).await;
    strict.answers("/a", 200, "up").await;
    lax.answers("/a", 200, "up").await;

    let three = json!({"uri": "/a", "upstream": {"type": "roundrobin",
        "nodes": {up.node(): 1, "127.0.0.2:1": 0, "127.0.0.3:1": 0}}});
    server.put("routes/1", three).await;
    let rejected = eventually("the rejection to be known", || async {
        let nodes = server.nodes().await;
        let node = nodes.iter().find(|node| node["id"] == "strict")?.clone();
        let types = node["types"].as_array()?.clone();
        types
            .iter()
            .find_map(|of| of["rejected"].as_array()?.first().cloned())
    })
    .await;
    assert_eq!(rejected["name"], "routes/1");
    let reason = rejected["reason"].as_str().unwrap();
    assert!(reason.contains("limit of 2"), "{reason}");
    assert!(
        server.log().contains("node rejected resources"),
        "{}",
        server.log()
    );
    assert_eq!(
        server
            .metric("bellwether_xds_rejected_resources_total")
            .await,
        1
    );
    assert_eq!(strict.get("/a").await.body, "up");
    assert_eq!(strict.get("/b").await.body, "up");
    let dump = strict.page("/config_dump").await.json();
    assert_eq!(dump["subscription"]["rejected"][0]["name"], "routes/1");
    eventually("the other node to have it", || async {
        let nodes = server.nodes().await;
        nodes
            .iter()
            .any(|node| node["id"] == "lax" && node["in_sync"] == true)
            .then_some(())
    })
    .await;

    server.put("routes/1", route("/a", &up.node())).await;
    server.nodes_in_sync(2).await;
    assert_eq!(strict.get("/a").await.body, "up");
}

/// A working route is not given up for one whose endpoints were rejected; once they are taken, the
/// route is taken too, without a change of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_waits_for_the_cluster_that_was_rejected() {
    let (old, new) = (Named::start("old").await, Named::start("new").await);
    let server = Server::embedded(&[]).await;
    server
        .put("upstreams/old", json!({"nodes": {old.node(): 1}}))
        .await;
    server
        .put("routes/1", json!({"uri": "/a", "upstream_id": "old"}))
        .await;
    let agent = Agent::start("a", &[&server.xds], &["--max-endpoints", "1"]).await;
    agent.answers("/a", 200, "old").await;

    let two = json!({"nodes": {new.node(): 1, "127.0.0.2:1": 0}});
    server.put("upstreams/new", two).await;
    server
        .put("routes/1", json!({"uri": "/a", "upstream_id": "new"}))
        .await;
    eventually("both rejections", || async {
        let nodes = server.call("GET", "/v1/nodes", "").await.body;
        let both = nodes.contains("limit of 1") && nodes.contains("the route that works stays");
        both.then_some(())
    })
    .await;
    assert_eq!(agent.get("/a").await.body, "old");

    server
        .put("upstreams/new", json!({"nodes": {new.node(): 1}}))
        .await;
    agent.answers("/a", 200, "new").await;
    server.nodes_in_sync(1).await;
}

/// What was rejected is not sent again on the next stream either, and still known to the new server.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_outlives_a_server() {
    let up = Named::start("up").await;
    let mut server = Server::embedded(&[]).await;
    server.put("routes/1", route("/a", &up.node())).await;
    let agent = Agent::start("a", &[&server.xds], &["--max-endpoints", "1"]).await;
    agent.answers("/a", 200, "up").await;
    let two = json!({"uri": "/a", "upstream": {"nodes": {up.node(): 1, "127.0.0.2:1": 1}}});
    server.put("routes/1", two).await;
    rejected_by_limit_of_1(&server, "the rejection").await;
    server.kill();
    server.restart().await;
    rejected_by_limit_of_1(&server, "the new server to know the rejection").await;
    assert_eq!(
        server.metric("bellwether_xds_nacks_total").await,
        0,
        "it was told, not tried again"
    );
    assert_eq!(agent.get("/a").await.body, "up");
}

/// A plugin that the agent does not run may be the one that keeps strangers out.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_with_a_plugin_nobody_runs_fails_closed_and_is_reported() {
    let up = Named::start("up").await;
    let server = Server::embedded(&[]).await;
    let mut guarded = route("/guarded", &up.node());
    guarded["plugins"] = json!({"openid-connect": {"client_id": "x"}});
    server.put("routes/guarded", guarded).await;
    server.put("routes/open", route("/open", &up.node())).await;
    let agent = Agent::start("a", &[&server.xds], &[]).await;
    agent.answers("/open", 200, "up").await;
    assert_eq!(agent.get("/guarded").await.status, 503);
    assert_eq!(up.served(), 1, "only the open one was let through");
    let dump = agent.page("/config_dump").await.json();
    assert_eq!(dump["unsupported"]["routes"][0]["route"], "routes/guarded");
    let warnings = server.status().await["warnings"].clone();
    assert_eq!(warnings[0]["key"], "/apisix/routes/guarded", "{warnings}");
    assert!(
        warnings[0]["reason"]
            .as_str()
            .unwrap()
            .contains("openid-connect"),
        "{warnings}"
    );
}

/// Waits until the list of nodes has a rejection by an agent that takes one endpoint.
async fn rejected_by_limit_of_1(server: &Server, what: &str) {
    eventually(what, || async {
        let nodes = server.call("GET", "/v1/nodes", "").await.body;
        nodes.contains("limit of 1").then_some(())
    })
    .await;
}
