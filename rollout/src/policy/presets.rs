//! Owns the policies that every fleet has. Must not know: who uses which.
//!
//! None of them is without a first, small stage: a change that no stage holds back is how most large
//! outages began.

use std::time::Duration;

use super::{OnFail, Policy, Stage};
use crate::cohort::Percent;

/// `safe`, `fast` or `emergency`.
#[must_use]
pub fn preset(name: &str) -> Option<Policy> {
    let (stages, soak, probation, approvals) = match name {
        "safe" => (
            vec![
                first(5, 0, minutes(5)),
                part(500, 50, minutes(10)),
                part(2_500, 100, minutes(10)),
                all(200, minutes(0)),
            ],
            minutes(30),
            minutes(1),
            0,
        ),
        "fast" => (
            vec![
                first(5, 0, minutes(2)),
                part(2_000, 200, minutes(2)),
                all(500, minutes(0)),
            ],
            minutes(10),
            minutes(1),
            0,
        ),
        // Stable must be within reach of its stages.
        "emergency" => (
            vec![
                first(3, 0, Duration::from_secs(30)),
                part(1_000, 500, minutes(1)),
                all(2_000, minutes(0)),
            ],
            minutes(5),
            Duration::from_secs(15),
            2,
        ),
        _ => return None,
    };
    Some(Policy {
        name: name.to_owned(),
        domain: None,
        stages,
        soak,
        probation,
        on_fail: OnFail::Rollback,
        approvals,
    })
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// A few nodes, however small the fleet is.
fn first(nodes: u32, basis_points: u16, bake: Duration) -> Stage {
    Stage {
        min_nodes: nodes,
        ..Stage::of(
            "first",
            Percent::of_basis_points(basis_points).unwrap_or(Percent::ZERO),
            bake,
        )
    }
}

fn part(basis_points: u16, pace: u32, bake: Duration) -> Stage {
    let percent = Percent::of_basis_points(basis_points).unwrap_or(Percent::ALL);
    Stage {
        pace,
        ..Stage::of(&percent.to_string().replace(' ', ""), percent, bake)
    }
}

fn all(pace: u32, bake: Duration) -> Stage {
    Stage {
        pace,
        ..Stage::of("all", Percent::ALL, bake)
    }
}
