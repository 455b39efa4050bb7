//! Fleets that come, change and go while servers run: each by one call, on every server, and none to the
//! harm of another.

use serde_json::json;

use crate::cli::{Ran, bellwether_as};
use crate::harness::ask::Named;
use crate::harness::etcd::{Etcd, EtcdOptions};
use crate::harness::programs::{Agent, KEY, Server, eventually};

async fn run(server: &Server, line: &str) -> Ran {
    bellwether_as(KEY, &server.admin, line, "").await
}

async fn put_route(server: &Server, fleet: &str, id: usize, uri: &str, node: &str) {
    let route = json!({"uri": uri, "upstream": {"type": "roundrobin", "nodes": {node: 1}}});
    let path = format!("/fleets/{fleet}/apisix/admin/routes/{id}");
    let reply = server.call("PUT", &path, &route.to_string()).await;
    assert!(reply.status < 300, "{reply:?}");
}

async fn is_served(server: &Server, fleet: &str) {
    let path = format!("/v1/fleets/{fleet}");
    eventually("the fleet to be served", || async {
        let fleets = server.call("GET", &path, "").await;
        let ready = server.call("GET", "/readyz", "").await;
        (fleets.status == 200 && ready.status == 200).then_some(())
    })
    .await;
}

/// One call to one server makes a tenant, on all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_tenant_is_one_call() {
    let up = Named::start("up").await;
    let etcd = Etcd::start(EtcdOptions::default()).await;
    let store = format!("etcd:{}", etcd.endpoint());
    let one = Server::over(&store, &[]).await;
    let two = Server::over(&store, &[]).await;
    run(&one, "fleet put shop --prefix /shop").await.ends(0);
    is_served(&two, "shop").await;
    put_route(&two, "shop", 1, "/a", &up.node()).await;
    let agent = Agent::start("a", &[&two.xds], &["--fleet", "shop"]).await;
    agent.answers("/a", 200, "up").await;
    let list = run(&two, "fleet list").await.ends(0).out;
    assert!(list.contains("shop") && list.contains("/shop"), "{list}");

    // Its nodes keep what they have when it ends; its keys stay.
    run(&one, "fleet delete shop").await.ends(0);
    eventually("the fleet to be gone", || async {
        let gone = two.call("GET", "/v1/fleets/shop", "").await;
        (gone.status == 404).then_some(())
    })
    .await;
    eventually("the agent to be let go", || async {
        two.nodes().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(agent.get("/a").await.body, "up");
    run(&two, "fleet put shop --prefix /shop").await.ends(0);
    two.nodes_in_sync(1).await;
    assert_eq!(agent.get("/a").await.body, "up");
}

/// With one fleet every node is in it; when the one comes that a node names, the node goes there.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_finds_its_fleet_that_comes_later() {
    let up = Named::start("up").await;
    let server = Server::embedded(&[]).await;
    let agent = Agent::start("a", &[&server.xds], &["--fleet", "shop"]).await;
    let other = Agent::start("b", &[&server.xds], &["--fleet", "nowhere"]).await;
    server.nodes_in_sync(2).await;
    run(&server, "fleet put shop --prefix /shop").await.ends(0);
    is_served(&server, "shop").await;
    put_route(&server, "shop", 1, "/a", &up.node()).await;
    agent.answers("/a", 200, "up").await;
    // Who names none that exists is not disturbed where it is.
    put_route(&server, "default", 1, "/d", &up.node()).await;
    other.answers("/d", 200, "up").await;
}

/// What can't be is refused, with the reason; nothing else is disturbed.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_a_fleet_is_refused() {
    let server = Server::embedded(&[]).await;
    run(&server, "fleet put shop --prefix /shop").await.ends(0);
    is_served(&server, "shop").await;
    for (line, reason) in [
        ("fleet put a --prefix /shop/a", "overlap"),
        ("fleet put a --prefix /apisix", "overlap"),
        ("fleet put leader --prefix /a", "no fleet can be called"),
        (
            "fleet put a --prefix /bellwether/a",
            "lies under /bellwether",
        ),
        ("fleet put a --prefix /a --store eu", "\"eu\""),
        (
            "fleet put a --prefix /a --policy slow",
            "there is no policy",
        ),
        ("fleet put a --mode staged", "without --prefix"),
        ("fleet get a", "there is no fleet"),
        ("fleet delete a", "there is no fleet"),
        ("fleet delete default", "servers are started with it"),
    ] {
        let refused = run(&server, line).await.ends(1);
        assert!(refused.err.contains(reason), "{line}: {}", refused.err);
    }
    let fleets = server.call("GET", "/v1/fleets", "").await;
    assert_eq!(fleets.json()["total"], 2);
}

/// A fleet that becomes staged: its nodes keep what they have, and those that come later get the same. What
/// is written from then on is a draft.
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_becomes_staged_changes_nothing_for_its_nodes() {
    let up = Named::start("up").await;
    let mut server = Server::embedded(&[]).await;
    put_route(&server, "default", 1, "/a", &up.node()).await;
    let early = Agent::start("early", &[&server.xds], &[]).await;
    early.answers("/a", 200, "up").await;
    run(&server, "fleet put default --mode staged")
        .await
        .ends(0);
    server.nodes_in_sync(1).await;
    put_route(&server, "default", 2, "/b", &up.node()).await;
    let late = Agent::start("late", &[&server.xds], &[]).await;
    late.answers("/a", 200, "up").await;
    eventually("the draft to be compiled", || async {
        let status = server.status().await;
        (status["resources"]["Route"] == 2).then_some(())
    })
    .await;
    assert_eq!(server.status().await["staged"]["stable"], "default@1");
    server.nodes_in_sync(2).await;
    for agent in [&early, &late] {
        assert_eq!(agent.get("/b").await.status, 404);
        assert_eq!(agent.get("/a").await.body, "up");
    }
    // A server that starts anew does not take the draft for what is to be served.
    server.kill();
    server.restart().await;
    server.nodes_in_sync(2).await;
    assert_eq!(late.get("/b").await.status, 404);

    let refused = run(&server, "fleet delete default").await.ends(1);
    assert!(
        refused.err.contains("put it in direct mode"),
        "{}",
        refused.err
    );
    run(&server, "fleet put default --mode direct")
        .await
        .ends(0);
    for agent in [&early, &late] {
        agent.answers("/b", 200, "up").await;
    }
}
