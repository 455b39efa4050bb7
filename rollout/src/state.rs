//! Owns everything that decides which release a node of a fleet gets: what the store holds under the
//! fleet's one state key. Must not know: how it came about, or what was seen of nodes.
//!
//! One key, so that nobody ever sees half a decision, and so that its `mod_revision` is the generation
//! by which decisions are ordered. A decision that names an older release has a higher generation.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cohort::{Cohort, Salt};
use crate::digest::Digest;
use crate::policy::{Policy, Stage};
use crate::selector::Selector;
use crate::time::Millis;

/// How [`crate::assign`] reads a state. A server that finds a higher number is too old to decide, and
/// says nothing to nodes.
pub const EVAL: u16 = 1;

/// Releases kept as known to be good, besides the stable one.
pub const MAX_LAST_GOOD: usize = 5;

/// Pins of one fleet. More is a second line of releases, which is a second fleet.
pub const MAX_PINS: usize = 200;

/// Times to come in which nothing goes forward. More is a calendar, which is somebody else's.
pub const MAX_PLANNED: usize = 20;

/// Contents remembered as bad; the oldest is forgotten first.
pub const MAX_QUARANTINED: usize = 100;

/// A release, by the number that people use and by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Release {
    /// The number in `shop@42`.
    pub seq: u64,
    /// What it holds.
    pub digest: Digest,
}

/// The state of a fleet in staged mode.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    /// See [`EVAL`].
    pub eval: u16,
    /// What every node gets that nothing else is said of. None before the first release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<Release>,
    /// What was stable before, newest first.
    #[serde(default)]
    pub last_good: Vec<Release>,
    /// The rollout under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Box<Rollout>>,
    /// The rollout that begins when this one is over. The latest wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<Box<Start>>,
    /// Nodes that get a release of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
    /// Content that failed. Nobody is exposed to it again before a person says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<Digest>,
    /// Why nothing may go forward. Going back is always allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Times to come in which nothing goes forward.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<Hold>,
    /// Who goes first; see [`Salt`].
    pub salt: Salt,
    /// Rollouts so far.
    pub rollouts: u64,
    /// Exposures so far, over all rollouts; see [`Rollout::exposure`].
    pub exposures: u64,
}

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Start {
    /// What nodes are to get.
    pub target: Release,
    /// How.
    pub policy: Policy,
    /// Who asks.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// The staged replacement of one release by another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rollout {
    /// Its number in the fleet.
    pub id: u64,
    /// What nodes have that are not exposed, and what all go back to. None for the first release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Release>,
    /// What was asked for.
    #[serde(flatten)]
    pub start: Start,
    /// Where it is.
    pub phase: Phase,
    /// When it came there.
    pub since: Millis,
    /// The stage that it is in or will enter next.
    pub stage: usize,
    /// Who goes first; that of the state when it began.
    pub salt: Salt,
    /// Which exposure it is: another one at every stage, at every resumption and on the way back, so that
    /// what was seen before is not taken for what is seen now.
    pub exposure: u64,
    /// Who is exposed: of every stage so far.
    pub cohorts: Vec<Cohort>,
    /// Nodes exposed when the stage began, by domain; none until every server has said how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned: Option<BTreeMap<String, u64>>,
    /// Whether nodes that have nothing to fall back on take part.
    pub enroll_fresh: bool,
    /// Who approved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<String>,
}

/// Where a rollout is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// People must approve.
    Pending,
    /// The first stage is about to begin.
    Scheduled,
    /// Nodes are being given the release, until enough of them are stable on it.
    Exposing,
    /// Enough are stable. It is watched.
    Baking {
        /// Until then at least.
        until: Millis,
    },
    /// Every node has it. It is watched once more.
    Soaking {
        /// Until then at least.
        until: Millis,
    },
    /// It waits for a person. Whoever is exposed stays so, and is watched.
    Paused {
        /// Why.
        why: Pause,
        /// What it says to that person.
        reason: String,
    },
    /// Something failed; whoever has the release keeps it, nobody else gets it.
    Halted {
        /// What failed.
        reason: String,
    },
    /// All nodes go back to the base.
    RollingBack {
        /// What failed, or who wanted it.
        reason: String,
        /// Whether nodes reject the base too. They keep what they have; a person must look.
        stuck: bool,
    },
}

/// Why a rollout waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// One asked for it.
    Asked,
    /// The stage is one that a person ends.
    Manual,
    /// The stage takes no node.
    Empty,
    /// Not enough nodes became stable in time.
    Coverage,
    /// Evidence is missing.
    Inconclusive,
}

/// Nodes that get a release of their own, whatever else is said.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pin {
    /// Who.
    pub select: Selector,
    /// What they get.
    pub release: Release,
    /// Who wanted it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When the leader removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
}

/// Nothing goes forward.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hold {
    /// Who wanted it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When it begins, if that is still to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Millis>,
    /// When the leader ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
}

impl State {
    /// A fleet without any release.
    #[must_use]
    pub fn new(salt: Salt) -> Self {
        Self {
            eval: EVAL,
            stable: None,
            last_good: Vec::new(),
            rollout: None,
            queued: None,
            pins: Vec::new(),
            quarantined: Vec::new(),
            hold: None,
            planned: Vec::new(),
            salt,
            rollouts: 0,
            exposures: 0,
        }
    }

    /// What all nodes have becomes what is stable, without a rollout: they had it before there was one.
    pub fn adopt(&mut self, release: Release) {
        let before = self.stable.replace(release);
        let before = before.filter(|one| one.digest != release.digest);
        self.last_good
            .retain(|known| known.digest != release.digest);
        self.last_good.splice(0..0, before);
        self.last_good.truncate(MAX_LAST_GOOD);
        self.quarantined.retain(|digest| *digest != release.digest);
    }

    /// Every release that some node may be told to have: none of them may be deleted.
    pub fn in_use(&self) -> impl Iterator<Item = Release> {
        let rollout = self.rollout.iter();
        let of_rollout = rollout
            .flat_map(|one| [Some(one.start.target), one.base])
            .flatten();
        let queued = self.queued.iter().map(|start| start.target);
        self.stable
            .into_iter()
            .chain(self.last_good.iter().copied())
            .chain(of_rollout)
            .chain(queued)
            .chain(self.pins.iter().map(|pin| pin.release))
    }
}

impl Rollout {
    /// The stage that it is in, or will enter next.
    #[must_use]
    pub fn current(&self) -> Option<&Stage> {
        self.start.policy.stages.get(self.stage)
    }

    /// Whether no stage comes after this one.
    #[must_use]
    pub fn is_last_stage(&self) -> bool {
        self.stage + 1 >= self.start.policy.stages.len()
    }

    /// The failure domain that a node is in: empty where the policy tells none apart, or the node has
    /// no such label.
    #[must_use]
    pub fn domain<'a>(&self, labels: &'a BTreeMap<String, String>) -> &'a str {
        let label = self.start.policy.domain.as_ref();
        label
            .and_then(|label| labels.get(label))
            .map_or("", String::as_str)
    }

    /// How long it has been in its phase.
    #[must_use]
    pub fn age(&self, now: Millis) -> Duration {
        now.since(self.since)
    }

    /// Whether it may still go forward.
    #[must_use]
    pub fn goes_forward(&self) -> bool {
        !matches!(self.phase, Phase::Halted { .. } | Phase::RollingBack { .. })
    }

    /// Whether any node may have been exposed.
    #[must_use]
    pub fn has_exposed(&self) -> bool {
        !self.cohorts.is_empty()
    }
}
