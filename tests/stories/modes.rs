//! Fleets that begin in staged mode, and change their mode.

use serde_json::json;

use super::rig::{POLICY, Shop};
use crate::harness::programs::{Agent, Server, eventually};

/// It never had anything: the first release of all reaches its nodes by a rollout as well. While one is
/// under way it can't become direct.
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_begins_staged_gets_its_first_release_by_a_rollout() {
    let shop = Shop::open(1, 1).await;
    let server = &shop.servers[0];
    let policy = shop.write("cafe.toml", POLICY);
    let line = format!("fleet put cafe --prefix /cafe --mode staged --policy {policy}");
    shop.run(&line).await.ends(0);
    eventually("the fleet", || async {
        let fleet = server.call("GET", "/v1/fleets/cafe", "").await;
        (fleet.status == 200).then_some(())
    })
    .await;
    let options = [
        "--fleet",
        "cafe",
        "--label",
        "canary=yes",
        "--probation",
        "1s",
    ];
    let agent = Agent::start("guest", &[&server.xds], &options).await;
    for (id, uri) in [(1, "/x"), (2, "/y")] {
        let upstream = json!({"type": "roundrobin", "nodes": {shop.up.node(): 1}});
        let route = json!({"uri": uri, "upstream": upstream}).to_string();
        let path = format!("/fleets/cafe/apisix/admin/routes/{id}");
        let reply = server.call("PUT", &path, &route).await;
        assert!(reply.status < 300, "{reply:?}");
        let name = format!("cafe@{id}");
        eventually("a release of it", || async {
            let made = shop.run("release create --fleet cafe -m more").await;
            (made.code == 0 && made.out.trim() == name).then_some(())
        })
        .await;
        assert_eq!(agent.get(uri).await.status, 404, "nothing was rolled out");
        if id == 1 {
            shop.run("rollout start cafe@1 -m first").await.ends(0);
            agent.answers(uri, 200, "up").await;
            eventually("the end of it", || async {
                let history = shop.run("rollout history cafe").await.ends(0).out;
                history.contains("succeeded").then_some(())
            })
            .await;
        }
    }
    assert_eq!(server.metric("bellwether_rollout_stable_release").await, 2);
    let diff = shop.run("release diff cafe@1 cafe@2").await.ends(1).out;
    let touches = "touches 1 of the 1 nodes that are connected to this server";
    assert!(diff.contains(touches), "{diff}");

    let slow = POLICY.replace("bake = \"1s\"", "bake = \"10m\"");
    let slow = shop.write("slow.toml", &slow);
    let line = format!("rollout start cafe@2 --policy {slow} -m more");
    shop.run(&line).await.ends(0);
    agent.answers("/y", 200, "up").await;
    metrics_tell(server).await;
    let refused = shop.run("fleet put cafe --mode direct").await.ends(1).err;
    assert!(refused.contains("rollout 2 is under way"), "{refused}");
    shop.run("rollout abort cafe -m back").await.ends(0);
    agent.answers("/y", 404, "404 Route Not Found").await;
    eventually("the fleet to become direct", || async {
        let put = shop.run("fleet put cafe --mode direct").await;
        (put.code == 0).then_some(())
    })
    .await;
    agent.answers("/y", 200, "up").await;
    shop.run("fleet put cafe --mode staged").await.ends(0);
    eventually("its nodes to have what is stable", || async {
        let nodes = server.nodes().await;
        let mut nodes = nodes.iter().filter(|node| node["id"] == "guest");
        (nodes.next()?["release"] == "cafe@2").then_some(())
    })
    .await;
    assert_eq!(agent.get("/y").await.body, "up");
}

async fn metrics_tell(server: &Server) {
    eventually("the metrics to tell", || async {
        let text = server.call("GET", "/metrics", "").await.body;
        let has = |line: &str| text.contains(line);
        let tells = has("bellwether_rollout_target_release{fleet=\"cafe\"} 2")
            && has("bellwether_rollout_phase{fleet=\"cafe\",phase=\"baking\"} 1")
            && has("bellwether_rollout_nodes{fleet=\"cafe\",are=\"stable\"} 1");
        tells.then_some(())
    })
    .await;
}
