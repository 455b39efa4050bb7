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
    assert_eq!(state["state"]["stable"]["seq"], 2, "{state}");

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
