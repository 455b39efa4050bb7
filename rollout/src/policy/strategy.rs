//! Owns the short forms of a policy, each of which says many stages in a few words. They are expanded
//! when a rollout starts. Must not know: what becomes of the stages.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BadPolicy, OnFail, Policy, Stage};
use crate::cohort::Percent;
use crate::selector::Selector;

/// A policy as a person writes it: stages, or a strategy that stands for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// What people call it.
    pub name: String,
    /// See [`Policy::domain`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// A short form; or `stages`, not both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Every stage in full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
    /// See [`Policy::soak`].
    #[serde(default, with = "humantime_serde")]
    pub soak: Duration,
    /// See [`Policy::probation`].
    #[serde(default = "super::probation", with = "humantime_serde")]
    pub probation: Duration,
    /// See [`Policy::on_fail`].
    #[serde(default)]
    pub on_fail: OnFail,
    /// See [`Policy::approvals`].
    #[serde(default)]
    pub approvals: u32,
}

/// A short form. `bake` is that of every stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "each variant says what its fields are of")]
pub enum Strategy {
    /// Every node, still watched and paced.
    AllAtOnce {
        /// Nodes a second; 0: as fast as it goes.
        #[serde(default)]
        pace: u32,
        #[serde(default, with = "humantime_serde")]
        bake: Duration,
    },
    /// The nodes of a label first, then all.
    Canary {
        select: Selector,
        #[serde(default, with = "humantime_serde")]
        bake: Duration,
    },
    /// A percentage of every domain first, then all.
    Percentage {
        percent: Percent,
        #[serde(default, with = "humantime_serde")]
        bake: Duration,
    },
    /// The same percentage more at each stage.
    Linear {
        step: Percent,
        #[serde(default, with = "humantime_serde")]
        bake: Duration,
    },
    /// So many times as much at each stage.
    Exponential {
        first: Percent,
        #[serde(default = "twice")]
        factor: u16,
        #[serde(default, with = "humantime_serde")]
        bake: Duration,
    },
    /// One value of a label after another, in this order, then all.
    Regions {
        label: String,
        order: Vec<String>,
        #[serde(default, with = "humantime_serde")]
        bake: Duration,
    },
}

fn twice() -> u16 {
    2
}

impl Written {
    /// With every stage in full.
    ///
    /// # Errors
    /// It says both stages and a strategy, or neither; or what it says is no policy.
    pub fn expanded(self) -> Result<Policy, BadPolicy> {
        let bad = |reason: &str| BadPolicy {
            policy: self.name.clone(),
            reason: reason.to_owned(),
        };
        let stages = match self.strategy {
            Some(_) if !self.stages.is_empty() => {
                return Err(bad("it has both stages and a strategy; give one of them"));
            }
            Some(ref strategy) => strategy.stages().map_err(|reason| bad(&reason))?,
            None => self.stages,
        };
        let policy = Policy {
            name: self.name,
            domain: self.domain,
            stages,
            soak: self.soak,
            probation: self.probation,
            on_fail: self.on_fail,
            approvals: self.approvals,
        };
        policy.checked()
    }
}

impl Strategy {
    fn stages(&self) -> Result<Vec<Stage>, String> {
        let all = |bake| Stage::of("all", Percent::ALL, bake);
        let stages = match self {
            Self::AllAtOnce { pace, bake } => vec![Stage {
                pace: *pace,
                ..all(*bake)
            }],
            Self::Canary { select, bake } => {
                let canary = Stage {
                    select: select.clone(),
                    ..Stage::of("canary", Percent::ALL, *bake)
                };
                vec![canary, all(*bake)]
            }
            Self::Percentage { percent, bake } => parts(vec![*percent], *bake),
            Self::Linear { step, bake } => {
                let step = step.basis_points().max(1);
                let each = (1..).map(|index: u32| index * u32::from(step));
                parts(below_all(each)?, *bake)
            }
            Self::Exponential { factor: 0 | 1, .. } => {
                return Err("an exponential strategy needs a factor of 2 or more".to_owned());
            }
            Self::Exponential {
                first,
                factor,
                bake,
            } => {
                let first = u32::from(first.basis_points().max(1));
                let each =
                    std::iter::successors(Some(first), |part| part.checked_mul(u32::from(*factor)));
                parts(below_all(each)?, *bake)
            }
            Self::Regions { label, order, bake } => {
                let mut stages = Vec::new();
                for value in order {
                    let select = format!("{label}={value}").parse::<Selector>();
                    stages.push(Stage {
                        select: select.map_err(|error| error.to_string())?,
                        ..Stage::of(value, Percent::ALL, *bake)
                    });
                }
                stages.push(all(*bake));
                stages
            }
        };
        Ok(stages)
    }
}

/// What is less than everything. The last stage is everything, whether or not the steps meet it.
fn below_all(points: impl Iterator<Item = u32>) -> Result<Vec<Percent>, String> {
    let all = u32::from(Percent::ALL.basis_points());
    let below: Vec<Percent> = points
        .take_while(|points| *points < all)
        .take(super::MAX_STAGES)
        .filter_map(|points| Percent::of_basis_points(u16::try_from(points).ok()?))
        .collect();
    match below.len() < super::MAX_STAGES {
        true => Ok(below),
        false => Err(format!(
            "its steps are too small: more than {} stages",
            super::MAX_STAGES
        )),
    }
}

fn parts(percents: Vec<Percent>, bake: Duration) -> Vec<Stage> {
    let name = |percent: Percent| percent.to_string().replace(' ', "");
    percents
        .into_iter()
        .filter(|percent| *percent < Percent::ALL)
        .map(|percent| Stage::of(&name(percent), percent, bake))
        .chain([Stage::of("all", Percent::ALL, bake)])
        .collect()
}
