//! Owns what there is to show of a fleet's rollout: where it is, what was seen, what it waits for.
//! Must not know: HTTP, or who looks.

mod plan;
mod waits;

use bellwether_rollout::evidence::Counts;
use bellwether_rollout::policy::{Gate, Policy, Stage};
use bellwether_rollout::state::{Hold, Phase, Rollout, Start};
use bellwether_rollout::{Evidence, Millis, Release, State};
use serde_json::{Value, json};

pub use self::plan::{exposed_at_halt, plan};
use super::report::Told;
use super::{Current, Handle, gates};
use crate::clock::unix_ms;

/// Everything of one fleet.
#[must_use]
pub fn status(handle: &Handle, fleet: &str, current: &Current) -> Value {
    let now = Millis(unix_ms());
    let state = &current.state;
    let exposure = state.rollout.as_ref().map_or(0, |one| one.exposure);
    let replicas = handle.replicas().borrow().clone();
    let evidence = replicas.glance(fleet, exposure);
    let leader = handle.leader();
    let told = leader
        .as_ref()
        .and_then(|leader| replicas.told(&leader.server, fleet))
        .cloned()
        .unwrap_or_default();
    let servers: Vec<Value> = replicas
        .servers()
        .iter()
        .map(|(server, replica)| {
            let said = replica.fleets.get(fleet);
            json!({
                "server": server,
                "heard_s": replica.heard.map(|at| at.elapsed().as_secs()),
                "generation": said.map(|said| said.report.generation),
                "nodes": said.map(|said| said.report.nodes),
                "exposure": said.map(|said| said.report.evidence.exposure),
            })
        })
        .collect();
    let rollout = state
        .rollout
        .as_ref()
        .map(|rollout| shown(fleet, rollout, &evidence, &told));
    let waits = waits::waits_for(state, &evidence, &told, leader.is_some(), now);
    json!({
        "fleet": fleet,
        "generation": current.at.0,
        "stable": state.stable.map(|release| named(fleet, release)),
        "last_good": all(fleet, &state.last_good),
        "rollout": rollout,
        "waits_for": waits,
        "queued": state.queued.as_ref().map(|start| asked(fleet, start)),
        "pins": pins(fleet, state),
        "hold": state.hold.as_ref().map(hold),
        "planned": state.planned.iter().map(hold).collect::<Vec<_>>(),
        "quarantined": state.quarantined,
        "leader": leader,
        "servers": servers,
        "trouble": told.trouble,
        "time": now,
    })
}

fn shown(fleet: &str, rollout: &Rollout, evidence: &Evidence, told: &Told) -> Value {
    let is_done = |index: usize| match rollout.phase {
        Phase::Soaking { .. } => true,
        _ => index < rollout.stage,
    };
    let stages = stages_of(rollout, is_done);
    let (reason, until) = match &rollout.phase {
        Phase::Baking { until } | Phase::Soaking { until } => (None, Some(*until)),
        Phase::Paused { reason, .. } | Phase::Halted { reason } => (Some(reason), None),
        Phase::RollingBack { reason, .. } => (Some(reason), None),
        Phase::Pending | Phase::Scheduled | Phase::Exposing => (None, None),
    };
    let mut shown = asked(fleet, &rollout.start);
    let more = json!({
        "id": rollout.id,
        "base": rollout.base.map(|release| named(fleet, release)),
        "phase": rollout.phase.name(),
        "stuck": matches!(rollout.phase, Phase::RollingBack { stuck: true, .. }),
        "phase_reason": reason,
        "until": until,
        "since": rollout.since,
        "stage": rollout.stage,
        "stages": stages,
        "exposure": rollout.exposure,
        "assigned": rollout.assigned.as_ref().map(|all| all.values().sum::<u64>()),
        "approvals": rollout.approvals,
        "nodes": {
            "complete": evidence.complete,
            "exposed": counts(evidence.exposed()),
            "control": counts(evidence.control()),
            "base": evidence.base,
            "next": evidence.candidates.values().map(|one| one.eligible).sum::<u64>(),
        },
        "domains": evidence.domains.iter().map(|(domain, seen)| json!({
            "domain": domain,
            "exposed": counts(seen.exposed),
            "control": counts(seen.control),
        })).collect::<Vec<_>>(),
        "gates": told.gates,
    });
    if let (Some(shown), Value::Object(more)) = (shown.as_object_mut(), more) {
        shown.extend(more);
    }
    shown
}

fn stages_of(rollout: &Rollout, is_done: impl Fn(usize) -> bool) -> Vec<Value> {
    let stages = rollout.start.policy.stages.iter().enumerate();
    let each = stages.map(|(index, stage)| {
        let place = match index {
            index if is_done(index) => "done",
            index if index == rollout.stage && rollout.has_exposed() => "now",
            _ => "next",
        };
        json!({
            "name": stage.name,
            "place": place,
            "percent": stage.percent,
            "min_nodes": stage.min_nodes,
            "select": stage.select,
            "bake_s": stage.bake.as_secs(),
        })
    });
    each.collect()
}

/// What somebody asked for.
fn asked(fleet: &str, start: &Start) -> Value {
    json!({
        "target": named(fleet, start.target),
        "policy": start.policy.name,
        "approvals_needed": start.policy.approvals,
        "author": start.author,
        "reason": start.reason,
    })
}

/// Every number, those that are nothing, too: in reports they are left out.
fn counts(counts: Counts) -> Value {
    json!({
        "assigned": counts.assigned,
        "connected": counts.connected,
        "missing": counts.missing,
        "stable": counts.stable,
        "rejected": counts.rejected,
        "unable": counts.unable,
        "failed": counts.failed,
        "requests": counts.requests,
        "errors": counts.errors,
    })
}

/// A release as people name it, and its content.
#[must_use]
pub fn named(fleet: &str, release: Release) -> Value {
    json!({
        "name": format!("{fleet}@{}", release.seq),
        "seq": release.seq,
        "digest": release.digest,
    })
}

fn all(fleet: &str, releases: &[Release]) -> Vec<Value> {
    let each = releases.iter().map(|release| named(fleet, *release));
    each.collect()
}

/// The pins of a fleet.
#[must_use]
pub fn pins(fleet: &str, state: &State) -> Vec<Value> {
    let each = state.pins.iter().map(|pin| {
        json!({
            "select": pin.select,
            "release": named(fleet, pin.release),
            "author": pin.author,
            "reason": pin.reason,
            "until": pin.until,
        })
    });
    each.collect()
}

/// A freeze.
#[must_use]
pub fn hold(hold: &Hold) -> Value {
    json!({
        "author": hold.author,
        "reason": hold.reason,
        "from": hold.from,
        "until": hold.until,
    })
}

/// A policy as it is written, without what may be a secret in addresses.
#[must_use]
pub fn policy(policy: &Policy) -> Value {
    let mut policy = policy.clone();
    hide(&mut policy.stages);
    json!(policy)
}

/// Takes out of addresses what may be a secret.
pub fn hide(stages: &mut [Stage]) {
    for gate in stages.iter_mut().flat_map(|stage| &mut stage.gates) {
        match gate {
            Gate::Health { .. } => {}
            Gate::Query { url, .. } | Gate::Webhook { url, .. } => *url = gates::shown_url(url),
        }
    }
}

/// Why a policy can't be used here.
#[must_use]
pub fn unfit(policy: &Policy) -> Option<String> {
    gates::unfit(policy)
}
