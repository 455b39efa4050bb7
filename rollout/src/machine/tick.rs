//! Owns what follows from time and evidence. Must not know: what people want.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{Event, Outcome};
use super::{Step, Turn};
use crate::evidence::Evidence;
use crate::gate::{self, Verdict};
use crate::policy::{OnEmpty, OnFail, Stage};
use crate::state::{EVAL, Hold, Pause, Phase, Rollout, State};
use crate::time::Millis;

/// How long approvals are waited for.
const APPROVAL: Duration = Duration::from_secs(24 * 3600);

/// How long those exposed to something that failed may keep it, where the policy halts.
const HALT: Duration = Duration::from_secs(30 * 60);

/// How long all nodes are waited for on the way back.
const BACK: Duration = Duration::from_secs(10 * 60);

/// The part of all connected nodes that must hold the base again.
const BACK_PER_MILLE: u64 = 990;

/// What follows from what was seen. `outside` is what the gates said that are asked elsewhere, of this
/// rollout, stage and exposure; `None` when nothing does.
#[must_use]
pub fn tick(state: &State, evidence: &Evidence, outside: &Verdict, now: Millis) -> Option<Step> {
    // Written by a newer server: only one that understands all of it may go on.
    if state.eval > EVAL {
        return None;
    }
    let mut turn = Turn::of(state, now);
    turn.expire();
    let held = turn.state.hold.is_some();
    if let Some(rollout) = turn.state.rollout.clone() {
        let seen = Sight {
            rollout: &rollout,
            evidence,
            outside,
            held,
            now,
        };
        seen.act(&mut turn);
    }
    turn.done(state)
}

/// What a new leader does first: a fail-over, or a clock that is ahead, only makes a wait longer.
#[must_use]
pub fn take_over(state: &State, now: Millis) -> Option<Step> {
    let mut turn = Turn::of(state, now);
    let rollout = turn.rollout()?;
    let wait = match rollout.phase {
        // While nobody led, nodes were not counted: what they have not said yet is not held against them.
        Phase::Exposing => {
            rollout.since = rollout.since.max(now);
            return turn.done(state);
        }
        Phase::Baking { .. } => rollout.current()?.bake,
        Phase::Soaking { .. } => rollout.start.policy.soak,
        _ => return None,
    };
    if let Phase::Baking { until } | Phase::Soaking { until } = &mut rollout.phase {
        *until = (*until).max(now + wait / 2);
    }
    turn.done(state)
}

impl Turn {
    /// What ends by itself.
    fn expire(&mut self) {
        let now = self.now;
        let over = |until: Option<Millis>| until.is_some_and(|until| until <= now);
        let (gone, kept) = std::mem::take(&mut self.state.pins)
            .into_iter()
            .partition(|pin| over(pin.until));
        self.state.pins = kept;
        for pin in gone {
            let select = pin.select.to_string();
            self.tell(Event::Unpinned { select });
        }
        self.begin_planned();
        if self
            .state
            .hold
            .as_ref()
            .is_some_and(|hold| over(hold.until))
        {
            self.state.hold = None;
            self.tell(Event::Unheld);
        }
    }
}

impl Turn {
    /// What was planned for now holds from now on; of two at a time, the one that ends later.
    fn begin_planned(&mut self) {
        let now = self.now;
        let due = |hold: &Hold| hold.from.is_none_or(|from| from <= now);
        let planned = std::mem::take(&mut self.state.planned);
        let (due, later): (Vec<_>, Vec<_>) = planned.into_iter().partition(due);
        self.state.planned = later;
        for hold in due {
            let end = |until: Option<Millis>| until.unwrap_or(Millis(u64::MAX));
            let known = self.state.hold.as_ref().map(|known| end(known.until));
            if end(hold.until) > now && known.is_none_or(|known| end(hold.until) > known) {
                let reason = hold.reason.clone();
                self.state.hold = Some(Hold { from: None, ..hold });
                self.tell(Event::Held { reason });
            }
        }
    }
}

/// A rollout, and what is known of it.
struct Sight<'a> {
    rollout: &'a Rollout,
    evidence: &'a Evidence,
    outside: &'a Verdict,
    held: bool,
    now: Millis,
}

impl Sight<'_> {
    fn act(&self, turn: &mut Turn) {
        let rollout = self.rollout;
        match &rollout.phase {
            Phase::Pending => {
                if rollout.age(self.now) >= APPROVAL {
                    turn.end(Outcome::Cancelled);
                }
            }
            Phase::Scheduled => {
                if !self.held && self.is_of_now() && self.evidence.complete {
                    turn.expose(&self.evidence.candidates);
                }
            }
            Phase::Halted { reason } => {
                if rollout.age(self.now) >= HALT {
                    turn.roll_back(format!("halted for half an hour: {reason}"));
                }
            }
            Phase::RollingBack { reason, stuck } => self.back(turn, reason, *stuck),
            Phase::Exposing
            | Phase::Baking { .. }
            | Phase::Soaking { .. }
            | Phase::Paused { .. } => {
                self.forward(turn);
            }
        }
    }

    /// Evidence of another exposure says nothing about this one.
    fn is_of_now(&self) -> bool {
        self.evidence.exposure == self.rollout.exposure
    }

    /// Someone is exposed. What fails does so at once; the rest takes its time.
    fn forward(&self, turn: &mut Turn) {
        let (Some(stage), true) = (self.rollout.current(), self.is_of_now()) else {
            return self.wait(turn);
        };
        let watched = gate::watch(stage, self.evidence);
        if let Verdict::Fail(reason) = Verdict::all([watched.clone(), self.outside.clone()]) {
            return self.fail(turn, reason);
        }
        match self.rollout.phase {
            Phase::Exposing => self.exposing(turn, stage),
            Phase::Baking { until } | Phase::Soaking { until } => {
                self.baking(turn, stage, until, watched);
            }
            _ => {}
        }
    }

    fn fail(&self, turn: &mut Turn, reason: String) {
        turn.quarantine();
        match self.rollout.start.policy.on_fail {
            OnFail::Rollback => turn.roll_back(reason),
            OnFail::Halt => {
                let rollout = self.rollout.id;
                turn.tell(Event::Halted {
                    rollout,
                    reason: reason.clone(),
                });
                turn.enter(Phase::Halted { reason });
            }
        }
    }

    fn exposing(&self, turn: &mut Turn, stage: &Stage) {
        if !self.evidence.complete {
            return self.wait(turn);
        }
        let assigned = match &self.rollout.assigned {
            Some(assigned) => assigned.values().sum(),
            None => self.count(turn, stage),
        };
        // Nodes that came later count as well: nobody was there to be exposed when it began.
        if assigned == 0 && self.evidence.exposed().connected > 0 {
            return turn.again();
        }
        if assigned == 0 && stage.on_empty == OnEmpty::Skip && !self.held {
            return turn.leave_stage(self.evidence);
        }
        match gate::coverage(stage, assigned, self.evidence) {
            Verdict::Pass => {
                let (rollout, stage_name) = (self.rollout.id, stage.name.clone());
                turn.tell(Event::Baking {
                    rollout,
                    stage: stage_name,
                });
                turn.enter(Phase::Baking {
                    until: self.now + stage.bake,
                });
            }
            Verdict::Inconclusive(_) | Verdict::Fail(_) => self.wait(turn),
        }
    }

    /// Freezes the number of nodes that the stage began with: it must not shrink when they die.
    fn count(&self, turn: &mut Turn, stage: &Stage) -> u64 {
        let domains = self.evidence.domains.iter();
        let assigned = domains.map(|(domain, seen)| (domain.clone(), seen.exposed.assigned));
        let assigned: BTreeMap<_, _> = assigned.filter(|(_, nodes)| *nodes > 0).collect();
        let nodes = assigned.values().sum();
        turn.tell(Event::Counted {
            rollout: self.rollout.id,
            stage: stage.name.clone(),
            nodes,
        });
        if let Some(rollout) = turn.rollout() {
            rollout.assigned = Some(assigned);
        }
        nodes
    }

    /// Pauses an exposure that takes too long.
    fn wait(&self, turn: &mut Turn) {
        let (Phase::Exposing, Some(stage)) = (&self.rollout.phase, self.rollout.current()) else {
            return;
        };
        if self.rollout.age(self.now) < stage.deadline {
            return;
        }
        let assigned = self
            .rollout
            .assigned
            .as_ref()
            .map(|all| all.values().sum::<u64>());
        let (why, reason) = match (
            assigned,
            gate::coverage(stage, assigned.unwrap_or(0), self.evidence),
        ) {
            (Some(0), _) => (Pause::Empty, "the stage takes no connected node".to_owned()),
            (Some(_), Verdict::Inconclusive(reason)) if self.is_of_now() => {
                (Pause::Coverage, reason)
            }
            _ => (
                Pause::Inconclusive,
                "not every server has reported".to_owned(),
            ),
        };
        turn.pause(why, reason);
    }

    fn baking(&self, turn: &mut Turn, stage: &Stage, until: Millis, watched: Verdict) {
        if self.now < until {
            return;
        }
        let assigned = self
            .rollout
            .assigned
            .as_ref()
            .map_or(0, |all| all.values().sum());
        let covered = match (assigned, stage.on_empty) {
            (0, OnEmpty::Skip) => Verdict::Pass,
            _ => gate::coverage(stage, assigned, self.evidence),
        };
        match Verdict::all([watched, covered, self.outside.clone()]) {
            Verdict::Pass if self.held => {}
            Verdict::Pass if stage.manual && matches!(self.rollout.phase, Phase::Baking { .. }) => {
                turn.pause(
                    Pause::Manual,
                    format!("a person ends stage {:?}", stage.name),
                );
            }
            Verdict::Pass => turn.leave_stage(self.evidence),
            Verdict::Inconclusive(reason) | Verdict::Fail(reason) => {
                if self.now >= until + stage.patience {
                    turn.pause(Pause::Inconclusive, reason);
                }
            }
        }
    }

    fn back(&self, turn: &mut Turn, reason: &str, stuck: bool) {
        let base = self.evidence.base;
        let stragglers = base.connected.saturating_sub(base.holding);
        // A node that will have neither keeps what it has. Nothing older is tried: a person must look.
        if base.rejected > 0 && !stuck && self.is_of_now() {
            turn.tell(Event::Stuck {
                rollout: self.rollout.id,
            });
            let since = self.rollout.since;
            turn.enter(Phase::RollingBack {
                reason: reason.to_owned(),
                stuck: true,
            });
            if let Some(rollout) = turn.rollout() {
                rollout.since = since;
            }
            return;
        }
        let all_back = self.evidence.complete
            && self.is_of_now()
            && u128::from(base.holding) * 1_000
                >= u128::from(base.connected) * u128::from(BACK_PER_MILLE);
        let too_long = self.rollout.age(self.now) >= BACK;
        if !stuck && (all_back || too_long) {
            turn.end(Outcome::RolledBack { stragglers });
        }
    }
}

impl Turn {
    /// To the next stage; after the last one, all are watched once more; after that, it is over.
    pub(super) fn leave_stage(&mut self, evidence: &Evidence) {
        let now = self.now;
        let Some(rollout) = self.rollout() else {
            return;
        };
        let (id, soak) = (rollout.id, rollout.start.policy.soak);
        if matches!(rollout.phase, Phase::Soaking { .. }) {
            self.end(Outcome::Succeeded);
        } else if rollout.is_last_stage() {
            self.tell(Event::Soaking { rollout: id });
            self.enter(Phase::Soaking { until: now + soak });
        } else {
            rollout.stage += 1;
            self.expose(&evidence.candidates);
        }
    }
}
