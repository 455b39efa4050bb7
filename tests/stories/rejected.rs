//! A release that is well, and one that its first node rejects.

use serde_json::json;

use super::rig::Shop;
use crate::harness::programs::eventually;

/// The canary first, then half, then all; the release is stable in the end, and the old one is what one
/// can go back to.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_well_reaches_everybody_in_stages() {
    let shop = Shop::open(2, 4).await;
    shop.put_route(2, "/b", json!({})).await;
    let release = shop.cut("second").await;
    assert_eq!(release, "shop@2");
    shop.run("rollout start shop@2 -m more").await.ends(0);
    let history = shop.history_tells("succeeded").await;
    for stage in ["canary", "half", "all"] {
        assert!(history.contains(stage), "{history}");
    }
    for agent in &shop.agents {
        agent.answers("/b", 200, "up").await;
    }
    shop.all_have("shop@2").await;
    let state = shop.rollout().await;
    assert_eq!(state["stable"]["seq"], 2, "{state}");

    shop.run("rollback shop -m back").await.ends(0);
    shop.all_have("shop@1").await;
    eventually("the route to be gone", || async {
        let answers = shop.agents.iter().map(|agent| agent.get("/b"));
        let answers = futures_util::future::join_all(answers).await;
        answers
            .iter()
            .all(|reply| reply.status == 404)
            .then_some(())
    })
    .await;
}

/// Agents that can't take more than three endpoints; a route with four of them.
async fn shop_with_a_bad_draft() -> Shop {
    let shop = Shop::open_with(2, 4, super::rig::POLICY, &["--max-endpoints", "3"]).await;
    let nodes = json!({
        shop.up.node(): 1, "127.0.0.2:1": 1, "127.0.0.3:1": 1, "127.0.0.4:1": 1,
    });
    let upstream = json!({"type": "roundrobin", "nodes": nodes});
    shop.put_route(2, "/b", json!({"upstream": upstream})).await;
    shop
}

/// The canary says no: halted, rolled back, and nobody else ever saw it. What failed is not rolled out
/// again before somebody says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_the_canary_rejects_goes_back_by_itself() {
    let shop = shop_with_a_bad_draft().await;
    assert_eq!(shop.cut("bad").await, "shop@2");
    shop.run("rollout start shop@2 -m more").await.ends(0);
    let history = shop.history_tells("rolled back").await;
    assert!(history.contains("rejected"), "{history}");
    shop.all_have("shop@1").await;
    for agent in &shop.agents[1..] {
        assert!(!agent.log().contains("shop@2"), "exposed: {}", agent.log());
    }
    assert!(shop.agents[0].log().contains("shop@2"), "the canary was");
    println!("exposed at halt: 1 of {}", shop.agents.len());

    let again = shop.run("rollout start shop@2 -m again").await.ends(1);
    assert!(again.err.contains("quarantined"), "{}", again.err);
    let same = shop.run("release create --fleet shop -m same").await;
    assert!(same.ends(0).out.contains("nothing has changed"));

    // A draft that is mended goes out, also to the node that rejected it before.
    shop.put_route(2, "/b", json!({})).await;
    eventually("another release", || async {
        let line = "release create --fleet shop -m mended";
        let name = shop.run(line).await.ends(0).out;
        (name.trim() == "shop@3").then_some(())
    })
    .await;
    shop.run("rollout start shop@3 -m mended").await.ends(0);
    shop.history_tells("succeeded").await;
    shop.all_have("shop@3").await;
    for agent in &shop.agents {
        agent.answers("/b", 200, "up").await;
    }
}

/// Two tenants: the one's bad release is none of the other's business.
#[tokio::test(flavor = "multi_thread")]
async fn what_fails_in_one_fleet_is_not_seen_in_another() {
    let mut shop = shop_with_a_bad_draft().await;
    let other = crate::harness::ask::Named::start("other").await;
    shop.run("fleet put cafe --prefix /cafe").await.ends(0);
    let route =
        json!({"uri": "/x", "upstream": {"type": "roundrobin", "nodes": {other.node(): 1}}});
    let server = &shop.servers[0];
    let path = "/fleets/cafe/apisix/admin/routes/1";
    eventually("the other fleet", || async {
        let reply = server.call("PUT", path, &route.to_string()).await;
        (reply.status < 300).then_some(())
    })
    .await;
    let urls: Vec<&str> = shop.servers.iter().map(|one| one.xds.as_str()).collect();
    let guest = crate::harness::programs::Agent::start("guest", &urls, &["--fleet", "cafe"]).await;
    guest.answers("/x", 200, "other").await;

    shop.cut("bad").await;
    shop.run("rollout start shop@2 -m more").await.ends(0);
    // The other one's changes go out meanwhile, at once.
    let route =
        json!({"uri": "/y", "upstream": {"type": "roundrobin", "nodes": {other.node(): 1}}});
    let reply = server.call("PUT", path, &route.to_string()).await;
    assert!(reply.status < 300, "{reply:?}");
    guest.answers("/y", 200, "other").await;
    shop.history_tells("rolled back").await;
    assert_eq!(guest.get("/y").await.body, "other");
    let theirs = server.call("GET", "/v1/fleets/cafe/releases", "").await;
    assert_eq!(theirs.json()["total"], 0);
    shop.agents.clear();
}
