//! Owns what is tried over all modules.

mod assignment;
mod census;
mod explore;
mod policies;
mod scenarios;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::assign::Node;
use crate::cohort::{Percent, Salt};
use crate::digest::Digest;
use crate::policy::{OnFail, Policy, Stage};
use crate::state::{Release, Start, State};

fn release(seq: u64) -> Release {
    Release {
        seq,
        digest: Digest::of(&seq.to_be_bytes()),
    }
}

fn node(id: &str) -> Node {
    Node {
        id: id.to_owned(),
        ..Node::default()
    }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs
        .iter()
        .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
    pairs.collect()
}

fn percent(percent: f64) -> Percent {
    percent.try_into().unwrap()
}

const BAKE: Duration = Duration::from_secs(60);

/// One node or more, then all.
fn policy(stages: Vec<Stage>) -> Policy {
    Policy {
        name: "test".to_owned(),
        domain: None,
        stages,
        soak: BAKE,
        probation: Duration::from_secs(1),
        on_fail: OnFail::Rollback,
        approvals: 0,
    }
}

fn first_then_all() -> Policy {
    let first = Stage {
        min_nodes: 1,
        ..Stage::of("first", Percent::ZERO, BAKE)
    };
    policy(vec![first, Stage::of("all", Percent::ALL, BAKE)])
}

fn start(seq: u64, policy: Policy) -> Start {
    Start {
        target: release(seq),
        policy,
        author: "ann".to_owned(),
        reason: "a change".to_owned(),
    }
}

/// Release 1 is stable.
fn stable() -> State {
    State {
        stable: Some(release(1)),
        ..State::new(Salt([7; 16]))
    }
}
