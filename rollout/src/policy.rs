//! Owns how a release reaches a fleet: the stages, in the order of their exposure, and what must be
//! seen before the next. Must not know: any one release or node.

mod presets;
mod strategy;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::presets::preset;
pub use self::strategy::{Strategy, Written};
use crate::cohort::Percent;
use crate::selector::Selector;

/// Stages of one policy. More are not told apart by anybody who watches.
pub const MAX_STAGES: usize = 50;

/// Nodes that a stage can ask for where its percentage takes fewer: servers report the buckets of so
/// many nodes.
pub const MAX_MIN_NODES: u32 = 20;

/// How a release reaches a fleet. Copied into a rollout when it starts: a later edit changes nothing
/// that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What people call it.
    pub name: String,
    /// The label whose values are failure domains; percentages are taken in each. Without one, the
    /// whole fleet is one domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// In order; the last one takes every node.
    pub stages: Vec<Stage>,
    /// How long the release is watched on every node before it counts as good.
    #[serde(default, with = "humantime_serde")]
    pub soak: Duration,
    /// How long a node must live with a release before it counts as stable on it.
    #[serde(default = "probation", with = "humantime_serde")]
    pub probation: Duration,
    /// What happens when something fails.
    #[serde(default)]
    pub on_fail: OnFail,
    /// People who must approve before the first stage.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub approvals: u32,
}

/// One step of exposure.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// What people call it.
    pub name: String,
    /// Whom it can take.
    #[serde(default)]
    pub select: Selector,
    /// The part of them, in each failure domain. With what earlier stages took, not in addition.
    pub percent: Percent,
    /// At least so many, if there are as many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub min_nodes: u32,
    /// Nodes a second that get the release, over all servers; 0: as fast as it goes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pace: u32,
    /// How long it takes at most until all those exposed have answered.
    #[serde(default = "deadline", with = "humantime_serde")]
    pub deadline: Duration,
    /// The part of those exposed that must be stable.
    #[serde(default = "coverage")]
    pub coverage: Percent,
    /// How long it is watched at least, from when the coverage was reached.
    #[serde(default, with = "humantime_serde")]
    pub bake: Duration,
    /// How much longer it waits for evidence that is missing before it pauses.
    #[serde(default = "patience", with = "humantime_serde")]
    pub patience: Duration,
    /// What must be seen, besides that nothing was rejected and nobody vanished, which always counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Gate>,
    /// Whether a person says when to go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub manual: bool,
    /// What happens when it takes no node at all.
    #[serde(default)]
    pub on_empty: OnEmpty,
}

/// What is asked before a stage is left.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Gate {
    /// Errors of the nodes exposed, against those that are not.
    Health {
        /// By how much their part may be larger.
        #[serde(default = "more_errors")]
        more_errors: Percent,
        /// Requests below which nothing is known.
        #[serde(default = "min_requests")]
        min_requests: u64,
    },
    /// A query to a Prometheus whose value must be within bounds.
    Query {
        /// What people call it.
        name: String,
        /// The address of the Prometheus.
        url: String,
        /// In PromQL; one value must come of it.
        query: String,
        /// Below it, it fails. In thousandths, so that it is a whole number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_milli: Option<i64>,
        /// Above it, it fails. In thousandths.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_milli: Option<i64>,
    },
    /// A call to somebody else, who answers `pass` or `fail`.
    Webhook {
        /// What people call it.
        name: String,
        /// Who is called.
        url: String,
    },
}

/// What happens when something fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFail {
    /// Every node goes back to the base.
    #[default]
    Rollback,
    /// Those exposed stay, nobody joins them, until a person decides or half an hour has passed.
    Halt,
}

/// What happens when a stage takes no node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnEmpty {
    /// It waits until its deadline for one, then pauses: what was tried on nobody has not proved itself.
    #[default]
    Wait,
    /// The next stage begins.
    Skip,
}

/// Why a policy is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy {policy:?}: {reason}")]
pub struct BadPolicy {
    /// Its name.
    pub policy: String,
    /// What is wrong with it.
    pub reason: String,
}

fn probation() -> Duration {
    Duration::from_secs(60)
}

fn deadline() -> Duration {
    Duration::from_secs(10 * 60)
}

fn patience() -> Duration {
    Duration::from_secs(15 * 60)
}

fn coverage() -> Percent {
    Percent::of_basis_points(9_500).unwrap_or(Percent::ALL)
}

fn more_errors() -> Percent {
    Percent::of_basis_points(100).unwrap_or(Percent::ALL)
}

fn min_requests() -> u64 {
    100
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Stage {
    /// A stage that takes this part of all nodes, and nothing else said.
    #[must_use]
    pub fn of(name: &str, percent: Percent, bake: Duration) -> Self {
        Self {
            name: name.to_owned(),
            select: Selector::default(),
            percent,
            min_nodes: 0,
            pace: 0,
            deadline: deadline(),
            coverage: coverage(),
            bake,
            patience: patience(),
            gates: Vec::new(),
            manual: false,
            on_empty: OnEmpty::Wait,
        }
    }

    /// Whether no node is left out.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.percent == Percent::ALL && self.select == Selector::default()
    }
}

impl Policy {
    /// Checks what the types can't.
    ///
    /// # Errors
    /// No stage, too many, two of one name, a last one that leaves nodes out, a coverage of nothing.
    pub fn checked(self) -> Result<Self, BadPolicy> {
        match self.fault() {
            None => Ok(self),
            Some(reason) => Err(BadPolicy {
                policy: self.name,
                reason,
            }),
        }
    }

    fn fault(&self) -> Option<String> {
        let Some(last) = self.stages.last() else {
            return Some("it has no stage; a release always goes to a few nodes first".to_owned());
        };
        if self.stages.len() > MAX_STAGES {
            return Some(format!("more than {MAX_STAGES} stages"));
        }
        if !last.takes_all() {
            return Some(format!(
                "its last stage {:?} does not take every node",
                last.name
            ));
        }
        let mut names = BTreeSet::new();
        for stage in &self.stages {
            let name = &stage.name;
            if !names.insert(name) {
                return Some(format!("two stages are called {name:?}"));
            }
            if stage.percent == Percent::ZERO && stage.min_nodes == 0 {
                return Some(format!("stage {name:?} takes nobody"));
            }
            if stage.min_nodes > MAX_MIN_NODES {
                return Some(format!(
                    "stage {name:?} asks for more than {MAX_MIN_NODES} nodes by min_nodes"
                ));
            }
            if stage.coverage == Percent::ZERO {
                return Some(format!(
                    "stage {name:?} is left without any node being stable"
                ));
            }
        }
        None
    }
}
