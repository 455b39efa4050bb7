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

#[cfg(test)]
mod tests {
    use bellwether_rollout::cohort::Salt;
    use bellwether_rollout::{Millis, Release, State};

    use super::*;
    use crate::release::Cut;
    use crate::store::embedded::{EmbeddedOptions, EmbeddedStore};

    /// Of ten releases: one is stable, one is what a node still has, and the newest is kept.
    #[tokio::test]
    async fn only_what_nobody_uses_goes_and_only_if_all_have_spoken() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).await;
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        let releases = Releases::new(store.clone(), "shop");
        for seq in 1..=10_u64 {
            let cut = Cut {
                author: "ann".to_owned(),
                reason: "one of many".to_owned(),
                now: Millis(seq),
                revision: seq,
            };
            let item = bellwether_rollout::content::Item {
                view: bellwether_rollout::content::View::Native,
                id: bellwether::name::ResourceId::new(
                    bellwether::name::TypeUrl::ROUTE,
                    "routes/1".to_owned(),
                ),
                body: vec![u8::try_from(seq).unwrap()].into(),
                refers: Vec::new(),
                ttl: None,
            };
            releases.create(vec![item], &cut).await.unwrap();
        }
        let line = Line::new(store.clone(), "shop");
        let header = releases.header(3).await.unwrap();
        let stable = Some(Release {
            seq: 3,
            digest: header.digest,
        });
        let mut current = line.load().await.unwrap();
        current.state = State {
            stable,
            ..State::new(Salt([1; 16]))
        };
        let fleet = StagedFleet {
            keep: 1,
            ..StagedFleet::new("shop")
        };
        keep(store.clone(), &fleet, &line, &current, None).await;
        assert_eq!(releases.list().await.unwrap().len(), 10);
        let reported = Some(BTreeSet::from([5]));
        keep(store.clone(), &fleet, &line, &current, reported).await;
        let left: Vec<u64> = releases
            .list()
            .await
            .unwrap()
            .iter()
            .map(|header| header.seq)
            .collect();
        assert_eq!(left, [3, 5, 10]);
    }
}
