//! Owns the tests of gates that are asked elsewhere.

use std::time::Duration;

use bellwether_rollout::policy::{Gate, Policy};
use bellwether_rollout::state::{Pause, Phase};

use super::rig::{Member, Nodes, embedded, policy, two_releases};
use crate::harness::programs::eventually;
use crate::harness::source::{Source, value};

fn gated(gate: Gate) -> Policy {
    let mut policy = policy(Duration::from_secs(1));
    policy.stages[0].patience = Duration::from_secs(3);
    policy.stages[0].gates.push(gate);
    policy
}

fn query(source: &Source) -> Gate {
    Gate::Query {
        name: "latency".to_owned(),
        url: source.url.clone(),
        query: "p99{job=\"shop\"}".to_owned(),
        min_milli: None,
        max_milli: Some(250),
    }
}

async fn begun(policy: Policy) -> (crate::store::Subject, Member) {
    let (folder, store) = embedded().await;
    let target = two_releases(&store).await;
    let member = Member::over(store, "a", Nodes::Healthy).await;
    member.start(target, policy).await;
    (folder, member)
}

#[tokio::test]
async fn a_source_of_metrics_that_dies_pauses_and_never_promotes() {
    let mut source = Source::start(200, &value("0.1")).await;
    let mut policy = gated(query(&source));
    policy.stages[0].bake = Duration::from_secs(20);
    let (_folder, member) = begun(policy).await;
    let told = || {
        let replicas = member.handle.replicas().borrow().clone();
        replicas.told("a", "shop").cloned()
    };
    member.reaches("baking").await;
    let verdict = |wanted: &'static str| async move {
        eventually(wanted, || async {
            let gates = told()?.gates;
            (gates.first()?.verdict == wanted).then(|| gates[0].reason.clone())
        })
        .await
    };
    verdict("pass").await;
    source.kill();
    let reason = verdict("inconclusive").await;
    assert!(reason.contains("can't be reached"), "{reason}");
    let paused = member.reaches("paused").await.state.rollout.unwrap();
    let Phase::Paused { why, reason } = paused.phase else {
        panic!("paused");
    };
    assert_eq!(why, Pause::Inconclusive);
    assert!(reason.starts_with("latency: http://127.0.0.1"), "{reason}");
    assert_eq!(paused.stage, 0, "nothing went forward");
}

#[tokio::test]
async fn a_value_out_of_bounds_takes_all_back() {
    let source = Source::start(200, &value("0.1")).await;
    let mut policy = gated(query(&source));
    policy.stages[0].bake = Duration::from_secs(3600);
    let (_folder, member) = begun(policy).await;
    member.reaches("baking").await;
    source.says(200, &value("0.5"));
    let state = member.reaches("over").await.state;
    assert_eq!(state.quarantined.len(), 1);
    let history = member.handle.line("shop").history(100).await.unwrap();
    let text: Vec<String> = history
        .iter()
        .flat_map(|record| record.events.iter().map(ToString::to_string))
        .collect();
    let said = text
        .iter()
        .any(|line| line.contains("latency: 0.5 is above 0.25"));
    assert!(said, "{text:?}");
}

#[tokio::test]
async fn a_webhook_is_told_what_it_is_about_and_only_its_clear_word_counts() {
    let source = Source::start(302, r#"{"verdict":"pass"}"#).await;
    let hook = Gate::Webhook {
        name: "release board".to_owned(),
        url: format!("{}/hook", source.url),
    };
    let (_folder, member) = begun(gated(hook)).await;
    let paused = member.reaches("paused").await.state.rollout.unwrap();
    let Phase::Paused { reason, .. } = &paused.phase else {
        panic!("paused");
    };
    assert!(reason.contains("answers with status 302"), "{reason}");
    let asked: serde_json::Value = serde_json::from_str(&source.asked.borrow()).unwrap();
    assert_eq!(asked["fleet"], "shop");
    assert_eq!(asked["stage"], "first");
    assert_eq!(asked["release"], "shop@2");
    assert_eq!(asked["digest"], paused.start.target.digest.to_string());
    source.says(200, r#"{"verdict":"pass"}"#);
    let resume = bellwether_rollout::machine::Command::Resume {
        author: "ann".to_owned(),
    };
    member.command(resume).await.unwrap();
    let state = member.reaches("over").await.state;
    assert_eq!(state.stable, Some(paused.start.target));
}
