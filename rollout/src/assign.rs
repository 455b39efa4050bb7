//! Owns the answer to which release a node gets. A function of the node and the state alone: no clock,
//! no store, no chance, so that all servers always say the same. Must not know: what a release holds,
//! or how fast nodes are told.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::selector::Selector;
use crate::state::{EVAL, Phase, Release, Rollout, State};

/// What decides about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its id: durable, else percentages mean nothing.
    pub id: String,
    /// Labels that something vouches for; as they were when its stream began.
    pub labels: BTreeMap<String, String>,
    /// What it has in force.
    pub current: Option<Digest>,
    /// Whether it has nothing on its disk that it could fall back on.
    pub fresh: bool,
}

/// What a node gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// No opinion: it keeps what it runs. Not the same as nothing.
    Keep,
    /// There is no release.
    Nothing,
    /// This one.
    Release(Release, Role),
}

/// Why a node gets its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It is what all get.
    Stable,
    /// A rollout is under way that does not expose it (yet).
    Control,
    /// It is exposed to the target of a rollout.
    Exposed,
    /// It was pinned. It counts for nothing.
    Pinned,
}

impl Assignment {
    /// The release, if there is one to have.
    #[must_use]
    pub fn release(self) -> Option<Release> {
        match self {
            Self::Release(release, _) => Some(release),
            Self::Keep | Self::Nothing => None,
        }
    }

    /// Why the node gets it.
    #[must_use]
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Release(_, role) => Some(role),
            Self::Keep | Self::Nothing => None,
        }
    }
}

/// Which release a node gets by this state.
#[must_use]
pub fn assign(node: &Node, state: &State) -> Assignment {
    if state.eval > EVAL {
        return Assignment::Keep;
    }
    if let Some(release) = pinned(node, state) {
        return Assignment::Release(release, Role::Pinned);
    }
    let Some(rollout) = &state.rollout else {
        return of(state.stable, Role::Stable);
    };
    match exposed(node, rollout) {
        true => Assignment::Release(rollout.start.target, Role::Exposed),
        false => of(rollout.base, Role::Control),
    }
}

fn of(release: Option<Release>, role: Role) -> Assignment {
    release.map_or(Assignment::Nothing, |release| {
        Assignment::Release(release, role)
    })
}

fn exposed(node: &Node, rollout: &Rollout) -> bool {
    let has_target = node.current == Some(rollout.start.target.digest);
    match &rollout.phase {
        Phase::Pending | Phase::Scheduled | Phase::RollingBack { .. } => false,
        Phase::Halted { .. } => has_target && in_cohort(node, rollout),
        Phase::Exposing | Phase::Baking { .. } | Phase::Soaking { .. } | Phase::Paused { .. } => {
            // Whoever has nothing to fall back on gets what is known to be good. Of a first release
            // nothing is, so there it takes no part in this.
            let kept_back = node.fresh && !rollout.enroll_fresh && rollout.base.is_some();
            !kept_back && in_cohort(node, rollout)
        }
    }
}

fn in_cohort(node: &Node, rollout: &Rollout) -> bool {
    let domain = rollout.domain(&node.labels);
    let salt = &rollout.salt;
    rollout
        .cohorts
        .iter()
        .any(|cohort| cohort.has(salt, &node.id, &node.labels, domain))
}

/// By the pin that says most exactly whom it means; of two alike, by the later one.
fn pinned(node: &Node, state: &State) -> Option<Release> {
    let means = |select: &Selector| select.matches(&node.id, &node.labels);
    let pins = state.pins.iter().filter(|pin| means(&pin.select));
    pins.max_by_key(|pin| pin.select.precision())
        .map(|pin| pin.release)
}
