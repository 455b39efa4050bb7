//! Releases that kill the first node that gets them, at once or later, with and without anybody who starts
//! it again.

use serde_json::json;

use super::rig::{POLICY, Shop};
use crate::harness::supervised::Supervised;
use crate::probation::rig::is_stable;

/// A fleet of four. The canary has this fault, and everybody has lived for long enough with what they have.
async fn shop_with(fault: &str, policy: &str, more: &[&str]) -> Shop {
    let mut shop = Shop::open_with(2, 0, policy, &[]).await;
    shop.join_faulty(fault, 0, more).await;
    for at in 1..4 {
        shop.join(at, &[]).await;
    }
    shop.all_have("shop@1").await;
    for agent in &shop.agents {
        agent.answers("/a", 200, "up").await;
        is_stable(agent).await;
    }
    shop
}

/// Rolls out what kills the canary.
async fn start(shop: &Shop) {
    shop.put_route(2, "/boom", json!({})).await;
    assert_eq!(shop.cut("bad").await, "shop@2");
    shop.run("rollout start shop@2 -m more").await.ends(0);
}

/// Nobody but the canary ever had it, and everybody ends with what was good.
async fn ends_well(shop: &Shop, canary_said: &str) {
    shop.all_have("shop@1").await;
    assert!(canary_said.contains("shop@2"), "the canary was exposed");
    shop.only_the_canary_had("shop@2");
    for agent in &shop.agents {
        assert_eq!(agent.get("/a").await.body, "up");
        assert_eq!(agent.get("/boom").await.status, 404);
    }
    let again = shop.run("rollout start shop@2 -m again").await.ends(1);
    assert!(again.err.contains("quarantined"), "{}", again.err);
}

/// The canary is started again whenever it dies, until its word has taken the release back.
async fn taken_back(fault: &str, policy: &str, more: &[&str]) -> (Shop, Supervised) {
    let mut shop = shop_with(fault, policy, more).await;
    start(&shop).await;
    let mut canary = Supervised::new(shop.agents.remove(0));
    let history = canary
        .until("the release to be rolled back", async || {
            let history = shop.run("rollout history shop").await.out;
            history.contains("rolled back").then_some(history)
        })
        .await;
    assert!(history.contains("1 failed with it"), "{history}");
    assert!(canary.restarts > 0, "{history}");
    (shop, canary)
}

/// It comes to rest with its last good.
async fn goes_back_by_the_canarys_word(fault: &str, policy: &str, more: &[&str]) {
    let (mut shop, canary) = taken_back(fault, policy, more).await;
    shop.agents.insert(0, canary.agent);
    ends_well(&shop, &canary.logs).await;
    is_stable(&shop.agents[0]).await;
}

/// The canary stays dead, and says nothing any more.
async fn goes_back_by_the_canarys_silence(fault: &str, more: &[&str]) {
    let mut shop = shop_with(fault, POLICY, more).await;
    start(&shop).await;
    let history = shop.history_tells("rolled back").await;
    assert!(history.contains("1 nodes vanished"), "{history}");
    let said = shop.agents[0].log();
    // Its first boot since then; it has learnt from the one before.
    shop.agents[0].restart().await;
    ends_well(&shop, &said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_crashes_its_canary_again_and_again_goes_back_by_itself() {
    goes_back_by_the_canarys_word("crash-on=/boom", POLICY, &[]).await;
}

/// It loads, serves, and kills while it is still on probation.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_crashes_its_canary_later_goes_back_by_itself() {
    let policy = POLICY.replace("probation = \"1s\"", "probation = \"4s\"");
    goes_back_by_the_canarys_word("crash-on=/boom,delay=2s", &policy, &[]).await;
}

/// It survives its probation, and kills again and again only after that.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_crashes_its_canary_after_probation_goes_back_by_itself() {
    let policy = POLICY.replacen("bake = \"1s\"", "bake = \"20s\"", 1);
    let (mut shop, canary) = taken_back("crash-on=/boom,delay=3s", &policy, &[]).await;
    assert!(canary.logs.contains("shop@2"), "the canary was exposed");
    // What it began its last life with is about to end that one, too.
    shop.agents.insert(0, canary.agent);
    shop.only_the_canary_had("shop@2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_hangs_its_canary_goes_back_by_itself() {
    goes_back_by_the_canarys_word("hang-on=/boom,delay=50ms", POLICY, &["--watchdog", "1s"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_kills_its_canary_for_good_goes_back_by_itself() {
    goes_back_by_the_canarys_silence("crash-on=/boom", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_hangs_its_canary_which_nobody_starts_again_goes_back_by_itself() {
    goes_back_by_the_canarys_silence("hang-on=/boom,delay=50ms", &["--watchdog", "1s"]).await;
}

/// Nobody ends the canary, and nobody notices at the canary: its stream is up, and nothing comes of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_hangs_its_canary_for_ever_goes_back_by_itself() {
    goes_back_by_the_canarys_silence("hang-on=/boom,delay=50ms", &["--watchdog", "0s"]).await;
}
