//! Owns a small world: a fleet of two nodes, a leader, people, and time. Must not know: what is promised.

use std::time::Duration;

use super::super::{first_then_all, node, release, stable, start};
use crate::assign::{Node, Role, assign};
use crate::cohort::bucket;
use crate::evidence::{Counts, Evidence};
use crate::gate::Verdict;
use crate::machine::{Command, Event, Return, command, take_over, tick};
use crate::policy::OnFail;
use crate::state::{Hold, Phase, State};
use crate::time::Millis;

const IDS: [&str; 2] = ["n1", "n2"];

/// Past every deadline of an exposure; past that of a halt and of the way back.
const MINUTE: Duration = Duration::from_secs(61);
const HOUR: Duration = Duration::from_secs(3600);

/// One of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct One {
    /// The release that it has in force.
    holds: u64,
    /// The release that it would not have.
    rejects: u64,
    /// The release that it went back from.
    failed: u64,
    connected: bool,
    /// Whether it was exposed when the exposure began.
    assigned: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) state: State,
    pub(super) now: Millis,
    nodes: [One; 2],
    exposure: u64,
    /// What servers saw of the exposure before: it may be all that has arrived.
    stale: Option<Box<Evidence>>,
    on_fail: OnFail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Tick {
        complete: bool,
    },
    TickOnStale,
    TakeOver,
    Wait(Duration),
    /// What a node does: takes what it is given, rejects it, falls back from it, goes, comes back.
    Takes(usize),
    Rejects(usize),
    Fails(usize),
    Goes(usize),
    Returns(usize),
    Start(u64),
    Supersede(u64),
    Pause,
    Resume,
    Promote,
    Abort,
    Hold,
    Unhold,
    /// To what was good before, or to this one.
    Return(Option<u64>),
}

impl Action {
    pub(super) fn is_of_a_person(self) -> bool {
        matches!(self, Self::Promote)
    }
}

impl World {
    pub(super) fn start(on_fail: OnFail) -> Self {
        let one = One {
            holds: 1,
            rejects: 0,
            failed: 0,
            connected: true,
            assigned: false,
        };
        let mut world = Self {
            // What is tried may be what was good before.
            state: State {
                last_good: vec![release(2), release(4)],
                ..stable()
            },
            now: Millis(1_000_000_000),
            nodes: [one; 2],
            exposure: 0,
            stale: None,
            on_fail,
        };
        world.act(Action::Start(2));
        world
    }

    /// The same world at another time is no other world.
    pub(super) fn normal(&self) -> Self {
        let mut world = self.clone();
        let now = world.now;
        let past = |since: &mut Millis| *since = Millis(now.since(*since).min(HOUR * 25).as_secs());
        let future = |until: &mut Millis| *until = Millis(until.since(now).as_secs());
        if let Some(rollout) = &mut world.state.rollout {
            past(&mut rollout.since);
            rollout.exposure = 0;
            rollout.id = 0;
            if let Phase::Baking { until } | Phase::Soaking { until } = &mut rollout.phase {
                future(until);
            }
        }
        world.state.exposures = 0;
        world.state.rollouts = 0;
        world.exposure = 0;
        if let Some(stale) = &mut world.stale {
            stale.exposure = 0;
        }
        world.now = Millis(0);
        world
    }

    pub(super) fn actions(&self) -> impl Iterator<Item = Action> {
        let each = (0..IDS.len()).flat_map(|index| {
            [
                Action::Takes(index),
                Action::Rejects(index),
                Action::Fails(index),
                Action::Goes(index),
                Action::Returns(index),
            ]
        });
        let others = [
            Action::Tick { complete: true },
            Action::Tick { complete: false },
            Action::TickOnStale,
            Action::TakeOver,
            Action::Wait(MINUTE),
            Action::Wait(HOUR),
            Action::Start(2),
            Action::Start(3),
            Action::Supersede(3),
            Action::Pause,
            Action::Resume,
            Action::Promote,
            Action::Abort,
            Action::Hold,
            Action::Unhold,
            Action::Return(None),
            Action::Return(Some(4)),
        ];
        others.into_iter().chain(each)
    }

    /// Each node as the assignment sees it.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&'static str, Node)> {
        let each = IDS.into_iter().zip(self.nodes);
        each.map(|(id, one)| {
            let current = Some(release(one.holds).digest);
            (
                id,
                Node {
                    current,
                    ..node(id)
                },
            )
        })
    }

    /// What happens; nothing if it can't.
    pub(super) fn act(&mut self, action: Action) -> Option<Vec<Event>> {
        let author = || "ann".to_owned();
        let reason = || "because".to_owned();
        let none = Vec::new();
        let command = match action {
            Action::Tick { complete } => {
                let step = tick(
                    &self.state,
                    &self.evidence(complete),
                    &Verdict::Pass,
                    self.now,
                )?;
                return Some(self.adopt(step.state, step.events));
            }
            Action::TickOnStale => {
                let stale = self.stale.clone()?;
                let step = tick(&self.state, &stale, &Verdict::Pass, self.now)?;
                return Some(self.adopt(step.state, step.events));
            }
            Action::TakeOver => {
                let step = take_over(&self.state, self.now)?;
                return Some(self.adopt(step.state, step.events));
            }
            Action::Wait(time) => {
                self.now = self.now + time;
                return Some(none);
            }
            Action::Takes(_)
            | Action::Rejects(_)
            | Action::Fails(_)
            | Action::Goes(_)
            | Action::Returns(_) => {
                return self.node_acts(action).then_some(none);
            }
            Action::Start(seq) => Command::Start(start(seq, self.policy())),
            Action::Supersede(seq) => Command::Supersede(start(seq, self.policy())),
            Action::Pause => Command::Pause {
                author: author(),
                reason: reason(),
            },
            Action::Resume => Command::Resume { author: author() },
            Action::Promote => Command::Promote { author: author() },
            Action::Abort => Command::Abort {
                author: author(),
                reason: reason(),
            },
            Action::Hold => Command::Hold(Hold {
                author: author(),
                reason: reason(),
                from: None,
                until: None,
            }),
            Action::Unhold => Command::Unhold,
            Action::Return(to) => Command::Return(Return {
                to: to.map(release),
                now: false,
                quarantine: to.is_some(),
                author: author(),
                reason: reason(),
            }),
        };
        let step = self::command(&self.state, command, &self.evidence(true), self.now).ok()?;
        Some(self.adopt(step.state, step.events))
    }

    fn policy(&self) -> crate::policy::Policy {
        crate::policy::Policy {
            on_fail: self.on_fail,
            ..first_then_all()
        }
    }

    /// What a server does with a new state: it counts whom it exposes.
    fn adopt(&mut self, state: State, events: Vec<Event>) -> Vec<Event> {
        let seen = self.evidence(true);
        self.state = state;
        let exposure = self
            .state
            .rollout
            .as_ref()
            .map_or(0, |rollout| rollout.exposure);
        if exposure != self.exposure {
            self.exposure = exposure;
            self.stale = Some(Box::new(seen));
            let roles = self.roles();
            for (one, role) in self.nodes.iter_mut().zip(roles) {
                one.assigned = one.connected && role == Some(Role::Exposed);
            }
        }
        events
    }

    fn roles(&self) -> Vec<Option<Role>> {
        self.nodes()
            .map(|(_, node)| assign(&node, &self.state).role())
            .collect()
    }

    fn node_acts(&mut self, action: Action) -> bool {
        let (Action::Takes(index)
        | Action::Rejects(index)
        | Action::Fails(index)
        | Action::Goes(index)
        | Action::Returns(index)) = action
        else {
            return false;
        };
        let given = self
            .nodes()
            .nth(index)
            .and_then(|(_, node)| assign(&node, &self.state).release());
        let (one, given) = (
            &mut self.nodes[index],
            given.map_or(0, |release| release.seq),
        );
        let before = *one;
        match action {
            Action::Takes(_) if one.connected && one.rejects != given => one.holds = given,
            Action::Rejects(_) if one.connected && one.holds != given => one.rejects = given,
            Action::Fails(_) if one.holds == given && given != 1 => {
                one.failed = given;
                one.holds = 1;
            }
            Action::Goes(_) => one.connected = false,
            Action::Returns(_) => one.connected = true,
            _ => {}
        }
        *one != before
    }

    /// All nodes are there, and take what they are given.
    pub(super) fn heal(&mut self) {
        for index in 0..IDS.len() {
            let given = self
                .nodes()
                .nth(index)
                .and_then(|(_, node)| assign(&node, &self.state).release());
            let one = &mut self.nodes[index];
            *one = One {
                holds: given.map_or(0, |release| release.seq),
                rejects: 0,
                failed: 0,
                connected: true,
                ..*one
            };
        }
    }

    /// Nodes that are connected and do not hold the base.
    pub(super) fn not_back(&self) -> u64 {
        let base = self.state.rollout.as_ref().and_then(|rollout| rollout.base);
        let away = |one: &&One| one.connected && Some(one.holds) != base.map(|base| base.seq);
        self.nodes.iter().filter(away).count() as u64
    }

    /// What servers see.
    pub(super) fn evidence(&self, complete: bool) -> Evidence {
        let mut evidence = Evidence {
            exposure: self.exposure,
            complete,
            ..Evidence::default()
        };
        let Some(rollout) = &self.state.rollout else {
            return evidence;
        };
        let target = rollout.start.target.seq;
        let base = rollout.base.map_or(0, |base| base.seq);
        let seen = evidence.domains.entry(String::new()).or_default();
        let candidates = evidence.candidates.entry(String::new()).or_default();
        for ((one, role), id) in self.nodes.iter().zip(self.roles()).zip(IDS) {
            if one.connected {
                candidates.take(bucket(&rollout.salt, id));
            }
            if role == Some(Role::Exposed) || one.assigned {
                count(&mut seen.exposed, one, target);
            } else {
                count(&mut seen.control, one, base);
                evidence.base.connected += u64::from(one.connected);
                evidence.base.holding += u64::from(one.connected && one.holds == base);
                evidence.base.rejected += u64::from(one.connected && one.rejects == base);
            }
        }
        evidence
    }
}

fn count(counts: &mut Counts, one: &One, of: u64) {
    counts.assigned += u64::from(one.assigned);
    counts.connected += u64::from(one.connected);
    counts.missing += u64::from(one.assigned && !one.connected);
    if one.connected && one.failed == of {
        counts.failed += 1;
    } else if one.connected && one.rejects == of {
        counts.rejected += 1;
    } else if one.connected && one.holds == of {
        counts.stable += 1;
    }
}
