//! Owns what there is to tell of a rollout, for the history and the log. Must not know: where it is kept.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::state::{Pause, Release};
use crate::time::Millis;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "each variant says what its fields are of")]
pub enum Event {
    /// It was asked for, and can begin.
    Started {
        rollout: u64,
        target: Release,
        author: String,
        reason: String,
    },
    /// It was asked for, and begins when the one under way is over.
    Queued {
        target: Release,
        author: String,
        /// What was queued before and now never begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instead_of: Option<Release>,
    },
    /// Somebody approved.
    Approved { rollout: u64, author: String },
    /// A stage begins: its nodes get the release.
    Exposing { rollout: u64, stage: String },
    /// So many nodes were connected when the stage began.
    Counted {
        rollout: u64,
        stage: String,
        nodes: u64,
    },
    /// Enough of them are stable; they are watched.
    Baking { rollout: u64, stage: String },
    /// Every node has it; all are watched.
    Soaking { rollout: u64 },
    /// It waits for a person.
    Paused {
        rollout: u64,
        why: Pause,
        reason: String,
    },
    /// A person let it go on.
    Resumed { rollout: u64, author: String },
    /// A person ended a stage without what it waited for.
    Promoted { rollout: u64, author: String },
    /// Something failed; nobody joins those exposed.
    Halted { rollout: u64, reason: String },
    /// A person takes everybody back to what was good before; it is what is stable from now on.
    Returned {
        rollout: u64,
        from: Release,
        to: Release,
        author: String,
        reason: String,
    },
    /// A person wanted no more of it before anybody was exposed.
    Aborted {
        rollout: u64,
        author: String,
        reason: String,
    },
    /// All go back to the base.
    RollingBack { rollout: u64, reason: String },
    /// Nodes reject the base as well.
    Stuck { rollout: u64 },
    /// It is over.
    Ended { rollout: u64, outcome: Outcome },
    /// Nodes got a release of their own.
    Pinned { select: String, release: Release },
    /// They no longer have one.
    Unpinned { select: String },
    /// Nothing goes forward.
    Held { reason: String },
    /// Nothing will go forward from then on.
    HoldPlanned { reason: String, from: Millis },
    /// It will, after all.
    PlanDropped { reason: String },
    /// It may again.
    Unheld,
    /// What all nodes had when the fleet became staged is what is stable.
    Adopted { release: Release, author: String },
    /// Content may be rolled out again.
    Unquarantined { digest: String },
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each variant says what its fields are of")]
pub enum Outcome {
    /// Its target is stable.
    Succeeded,
    /// All went back, but for so many nodes that have not said so.
    RolledBack { stragglers: u64 },
    /// Nobody was ever exposed.
    Cancelled,
    /// Another one took its place.
    Superseded,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded => f.write_str("succeeded"),
            Self::RolledBack { stragglers: 0 } => f.write_str("rolled back"),
            Self::RolledBack { stragglers } => {
                write!(f, "rolled back, {stragglers} nodes have not said so")
            }
            Self::Cancelled => f.write_str("cancelled"),
            Self::Superseded => f.write_str("superseded"),
        }
    }
}

impl Event {
    /// The rollout that it is of, if it is of one.
    #[must_use]
    pub fn rollout(&self) -> Option<u64> {
        match self {
            Self::Started { rollout, .. }
            | Self::Approved { rollout, .. }
            | Self::Exposing { rollout, .. }
            | Self::Counted { rollout, .. }
            | Self::Baking { rollout, .. }
            | Self::Soaking { rollout }
            | Self::Paused { rollout, .. }
            | Self::Resumed { rollout, .. }
            | Self::Promoted { rollout, .. }
            | Self::Halted { rollout, .. }
            | Self::Returned { rollout, .. }
            | Self::RollingBack { rollout, .. }
            | Self::Aborted { rollout, .. }
            | Self::Stuck { rollout }
            | Self::Ended { rollout, .. } => Some(*rollout),
            Self::Queued { .. }
            | Self::Pinned { .. }
            | Self::Unpinned { .. }
            | Self::Held { .. }
            | Self::HoldPlanned { .. }
            | Self::PlanDropped { .. }
            | Self::Unheld
            | Self::Adopted { .. }
            | Self::Unquarantined { .. } => None,
        }
    }
}

/// For the history, which says of which rollout and by whom beside it.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { target, reason, .. } => {
                write!(f, "release {} is rolled out: {reason}", target.seq)
            }
            Self::Queued { target, .. } => write!(f, "release {} is next", target.seq),
            Self::Approved { author, .. } => write!(f, "approved by {author}"),
            Self::Exposing { stage, .. } => write!(f, "stage {stage}: nodes get it"),
            Self::Counted { stage, nodes, .. } => write!(f, "stage {stage}: {nodes} nodes"),
            Self::Baking { stage, .. } => write!(f, "stage {stage}: stable, watched"),
            Self::Soaking { .. } => f.write_str("all nodes have it, watched"),
            Self::Paused { reason, .. } => write!(f, "paused: {reason}"),
            Self::Resumed { author, .. } => write!(f, "resumed by {author}"),
            Self::Promoted { author, .. } => write!(f, "stage ended by {author}"),
            Self::Halted { reason, .. } => write!(f, "halted: {reason}"),
            Self::Returned {
                from, to, reason, ..
            } => write!(f, "back from release {} to {}: {reason}", from.seq, to.seq),
            Self::Aborted { author, reason, .. } => write!(f, "aborted by {author}: {reason}"),
            Self::RollingBack { reason, .. } => write!(f, "all nodes go back: {reason}"),
            Self::Stuck { .. } => f.write_str("nodes reject what they go back to"),
            Self::Ended { outcome, .. } => write!(f, "{outcome}"),
            Self::Pinned { select, release } => {
                write!(f, "{select} pinned to release {}", release.seq)
            }
            Self::Unpinned { select } => write!(f, "{select} no longer pinned"),
            Self::Held { reason } => write!(f, "frozen: {reason}"),
            Self::HoldPlanned { reason, .. } => write!(f, "freeze planned: {reason}"),
            Self::PlanDropped { reason } => write!(f, "planned freeze dropped: {reason}"),
            Self::Unheld => f.write_str("no longer frozen"),
            Self::Adopted { release, .. } => {
                write!(
                    f,
                    "release {} is what all nodes had, and is stable",
                    release.seq
                )
            }
            Self::Unquarantined { digest } => write!(f, "{digest} may be rolled out again"),
        }
    }
}
