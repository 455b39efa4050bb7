//! Owns the promises of the census: who is counted as what, when somebody who is gone is missing, and that
//! servers together miss nobody who is there and everybody who is not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::{first_then_all, node, percent, release, stable, start};
use crate::assign::Node;
use crate::census::{Census, Counted, Elsewhere, GRACE, MAX_DEPARTED, Sighting};
use crate::cohort::{Cohort, Threshold};
use crate::evidence::{Base, Counts, Evidence, Seen};
use crate::selector::Selector;
use crate::state::{Phase, Pin, Rollout, State};
use crate::time::Millis;

/// Release 2 is being rolled out to the nodes a and b, over release 1.
fn exposing() -> State {
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
        cohorts: ["a", "b"].map(only).into(),
        assigned: None,
        enroll_fresh: false,
        approvals: Vec::new(),
    }));
    state
}

fn only(id: &str) -> Cohort {
    Cohort {
        select: Selector::node(id),
        domains: BTreeMap::new(),
        elsewhere: Threshold::All,
    }
}

fn rollout(state: &mut State) -> &mut Rollout {
    state.rollout.as_mut().unwrap()
}

/// A node that has release 1 and said nothing yet.
fn sight(id: &str) -> Sighting {
    let held = release(1).digest;
    Sighting {
        id: u64::from(id.bytes().last().unwrap()),
        node: Node {
            current: Some(held),
            ..node(id)
        },
        holds: Some(held),
        stable: true,
        rejected: None,
        failed: None,
        lived: None,
        requests: 0,
        errors: 0,
    }
}

fn seconds(seconds: u64) -> Millis {
    Millis(seconds * 1_000)
}

/// One server that nobody else speaks to.
#[derive(Default)]
struct Alone {
    census: Census,
    elsewhere: Elsewhere,
}

impl Alone {
    fn count(&mut self, state: &State, ids: &[&str], at: u64) -> Counted {
        let seen: Vec<_> = ids.iter().map(|id| sight(id)).collect();
        self.census
            .count(state, &seen, &self.elsewhere, seconds(at))
    }

    fn exposed(&mut self, state: &State, ids: &[&str], at: u64) -> Counts {
        self.count(state, ids, at).evidence.exposed()
    }
}

#[test]
fn how_many_were_assigned_is_counted_once_for_each_exposure() {
    let mut state = exposing();
    let mut all = Alone::default();
    let first = all.count(&state, &["a", "c", "d"], 0).evidence;
    assert_eq!((first.exposed().assigned, first.control().assigned), (1, 2));
    let later = all.count(&state, &["a", "b", "c", "d", "e"], 1).evidence;
    assert_eq!((later.exposed().assigned, later.control().assigned), (1, 2));
    assert_eq!(
        (later.exposed().connected, later.control().connected),
        (2, 3)
    );
    let none = all.count(&state, &[], 2).evidence;
    assert_eq!((none.exposed().assigned, none.control().assigned), (1, 2));
    rollout(&mut state).exposure = 2;
    let next = all.count(&state, &["a", "b"], 3).evidence;
    assert_eq!((next.exposure, next.exposed().assigned), (2, 2));
}

#[test]
fn who_is_gone_is_missing_after_a_while_and_not_before() {
    let (state, grace) = (exposing(), GRACE.as_secs());
    let mut all = Alone::default();
    all.count(&state, &["a", "b", "c"], 0);
    let gone = all.count(&state, &["b"], grace - 1);
    assert_eq!(gone.evidence.exposed().missing, 0);
    assert_eq!(
        gone.departed,
        [sight("a").id, sight("c").id],
        "told at once"
    );
    let missed = all.count(&state, &["b"], grace).evidence;
    assert_eq!((missed.exposed().missing, missed.control().missing), (1, 1));
    // It stays so for as long as the rollout lasts, also at its next stage.
    let mut next = state.clone();
    rollout(&mut next).exposure = 2;
    assert_eq!(all.exposed(&next, &["b"], 1_000).missing, 1);
    let back = all.count(&next, &["a", "b"], 1_001);
    assert_eq!(back.evidence.exposed().missing, 0, "it is back");
    assert_eq!(back.evidence.control().missing, 1);
    assert_eq!(back.departed, [sight("c").id]);
}

#[test]
fn who_is_found_elsewhere_is_not_missed_here() {
    let (state, grace) = (exposing(), GRACE.as_secs());
    let mut all = Alone::default();
    all.count(&state, &["a"], 0);
    all.elsewhere.found = [sight("a").id].into();
    all.count(&state, &[], grace - 1);
    all.elsewhere = Elsewhere::default();
    let counted = all.count(&state, &[], grace);
    assert_eq!(counted.evidence.exposed().missing, 0);
    assert!(counted.departed.is_empty());
}

/// Servers take a moment to take back what they said.
#[test]
fn who_has_just_gone_is_not_believed_to_be_elsewhere() {
    let (state, grace) = (exposing(), GRACE.as_secs());
    let mut all = Alone::default();
    all.count(&state, &["a"], 0);
    all.elsewhere.found = [sight("a").id].into();
    all.count(&state, &[], 1);
    all.elsewhere = Elsewhere::default();
    assert_eq!(all.exposed(&state, &[], grace).missing, 1);
}

#[test]
fn who_is_missed_elsewhere_and_is_here_is_said_to_be() {
    let state = exposing();
    let mut all = Alone::default();
    all.elsewhere.departed = [sight("a").id, sight("b").id].into();
    assert_eq!(all.count(&state, &["a", "c"], 0).found, [sight("a").id]);
}

#[test]
fn who_is_told_as_gone_is_bounded_and_the_missing_are_not() {
    let mut state = exposing();
    rollout(&mut state).cohorts[0] = Cohort {
        select: Selector::default(),
        ..only("a")
    };
    let many: Vec<_> = (0..1_000)
        .map(|id| Sighting {
            id,
            ..sight(&format!("n{id}"))
        })
        .collect();
    let mut census = Census::default();
    let nowhere = Elsewhere::default();
    census.count(&state, &many, &nowhere, seconds(0));
    let gone = census.count(&state, &[], &nowhere, seconds(GRACE.as_secs()));
    assert_eq!(gone.departed.len(), MAX_DEPARTED);
    assert_eq!(gone.evidence.exposed().missing, 1_000);
}

/// It is stable whenever it is up, and up again and again.
#[test]
fn a_process_that_does_not_stay_up_has_failed() {
    let (state, target) = (exposing(), release(2).digest);
    let mut census = Census::default();
    let mut at = |now: u64, lived: u64| {
        let seen = Sighting {
            holds: Some(target),
            lived: Some(Duration::from_secs(lived)),
            ..sight("a")
        };
        let counted = census.count(&state, &[seen], &Elsewhere::default(), seconds(now));
        counted.evidence.exposed()
    };
    // Twenty seconds of one life, in which the word of it is late at times.
    for now in 10..30 {
        assert_eq!(at(now, now - 10).stable, 1);
    }
    // Two deaths may be somebody's work.
    for (now, lived) in [(31, 0), (33, 2), (34, 0), (36, 2)] {
        let seen = at(now, lived);
        assert_eq!((seen.stable, seen.failed), (1, 0), "{now}");
    }
    let seen = at(37, 0);
    assert_eq!((seen.stable, seen.failed), (0, 1));
}

#[test]
fn each_node_counts_as_what_became_of_it() {
    let target = release(2).digest;
    let has = Sighting {
        holds: Some(target),
        ..sight("a")
    };
    let one = Counts {
        assigned: 1,
        connected: 1,
        ..Counts::default()
    };
    for (seen, want) in [
        // It has what it had: no matter how it is with that.
        (sight("a"), one),
        (has.clone(), Counts { stable: 1, ..one }),
        (
            Sighting {
                stable: false,
                ..has.clone()
            },
            one,
        ),
        (
            Sighting {
                rejected: Some(target),
                ..has.clone()
            },
            Counts { rejected: 1, ..one },
        ),
        (
            Sighting {
                rejected: Some(target),
                failed: Some(target),
                ..has.clone()
            },
            Counts { failed: 1, ..one },
        ),
        // What it could not live with before is nothing to this one.
        (
            Sighting {
                rejected: Some(release(1).digest),
                failed: Some(release(1).digest),
                requests: 10,
                errors: 3,
                ..has
            },
            Counts {
                stable: 1,
                requests: 10,
                errors: 3,
                ..one
            },
        ),
    ] {
        let mut census = Census::default();
        let counted = census.count(
            &exposing(),
            std::slice::from_ref(&seen),
            &Elsewhere::default(),
            Millis(0),
        );
        assert_eq!(counted.evidence.exposed(), want, "{seen:?}");
        assert_eq!(counted.evidence.base, Base::default());
    }
}

#[test]
fn of_the_others_it_counts_who_holds_the_base() {
    let base = release(1).digest;
    let other = Sighting {
        holds: Some(release(2).digest),
        ..sight("d")
    };
    let rejecting = Sighting {
        rejected: Some(base),
        ..sight("e")
    };
    let seen = [sight("a"), sight("c"), other, rejecting];
    let mut census = Census::default();
    let counted = census.count(&exposing(), &seen, &Elsewhere::default(), Millis(0));
    let want = Base {
        connected: 3,
        holding: 1,
        rejected: 1,
    };
    assert_eq!(counted.evidence.base, want);
    // They answer for nothing that is being tried.
    let control = counted.evidence.control();
    assert_eq!((control.connected, control.answered()), (3, 0));
}

#[test]
fn on_the_way_back_everybody_is_to_hold_the_base() {
    let mut state = exposing();
    rollout(&mut state).phase = Phase::RollingBack {
        reason: String::new(),
        stuck: false,
    };
    let still = Sighting {
        holds: Some(release(2).digest),
        ..sight("a")
    };
    let mut census = Census::default();
    let seen = [still, sight("b"), sight("c")];
    let base = census
        .count(&state, &seen, &Elsewhere::default(), Millis(0))
        .evidence
        .base;
    assert_eq!((base.connected, base.holding), (3, 2));
}

#[test]
fn another_rollout_begins_anew_and_none_counts_nothing() {
    let (mut state, grace) = (exposing(), GRACE.as_secs());
    let mut all = Alone::default();
    all.count(&state, &["a", "b"], 0);
    rollout(&mut state).id = 2;
    let counted = all.count(&state, &["b"], grace);
    assert!(counted.departed.is_empty());
    assert_eq!(
        counted.evidence.exposed(),
        Counts {
            assigned: 1,
            connected: 1,
            ..Counts::default()
        }
    );
    state.rollout = None;
    assert_eq!(all.count(&state, &["b"], 2 * grace), Counted::default());
}

/// A person took it out of the rollout: it is there, and no evidence of anything.
#[test]
fn who_is_pinned_in_the_middle_is_not_missed() {
    let (mut state, grace) = (exposing(), GRACE.as_secs());
    let mut all = Alone::default();
    all.count(&state, &["a", "c"], 0);
    for id in ["a", "c"] {
        state.pins.push(Pin {
            select: Selector::node(id),
            release: release(1),
            author: String::new(),
            reason: String::new(),
            until: None,
        });
    }
    let counted = all.count(&state, &["a", "c"], 1);
    assert!(counted.departed.is_empty());
    let counted = all.count(&state, &["a", "c"], grace);
    let seen = &counted.evidence.domains[""];
    assert_eq!((seen.exposed.missing, seen.control.missing), (0, 0));
    assert_eq!((seen.exposed.connected, seen.control.connected), (0, 0));
}

/// There is no base to go back to.
#[test]
fn nodes_of_a_first_release_that_goes_back_are_not_missed() {
    let mut state = exposing();
    rollout(&mut state).base = None;
    let mut all = Alone::default();
    assert_eq!(all.exposed(&state, &["a", "b"], 0).connected, 2);
    rollout(&mut state).phase = Phase::RollingBack {
        reason: String::new(),
        stuck: false,
    };
    let counted = all.count(&state, &["a", "b"], GRACE.as_secs());
    assert_eq!(counted.evidence.exposed().missing, 0);
    assert!(counted.departed.is_empty());
}

#[test]
fn candidates_are_whom_the_next_stage_selects_without_pinned_and_new_ones() {
    let mut state = exposing();
    state.pins.push(Pin {
        select: Selector::node("b"),
        release: release(1),
        author: String::new(),
        reason: String::new(),
        until: None,
    });
    let fresh = || {
        let mut fresh = sight("d");
        fresh.node.fresh = true;
        fresh.node.current = None;
        fresh
    };
    let eligible = |state: &State| {
        let seen = [sight("a"), sight("b"), sight("c"), fresh()];
        let mut census = Census::default();
        let counted = census.count(state, &seen, &Elsewhere::default(), Millis(0));
        let candidates = counted.evidence.candidates.get("");
        candidates.map_or(0, |candidates| candidates.eligible)
    };
    assert_eq!(eligible(&state), 2);
    let mut next = state.clone();
    rollout(&mut next).enroll_fresh = true;
    assert_eq!(eligible(&next), 3);
    let mut first = state.clone();
    rollout(&mut first).base = None;
    assert_eq!(eligible(&first), 3, "of a first release all are new");
    let mut selective = state.clone();
    rollout(&mut selective).start.policy.stages[1].select = Selector::node("c");
    assert_eq!(eligible(&selective), 1);
    // What begins next is the first stage until it has begun, and there is none after the last.
    rollout(&mut selective).phase = Phase::Scheduled;
    assert_eq!(eligible(&selective), 2);
    rollout(&mut selective).phase = Phase::Exposing;
    rollout(&mut selective).stage = 1;
    assert_eq!(eligible(&selective), 0);
}

#[test]
fn domains_are_counted_apart() {
    let mut state = exposing();
    rollout(&mut state).start.policy.domain = Some("zone".to_owned());
    let zone = |id: &str, zone: &str| {
        let mut seen = sight(id);
        seen.node.labels = super::labels(&[("zone", zone)]);
        seen
    };
    let mut census = Census::default();
    let seen = [zone("a", "x"), zone("b", "y"), zone("c", "y"), sight("d")];
    census.count(&state, &seen, &Elsewhere::default(), seconds(0));
    let gone = census.count(
        &state,
        &seen[..1],
        &Elsewhere::default(),
        seconds(GRACE.as_secs()),
    );
    let of = |domain: &str| -> Seen { gone.evidence.domains[domain].clone() };
    assert_eq!((of("x").exposed.connected, of("x").exposed.missing), (1, 0));
    assert_eq!((of("y").exposed.missing, of("y").control.missing), (1, 1));
    assert_eq!((of("").exposed.missing, of("").control.missing), (0, 1));
}

/// So many servers, and what each of them said last. What is said arrives a moment later.
struct Servers {
    all: Vec<(Census, Counted)>,
    at: u64,
    state: State,
}

impl Servers {
    fn new(count: usize, state: State) -> Self {
        Self {
            all: (0..count).map(|_| Default::default()).collect(),
            at: 0,
            state,
        }
    }

    /// A second passes: all count where nodes are, going by what the others said a second ago.
    fn second(&mut self, places: &[Option<usize>]) {
        let before: Vec<Counted> = self.all.iter().map(|(_, said)| said.clone()).collect();
        for (me, (census, said)) in self.all.iter_mut().enumerate() {
            let here = places.iter().enumerate();
            let here = here.filter(|(_, place)| **place == Some(me));
            let here: Vec<_> = here
                .map(|(id, _)| Sighting {
                    id: id as u64,
                    ..sight(&format!("n{id}"))
                })
                .collect();
            let others = before.iter().enumerate().filter(|(one, _)| *one != me);
            let mut elsewhere = Elsewhere::default();
            for (_, other) in others {
                elsewhere.departed.extend(&other.departed);
                elsewhere.found.extend(&other.found);
            }
            *said = census.count(&self.state, &here, &elsewhere, seconds(self.at));
        }
        self.at += 1;
    }

    fn missing(&self) -> u64 {
        let each = self.all.iter().map(|(_, said)| said.evidence.clone());
        let sum = Evidence::sum(1, true, each);
        sum.exposed().missing + sum.control().missing
    }
}

const NODES: usize = 6;
const SERVERS: usize = 3;

/// Who moves where in which second; `None`: it is gone.
fn moves() -> impl Strategy<Value = Vec<Vec<(usize, Option<usize>)>>> {
    let place = prop_oneof![3 => (0..SERVERS).prop_map(Some), 1 => Just(None)];
    let moves = prop::collection::vec((0..NODES, place), 0..3);
    prop::collection::vec(moves, 0..60)
}

proptest! {
    /// However nodes move that are there all the time: nobody ever misses one.
    #[test]
    fn servers_never_miss_who_is_somewhere(moves in moves()) {
        let mut servers = Servers::new(SERVERS, half());
        let mut places = everywhere();
        servers.second(&places);
        for second in moves {
            for (id, place) in second {
                places[id] = place.or(places[id]);
            }
            servers.second(&places);
            prop_assert_eq!(servers.missing(), 0, "at {}", servers.at);
        }
    }

    /// However nodes move and go: once all is quiet, those are missing that are nowhere, and no others.
    #[test]
    fn servers_miss_who_is_nowhere(moves in moves()) {
        let mut servers = Servers::new(SERVERS, half());
        let mut places = everywhere();
        servers.second(&places);
        for second in moves {
            places_after(&mut places, second);
            servers.second(&places);
        }
        for _ in 0..=GRACE.as_secs() + 5 {
            servers.second(&places);
        }
        let here = places.iter().enumerate();
        let nowhere = here.filter(|(_, place)| place.is_none());
        let nowhere: BTreeSet<u64> = nowhere.map(|(id, _)| id as u64).collect();
        let told = servers.all.iter().flat_map(|(_, said)| said.departed.clone());
        let told: BTreeSet<u64> = told.collect();
        prop_assert_eq!(&told, &nowhere);
        // One that moved and died at once is missed by both servers.
        prop_assert!(servers.missing() >= nowhere.len() as u64);
    }
}

fn everywhere() -> Vec<Option<usize>> {
    (0..NODES).map(|id| Some(id % SERVERS)).collect()
}

fn places_after(places: &mut [Option<usize>], moves: Vec<(usize, Option<usize>)>) {
    for (id, place) in moves {
        places[id] = place;
    }
}

/// Half of all nodes are exposed.
fn half() -> State {
    let mut state = exposing();
    rollout(&mut state).cohorts[0] = Cohort {
        select: Selector::default(),
        domains: BTreeMap::new(),
        elsewhere: Threshold::of(percent(50.0)),
    };
    state
}
