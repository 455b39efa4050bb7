//! Owns what operators see of how a staged fleet is served by this server. Must not know: how it is.

use serde::{Deserialize, Serialize};

use super::FleetView;

/// What this server serves of a staged fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedStatus {
    /// The order of decisions: the store revision of the state that is in force here.
    pub generation: u64,
    /// The release that every node gets of which nothing else is said; empty: there is none.
    pub stable: String,
    /// The release that is being rolled out; empty: none is.
    pub target: String,
    /// Releases that this server has at hand.
    pub at_hand: Vec<String>,
    /// What is wrong with the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl StagedStatus {
    pub(super) fn of(view: &FleetView, problem: Option<String>) -> Self {
        let name = |seq: u64| format!("{}@{seq}", view.fleet);
        let state = &view.state;
        let target = state.rollout.as_ref().map(|one| one.start.target.seq);
        let releases = view.releases.values();
        Self {
            generation: view.generation,
            stable: state.stable.map_or_else(String::new, |one| name(one.seq)),
            target: target.map_or_else(String::new, name),
            at_hand: releases.map(|one| one.ready.name.to_string()).collect(),
            problem,
        }
    }
}
