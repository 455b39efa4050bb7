//! Owns what people want of a rollout, and whether it can be. Must not know: whether they may.

use serde::{Deserialize, Serialize};

use super::event::{Event, Outcome};
use super::{Return, Step, Turn};
use crate::digest::Digest;
use crate::evidence::Evidence;
use crate::selector::Selector;
use crate::state::{EVAL, Hold, MAX_PINS, MAX_PLANNED, Pause, Phase, Pin, Release, Start, State};
use crate::time::Millis;

/// What a person, or a program in their name, wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant says what its fields are of")]
pub enum Command {
    /// Rolls a release out; after the one under way, if there is one.
    Start(Start),
    /// Rolls a release out in place of the one under way. What that one exposed nodes to, they lose; the
    /// base stays what is stable.
    Supersede(Start),
    /// Approves the rollout of this target.
    Approve { author: String, target: Digest },
    /// Lets it wait. Those exposed stay so.
    Pause { author: String, reason: String },
    /// Goes on from where it waits; the stage is counted and watched anew.
    Resume { author: String },
    /// Ends the stage without what it waits for. What has failed can't be promoted.
    Promote { author: String },
    /// Takes everybody back to the base.
    Abort { author: String, reason: String },
    /// Gives some nodes a release of their own; in place of an earlier pin of the same nodes.
    Pin(Pin),
    /// Ends that.
    Unpin { select: Selector },
    /// Takes everybody back to what was good before, at once.
    Return(Return),
    /// Nothing goes forward until it is ended, from now on or from when it says.
    Hold(Hold),
    /// Ends that.
    Unhold,
    /// Drops what is planned of it.
    DropPlanned,
    /// Lets content be rolled out again that failed.
    Unquarantine { digest: Digest },
    /// Makes stable what all nodes have already: the fleet was not staged before.
    Adopt { author: String, release: Release },
}

/// Why something can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant says what its fields are of")]
pub enum Refused {
    /// It is written by a newer server.
    #[error(
        "the state of this fleet was written by a newer server, which reads it by rules of version {0}; this one knows {EVAL}"
    )]
    TooNew(u16),
    /// It failed before.
    #[error(
        "the content of release {0} failed before and is quarantined; say `unquarantine` if it is to be tried again"
    )]
    Quarantined(u64),
    /// It is already so.
    #[error("release {0} is already stable")]
    AlreadyStable(u64),
    /// It is already under way.
    #[error("release {0} is already being rolled out, by rollout {1}")]
    AlreadyUnderWay(u64, u64),
    /// Nothing may go forward.
    #[error("nothing goes forward: {author} said: {reason}")]
    Held { author: String, reason: String },
    /// There is none.
    #[error("no rollout is under way")]
    NoRollout,
    /// Not from here.
    #[error("rollout {rollout} is {phase}; that can't be {wanted}")]
    NotNow {
        rollout: u64,
        phase: &'static str,
        wanted: &'static str,
    },
    /// Approvals are of one content.
    #[error("rollout {0} is of another release than the one approved")]
    OtherTarget(u64),
    /// Another person must.
    #[error("{0} can't approve: the rollout is their own, or they have approved it")]
    OwnApproval(String),
    /// Too many.
    #[error(
        "there are {MAX_PINS} pins already; nodes that need so many releases of their own are a fleet of their own"
    )]
    TooManyPins,
    /// There is none.
    #[error("nothing is pinned by {0:?}")]
    NoSuchPin(String),
    /// There is none.
    #[error("nothing holds this fleet")]
    NotHeld,
    /// It would be over before it begins.
    #[error("the time of the freeze ends before it begins")]
    NoTime,
    /// Too many.
    #[error("{MAX_PLANNED} freezes are planned already")]
    TooManyPlanned,
    /// There is no release before.
    #[error("no release was stable before the one that is")]
    NothingBefore,
    /// It was not stable lately.
    #[error(
        "release {0} is not one of the last that were stable: roll it out like any other, or insist"
    )]
    NotLastGood(u64),
    /// It is not.
    #[error("that content is not quarantined")]
    NotQuarantined,
}

/// What follows from a command. `candidates` is what servers last said of whom the next stage could
/// take; only a promotion needs it.
///
/// # Errors
/// It can't be, and why.
pub fn command(
    state: &State,
    command: Command,
    evidence: &Evidence,
    now: Millis,
) -> Result<Step, Refused> {
    if state.eval > EVAL {
        return Err(Refused::TooNew(state.eval));
    }
    let mut turn = Turn::of(state, now);
    match command {
        Command::Start(start) => turn.start(start)?,
        Command::Supersede(start) => turn.supersede(start)?,
        Command::Approve { author, target } => turn.approve(author, target)?,
        Command::Pause { author, reason } => turn.pause_asked(&author, &reason)?,
        Command::Resume { author } => turn.resume(author)?,
        Command::Promote { author } => turn.promote(author, evidence)?,
        Command::Abort { author, reason } => turn.abort(&author, &reason)?,
        Command::Pin(pin) => turn.pin(pin)?,
        Command::Unpin { select } => turn.unpin(&select)?,
        Command::Return(wanted) => turn.go_back(wanted)?,
        Command::Hold(hold) => turn.hold(hold)?,
        Command::DropPlanned => turn.drop_planned()?,
        Command::Unhold => {
            turn.state.hold.take().ok_or(Refused::NotHeld)?;
            turn.tell(Event::Unheld);
        }
        Command::Adopt { author, release } => {
            if turn.state.rollout.is_some() {
                return Err(turn.not_now("replaced by what all nodes have"));
            }
            turn.state.adopt(release);
            turn.tell(Event::Adopted { release, author });
        }
        Command::Unquarantine { digest } => {
            let known = turn.state.quarantined.len();
            turn.state.quarantined.retain(|one| *one != digest);
            if turn.state.quarantined.len() == known {
                return Err(Refused::NotQuarantined);
            }
            turn.tell(Event::Unquarantined {
                digest: digest.to_string(),
            });
        }
    }
    Ok(Step {
        state: turn.state,
        events: turn.events,
    })
}

impl Turn {
    fn start(&mut self, start: Start) -> Result<(), Refused> {
        self.can_start(&start)?;
        let Some(rollout) = &self.state.rollout else {
            if self
                .state
                .stable
                .is_some_and(|stable| stable.digest == start.target.digest)
            {
                return Err(Refused::AlreadyStable(start.target.seq));
            }
            self.begin(start);
            return Ok(());
        };
        if rollout.start.target == start.target && rollout.goes_forward() {
            return Err(Refused::AlreadyUnderWay(start.target.seq, rollout.id));
        }
        // Never in its place: who publishes faster than a rollout takes would never see one end.
        let (target, author) = (start.target, start.author.clone());
        let before = self.state.queued.replace(Box::new(start));
        self.tell(Event::Queued {
            target,
            author,
            instead_of: before.map(|start| start.target),
        });
        Ok(())
    }

    fn supersede(&mut self, start: Start) -> Result<(), Refused> {
        self.can_start(&start)?;
        if self
            .state
            .stable
            .is_some_and(|stable| stable.digest == start.target.digest)
        {
            return Err(Refused::AlreadyStable(start.target.seq));
        }
        // What was queued was made for after the one that now never ends.
        self.state.queued = None;
        self.end(Outcome::Superseded);
        self.begin(start);
        Ok(())
    }

    fn can_start(&self, start: &Start) -> Result<(), Refused> {
        if self.state.quarantined.contains(&start.target.digest) {
            return Err(Refused::Quarantined(start.target.seq));
        }
        self.not_held()
    }

    fn not_held(&self) -> Result<(), Refused> {
        match &self.state.hold {
            None => Ok(()),
            Some(hold) => Err(Refused::Held {
                author: hold.author.clone(),
                reason: hold.reason.clone(),
            }),
        }
    }

    fn not_now(&self, wanted: &'static str) -> Refused {
        let Some(rollout) = &self.state.rollout else {
            return Refused::NoRollout;
        };
        Refused::NotNow {
            rollout: rollout.id,
            phase: rollout.phase.name(),
            wanted,
        }
    }

    fn approve(&mut self, author: String, target: Digest) -> Result<(), Refused> {
        let refused = self.not_now("approved");
        let rollout = self.rollout().ok_or(Refused::NoRollout)?;
        if rollout.phase != Phase::Pending {
            return Err(refused);
        }
        if rollout.start.target.digest != target {
            return Err(Refused::OtherTarget(rollout.id));
        }
        if rollout.start.author == author || rollout.approvals.contains(&author) {
            return Err(Refused::OwnApproval(author));
        }
        rollout.approvals.push(author.clone());
        let (id, enough) = (
            rollout.id,
            rollout.approvals.len() >= rollout.start.policy.approvals as usize,
        );
        self.tell(Event::Approved {
            rollout: id,
            author,
        });
        if enough {
            self.enter(Phase::Scheduled);
        }
        Ok(())
    }

    fn pause_asked(&mut self, author: &str, reason: &str) -> Result<(), Refused> {
        let refused = self.not_now("paused");
        let rollout = self.rollout().ok_or(Refused::NoRollout)?;
        match rollout.phase {
            Phase::Exposing | Phase::Baking { .. } | Phase::Soaking { .. } => {
                self.pause(Pause::Asked, format!("{author}: {reason}"));
                Ok(())
            }
            _ => Err(refused),
        }
    }

    fn resume(&mut self, author: String) -> Result<(), Refused> {
        self.not_held()?;
        let refused = self.not_now("resumed");
        let rollout = self.rollout().ok_or(Refused::NoRollout)?;
        let id = rollout.id;
        match rollout.phase {
            Phase::Paused { .. } => {
                self.tell(Event::Resumed {
                    rollout: id,
                    author,
                });
                self.again();
                Ok(())
            }
            _ => Err(refused),
        }
    }

    /// Only from where nothing has failed, and only one stage.
    fn promote(&mut self, author: String, evidence: &Evidence) -> Result<(), Refused> {
        self.not_held()?;
        let refused = self.not_now("promoted");
        let rollout = self.rollout().ok_or(Refused::NoRollout)?;
        let id = rollout.id;
        match rollout.phase {
            Phase::Exposing
            | Phase::Baking { .. }
            | Phase::Soaking { .. }
            | Phase::Paused { .. } => {
                self.tell(Event::Promoted {
                    rollout: id,
                    author,
                });
                self.leave_stage(evidence);
                Ok(())
            }
            _ => Err(refused),
        }
    }

    pub(super) fn abort(&mut self, author: &str, reason: &str) -> Result<(), Refused> {
        let refused = self.not_now("aborted");
        let rollout = self.rollout().ok_or(Refused::NoRollout)?;
        match rollout.phase {
            Phase::RollingBack { .. } => return Err(refused),
            Phase::Pending | Phase::Scheduled => {
                let aborted = Event::Aborted {
                    rollout: rollout.id,
                    author: author.to_owned(),
                    reason: reason.to_owned(),
                };
                self.tell(aborted);
                self.end(Outcome::Cancelled);
            }
            _ => self.roll_back(format!("{author}: {reason}")),
        }
        Ok(())
    }

    fn hold(&mut self, hold: Hold) -> Result<(), Refused> {
        let from = hold.from.filter(|from| *from > self.now);
        let begin = from.unwrap_or(self.now);
        if hold.until.is_some_and(|until| until <= begin) {
            return Err(Refused::NoTime);
        }
        let reason = hold.reason.clone();
        let Some(from) = from else {
            self.state.hold = Some(Hold { from: None, ..hold });
            self.tell(Event::Held { reason });
            return Ok(());
        };
        if self.state.planned.len() >= MAX_PLANNED {
            return Err(Refused::TooManyPlanned);
        }
        self.state.planned.push(hold);
        self.tell(Event::HoldPlanned { reason, from });
        Ok(())
    }

    fn drop_planned(&mut self) -> Result<(), Refused> {
        if self.state.planned.is_empty() {
            return Err(Refused::NotHeld);
        }
        for Hold { reason, .. } in std::mem::take(&mut self.state.planned) {
            self.tell(Event::PlanDropped { reason });
        }
        Ok(())
    }

    fn pin(&mut self, pin: Pin) -> Result<(), Refused> {
        self.state.pins.retain(|one| one.select != pin.select);
        if self.state.pins.len() >= MAX_PINS {
            return Err(Refused::TooManyPins);
        }
        self.tell(Event::Pinned {
            select: pin.select.to_string(),
            release: pin.release,
        });
        self.state.pins.push(pin);
        Ok(())
    }

    fn unpin(&mut self, select: &Selector) -> Result<(), Refused> {
        let known = self.state.pins.len();
        self.state.pins.retain(|one| one.select != *select);
        if self.state.pins.len() == known {
            return Err(Refused::NoSuchPin(select.to_string()));
        }
        self.tell(Event::Unpinned {
            select: select.to_string(),
        });
        Ok(())
    }
}

impl Phase {
    /// In a word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Scheduled => "scheduled",
            Self::Exposing => "exposing",
            Self::Baking { .. } => "baking",
            Self::Soaking { .. } => "soaking",
            Self::Paused { .. } => "paused",
            Self::Halted { .. } => "halted",
            Self::RollingBack { .. } => "rolling back",
        }
    }
}
