//! A store that is restored from a backup in the middle of a rollout: it has never heard of it.

use std::path::Path;

use serde_json::json;

use super::rig::{POLICY, Shop};
use crate::harness::programs::eventually;

/// What every server says of the store that the shop is in.
async fn all_say(shop: &Shop, state: &str) {
    for server in &shop.servers {
        eventually("every server to say so of the store", || async {
            let fleet = shop.fleet(server).await;
            (fleet["store"]["state"] == state).then_some(())
        })
        .await;
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Nobody loses anything until an operator says that the store is right; then all get what it says, also
/// those who come back and have seen more, and rollouts go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_in_the_middle_of_a_rollout_takes_nothing_before_an_operator_says_so() {
    let slow = POLICY.replace("bake = \"1s\"", "bake = \"10m\"");
    let mut shop = Shop::open_with(2, 2, &slow, &[]).await;
    let data = shop.etcd.folder().join("data");
    let backup = shop.etcd.folder().join("backup");
    shop.etcd.kill();
    copy(&data, &backup);
    shop.etcd.restart().await;
    all_say(&shop, "live").await;
    shop.put_route(2, "/b", json!({})).await;
    assert_eq!(shop.cut("second").await, "shop@2");
    shop.run("rollout start shop@2 -m more").await.ends(0);
    shop.agents[0].answers("/b", 200, "up").await;
    // So that what was seen is far ahead of what is restored.
    for turn in 0..20 {
        let host = format!("{turn}.example");
        shop.put_route(2, "/b", json!({"host": host})).await;
    }

    shop.etcd.kill();
    shop.etcd.wipe();
    copy(&backup, &data);
    shop.etcd.restart().await;
    all_say(&shop, "frozen").await;
    assert_eq!(shop.agents[0].get("/b").await.body, "up");
    assert_eq!(shop.agents[1].get("/a").await.body, "up");
    assert_eq!(shop.agents[1].get("/b").await.status, 404);

    for server in &shop.servers {
        let path = "/v1/fleets/shop/accept-store";
        assert_eq!(server.call("POST", path, "").await.status, 200);
    }
    let gone = "404 Route Not Found";
    shop.agents[0].answers("/b", 404, gone).await;
    shop.all_have("shop@1").await;
    shop.agents[0].kill();
    shop.agents[0].restart().await;
    shop.all_have("shop@1").await;
    for server in &shop.servers {
        for node in server.nodes().await {
            assert_eq!(node["held_back"], "", "{node}");
        }
    }

    shop.put_route(2, "/c", json!({})).await;
    assert_eq!(shop.cut("another").await, "shop@2");
    let quick = shop.write("quick.toml", POLICY);
    let line = format!("rollout start shop@2 --policy {quick} -m again");
    shop.run(&line).await.ends(0);
    shop.history_tells("succeeded").await;
    shop.all_have("shop@2").await;
    shop.agents[1].answers("/c", 200, "up").await;
}
