//! Owns the parts of releases in the store: written once, read by many at a time. Must not know: what
//! they are parts of.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_rollout::Digest;
use bellwether_rollout::content::{Broken, MAX_BLOB};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{ReleaseError, Releases, put};
use crate::keys;
use crate::store::{MAX_TXN_WRITES, MAX_VALUE_BYTES, Txn};

/// Reads of parts under way at once.
const READS: usize = 16;

/// Cuts bytes into parts, and names them.
pub(super) fn cut(bytes: &Bytes, parts: &mut BTreeMap<Digest, Bytes>) -> Vec<Digest> {
    let starts = (0..bytes.len()).step_by(MAX_BLOB);
    let each = starts.map(|start| bytes.slice(start..bytes.len().min(start + MAX_BLOB)));
    each.map(|part| {
        let digest = Digest::of(&part);
        parts.insert(digest, part);
        digest
    })
    .collect()
}

/// Puts them together again.
pub(super) fn join(names: &[Digest], parts: &BTreeMap<Digest, Bytes>) -> Result<Bytes, Broken> {
    let mut whole = BytesMut::new();
    for name in names {
        whole.extend_from_slice(parts.get(name).ok_or(Broken::Missing(*name))?);
    }
    Ok(whole.freeze())
}

impl Releases {
    /// Writes those that are not `known` to be there. To write one that is there changes nothing: it has
    /// the same name because it has the same bytes.
    pub(super) async fn write(
        &self,
        parts: &BTreeMap<Digest, Bytes>,
        known: &BTreeSet<Digest>,
    ) -> Result<(), ReleaseError> {
        let mut group = Txn::default();
        let mut bytes = 0;
        for (digest, part) in parts.iter().filter(|(digest, _)| !known.contains(digest)) {
            if group.writes.len() == MAX_TXN_WRITES || bytes + part.len() > MAX_VALUE_BYTES {
                self.store.commit(std::mem::take(&mut group)).await?;
                bytes = 0;
            }
            bytes += part.len();
            group
                .writes
                .push(put(keys::blob(&self.fleet, digest), part.clone()));
        }
        if !group.writes.is_empty() {
            self.store.commit(group).await?;
        }
        Ok(())
    }

    /// Those of these parts that are there.
    pub(super) async fn read_blobs(
        &self,
        names: impl Iterator<Item = Digest>,
    ) -> Result<BTreeMap<Digest, Bytes>, ReleaseError> {
        let names: BTreeSet<Digest> = names.collect();
        let reads = stream::iter(names).map(|digest| async move {
            let (entry, _) = self.store.get(&keys::blob(&self.fleet, &digest)).await?;
            Ok::<_, ReleaseError>(entry.map(|entry| (digest, entry.value)))
        });
        let read: Vec<_> = reads.buffer_unordered(READS).try_collect().await?;
        Ok(read.into_iter().flatten().collect())
    }
}
