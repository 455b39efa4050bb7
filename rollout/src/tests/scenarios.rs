//! Owns the stories that people tell of rollouts, each from its start to its end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{BAKE, first_then_all, node, percent, policy, release, stable, start};
use crate::assign::assign;
use crate::cohort::bucket;
use crate::digest::Digest;
use crate::evidence::{Base, Candidates, Counts, Evidence, Seen};
use crate::gate::Verdict;
use crate::machine::{Command, Event, Outcome, Refused, Return, command, take_over, tick};
use crate::policy::{Gate, OnEmpty, OnFail, Policy, Stage};
use crate::state::{Hold, Pause, Phase, Pin, Start, State};
use crate::time::Millis;

/// A fleet of which every server tells what the story says.
#[derive(Clone)]
struct Story {
    state: State,
    now: Millis,
    nodes: Vec<String>,
    outside: Verdict,
    events: Vec<Event>,
}

fn five_then_all() -> Policy {
    let first = Stage {
        min_nodes: 5,
        ..Stage::of("first", percent(0.0), BAKE)
    };
    policy(vec![first, Stage::of("all", percent(100.0), BAKE)])
}

impl Story {
    fn of(nodes: usize) -> Self {
        Self {
            state: stable(),
            now: Millis(1_000_000),
            nodes: (0..nodes).map(|index| format!("node-{index}")).collect(),
            outside: Verdict::Pass,
            events: Vec::new(),
        }
    }

    fn begun(nodes: usize, policy: Policy) -> Self {
        let mut story = Self::of(nodes);
        story.start(2, policy);
        story
    }

    fn start(&mut self, seq: u64, policy: Policy) {
        self.command(Command::Start(start(seq, policy))).unwrap();
    }

    fn command(&mut self, command: Command) -> Result<(), Refused> {
        let evidence = self.evidence(|_| {});
        let step = self::command(&self.state, command, &evidence, self.now)?;
        self.state = step.state;
        self.events.extend(step.events);
        Ok(())
    }

    fn abort(&mut self) {
        let (author, reason) = ("bob".to_owned(), "no".to_owned());
        self.command(Command::Abort { author, reason }).unwrap();
    }

    fn exposed(&self) -> u64 {
        let Some(rollout) = &self.state.rollout else {
            return 0;
        };
        let target = Some(rollout.start.target);
        let is_exposed = |id: &&String| assign(&node(id), &self.state).release() == target;
        self.nodes.iter().filter(is_exposed).count() as u64
    }

    /// All is well, but for what `but` says of the exposed.
    fn evidence(&self, but: impl Fn(&mut Counts)) -> Evidence {
        let Some(rollout) = &self.state.rollout else {
            return Evidence::default();
        };
        let nodes = self.nodes.len() as u64;
        let exposed = self.exposed();
        let all = |nodes: u64| Counts {
            assigned: nodes,
            connected: nodes,
            stable: nodes,
            ..Counts::default()
        };
        let mut seen = Seen {
            exposed: all(exposed),
            control: all(nodes - exposed),
        };
        but(&mut seen.exposed);
        let mut candidates = Candidates::default();
        self.nodes
            .iter()
            .for_each(|id| candidates.take(bucket(&rollout.salt, id)));
        Evidence {
            exposure: rollout.exposure,
            complete: true,
            domains: [(String::new(), seen)].into(),
            candidates: [(String::new(), candidates)].into(),
            base: Base {
                connected: nodes - exposed,
                holding: nodes - exposed,
                rejected: 0,
            },
        }
    }

    fn tick_on(&mut self, evidence: &Evidence) {
        if let Some(step) = tick(&self.state, evidence, &self.outside, self.now) {
            self.state = step.state;
            self.events.extend(step.events);
        }
    }

    fn tick(&mut self) {
        let evidence = self.evidence(|_| {});
        self.tick_on(&evidence);
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.tick();
    }

    fn phase(&self) -> &'static str {
        self.state
            .rollout
            .as_ref()
            .map_or("over", |rollout| rollout.phase.name())
    }

    fn outcomes(&self) -> Vec<Outcome> {
        let outcome = |event: &Event| match event {
            Event::Ended { outcome, .. } => Some(*outcome),
            _ => None,
        };
        self.events.iter().filter_map(outcome).collect()
    }

    fn pause(&self) -> Option<Pause> {
        match self.state.rollout.as_ref()?.phase {
            Phase::Paused { why, .. } => Some(why),
            _ => None,
        }
    }

    fn reason(&self) -> String {
        match &self.state.rollout.as_ref().unwrap().phase {
            Phase::Paused { reason, .. }
            | Phase::Halted { reason }
            | Phase::RollingBack { reason, .. } => reason.clone(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_release_reaches_a_few_then_all_then_is_stable() {
    let mut story = Story::begun(10, first_then_all());
    assert_eq!((story.phase(), story.exposed()), ("scheduled", 0));
    story.tick();
    assert_eq!((story.phase(), story.exposed()), ("exposing", 1));
    story.tick();
    assert_eq!(story.phase(), "baking");
    story.wait(BAKE - Duration::from_millis(1));
    assert_eq!((story.phase(), story.exposed()), ("baking", 1));
    story.wait(Duration::from_millis(1));
    assert_eq!((story.phase(), story.exposed()), ("exposing", 10));
    story.tick();
    story.wait(BAKE);
    assert_eq!(story.phase(), "soaking");
    story.wait(BAKE);
    assert_eq!(story.phase(), "over");
    assert_eq!(story.outcomes(), [Outcome::Succeeded]);
    assert_eq!(story.state.stable, Some(release(2)));
    assert_eq!(story.state.last_good, [release(1)]);
    assert_ne!(
        story.state.salt,
        stable().salt,
        "not always the same nodes go first"
    );
}

/// The first that says no is enough, and nobody else is ever exposed.
#[test]
fn a_rejection_by_a_canary_takes_all_back() {
    let mut story = Story::begun(100, first_then_all());
    story.tick();
    let evidence = story.evidence(|exposed| {
        exposed.stable = 0;
        exposed.rejected = 1;
    });
    story.tick_on(&evidence);
    assert_eq!((story.phase(), story.exposed()), ("rolling back", 0));
    assert!(
        story.reason().contains("1 nodes rejected"),
        "{}",
        story.reason()
    );
    story.tick();
    assert_eq!(story.outcomes(), [Outcome::RolledBack { stragglers: 0 }]);
    assert_eq!(story.state.stable, Some(release(1)));
    // The same content once more is refused, whatever number it has.
    let again = Start {
        target: crate::state::Release {
            seq: 9,
            ..release(2)
        },
        ..start(2, first_then_all())
    };
    assert_eq!(
        story.command(Command::Start(again.clone())),
        Err(Refused::Quarantined(9))
    );
    let digest = release(2).digest;
    story.command(Command::Unquarantine { digest }).unwrap();
    story.command(Command::Start(again)).unwrap();
}

/// Whoever dies of it does not say so.
#[test]
fn canaries_that_all_vanish_are_no_success() {
    let mut story = Story::begun(100, five_then_all());
    story.tick();
    story.tick();
    let gone = story.evidence(|exposed| {
        (exposed.connected, exposed.stable, exposed.missing) = (0, 0, 5);
    });
    story.tick_on(&gone);
    assert_eq!(story.phase(), "rolling back");
    assert!(
        story.reason().contains("5 nodes vanished of 5"),
        "{}",
        story.reason()
    );
}

/// One of five went for reasons of its own, perhaps. It is not taken back, and it does not go on.
#[test]
fn one_canary_that_vanishes_is_waited_for_and_then_a_person_decides() {
    let mut story = Story::begun(100, five_then_all());
    story.tick();
    for _ in 0..11 {
        let four = story.evidence(|exposed| {
            (exposed.connected, exposed.stable, exposed.missing) = (4, 4, 1);
        });
        story.tick_on(&four);
        story.now = story.now + BAKE;
    }
    assert_eq!((story.pause(), story.exposed()), (Some(Pause::Coverage), 5));
    assert_eq!(story.reason(), "4 nodes of 5 are stable, 5 must be");
    story
        .command(Command::Resume {
            author: "bob".to_owned(),
        })
        .unwrap();
    story.tick();
    assert_eq!(story.phase(), "baking", "it is back");
}

/// What hangs neither rejects nor vanishes: it never becomes stable.
#[test]
fn nodes_that_never_become_stable_promote_nothing() {
    let mut story = Story::begun(10, first_then_all());
    story.tick();
    for _ in 0..100 {
        let hung = story.evidence(|exposed| exposed.stable = 0);
        story.tick_on(&hung);
        story.now = story.now + BAKE;
    }
    assert_eq!((story.pause(), story.exposed()), (Some(Pause::Coverage), 1));
}

#[test]
fn what_a_server_has_not_told_is_waited_for_and_never_promotes() {
    let mut story = Story::begun(10, first_then_all());
    story.tick();
    story.tick();
    assert_eq!(story.phase(), "baking");
    story.now = story.now + BAKE;
    let unknown = Evidence {
        complete: false,
        ..story.evidence(|_| {})
    };
    story.tick_on(&unknown);
    assert_eq!(story.phase(), "baking");
    story.now = story.now + Duration::from_secs(15 * 60);
    story.tick_on(&unknown);
    assert_eq!(
        (story.pause(), story.exposed()),
        (Some(Pause::Inconclusive), 1)
    );
}

/// A source of metrics that dies pauses; one that says no takes back.
#[test]
fn gates_outside_are_heard() {
    let mut story = Story::begun(10, first_then_all());
    story.tick();
    story.tick();
    story.outside = Verdict::Inconclusive("prometheus does not answer".to_owned());
    story.wait(BAKE);
    assert_eq!(story.phase(), "baking");
    story.wait(Duration::from_secs(15 * 60));
    assert_eq!(story.pause(), Some(Pause::Inconclusive));
    assert_eq!(story.reason(), "prometheus does not answer");
    story.outside = Verdict::Fail("latency is 3, above 2".to_owned());
    story.tick();
    assert_eq!(
        (story.phase(), story.reason()),
        ("rolling back", "latency is 3, above 2".to_owned())
    );
}

#[test]
fn exposed_nodes_with_more_errors_than_others_take_all_back() {
    let gate = Gate::Health {
        more_errors: percent(1.0),
        min_requests: 100,
    };
    let mut policy = first_then_all();
    policy.stages[0].gates.push(gate);
    let mut story = Story::begun(10, policy);
    story.tick();
    let with = |story: &Story, exposed: (u64, u64), control: (u64, u64)| {
        let mut evidence = story.evidence(|_| {});
        let seen = evidence.domains.get_mut("").unwrap();
        (seen.exposed.errors, seen.exposed.requests) = exposed;
        (seen.control.errors, seen.control.requests) = control;
        evidence
    };
    let evidence = with(&story, (0, 99), (0, 10_000));
    story.tick_on(&evidence);
    assert_eq!(story.phase(), "baking");
    story.now = story.now + BAKE;
    story.tick_on(&evidence);
    assert_eq!(story.phase(), "baking", "no traffic proves nothing");
    // All burns: it is not the release, but nothing goes forward either.
    let evidence = with(&story, (100, 1_000), (1_000, 10_000));
    story.tick_on(&evidence);
    assert_eq!(story.phase(), "baking");
    let evidence = with(&story, (50, 1_000), (100, 10_000));
    story.tick_on(&evidence);
    assert_eq!(story.phase(), "rolling back");
    assert!(
        story.reason().starts_with("errors in 50 of 1000 requests"),
        "{}",
        story.reason()
    );
}

#[test]
fn a_stage_without_nodes_is_no_proof() {
    let mut story = Story::begun(0, first_then_all());
    story.tick();
    story.tick();
    story.wait(Duration::from_secs(10 * 60));
    assert_eq!(story.pause(), Some(Pause::Empty));
    let mut policy = first_then_all();
    policy
        .stages
        .iter_mut()
        .for_each(|stage| stage.on_empty = OnEmpty::Skip);
    let mut skipping = Story::begun(0, policy);
    for _ in 0..8 {
        skipping.wait(BAKE);
    }
    assert_eq!(skipping.outcomes(), [Outcome::Succeeded]);
}

/// A node that joins an empty stage is its first.
#[test]
fn who_comes_late_is_counted() {
    let mut story = Story::begun(0, first_then_all());
    story.tick();
    story.tick();
    story.nodes.push("late".to_owned());
    let sees_it = story.evidence(|exposed| exposed.connected = 1);
    story.tick_on(&sees_it);
    assert_eq!(story.phase(), "exposing");
    story.state.rollout.as_mut().unwrap().cohorts[0].elsewhere = crate::cohort::Threshold::All;
    story.state.rollout.as_mut().unwrap().cohorts[0].domains = BTreeMap::new();
    story.tick();
    assert_eq!(story.phase(), "baking");
}

#[test]
fn a_halt_keeps_what_is_exposed_until_somebody_decides_or_half_an_hour() {
    let mut policy = first_then_all();
    policy.on_fail = OnFail::Halt;
    let mut story = Story::begun(10, policy);
    story.tick();
    let bad = story.evidence(|exposed| exposed.failed = 1);
    story.tick_on(&bad);
    assert_eq!(story.phase(), "halted");
    let author = || "bob".to_owned();
    let refused = story
        .command(Command::Promote { author: author() })
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "rollout 1 is halted; that can't be promoted"
    );
    assert!(story.command(Command::Resume { author: author() }).is_err());
    story.wait(Duration::from_secs(30 * 60));
    assert_eq!(story.phase(), "rolling back");
}

#[test]
fn the_way_back_waits_for_nobody_for_ever_and_stops_where_the_base_is_rejected() {
    let mut story = Story::begun(100, first_then_all());
    story.tick();
    story.abort();
    let mut late = story.evidence(|_| {});
    late.base.holding = 97;
    story.tick_on(&late);
    assert_eq!(story.phase(), "rolling back");
    story.now = story.now + Duration::from_secs(10 * 60);
    story.tick_on(&late);
    assert_eq!(story.outcomes(), [Outcome::RolledBack { stragglers: 3 }]);
    // What a person stopped is not bad.
    story.start(2, first_then_all());
    story.tick();
    story.abort();
    let mut stuck = story.evidence(|_| {});
    stuck.base.rejected = 1;
    story.tick_on(&stuck);
    story.wait(Duration::from_secs(3600));
    let rollout = story.state.rollout.as_ref().unwrap();
    assert!(matches!(
        rollout.phase,
        Phase::RollingBack { stuck: true, .. }
    ));
}

/// Nobody was exposed, so nobody must come back.
#[test]
fn what_has_not_begun_is_cancelled() {
    let mut story = Story::begun(10, first_then_all());
    story.abort();
    assert_eq!(story.outcomes(), [Outcome::Cancelled]);
}

#[test]
fn a_faster_author_waits_and_the_latest_wins() {
    let mut story = Story::begun(10, first_then_all());
    story.tick();
    story.start(3, first_then_all());
    story.start(4, first_then_all());
    assert_eq!(
        story.state.rollout.as_ref().unwrap().start.target,
        release(2)
    );
    story.abort();
    story.tick();
    let rollout = story.state.rollout.as_ref().unwrap();
    assert_eq!(
        (rollout.start.target, rollout.phase.name()),
        (release(4), "scheduled")
    );
    assert_eq!(rollout.base, Some(release(1)));
    assert!(story.state.queued.is_none());
}

/// A hotfix begins from what is stable; what it takes the place of is over.
#[test]
fn a_hotfix_takes_the_place_of_a_paused_rollout() {
    let mut story = Story::begun(10, first_then_all());
    story.tick();
    let (author, reason) = ("bob".to_owned(), "look".to_owned());
    story.command(Command::Pause { author, reason }).unwrap();
    story
        .command(Command::Supersede(start(3, first_then_all())))
        .unwrap();
    assert_eq!(story.outcomes(), [Outcome::Superseded]);
    assert_eq!((story.phase(), story.exposed()), ("scheduled", 0));
    let rollout = story.state.rollout.as_ref().unwrap();
    assert_eq!(
        (rollout.base, rollout.start.target),
        (Some(release(1)), release(3))
    );
    assert!(story.state.quarantined.is_empty());
}

/// A retry meets the same nodes.
#[test]
fn a_retry_exposes_the_same_nodes() {
    let first = |story: &Story| -> Vec<String> {
        let is_exposed =
            |id: &&String| assign(&node(id), &story.state).release() != Some(release(1));
        story.nodes.iter().filter(is_exposed).cloned().collect()
    };
    let mut story = Story::begun(100, first_then_all());
    story.tick();
    let once = first(&story);
    story.abort();
    story.tick();
    story.start(3, first_then_all());
    story.tick();
    assert_eq!(first(&story), once);
    assert_eq!(once.len(), 1);
}

#[test]
fn approvals_are_of_others_and_of_one_content() {
    let mut policy = first_then_all();
    policy.approvals = 2;
    let mut story = Story::begun(10, policy);
    story.tick();
    assert_eq!(story.phase(), "pending");
    let approve = |story: &mut Story, author: &str, target: Digest| {
        let author = author.to_owned();
        story.command(Command::Approve { author, target })
    };
    let target = release(2).digest;
    assert!(approve(&mut story, "ann", target).is_err(), "her own");
    assert!(approve(&mut story, "bob", release(3).digest).is_err());
    approve(&mut story, "bob", target).unwrap();
    assert!(approve(&mut story, "bob", target).is_err(), "twice");
    approve(&mut story, "eve", target).unwrap();
    assert_eq!(story.phase(), "scheduled");
    let mut policy = first_then_all();
    policy.approvals = 1;
    let mut forgotten = Story::begun(10, policy);
    forgotten.wait(Duration::from_secs(24 * 3600));
    assert_eq!(forgotten.outcomes(), [Outcome::Cancelled]);
}

#[test]
fn a_freeze_stops_forward_and_never_back() {
    let mut story = Story::begun(10, first_then_all());
    story.tick();
    story.tick();
    let hold = Hold {
        author: "ops".to_owned(),
        reason: "holiday".to_owned(),
        from: None,
        until: Some(story.now + Duration::from_secs(3600)),
    };
    story.command(Command::Hold(hold)).unwrap();
    story.wait(Duration::from_secs(600));
    assert_eq!((story.phase(), story.exposed()), ("baking", 1));
    let held = story
        .command(Command::Promote {
            author: "bob".to_owned(),
        })
        .unwrap_err();
    assert_eq!(held.to_string(), "nothing goes forward: ops said: holiday");
    let other = start(3, first_then_all());
    assert!(story.command(Command::Start(other)).is_err());
    let mut back = story.clone();
    back.abort();
    assert_eq!((back.phase(), back.exposed()), ("rolling back", 0));
    story.wait(Duration::from_secs(3600));
    assert_eq!(
        (story.phase(), story.exposed()),
        ("exposing", 10),
        "its time is over"
    );
    assert!(story.events.contains(&Event::Unheld));
}

#[test]
fn a_new_leader_only_makes_a_wait_longer() {
    let mut story = Story::begun(10, first_then_all());
    story.tick();
    story.tick();
    // Its clock is an hour ahead.
    story.now = story.now + Duration::from_secs(3600);
    story.state = take_over(&story.state, story.now).unwrap().state;
    story.tick();
    assert_eq!(story.phase(), "baking");
    story.wait(BAKE / 2);
    assert_eq!(story.phase(), "exposing");
    // One whose clock is behind shortens nothing.
    let before = story.state.clone();
    assert_eq!(take_over(&before, Millis(0)), None);
}

/// While nobody led, no server's word reached anybody.
#[test]
fn a_new_leader_gives_an_exposure_its_time_anew() {
    let mut story = Story::begun(9, five_then_all());
    story.tick();
    assert_eq!(story.phase(), "exposing");
    let deadline = story
        .state
        .rollout
        .as_ref()
        .unwrap()
        .current()
        .unwrap()
        .deadline;
    story.now = story.now + deadline;
    let silence = Evidence::default();
    let next = |state: &State, now| tick(state, &silence, &Verdict::Pass, now);
    let paused = next(&story.state, story.now).unwrap().state;
    assert_eq!(paused.rollout.unwrap().phase.name(), "paused");
    story.state = take_over(&story.state, story.now).unwrap().state;
    assert_eq!(next(&story.state, story.now), None);
    assert!(next(&story.state, story.now + deadline).is_some());
}

#[test]
fn pins_end_by_themselves() {
    let mut story = Story::of(3);
    let pin = Pin {
        select: "node=node-0".parse().unwrap(),
        release: release(9),
        author: "bob".to_owned(),
        reason: "to look at".to_owned(),
        until: Some(story.now + BAKE),
    };
    story.command(Command::Pin(pin)).unwrap();
    let of = |story: &Story| assign(&node("node-0"), &story.state).release();
    assert_eq!(of(&story), Some(release(9)));
    story.wait(BAKE);
    assert_eq!(of(&story), Some(release(1)));
    assert!(story.events.contains(&Event::Unpinned {
        select: "node=node-0".to_owned()
    }));
}

#[test]
fn a_person_ends_a_manual_stage() {
    let mut policy = first_then_all();
    policy.stages[0].manual = true;
    let mut story = Story::begun(10, policy);
    story.tick();
    story.tick();
    story.wait(BAKE);
    assert_eq!(story.pause(), Some(Pause::Manual));
    let bad = story.evidence(|exposed| exposed.failed = 1);
    let mut failed = story.clone();
    failed.tick_on(&bad);
    assert_eq!(
        failed.phase(),
        "rolling back",
        "it is watched while it waits"
    );
    story
        .command(Command::Promote {
            author: "bob".to_owned(),
        })
        .unwrap();
    assert_eq!((story.phase(), story.exposed()), ("exposing", 10));
}

fn back_to(seq: Option<u64>, now: bool, quarantine: bool) -> Command {
    Command::Return(Return {
        to: seq.map(release),
        now,
        quarantine,
        author: "bob".to_owned(),
        reason: "it is slow".to_owned(),
    })
}

/// Release 2 is stable, 1 was before.
fn two_is_stable() -> Story {
    let mut story = Story::begun(10, first_then_all());
    for _ in 0..8 {
        story.wait(BAKE);
    }
    assert_eq!(story.state.stable, Some(release(2)));
    story
}

#[test]
fn back_to_what_was_good_takes_all_at_once_and_waits_for_no_gate() {
    let mut story = two_is_stable();
    let hold = Hold {
        author: "ops".to_owned(),
        reason: "holiday".to_owned(),
        from: None,
        until: None,
    };
    story.command(Command::Hold(hold)).unwrap();
    story.outside = Verdict::Fail("all burns".to_owned());
    story.command(back_to(None, false, false)).unwrap();
    assert_eq!(story.state.stable, Some(release(1)));
    let of = |story: &Story, id: &str| assign(&node(id), &story.state).release();
    assert!(
        story
            .nodes
            .iter()
            .all(|id| of(&story, id) == Some(release(1)))
    );
    let mut late = story.evidence(|_| {});
    late.base.holding = 1;
    story.tick_on(&late);
    assert_eq!(story.phase(), "rolling back", "one of ten is back");
    story.tick();
    assert_eq!(story.phase(), "over");
    // And forth again: what was left is not bad.
    assert_eq!(story.state.last_good, [release(2)]);
    story.command(back_to(None, false, true)).unwrap();
    assert_eq!(story.state.stable, Some(release(2)));
    assert_eq!(story.state.quarantined, [release(1).digest]);
    assert!(story.state.last_good.is_empty());
}

#[test]
fn back_to_nodes_that_reject_it_waits_for_a_person() {
    let mut story = two_is_stable();
    story.command(back_to(None, false, false)).unwrap();
    let mut stuck = story.evidence(|_| {});
    stuck.base.rejected = 1;
    story.tick_on(&stuck);
    story.wait(Duration::from_secs(3600));
    assert_eq!(story.phase(), "rolling back");
    assert!(story.events.contains(&Event::Stuck { rollout: 2 }));
    let hotfix = start(3, first_then_all());
    story.command(Command::Supersede(hotfix)).unwrap();
    assert_eq!(story.phase(), "scheduled");
}

#[test]
fn back_from_a_rollout_is_to_its_base_and_further_in_its_place() {
    let mut story = two_is_stable();
    story.start(3, first_then_all());
    story.tick();
    let mut further = story.clone();
    story.command(back_to(None, false, false)).unwrap();
    assert_eq!(
        (story.phase(), story.state.stable),
        ("rolling back", Some(release(2)))
    );
    further.command(back_to(Some(1), false, false)).unwrap();
    assert_eq!(further.state.stable, Some(release(1)));
    assert!(further.outcomes().contains(&Outcome::Superseded));
    further.tick();
    assert_eq!((further.phase(), further.exposed()), ("over", 0));
}

#[test]
fn back_to_what_is_older_needs_stages_or_insistence() {
    let mut story = two_is_stable();
    let refused = |story: &mut Story, command| story.command(command).unwrap_err();
    assert_eq!(
        refused(&mut story, back_to(Some(7), false, false)),
        Refused::NotLastGood(7)
    );
    assert_eq!(
        refused(&mut story, back_to(Some(2), true, false)),
        Refused::AlreadyStable(2)
    );
    story.state.quarantined.push(release(8).digest);
    assert_eq!(
        refused(&mut story, back_to(Some(8), true, false)),
        Refused::Quarantined(8)
    );
    story.command(back_to(Some(7), true, false)).unwrap();
    assert_eq!(story.state.stable, Some(release(7)));
    let mut fresh = Story::of(3);
    assert_eq!(
        refused(&mut fresh, back_to(None, false, false)),
        Refused::NothingBefore
    );
}

#[test]
fn a_freeze_can_be_planned() {
    let mut story = Story::begun(10, first_then_all());
    story.tick();
    story.tick();
    let now = story.now;
    let planned = |from: u64, until: u64| {
        Command::Hold(Hold {
            author: "ops".to_owned(),
            reason: "holiday".to_owned(),
            from: Some(now + Duration::from_secs(from)),
            until: Some(now + Duration::from_secs(until)),
        })
    };
    assert_eq!(story.command(planned(30, 30)), Err(Refused::NoTime));
    story.command(planned(30, 600)).unwrap();
    assert!(story.state.hold.is_none());
    story.wait(Duration::from_secs(60));
    assert_eq!((story.phase(), story.exposed()), ("baking", 1), "it holds");
    story.wait(Duration::from_secs(540));
    assert_eq!((story.phase(), story.exposed()), ("exposing", 10));
    story.command(planned(9_000, 9_001)).unwrap();
    story.command(Command::DropPlanned).unwrap();
    assert!(story.state.planned.is_empty());
    assert_eq!(story.command(Command::DropPlanned), Err(Refused::NotHeld));
}
