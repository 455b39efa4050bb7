//! Owns what a follower knows and concludes: what it gave on, where a watch goes on, what contradicts it.
//! Must not know: streams, time, tasks.
//!
//! What was given on is a map from keys to the revisions of their values, and the bookmark up to which
//! it is complete. A watch extends it. A reading is compared with it, and only the difference is given
//! on. A store that contradicts it changes nothing until the contradiction is gone or an operator says so.

use std::collections::BTreeMap;

use crate::store::{Batch, Change, KeyValue, Reading, Revision, StoreError, StoreId};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Read everything.
    Read,
    /// Look whether this key is as it was.
    Prove(String),
    /// Watch from this revision.
    Watch(Revision),
}

/// How the store contradicts what it said before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Contradiction {
    /// Another store answers.
    #[error("store {is} answers where store {was} did")]
    OtherStore { was: StoreId, is: StoreId },
    /// The store is older than what it said: restored from a backup, or lost.
    #[error("store is at revision {is}, behind the {was} it had")]
    Backwards { was: Revision, is: Revision },
    /// Nothing is there where something was, without a word about its deletion.
    #[error("store has none of the {had} keys it had")]
    Empty { had: usize },
    /// After a contradiction, nothing that is there shows that it is the store we knew.
    #[error("store shares no value with the {had} keys it had")]
    NothingShared { had: usize },
    /// A value is there that should have been seen before and was not: the past is another one.
    #[error(
        "store has {key} written at revision {revision}, which was not so when that was the present"
    )]
    OtherPast { key: String, revision: Revision },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Machine {
    store: Option<StoreId>,
    bookmark: Revision,
    index: BTreeMap<String, Revision>,
    must_read: bool,
    must_prove: bool,
    frozen: Option<Contradiction>,
    accepting: bool,
    fleeting: bool,
}

impl Machine {
    /// One that knows nothing yet. `fleeting`: what is there may all be gone one day.
    pub(super) fn new(fleeting: bool) -> Self {
        Self {
            fleeting,
            ..Self::default()
        }
    }

    /// What to do now, or after the wait that follows a failure.
    pub(super) fn step(&self) -> Step {
        if self.store.is_none() || self.must_read || self.frozen.is_some() || self.accepting {
            return Step::Read;
        }
        match self.witness() {
            Some(key) if self.must_prove => Step::Prove(key.clone()),
            _ => Step::Watch(self.bookmark.next()),
        }
    }

    /// The key whose value is neither among the oldest nor among the newest: a store that was filled
    /// anew will hardly have it at the same revision, and ours will hardly have changed it meanwhile.
    fn witness(&self) -> Option<&String> {
        let mut keys: Vec<_> = self.index.iter().map(|(key, at)| (*at, key)).collect();
        let middle = keys.len().checked_sub(1)? / 2;
        Some(keys.select_nth_unstable(middle).1.1)
    }

    /// The contradiction that stands.
    pub(super) fn frozen(&self) -> Option<&Contradiction> {
        self.frozen.as_ref()
    }

    /// The store that is followed.
    pub(super) fn store(&self) -> Option<StoreId> {
        self.store
    }

    /// An operator says: what the store has now is what shall be.
    pub(super) fn accept(&mut self) {
        if self.frozen.is_some() {
            self.accepting = true;
        }
    }

    /// Everything was read. Gives what is new in it.
    pub(super) fn on_reading(&mut self, reading: Reading) -> Result<Batch, Contradiction> {
        let replaces = self.accepting && self.frozen.is_some();
        if !replaces && let Some(contradiction) = self.contradiction(&reading) {
            return Err(self.freeze(contradiction));
        }
        let changes = self.difference(reading.entries, replaces);
        self.store = Some(reading.store);
        self.bookmark = reading.revision;
        self.must_read = false;
        self.must_prove = false;
        self.frozen = None;
        self.accepting = false;
        Ok(Batch {
            revision: reading.revision,
            changes,
        })
    }

    /// The key that was to be looked at was last written at `found`. If that is not as it was, it may
    /// have been changed, or the store is another one: reading everything tells.
    pub(super) fn on_proof(&mut self, key: &str, found: Option<Revision>) {
        self.must_prove = false;
        self.must_read |= found.is_none() || found.as_ref() != self.index.get(key);
    }

    /// A watch has begun.
    pub(super) fn on_watch(
        &mut self,
        store: StoreId,
        revision: Revision,
    ) -> Result<(), Contradiction> {
        match self.moved(store, revision) {
            Some(contradiction) => Err(self.freeze(contradiction)),
            None => Ok(()),
        }
    }

    /// A batch has come from the watch. Gives it back if it says anything new.
    pub(super) fn on_batch(&mut self, batch: Batch) -> Option<Batch> {
        if batch.revision <= self.bookmark {
            return None;
        }
        self.bookmark = batch.revision;
        for change in &batch.changes {
            match change {
                Change::Put(kv) => {
                    self.index.insert(kv.key.clone(), kv.mod_revision);
                }
                Change::Delete { key } => {
                    self.index.remove(key);
                }
            }
        }
        Some(batch)
    }

    /// Something failed. All but a compaction can be gone on from where we were, once it is shown that
    /// the store still is the one we knew.
    pub(super) fn on_error(&mut self, error: &StoreError) {
        if matches!(error, StoreError::Compacted { .. }) {
            self.must_read = true;
        } else {
            self.must_prove = true;
        }
    }

    fn freeze(&mut self, contradiction: Contradiction) -> Contradiction {
        self.frozen = Some(contradiction.clone());
        contradiction
    }

    fn moved(&self, store: StoreId, revision: Revision) -> Option<Contradiction> {
        let was = self.store?;
        if was != store {
            return Some(Contradiction::OtherStore { was, is: store });
        }
        (revision < self.bookmark).then_some(Contradiction::Backwards {
            was: self.bookmark,
            is: revision,
        })
    }

    fn contradiction(&self, reading: &Reading) -> Option<Contradiction> {
        self.store?;
        if let Some(moved) = self.moved(reading.store, reading.revision) {
            return Some(moved);
        }
        if reading.entries.is_empty() && !self.index.is_empty() && !self.fleeting {
            return Some(Contradiction::Empty {
                had: self.index.len(),
            });
        }
        // All that was written up to the bookmark and is still there was given on.
        let unknown = |kv: &&KeyValue| {
            kv.mod_revision <= self.bookmark && self.index.get(&kv.key) != Some(&kv.mod_revision)
        };
        if let Some(stranger) = reading.entries.iter().find(unknown) {
            return Some(Contradiction::OtherPast {
                key: stranger.key.clone(),
                revision: stranger.mod_revision,
            });
        }
        // A lost store that is filled anew passes all of the above when it has grown old enough.
        let shared = |kv: &KeyValue| self.index.get(&kv.key) == Some(&kv.mod_revision);
        let suspect = self.frozen.is_some() && !self.index.is_empty() && !self.fleeting;
        (suspect && !reading.entries.iter().any(shared)).then_some(Contradiction::NothingShared {
            had: self.index.len(),
        })
    }

    /// Deletions first, in key order, then what is new. With another past, equal revisions say nothing
    /// about equal values, so everything is new.
    fn difference(&mut self, entries: Vec<KeyValue>, everything: bool) -> Vec<Change> {
        let now: BTreeMap<String, Revision> = entries
            .iter()
            .map(|kv| (kv.key.clone(), kv.mod_revision))
            .collect();
        let before = std::mem::replace(&mut self.index, now);
        let gone = before
            .keys()
            .filter(|key| !self.index.contains_key(*key))
            .map(|key| Change::Delete { key: key.clone() });
        let written = entries
            .into_iter()
            .filter(|kv| everything || before.get(&kv.key) != Some(&kv.mod_revision))
            .map(Change::Put);
        gone.chain(written).collect()
    }
}

#[cfg(test)]
mod tests;
