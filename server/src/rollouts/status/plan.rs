//! Owns the estimate of whom a policy would take, as of now. Must not know: who wants to know.

use bellwether_rollout::Selector;
use bellwether_rollout::policy::{Policy, Stage};
use serde_json::{Value, json};

/// Seconds from a rejection by a node to the moment that nobody joins any more: it is reported within a
/// second or two, decided at once, written, and told to every server. With a store that is slow, and a
/// server that has just been lost, longer.
const LOOP_SECONDS: u64 = 7;

/// What each stage takes of so many nodes. `nodes` none: nobody has said how many there are.
#[must_use]
pub fn plan(policy: &Policy, nodes: Option<u64>) -> Value {
    let stages = policy.stages.iter().map(|stage| {
        let takes = nodes.and_then(|nodes| takes(stage, nodes));
        json!({
            "name": stage.name,
            "percent": stage.percent,
            "min_nodes": stage.min_nodes,
            "select": stage.select,
            "nodes": takes,
            "pace": stage.pace,
            "bake_s": stage.bake.as_secs(),
            "exposed_at_halt": takes.map(|takes| exposed_at_halt(stage, takes)),
        })
    });
    json!({
        "policy": policy.name,
        "nodes": nodes,
        "stages": stages.collect::<Vec<_>>(),
        "soak_s": policy.soak.as_secs(),
        "approvals": policy.approvals,
    })
}

/// Whom a stage takes is not known where it selects by labels.
fn takes(stage: &Stage, nodes: u64) -> Option<u64> {
    let part = stage.percent.at_least_of(nodes);
    let takes = part.max(u64::from(stage.min_nodes)).min(nodes);
    (stage.select == Selector::default()).then_some(takes)
}

/// Nodes that have the release when a stage is stopped that goes wrong at its first node: what is given
/// out until then, and not more than the stage takes.
#[must_use]
pub fn exposed_at_halt(stage: &Stage, takes: u64) -> u64 {
    match stage.pace {
        0 => takes,
        pace => takes.min(u64::from(pace) * LOOP_SECONDS),
    }
}

#[cfg(test)]
mod tests {
    use bellwether_rollout::policy::preset;

    use super::*;

    #[test]
    fn pace_is_what_bounds_the_harm() {
        let plan = plan(&preset("safe").unwrap(), Some(10_000));
        let of = |field: &str| -> Vec<u64> {
            let stages = plan["stages"].as_array().unwrap().iter();
            stages.map(|stage| stage[field].as_u64().unwrap()).collect()
        };
        assert_eq!(of("nodes"), [5, 500, 2_500, 10_000]);
        assert_eq!(of("exposed_at_halt"), [5, 350, 700, 1_400]);
        let few = super::plan(&preset("safe").unwrap(), Some(3));
        assert_eq!(few["stages"][0]["nodes"], 3);
        assert!(super::plan(&preset("safe").unwrap(), None)["stages"][0]["nodes"].is_null());
    }
}
