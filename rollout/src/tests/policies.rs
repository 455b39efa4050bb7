//! Owns what policies are taken, and what short forms stand for.

use serde_json::json;

use crate::policy::{Policy, Written, preset};

fn stages(strategy: serde_json::Value) -> Result<Vec<String>, String> {
    let written = json!({"name": "p", "strategy": strategy});
    let written: Written = serde_json::from_value(written).map_err(|error| error.to_string())?;
    let policy = written.expanded().map_err(|error| error.to_string())?;
    let stages = policy.stages.iter();
    Ok(stages
        .map(|stage| {
            format!("{} {} {}", stage.name, stage.select, stage.percent).replace("  ", " ")
        })
        .collect())
}

#[test]
fn short_forms_stand_for_stages() {
    for (strategy, want) in [
        (json!({"all_at_once": {}}), vec!["all 100 %"]),
        (
            json!({"canary": {"select": "tier=canary"}}),
            vec!["canary tier=canary 100 %", "all 100 %"],
        ),
        (
            json!({"percentage": {"percent": 12.5}}),
            vec!["12.5% 12.5 %", "all 100 %"],
        ),
        (json!({"percentage": {"percent": 100}}), vec!["all 100 %"]),
        (
            json!({"linear": {"step": 40}}),
            vec!["40% 40 %", "80% 80 %", "all 100 %"],
        ),
        (
            json!({"linear": {"step": 50}}),
            vec!["50% 50 %", "all 100 %"],
        ),
        (
            json!({"exponential": {"first": 10, "factor": 3}}),
            vec!["10% 10 %", "30% 30 %", "90% 90 %", "all 100 %"],
        ),
        (
            json!({"regions": {"label": "region", "order": ["eu", "us"], "bake": "5m"}}),
            vec!["eu region=eu 100 %", "us region=us 100 %", "all 100 %"],
        ),
    ] {
        assert_eq!(stages(strategy.clone()).unwrap(), want, "{strategy}");
    }
}

#[test]
fn what_is_no_policy_is_told_why() {
    for (strategy, reason) in [
        (json!({"linear": {"step": 1}}), "more than 50 stages"),
        (
            json!({"exponential": {"first": 10, "factor": 1}}),
            "factor of 2",
        ),
        (json!({"exponential": {"first": 1, "factor": 65535}}), ""),
        (
            json!({"regions": {"label": "region", "order": ["a b"]}}),
            "neither a label",
        ),
        (
            json!({"regions": {"label": "region", "order": ["eu", "eu"]}}),
            "two stages",
        ),
        (json!({"canary": {}}), "select"),
        (json!({"sometimes": {}}), "sometimes"),
    ] {
        match stages(strategy.clone()) {
            Ok(_) => assert_eq!(reason, "", "{strategy}"),
            Err(error) => assert!(
                error.contains(reason) && !reason.is_empty(),
                "{strategy}: {error}"
            ),
        }
    }
    for (policy, reason) in [
        (json!({"name": "p"}), "no stage"),
        (
            json!({"name": "p", "stages": [{"name": "a", "percent": 50}]}),
            "does not take every node",
        ),
        (
            json!({"name": "p", "stages": [{"name": "a", "percent": 0}, {"name": "b", "percent": 100}]}),
            "takes nobody",
        ),
        (
            json!({"name": "p", "stages": [{"name": "a", "percent": 100, "select": "x=y"}]}),
            "does not take every node",
        ),
        (
            json!({"name": "p", "stages": [{"name": "a", "percent": 100, "coverage": 0}]}),
            "without any node",
        ),
        (
            json!({"name": "p", "stages": [{"name": "a", "percent": 100, "min_nodes": 1000}]}),
            "more than 20",
        ),
        (
            json!({"name": "p", "strategy": {"all_at_once": {}}, "stages": [{"name": "a", "percent": 100}]}),
            "both",
        ),
    ] {
        let written: Written = serde_json::from_value(policy.clone()).unwrap();
        let error = written.expanded().unwrap_err().to_string();
        assert!(error.contains(reason), "{policy}: {error}");
    }
}

#[test]
fn presets_are_policies_and_begin_small() {
    for name in ["safe", "fast", "emergency"] {
        let policy = preset(name).unwrap().checked().unwrap();
        assert!(policy.stages.len() >= 3, "{name}");
        assert!(
            policy.stages[0].min_nodes <= 5
                && policy.stages[0].percent < crate::cohort::Percent::ALL
        );
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(
            serde_json::from_str::<Policy>(&text).unwrap(),
            policy,
            "{text}"
        );
    }
    assert_eq!(preset("none"), None);
}
