//! Owns what a rollout waits for, in words for people. Must not know: how the words are shown. Nothing is
//! decided by it.

use std::time::Duration;

use bellwether_rollout::gate::{self, Verdict};
use bellwether_rollout::state::{Phase, Rollout};
use bellwether_rollout::{Evidence, Millis, State};

use super::super::report::Told;

/// Each thing that must happen until it goes on.
pub(super) fn waits_for(
    state: &State,
    evidence: &Evidence,
    told: &Told,
    is_led: bool,
    now: Millis,
) -> Vec<String> {
    let Some(rollout) = &state.rollout else {
        return Vec::new();
    };
    let mut waits = Vec::new();
    if !is_led {
        waits.push("a server that leads".to_owned());
    }
    waits.extend(told.trouble.clone());
    waits.extend(of_phase(rollout, evidence, told, now));
    if let Some(hold) = state.hold.as_ref().filter(|_| rollout.goes_forward()) {
        waits.push(format!(
            "the end of the freeze by {}: {}",
            hold.author, hold.reason
        ));
    }
    waits
}

fn of_phase(rollout: &Rollout, evidence: &Evidence, told: &Told, now: Millis) -> Vec<String> {
    match &rollout.phase {
        Phase::Pending => {
            let (has, needs) = (rollout.approvals.len(), rollout.start.policy.approvals);
            vec![format!("approvals: {has} of {needs}")]
        }
        Phase::Scheduled => reports(evidence),
        Phase::Exposing => exposing(rollout, evidence, now),
        Phase::Baking { until } => watched(rollout, evidence, told, *until, now),
        Phase::Soaking { until } => watched(rollout, evidence, told, *until, now),
        Phase::Paused { reason, .. } => vec![format!("a person: {reason}")],
        Phase::Halted { .. } => vec!["a person, or half an hour".to_owned()],
        Phase::RollingBack { stuck: true, .. } => {
            vec!["a person: nodes reject what they go back to".to_owned()]
        }
        Phase::RollingBack { .. } => {
            let base = evidence.base;
            let of = format!("{} of {} nodes are back", base.holding, base.connected);
            reports(evidence).into_iter().chain([of]).collect()
        }
    }
}

fn reports(evidence: &Evidence) -> Vec<String> {
    match evidence.complete {
        true => Vec::new(),
        false => vec!["every server's report".to_owned()],
    }
}

fn exposing(rollout: &Rollout, evidence: &Evidence, now: Millis) -> Vec<String> {
    let Some(stage) = rollout.current() else {
        return Vec::new();
    };
    let mut waits = reports(evidence);
    if let Some(assigned) = &rollout.assigned {
        let assigned = assigned.values().sum();
        match assigned {
            0 => waits.push("a node that the stage takes".to_owned()),
            _ => waits.extend(reason(gate::coverage(stage, assigned, evidence))),
        }
    }
    let left = stage.deadline.saturating_sub(rollout.age(now));
    waits.push(format!("for {} at most", short(left)));
    waits
}

fn watched(
    rollout: &Rollout,
    evidence: &Evidence,
    told: &Told,
    until: Millis,
    now: Millis,
) -> Vec<String> {
    let Some(stage) = rollout.current() else {
        return Vec::new();
    };
    let mut waits = reports(evidence);
    let left = until.since(now);
    if left > Duration::ZERO {
        waits.push(format!("the time it is watched: {} left", short(left)));
    }
    waits.extend(reason(gate::watch(stage, evidence)));
    let open = told.gates.iter().filter(|gate| gate.verdict != "pass");
    waits.extend(open.map(|gate| format!("gate {}", gate.reason)));
    if let Some(assigned) = &rollout.assigned
        && evidence.complete
    {
        let assigned = assigned.values().sum();
        waits.extend(reason(gate::coverage(stage, assigned, evidence)));
    }
    waits
}

fn reason(verdict: Verdict) -> Option<String> {
    match verdict {
        Verdict::Pass => None,
        Verdict::Inconclusive(reason) | Verdict::Fail(reason) => Some(reason),
    }
}

/// In whole seconds, as people write it.
fn short(duration: Duration) -> String {
    let seconds = Duration::from_secs(duration.as_millis().div_ceil(1_000) as u64);
    humantime::format_duration(seconds).to_string()
}
