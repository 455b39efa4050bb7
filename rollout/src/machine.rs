//! Owns the way of a rollout from one state to the next. Must not know: who leads, what time it is, how
//! anything is stored. The leader writes what comes of it only if nobody else has written meanwhile.
//!
//! Forward is one way, stage after stage, each only on a positive verdict. Back is open from everywhere
//! and waits for nothing: least of all for the health of what failed.

mod back;
mod command;
mod event;
mod stage;
mod tick;

use crate::state::{MAX_QUARANTINED, Phase, Rollout, Start, State};
use crate::time::Millis;

pub use self::back::Return;
pub use self::command::{Command, Refused, command};
pub use self::event::{Event, Outcome};
pub use self::tick::{take_over, tick};

/// The next state, and what there is to tell of the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is to be written.
    pub state: State,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// A state on its way to the next.
#[derive(Debug)]
struct Turn {
    state: State,
    events: Vec<Event>,
    now: Millis,
}

impl Turn {
    fn of(state: &State, now: Millis) -> Self {
        Self {
            state: state.clone(),
            events: Vec::new(),
            now,
        }
    }

    /// What came of it; nothing if all is as it was.
    fn done(self, before: &State) -> Option<Step> {
        (self.state != *before).then_some(Step {
            state: self.state,
            events: self.events,
        })
    }

    fn tell(&mut self, event: Event) {
        self.events.push(event);
    }

    /// From here on, nodes are counted anew.
    fn count_anew(&mut self) {
        self.state.exposures += 1;
        let exposure = self.state.exposures;
        if let Some(rollout) = self.rollout() {
            rollout.exposure = exposure;
            rollout.assigned = None;
        }
    }

    fn rollout(&mut self) -> Option<&mut Rollout> {
        self.state.rollout.as_deref_mut()
    }

    fn enter(&mut self, phase: Phase) {
        let now = self.now;
        if let Some(rollout) = self.rollout() {
            rollout.phase = phase;
            rollout.since = now;
        }
    }

    /// Begins one. Nobody is exposed yet.
    fn begin(&mut self, start: Start) {
        self.state.rollouts += 1;
        self.state.exposures += 1;
        let id = self.state.rollouts;
        self.tell(Event::Started {
            rollout: id,
            target: start.target,
            author: start.author.clone(),
            reason: start.reason.clone(),
        });
        let phase = match start.policy.approvals {
            0 => Phase::Scheduled,
            _ => Phase::Pending,
        };
        self.state.rollout = Some(Box::new(Rollout {
            id,
            base: self.state.stable,
            phase,
            since: self.now,
            stage: 0,
            salt: self.state.salt,
            exposure: self.state.exposures,
            cohorts: Vec::new(),
            assigned: None,
            enroll_fresh: false,
            approvals: Vec::new(),
            start,
        }));
    }

    /// It is over. What was queued begins, if it still can.
    fn end(&mut self, outcome: Outcome) {
        let Some(rollout) = self.state.rollout.take() else {
            return;
        };
        if outcome == Outcome::Succeeded {
            let target = rollout.start.target;
            self.state.adopt(target);
            // The next line of rollouts begins elsewhere.
            self.state.salt = self.state.salt.after(&target.digest);
        }
        self.tell(Event::Ended {
            rollout: rollout.id,
            outcome,
        });
        let Some(queued) = self.state.queued.take() else {
            return;
        };
        let is_stable = self.state.stable == Some(queued.target);
        if !is_stable && !self.state.quarantined.contains(&queued.target.digest) {
            self.begin(*queued);
        }
    }

    /// Nobody is exposed to it again before a person says so, and it is nothing to fall back on.
    fn quarantine(&mut self) {
        let Some(target) = self.rollout().map(|rollout| rollout.start.target) else {
            return;
        };
        self.state
            .last_good
            .retain(|known| known.digest != target.digest);
        if !self.state.quarantined.contains(&target.digest) {
            self.state.quarantined.push(target.digest);
        }
        let surplus = self.state.quarantined.len().saturating_sub(MAX_QUARANTINED);
        self.state.quarantined.drain(..surplus);
    }

    fn roll_back(&mut self, reason: String) {
        let Some(rollout) = self.rollout() else {
            return;
        };
        let (id, exposed) = (rollout.id, rollout.has_exposed());
        self.tell(Event::RollingBack {
            rollout: id,
            reason: reason.clone(),
        });
        self.count_anew();
        self.enter(Phase::RollingBack {
            reason,
            stuck: false,
        });
        // Where nobody went, nobody must come back from.
        if !exposed {
            self.end(Outcome::RolledBack { stragglers: 0 });
        }
    }

    fn pause(&mut self, why: crate::state::Pause, reason: String) {
        let Some(rollout) = self.rollout() else {
            return;
        };
        let rollout = rollout.id;
        self.tell(Event::Paused {
            rollout,
            why,
            reason: reason.clone(),
        });
        self.enter(Phase::Paused { why, reason });
    }
}
