//! Owns what is kept of releases, and the deletion of the rest. Must not know: which releases anybody
//! uses; it is told.

use std::collections::BTreeSet;

use bellwether_rollout::Digest;

use super::{Header, Newest, ReleaseError, Releases};
use crate::keys;
use crate::store::{Commit, Guard, MAX_TXN_WRITES, Revision, Txn, Write};

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Releases.
    pub releases: usize,
    /// Parts that only they had, or that no release ever had.
    pub parts: usize,
}

impl Releases {
    /// Deletes all releases but the newest `keep` and those `in_use`, and every part that no other
    /// release has. `state` is the state key as it was when `in_use` was found out: if anybody has written
    /// it since, or has cut a release, nothing more is deleted.
    ///
    /// # Errors
    /// The store fails, or a release that stays can't be read: its parts would be taken for nobody's.
    pub async fn prune(
        &self,
        keep: usize,
        in_use: &BTreeSet<u64>,
        state: Option<&Guard>,
    ) -> Result<Pruned, ReleaseError> {
        let (newest, mut at) = self.newest().await?;
        let headers = self.list().await?;
        let old = headers.len().saturating_sub(keep.max(1));
        let (gone, kept): (Vec<_>, Vec<_>) = headers
            .into_iter()
            .enumerate()
            .partition(|(index, header)| *index < old && !in_use.contains(&header.seq));
        let mut wanted: BTreeSet<Digest> = BTreeSet::new();
        for (_, header) in &kept {
            wanted.extend(self.parts_of(header.seq).await?);
        }
        // The headers first: what remains of a release that is half deleted belongs to nobody.
        let keys = gone.iter().map(|(_, header)| self.key_of(header));
        let releases = self.delete(keys.collect(), &newest, &mut at, state).await?;
        let mut pruned = Pruned { releases, parts: 0 };
        if releases == gone.len() {
            let parts = self.store.read(&keys::blobs_range(&self.fleet)).await?;
            let names: BTreeSet<String> = wanted
                .iter()
                .map(|digest| keys::blob(&self.fleet, digest))
                .collect();
            let keys = parts.entries.into_iter().map(|entry| entry.key);
            let keys = keys.filter(|key| !names.contains(key)).collect();
            pruned.parts = self.delete(keys, &newest, &mut at, state).await?;
        }
        Ok(pruned)
    }

    fn key_of(&self, header: &Header) -> String {
        keys::release(&self.fleet, header.seq)
    }

    /// How many of them it deleted: all, or as many as it could before somebody else wrote.
    async fn delete(
        &self,
        keys: Vec<String>,
        newest: &Newest,
        at: &mut Revision,
        state: Option<&Guard>,
    ) -> Result<usize, ReleaseError> {
        let mut deleted = 0;
        for group in keys.chunks(MAX_TXN_WRITES - 1) {
            let deletions = group.iter().map(|key| Write::Delete { key: key.clone() });
            let txn = Txn {
                guards: [self.newest_is_at(*at)]
                    .into_iter()
                    .chain(state.cloned())
                    .collect(),
                writes: [self.put_newest(newest)]
                    .into_iter()
                    .chain(deletions)
                    .collect(),
            };
            match self.store.commit(txn).await? {
                Commit::Applied(revision) => *at = revision,
                Commit::Conflict => break,
            }
            deleted += group.len();
        }
        Ok(deleted)
    }
}
