//! What holds a release up, or takes it back, though every node takes it: gates, people, pins, freezes.

use serde_json::json;

use super::rig::{POLICY, Shop};
use crate::harness::ask::Named;
use crate::harness::programs::eventually;
use crate::harness::source::{Source, value};

/// The policy with more said of its first stage.
fn first_stage(more: &str) -> String {
    let end = "deadline = \"10s\"\n";
    POLICY.replacen(end, &format!("{end}{more}\n"), 1)
}

/// One more route for everybody, as a release that is rolled out.
async fn rolled_out(shop: &Shop, author: &str) {
    shop.put_route(2, "/b", json!({})).await;
    assert_eq!(shop.cut("second").await, "shop@2");
    let line = format!("rollout start shop@2 --author {author} -m more");
    shop.run(&line).await.ends(0);
}

/// Waits until the rollout is in this phase; the reason for it.
async fn is(shop: &Shop, phase: &str) -> String {
    eventually(phase, || async {
        let state = shop.rollout().await;
        let rollout = &state["rollout"];
        let reason = rollout["phase_reason"].as_str().unwrap_or_default();
        (rollout["phase"] == phase).then(|| reason.to_owned())
    })
    .await
}

/// It loads, and what it leads to answers with errors. Others are not worse off.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_serves_errors_goes_back_by_itself() {
    let gate = "[[stages.gates]]\nhealth = { more_errors = 1, min_requests = 20 }";
    let shop = Shop::open_with(2, 4, &first_stage(gate), &[]).await;
    let broken = Named::answering(500, "broken").await;
    let upstream = json!({"type": "roundrobin", "nodes": {broken.node(): 1}});
    shop.put_route(1, "/a", json!({"upstream": upstream})).await;
    eventually("a release", || async {
        let line = "release create --fleet shop -m worse";
        (shop.run(line).await.ends(0).out.trim() == "shop@2").then_some(())
    })
    .await;
    shop.run("rollout start shop@2 -m more").await.ends(0);
    let history = eventually("the release to be rolled back", || async {
        for _ in 0..5 {
            let answers = shop.agents.iter().map(|agent| agent.get("/a"));
            futures_util::future::join_all(answers).await;
        }
        let history = shop.run("rollout history shop").await.out;
        history.contains("rolled back").then_some(history)
    })
    .await;
    assert!(broken.served() > 0);
    assert!(
        history.contains("all nodes go back: errors in"),
        "{history}"
    );
    assert!(history.contains("in 0 of"), "the others: {history}");
    shop.all_have("shop@1").await;
    shop.only_the_canary_had("shop@2");
    shop.agents[0].answers("/a", 200, "up").await;
}

/// Who can't be asked has not said that all is well. A person lets it go on once they can be.
#[tokio::test(flavor = "multi_thread")]
async fn a_metrics_source_that_dies_pauses_and_never_promotes() {
    let mut source = Source::start(200, &value("0.1")).await;
    let gate = format!(
        "patience = \"1s\"\n[[stages.gates]]\nquery = {{ name = \"latency\", url = \"{}\", query = \"p99\", max_milli = 250 }}",
        source.url
    );
    let policy = first_stage(&gate).replacen("bake = \"1s\"", "bake = \"6s\"", 1);
    let shop = Shop::open_with(2, 3, &policy, &[]).await;
    rolled_out(&shop, "ann").await;
    eventually("the gate to pass", || async {
        let gates = shop.rollout().await["rollout"]["gates"].clone();
        (gates[0]["verdict"] == "pass").then_some(())
    })
    .await;
    source.kill();
    let reason = is(&shop, "paused").await;
    assert!(reason.contains("latency: "), "{reason}");
    assert!(reason.contains("can't be reached"), "{reason}");
    shop.only_the_canary_had("shop@2");
    assert_eq!(shop.agents[0].get("/b").await.body, "up", "it keeps it");

    source.restart().await;
    shop.run("rollout resume shop --author bob").await.ends(0);
    let history = shop.history_tells("succeeded").await;
    assert!(history.contains("resumed by bob"), "{history}");
    shop.all_have("shop@2").await;
}

/// Two people for the beginning, and one for the end of the first stage.
#[tokio::test(flavor = "multi_thread")]
async fn people_approve_and_promote() {
    let policy = first_stage("manual = true").replacen("soak", "approvals = 1\nsoak", 1);
    let shop = Shop::open_with(2, 3, &policy, &[]).await;
    rolled_out(&shop, "ann").await;
    is(&shop, "pending").await;
    let own = shop.run("rollout approve shop --author ann").await.ends(1);
    assert!(own.err.contains("ann can't approve"), "{}", own.err);
    assert_eq!(shop.agents[0].get("/b").await.status, 404);
    shop.run("rollout approve shop --author bob").await.ends(0);
    shop.agents[0].answers("/b", 200, "up").await;
    let reason = is(&shop, "paused").await;
    assert!(reason.contains("a person ends stage"), "{reason}");
    shop.only_the_canary_had("shop@2");
    shop.run("rollout promote shop --author bob").await.ends(0);
    let history = shop.history_tells("succeeded").await;
    for said in ["approved by bob", "stage ended by bob"] {
        assert!(history.contains(said), "{history}");
    }
    shop.all_have("shop@2").await;
}

/// One node keeps what it has, whatever is rolled out, until it is let go.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_pinned_takes_no_part() {
    let shop = Shop::open_with(2, 4, &first_stage("manual = true"), &[]).await;
    rolled_out(&shop, "ann").await;
    is(&shop, "paused").await;
    let pin = "pin --node n1 shop@1 -m looked-at";
    let pinned = shop.run(pin).await.ends(0);
    assert!(pinned.out.contains("node=n1"), "{}", pinned.out);
    shop.run("rollout promote shop").await.ends(0);
    shop.history_tells("succeeded").await;
    for (at, agent) in shop.agents.iter().enumerate() {
        match at {
            1 => assert_eq!(agent.get("/b").await.status, 404),
            _ => agent.answers("/b", 200, "up").await,
        }
    }
    assert!(!shop.agents[1].log().contains("shop@2"), "it was exposed");
    shop.run("unpin --node n1 --fleet shop").await.ends(0);
    shop.agents[1].answers("/b", 200, "up").await;
    shop.all_have("shop@2").await;
}

/// Nothing goes forward, neither by itself nor by a person; going back is always possible.
#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_holds_up_what_goes_forward_and_not_what_goes_back() {
    let policy = POLICY.replacen("bake = \"1s\"", "bake = \"4s\"", 1);
    let shop = Shop::open_with(2, 3, &policy, &[]).await;
    rolled_out(&shop, "ann").await;
    shop.agents[0].answers("/b", 200, "up").await;
    let line = "freeze shop --author bob -m holiday";
    shop.run(line).await.ends(0);
    eventually("nothing but the freeze to be in the way", || async {
        let state = shop.rollout().await;
        let waits = state["waits_for"].as_array()?.clone();
        (waits == [json!("the end of the freeze by bob: holiday")]).then_some(())
    })
    .await;
    let refused = shop.run("rollout promote shop").await.ends(1);
    assert!(refused.err.contains("bob said: holiday"), "{}", refused.err);
    shop.only_the_canary_had("shop@2");
    shop.run("rollback shop -m back").await.ends(0);
    shop.history_tells("rolled back").await;
    shop.all_have("shop@1").await;
    shop.only_the_canary_had("shop@2");

    // It was nobody's fault, so it can begin anew once the holiday is over.
    let start = "rollout start shop@2 -m again";
    let refused = shop.run(start).await.ends(1);
    assert!(refused.err.contains("bob said: holiday"), "{}", refused.err);
    shop.run("unfreeze shop").await.ends(0);
    shop.run(start).await.ends(0);
    shop.history_tells("succeeded").await;
    shop.all_have("shop@2").await;
}
