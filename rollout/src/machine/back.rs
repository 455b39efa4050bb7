//! Owns the way back that a person asks for. Must not know: what failed.
//!
//! What was stable minutes ago needs no stages and no gate to be given to all again: it proved itself,
//! and every minute counts. It is the same way that a failed rollout goes back. What is older is a
//! release like any other, for the world has gone on since; unless a person insists.

use super::event::{Event, Outcome};
use super::{Refused, Turn};
use crate::cohort::Percent;
use crate::policy::{OnFail, Policy, Stage};
use crate::state::{MAX_LAST_GOOD, MAX_QUARANTINED, Phase, Release, Rollout, Start};

use std::time::Duration;

/// What a person wants to go back to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Return {
    /// Which release. None: where a rollout is under way, what was stable before it; else what was
    /// stable before the one that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Release>,
    /// Whether it may be one that was not stable lately.
    #[serde(default)]
    pub now: bool,
    /// Whether what is left is never to be rolled out again before a person says so.
    #[serde(default)]
    pub quarantine: bool,
    /// Who wants it.
    pub author: String,
    /// Why.
    pub reason: String,
}

impl Turn {
    /// No hold stops it: going back is always allowed.
    pub(super) fn go_back(&mut self, wanted: Return) -> Result<(), Refused> {
        let under_way = self.state.rollout.is_some();
        let to = match wanted.to {
            None if under_way => return self.abort(&wanted.author, &wanted.reason),
            None => *self.state.last_good.first().ok_or(Refused::NothingBefore)?,
            Some(to) => to,
        };
        if self.state.quarantined.contains(&to.digest) {
            return Err(Refused::Quarantined(to.seq));
        }
        let Some(left) = self.state.stable else {
            return Err(Refused::NotLastGood(to.seq));
        };
        if left.digest == to.digest {
            return match under_way {
                true => self.abort(&wanted.author, &wanted.reason),
                false => Err(Refused::AlreadyStable(to.seq)),
            };
        }
        let known = self.state.last_good.iter();
        if !wanted.now && !known.clone().any(|one| one.digest == to.digest) {
            return Err(Refused::NotLastGood(to.seq));
        }
        // What was queued was made for after the one that now never ends.
        self.state.queued = None;
        self.end(Outcome::Superseded);
        self.leave(left, to, wanted);
        Ok(())
    }

    fn leave(&mut self, left: Release, to: Release, wanted: Return) {
        let state = &mut self.state;
        state.stable = Some(to);
        state
            .last_good
            .retain(|one| one.digest != to.digest && one.digest != left.digest);
        match wanted.quarantine {
            true => state.quarantined.push(left.digest),
            false => state.last_good.insert(0, left),
        }
        state.last_good.truncate(MAX_LAST_GOOD);
        let surplus = state.quarantined.len().saturating_sub(MAX_QUARANTINED);
        state.quarantined.drain(..surplus);
        state.rollouts += 1;
        state.exposures += 1;
        let reason = format!("{}: {}", wanted.author, wanted.reason);
        state.rollout = Some(Box::new(Rollout {
            id: state.rollouts,
            base: Some(to),
            phase: Phase::RollingBack {
                reason,
                stuck: false,
            },
            since: self.now,
            stage: 0,
            salt: state.salt,
            exposure: state.exposures,
            cohorts: Vec::new(),
            assigned: None,
            enroll_fresh: false,
            approvals: Vec::new(),
            start: Start {
                target: left,
                policy: at_once(),
                author: wanted.author.clone(),
                reason: wanted.reason.clone(),
            },
        }));
        let rollout = self.state.rollouts;
        self.tell(Event::Returned {
            rollout,
            from: left,
            to,
            author: wanted.author,
            reason: wanted.reason,
        });
    }
}

/// A way back has no stages; a rollout has a policy.
fn at_once() -> Policy {
    Policy {
        name: "return".to_owned(),
        domain: None,
        stages: vec![Stage::of("all", Percent::ALL, Duration::ZERO)],
        soak: Duration::ZERO,
        probation: Duration::ZERO,
        on_fail: OnFail::Halt,
        approvals: 0,
    }
}
