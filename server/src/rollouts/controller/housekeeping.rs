//! Owns what is deleted once in a while: releases that nobody uses, and old history. Must not know: what
//! is decided.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::super::StagedFleet;
use super::super::line::{Current, Line};
use crate::release::{ReleaseError, Releases};
use crate::store::Store;

/// How often.
pub(super) const INTERVAL: Duration = Duration::from_secs(10 * 60);

/// When first: a leader that has just been elected has better to do.
pub(super) const FIRST: Duration = Duration::from_secs(60);

/// Releases too many before any is deleted: it means to read the names of all parts.
const SLACK: usize = 5;

/// `reported` is what nodes have; without it, no release is deleted.
pub(super) async fn keep(
    store: Arc<dyn Store>,
    fleet: &StagedFleet,
    line: &Line,
    current: &Current,
    reported: Option<BTreeSet<u64>>,
) {
    let name = &fleet.name;
    match line.trim().await {
        Ok(0) => {}
        Ok(records) => tracing::debug!(fleet = name, records, "old history is gone"),
        Err(error) => tracing::debug!(fleet = name, %error, "history stays as it is"),
    }
    let Some(reported) = reported else {
        return;
    };
    match prune(store, fleet, line, current, reported).await {
        Ok(0) => {}
        Ok(releases) => {
            tracing::info!(fleet = name, releases, "releases that nobody uses are gone")
        }
        Err(error) => tracing::warn!(fleet = name, %error, "releases stay as they are"),
    }
}

async fn prune(
    store: Arc<dyn Store>,
    fleet: &StagedFleet,
    line: &Line,
    current: &Current,
    mut in_use: BTreeSet<u64>,
) -> Result<usize, ReleaseError> {
    in_use.extend(current.state.in_use().map(|release| release.seq));
    let releases = Releases::new(store, &fleet.name);
    let known = releases.list().await?;
    let idle = known.iter().filter(|one| !in_use.contains(&one.seq));
    if idle.count() <= fleet.keep + SLACK {
        return Ok(0);
    }
    let guard = line.guard(current.at);
    let pruned = releases.prune(fleet.keep, &in_use, Some(&guard)).await?;
    Ok(pruned.releases)
}
