//! Owns the exploration of the machine: every state that commands, evidence, time, leaders and nodes can
//! bring about together, as far as it goes, with the promises checked on every edge.

mod world;

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use crate::assign::assign;
use crate::gate::Verdict;
use crate::machine::{Event, Outcome};
use crate::policy::OnFail;
use crate::state::{Phase, Release, Rollout, State};
use world::{Action, World};

/// States that are visited. The first ones are those that few events lead to.
const STATES: usize = 12_000;

#[test]
fn promises_hold_in_every_state_with_rollback() {
    explore(OnFail::Rollback);
}

#[test]
fn promises_hold_in_every_state_with_halt() {
    explore(OnFail::Halt);
}

fn explore(on_fail: OnFail) {
    let first = World::start(on_fail);
    let mut known = HashSet::from([first.normal()]);
    let mut open = VecDeque::from([first]);
    let (mut visited, mut edges, mut ended) = (0, 0, 0);
    while let Some(world) = open.pop_front() {
        visited += 1;
        if visited > STATES {
            break;
        }
        if visited % 40 == 0 {
            it_ends_when_all_is_well(&world);
        }
        for action in world.actions() {
            let mut next = world.clone();
            let Some(events) = next.act(action) else {
                continue;
            };
            edges += 1;
            check(&world, action, &next, &events);
            ended += usize::from(
                events
                    .iter()
                    .any(|event| matches!(event, Event::Ended { .. })),
            );
            if known.insert(next.normal()) {
                let text = serde_json::to_string(&next.state).unwrap();
                assert_eq!(serde_json::from_str::<State>(&text).unwrap(), next.state);
                open.push_back(next);
            }
        }
    }
    println!(
        "{visited} states visited of {} found, {edges} edges, {ended} ends",
        known.len()
    );
    assert!(visited >= STATES && ended > 100, "{visited} {ended}");
}

fn target_of(state: &State) -> Option<u64> {
    state
        .rollout
        .as_ref()
        .map(|rollout| rollout.start.target.seq)
}

fn check(before: &World, action: Action, after: &World, events: &[Event]) {
    let told = || format!("{before:#?}\n{action:?}\n{after:#?}\n{events:?}");
    let (old, new) = (&before.state, &after.state);
    nobody_is_exposed_to_what_failed(after, &told);
    if !action.is_of_a_person() {
        nothing_goes_forward_without_proof(before, action, events, &told);
    }
    if let (Action::Tick { .. }, Some(rollout)) = (action, &old.rollout) {
        what_failed_goes_back_at_once(before, rollout, new, &told);
    }
    if matches!(action, Action::Tick { .. } | Action::TickOnStale) {
        back_is_where_all_are(before, events, &told);
    }
    only_success_changes_what_is_stable(old, new, events, &told);
    stages_only_grow(old, new, &told);
}

/// But for those whom a halt leaves it; and what is known to be good is not known to be bad.
fn nobody_is_exposed_to_what_failed(world: &World, told: &dyn Fn() -> String) {
    let state = &world.state;
    let is_bad = |release: Release| state.quarantined.contains(&release.digest);
    let mut good = state.stable.iter().chain(&state.last_good);
    assert!(
        !good.any(|release| is_bad(*release)),
        "good and quarantined: {}",
        told()
    );
    let phase = state.rollout.as_ref().map(|rollout| &rollout.phase);
    let halted = matches!(phase, Some(Phase::Halted { .. }));
    for (id, node) in world.nodes() {
        let Some(release) = assign(&node, state).release() else {
            panic!("node {id} is given nothing: {}", told());
        };
        let keeps = halted && node.current == Some(release.digest);
        assert!(!is_bad(release) || keeps, "{}", told());
    }
}

/// Nor against what a person has said, nor on what was seen of another exposure.
fn nothing_goes_forward_without_proof(
    before: &World,
    action: Action,
    events: &[Event],
    told: &dyn Fn() -> String,
) {
    let is_success = |event: &Event| {
        let success = Outcome::Succeeded;
        matches!(event, Event::Ended { outcome, .. } if *outcome == success)
    };
    let exposes = |event: &Event| matches!(event, Event::Exposing { .. } | Event::Soaking { .. });
    let counts = |event: &Event| matches!(event, Event::Counted { .. } | Event::Baking { .. });
    let forward = |event: &Event| exposes(event) || counts(event) || is_success(event);
    if !events.iter().any(forward) {
        return;
    }
    assert!(
        matches!(action, Action::Tick { complete: true }),
        "{}",
        told()
    );
    let held = before.state.hold.is_some();
    assert!(!held || !events.iter().any(exposes), "{}", told());
    let exposed = before.evidence(true).exposed();
    assert_eq!((exposed.rejected, exposed.failed), (0, 0), "{}", told());
    let rollout = before.state.rollout.as_ref();
    let is_first = rollout.is_some_and(|rollout| rollout.cohorts.is_empty());
    let needs_proof = |event: &Event| match event {
        Event::Exposing { .. } => !is_first,
        Event::Baking { .. } | Event::Soaking { .. } => true,
        other => is_success(other),
    };
    assert!(
        !events.iter().any(needs_proof) || exposed.stable > 0,
        "{}",
        told()
    );
}

fn what_failed_goes_back_at_once(
    before: &World,
    rollout: &Rollout,
    new: &State,
    told: &dyn Fn() -> String,
) {
    let exposed = before.evidence(true).exposed();
    let failed = exposed.rejected + exposed.failed > 0;
    if failed && rollout.goes_forward() && rollout.has_exposed() {
        let goes_on = |one: &Rollout| one.id == rollout.id && one.goes_forward();
        assert!(!new.rollout.as_deref().is_some_and(goes_on), "{}", told());
        let digest = rollout.start.target.digest;
        assert!(new.quarantined.contains(&digest), "{}", told());
    }
}

/// Before its time is over, the way back ends only where everybody is back.
fn back_is_where_all_are(before: &World, events: &[Event], told: &dyn Fn() -> String) {
    let Some(rollout) = before.state.rollout.as_ref() else {
        return;
    };
    let late = rollout.age(before.now) >= Duration::from_secs(600);
    for event in events {
        if let Event::Ended {
            outcome: Outcome::RolledBack { stragglers },
            ..
        } = event
            && !late
            && !rollout.goes_forward()
        {
            assert_eq!((*stragglers, before.not_back()), (0, 0), "{}", told());
        }
    }
}

fn only_success_changes_what_is_stable(
    old: &State,
    new: &State,
    events: &[Event],
    told: &dyn Fn() -> String,
) {
    let succeeded = events.iter().any(|event| {
        matches!(
            event,
            Event::Ended {
                outcome: Outcome::Succeeded,
                ..
            }
        )
    });
    let returned = events.iter().find_map(|event| match event {
        Event::Returned { to, .. } => Some(*to),
        _ => None,
    });
    if let Some(to) = returned {
        assert!(old.last_good.contains(&to), "{}", told());
        assert_eq!(new.stable, Some(to), "{}", told());
        return;
    }
    match succeeded {
        true => assert_eq!(new.stable.map(|one| one.seq), target_of(old), "{}", told()),
        false => assert_eq!(new.stable, old.stable, "{}", told()),
    }
}

fn stages_only_grow(old: &State, new: &State, told: &dyn Fn() -> String) {
    let (Some(old), Some(new)) = (&old.rollout, &new.rollout) else {
        return;
    };
    assert!(new.id >= old.id, "{}", told());
    if new.id == old.id {
        assert!(
            new.stage >= old.stage && new.stage <= old.stage + 1,
            "{}",
            told()
        );
        assert!(new.cohorts.starts_with(&old.cohorts), "{}", told());
        assert!(
            old.goes_forward() || !new.goes_forward(),
            "back is one way: {}",
            told()
        );
        assert!(new.exposure >= old.exposure, "{}", told());
    }
}

/// Nothing is stuck that no person has stopped: with healthy nodes, every rollout comes to its end.
fn it_ends_when_all_is_well(world: &World) {
    let mut world = world.clone();
    for _ in 0..80 {
        let Some(rollout) = &world.state.rollout else {
            return;
        };
        let waits = match &rollout.phase {
            Phase::Paused { .. } => true,
            Phase::RollingBack { stuck, .. } => *stuck,
            _ => world.state.hold.is_some(),
        };
        if waits {
            return;
        }
        world.heal();
        world.act(Action::Tick { complete: true });
        world.now = world.now + Duration::from_secs(61);
    }
    panic!("it never ends: {world:#?}, {:?}", world.evidence(true));
}

#[test]
fn the_worst_verdict_counts() {
    let why = || "x".to_owned();
    let all = |verdicts: &[Verdict]| Verdict::all(verdicts.iter().cloned());
    let (unsure, failed) = (Verdict::Inconclusive(why()), Verdict::Fail(why()));
    assert_eq!(all(&[]), Verdict::Pass);
    assert_eq!(all(&[Verdict::Pass, unsure.clone()]), unsure);
    assert_eq!(all(&[failed.clone(), unsure, Verdict::Pass]), failed);
}
