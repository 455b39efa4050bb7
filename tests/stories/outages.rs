//! Rollouts while servers, the store and nodes come and go.

use serde_json::json;

use super::rig::{POLICY, Shop};
use crate::harness::programs::eventually;

/// Who leads, by its place in the list.
async fn leader(shop: &Shop) -> usize {
    eventually("a leader", || async {
        for (at, server) in shop.servers.iter().enumerate() {
            if server.log().contains("leads=true") {
                return Some(at);
            }
        }
        None
    })
    .await
}

/// The leader is killed as soon as the rollout is in this phase; another one goes on with it.
async fn the_leader_dies(phase: &str) {
    let mut shop = Shop::open(3, 3).await;
    shop.put_route(2, "/b", json!({})).await;
    shop.cut("second").await;
    let led = leader(&shop).await;
    shop.run("rollout start shop@2 -m more").await.ends(0);
    eventually(phase, || async {
        let rollout = shop.rollout().await;
        let phase_now = rollout["rollout"]["phase"].to_string();
        (phase_now.contains(phase) || rollout["rollout"].is_null()).then_some(())
    })
    .await;
    shop.servers[led].kill();
    let survivor = usize::from(led == 0);
    shop.servers.swap(0, survivor);
    let history = shop.history_tells("succeeded").await;
    assert!(history.contains("half"), "{history}");
    for agent in &shop.agents {
        agent.answers("/b", 200, "up").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_leads_on_when_the_leader_dies_while_nodes_are_exposed() {
    the_leader_dies("exposing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_leads_on_when_the_leader_dies_while_a_stage_is_watched() {
    the_leader_dies("baking").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_leads_on_when_the_leader_dies_while_all_is_watched() {
    the_leader_dies("soaking").await;
}

/// The store goes in the middle of a stage: everybody is served on, nothing is promoted, an operator can
/// take all nodes back; and when the store is there again it is decided so for all.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_nothing_goes_forward_and_an_operator_can_still_go_back() {
    let slow = POLICY.replace("bake = \"1s\"", "bake = \"10m\"");
    let mut shop = Shop::open_with(2, 3, &slow, &[]).await;
    shop.put_route(2, "/b", json!({})).await;
    shop.cut("second").await;
    shop.run("rollout start shop@2 -m more").await.ends(0);
    shop.agents[0].answers("/b", 200, "up").await;
    shop.etcd.kill();
    for agent in &shop.agents {
        assert_eq!(agent.get("/a").await.body, "up");
    }
    for server in 0..2 {
        shop.servers.swap(0, server);
        let line = "rollout force-base shop -m trouble";
        let said = shop.run(line).await.ends(0).out;
        assert!(said.contains("go back to shop@1"), "{said}");
        shop.servers.swap(0, server);
    }
    shop.agents[0]
        .answers("/b", 404, "404 Route Not Found")
        .await;
    shop.all_have("shop@1").await;
    shop.etcd.restart().await;
    let history = shop.history_tells("rolled back").await;
    assert!(history.contains("trouble"), "{history}");
    shop.all_have("shop@1").await;
    assert_eq!(shop.agents[0].get("/b").await.status, 404);
}

/// The store is away for a moment in the middle: the rollout goes on afterwards, and ends well.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_goes_on_when_the_store_is_back() {
    let mut shop = Shop::open(2, 3).await;
    shop.put_route(2, "/b", json!({})).await;
    shop.cut("second").await;
    shop.run("rollout start shop@2 -m more").await.ends(0);
    shop.agents[0].answers("/b", 200, "up").await;
    shop.etcd.kill();
    // Long enough for what was proven to be proven no more.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    for agent in &shop.agents {
        assert_eq!(agent.get("/a").await.body, "up");
    }
    shop.etcd.restart().await;
    shop.history_tells("succeeded").await;
    shop.all_have("shop@2").await;
}

/// Canaries that vanish without a word: nobody else is exposed.
#[tokio::test(flavor = "multi_thread")]
async fn canaries_that_vanish_take_the_release_with_them() {
    let slow = POLICY.replace("bake = \"1s\"", "bake = \"10m\"");
    let mut shop = Shop::open_with(2, 3, &slow, &[]).await;
    shop.put_route(2, "/b", json!({})).await;
    shop.cut("second").await;
    shop.run("rollout start shop@2 -m more").await.ends(0);
    shop.agents[0].answers("/b", 200, "up").await;
    shop.agents[0].kill();
    let history = shop.history_tells("rolled back").await;
    assert!(history.contains("vanished"), "{history}");
    for agent in &shop.agents[1..] {
        assert!(!agent.log().contains("shop@2"), "exposed: {}", agent.log());
    }
    println!("exposed at halt: 1 of {}", shop.agents.len());
    // It finds its base when it is back.
    shop.agents[0].restart().await;
    shop.all_have("shop@1").await;
    shop.agents[0]
        .answers("/b", 404, "404 Route Not Found")
        .await;
}

/// Who comes in the middle of a rollout with nothing gets what is known to be good; who was away for
/// several releases finds the newest.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_late_gets_what_is_good() {
    let slow = POLICY.replace("bake = \"1s\"", "bake = \"10m\"");
    let mut shop = Shop::open_with(2, 3, &slow, &[]).await;
    shop.agents[2].kill();
    shop.put_route(2, "/b", json!({})).await;
    shop.cut("second").await;
    shop.run("rollout start shop@2 -m more").await.ends(0);
    shop.agents[0].answers("/b", 200, "up").await;
    // A canary by its label, and new.
    let urls: Vec<&str> = shop.servers.iter().map(|one| one.xds.as_str()).collect();
    let options = ["--fleet", "shop", "--label", "canary=yes"];
    let late = crate::harness::programs::Agent::start("late", &urls, &options).await;
    late.answers("/a", 200, "up").await;
    assert_eq!(late.get("/b").await.status, 404);

    for (release, uri) in [("shop@3", "/c"), ("shop@4", "/d")] {
        let id = usize::from(uri == "/d") + 3;
        shop.put_route(id, uri, json!({})).await;
        assert_eq!(shop.cut("more").await, release);
    }
    // A hotfix over what is under way; it begins from what is stable, and takes the canary along.
    let fast = shop.write("fast.toml", POLICY);
    let line = format!("rollout start shop@4 --hotfix --policy {fast} -m hotfix");
    shop.run(&line).await.ends(0);
    shop.history_tells("superseded").await;
    shop.history_tells("succeeded").await;
    late.answers("/d", 200, "up").await;
    shop.agents[2].restart().await;
    shop.agents[2].answers("/d", 200, "up").await;
}

/// Keys that are deleted are gone for those who have the release, and for nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_goes_stage_by_stage() {
    let slow = POLICY.replacen("bake = \"1s\"", "bake = \"10m\"", 1);
    let shop = Shop::open_with(1, 2, &slow, &[]).await;
    shop.put_route(2, "/b", json!({})).await;
    let server = &shop.servers[0];
    let gone = server
        .call("DELETE", "/fleets/shop/apisix/admin/routes/1", "")
        .await;
    assert_eq!(gone.status, 200, "{gone:?}");
    eventually("the draft to be without it", || async {
        let fleet = shop.fleet(server).await;
        (fleet["resources"]["Route"] == 1).then_some(())
    })
    .await;
    shop.cut("less").await;
    shop.run("rollout start shop@2 -m less").await.ends(0);
    let [canary, other] = &shop.agents[..] else {
        panic!("two agents");
    };
    canary.answers("/a", 404, "404 Route Not Found").await;
    assert_eq!(other.get("/a").await.body, "up");
    shop.run("rollout abort shop -m back").await.ends(0);
    canary.answers("/a", 200, "up").await;
}
