//! Owns the promises of the assignment: golden vectors, so that no server ever reads a state otherwise
//! than another, and properties.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{first_then_all, labels, node, percent, policy, release, stable, start};
use crate::assign::{Assignment, Node, Role, assign};
use crate::cohort::{Cohort, Salt, Threshold, bucket};
use crate::evidence::{Candidates, Evidence};
use crate::gate::Verdict;
use crate::machine::{Command, command, tick};
use crate::policy::Stage;
use crate::selector::Selector;
use crate::state::{EVAL, Pause, Phase, Pin, Rollout, State};
use crate::time::Millis;

/// A change here sends nodes of a running rollout elsewhere: it needs a new [`EVAL`].
#[test]
fn buckets_never_change() {
    let zero = Salt([0; 16]);
    let seven = Salt([7; 16]);
    for (salt, id, want) in [
        (&zero, "", "0a88111852095cae"),
        (&zero, "node-1", "67a3ace9875295bf"),
        (&seven, "node-1", "9dfd9641f20cf641"),
        (&seven, "é", "c7527407fb0d97a2"),
    ] {
        assert_eq!(format!("{:016x}", bucket(salt, id)), want, "{id:?}");
    }
    let of = |points: f64| match Threshold::of(percent(points)) {
        Threshold::Below(end) => format!("{end:016x}"),
        Threshold::All => "all".to_owned(),
    };
    assert_eq!(of(0.01), "00068db8bac710cc");
    assert_eq!(of(5.0), "0ccccccccccccccd");
    assert_eq!(of(50.0), "8000000000000000");
    assert_eq!(of(100.0), "all");
}

fn exposing(cohorts: Vec<Cohort>) -> State {
    let mut state = stable();
    state.rollout = Some(Box::new(Rollout {
        id: 1,
        base: Some(release(1)),
        start: start(2, first_then_all()),
        phase: Phase::Exposing,
        since: Millis(0),
        stage: 0,
        salt: state.salt,
        exposure: 1,
        cohorts,
        assigned: None,
        enroll_fresh: false,
        approvals: Vec::new(),
    }));
    state
}

fn all() -> Cohort {
    Cohort {
        select: Selector::default(),
        domains: BTreeMap::new(),
        elsewhere: Threshold::All,
    }
}

fn in_phase(phase: Phase) -> State {
    let mut state = exposing(vec![all()]);
    state.rollout.as_mut().unwrap().phase = phase;
    state
}

#[test]
fn each_phase_gives_what_it_should() {
    let reason = String::new;
    let at = Millis(0);
    let base = Assignment::Release(release(1), Role::Control);
    let target = Assignment::Release(release(2), Role::Exposed);
    let why = Pause::Asked;
    for (phase, exposed, at_target) in [
        (Phase::Pending, base, base),
        (Phase::Scheduled, base, base),
        (Phase::Exposing, target, target),
        (Phase::Baking { until: at }, target, target),
        (Phase::Soaking { until: at }, target, target),
        (
            Phase::Paused {
                why,
                reason: reason(),
            },
            target,
            target,
        ),
        (Phase::Halted { reason: reason() }, base, target),
        (
            Phase::RollingBack {
                reason: reason(),
                stuck: false,
            },
            base,
            base,
        ),
        (
            Phase::RollingBack {
                reason: reason(),
                stuck: true,
            },
            base,
            base,
        ),
    ] {
        let state = in_phase(phase.clone());
        let has = |release: u64| Node {
            current: Some(super::release(release).digest),
            ..node("n")
        };
        assert_eq!(assign(&has(1), &state), exposed, "{phase:?}");
        assert_eq!(assign(&has(2), &state), at_target, "{phase:?}");
    }
}

#[test]
fn who_has_nothing_to_fall_back_on_gets_what_is_known_to_be_good() {
    let fresh = Node {
        fresh: true,
        ..node("n")
    };
    let mut state = exposing(vec![all()]);
    assert_eq!(assign(&fresh, &state).release(), Some(release(1)));
    state.rollout.as_mut().unwrap().enroll_fresh = true;
    assert_eq!(assign(&fresh, &state).release(), Some(release(2)));
    // Of the first release of all, nothing is.
    let mut first = exposing(vec![all()]);
    first.rollout.as_mut().unwrap().base = None;
    assert_eq!(assign(&fresh, &first).release(), Some(release(2)));
}

#[test]
fn no_release_is_not_the_same_as_no_opinion() {
    let mut state = State::new(Salt::default());
    assert_eq!(assign(&node("n"), &state), Assignment::Nothing);
    state = stable();
    state.eval = EVAL + 1;
    assert_eq!(assign(&node("n"), &state), Assignment::Keep);
}

#[test]
fn the_pin_that_says_most_exactly_whom_it_means_wins() {
    let pin = |select: &str, seq| Pin {
        select: select.parse().unwrap(),
        release: release(seq),
        author: String::new(),
        reason: String::new(),
        until: None,
    };
    let mut state = exposing(vec![all()]);
    state.pins = vec![
        pin("node=n", 5),
        pin("a=b,c=d", 6),
        pin("a=b", 7),
        pin("c=d", 8),
    ];
    let of = |id: &str, pairs: &[(&str, &str)]| {
        let labels = labels(pairs);
        assign(&Node { labels, ..node(id) }, &state)
            .release()
            .unwrap()
            .seq
    };
    assert_eq!(of("n", &[("a", "b"), ("c", "d")]), 5);
    assert_eq!(of("m", &[("a", "b"), ("c", "d")]), 6);
    assert_eq!(of("m", &[("a", "b")]), 7);
    assert_eq!(of("m", &[]), 2);
}

#[test]
fn a_salt_spreads_nodes_evenly_and_each_one_otherwise() {
    let ids: Vec<String> = (0..10_000).map(|n| format!("node-{n}")).collect();
    let five = Threshold::of(percent(5.0));
    let of = |salt: u8| -> Vec<&String> {
        ids.iter()
            .filter(|id| five.takes(bucket(&Salt([salt; 16]), id)))
            .collect()
    };
    let (one, two) = (of(1), of(2));
    assert!((400..600).contains(&one.len()), "{}", one.len());
    let both = one.iter().filter(|id| two.contains(id)).count();
    assert!(both < 60, "{both}");
}

fn census(state: &State, ids: &[String]) -> Evidence {
    let rollout = state.rollout.as_ref().unwrap();
    let mut candidates = Candidates::default();
    ids.iter()
        .for_each(|id| candidates.take(bucket(&rollout.salt, id)));
    Evidence {
        exposure: rollout.exposure,
        complete: true,
        candidates: [(String::new(), candidates)].into(),
        ..Evidence::default()
    }
}

fn exposed(state: &State, ids: &[String]) -> Vec<bool> {
    let target = state.rollout.as_ref().unwrap().start.target;
    let each = ids
        .iter()
        .map(|id| assign(&node(id), state).release() == Some(target));
    each.collect()
}

proptest! {
    /// Each stage exposes those of the stage before, and maybe more; at least as many as it asks for; and
    /// on the way back nobody.
    #[test]
    fn exposure_grows_with_the_stage_and_ends_with_the_way_back(
        nodes in 1_usize..60,
        mut steps in prop::collection::vec((0_u16..=10_000, 0_u32..6), 1..5),
        salt: [u8; 16],
    ) {
        steps.sort_unstable();
        let mut stages: Vec<Stage> = steps.iter().enumerate().map(|(index, (points, min_nodes))| Stage {
            min_nodes: (*min_nodes).max(1),
            ..Stage::of(&index.to_string(), percent(f64::from(*points) / 100.0), super::BAKE)
        }).collect();
        stages.push(Stage::of("all", percent(100.0), super::BAKE));
        let ids: Vec<String> = (0..nodes).map(|n| format!("node-{n}")).collect();
        let mut state = stable();
        state.salt = Salt(salt);
        let policy = policy(stages).checked().unwrap();
        let now = Millis(1);
        let none = Evidence::default();
        state = command(&state, Command::Start(start(2, policy.clone())), &none, now).unwrap().state;
        let mut before = exposed(&state, &ids);
        prop_assert!(before.iter().all(|exposed| !exposed));
        for stage in &policy.stages {
            let step = match state.rollout.as_ref().unwrap().phase {
                Phase::Scheduled => tick(&state, &census(&state, &ids), &Verdict::Pass, now).unwrap(),
                _ => {
                    let author = "ann".to_owned();
                    command(&state, Command::Promote { author }, &census(&state, &ids), now).unwrap()
                }
            };
            state = step.state;
            let after = exposed(&state, &ids);
            prop_assert!(before.iter().zip(&after).all(|(before, after)| !before || *after));
            let count = after.iter().filter(|exposed| **exposed).count();
            prop_assert!(count >= (stage.min_nodes as usize).min(nodes), "{} of {}", count, nodes);
            // Whatever is asked twice is answered twice alike, also by who read it from the store.
            let text = serde_json::to_string(&state).unwrap();
            let read: State = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&exposed(&read, &ids), &after);
            prop_assert_eq!(&read, &state);
            before = after;
        }
        prop_assert!(before.iter().all(|exposed| *exposed));
        let (author, reason) = ("ann".to_owned(), String::new());
        let back = command(&state, Command::Abort { author, reason }, &none, now).unwrap().state;
        prop_assert!(exposed(&back, &ids).iter().all(|exposed| !exposed));
    }
}
