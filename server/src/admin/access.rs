//! Owns how the Admin API talks to a fleet's store: every call ends within a bounded time, and both
//! spellings of a key are one entry. Must not know: HTTP.

use std::time::Duration;

use serde_json::Value;

use super::answer::Problem;
use super::target::Entry;
use crate::fleet::Fleet;
use crate::store::{Commit, Guard, KeyValue, LeaseId, Reading, Revision, Txn};

/// How long one key or one transaction may take. A client waits for the answer.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the reading of a directory may take: 100,000 keys over a slow network.
const READ_PATIENCE: Duration = Duration::from_secs(20);

/// A fleet's store, with patience.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access<'a> {
    pub(crate) fleet: &'a Fleet,
}

/// What is stored of an entry, under either key.
#[derive(Debug)]
pub(crate) struct Current {
    /// The keys it can have and what is there, the 3.x one first.
    slots: Vec<(String, Option<KeyValue>)>,
}

impl Current {
    /// What counts: the 3.x key if it is there.
    pub(crate) fn found(&self) -> Option<&KeyValue> {
        self.slots.iter().find_map(|(_, slot)| slot.as_ref())
    }

    /// When it was last written.
    pub(crate) fn revision(&self) -> Option<Revision> {
        self.found().map(|found| found.mod_revision)
    }

    /// The stored value, if it is JSON.
    pub(crate) fn value(&self) -> Option<Value> {
        serde_json::from_slice(&self.found()?.value).ok()
    }

    /// That nothing of it has changed.
    pub(crate) fn guards(&self) -> Vec<Guard> {
        let guard = |(key, slot): &(String, Option<KeyValue>)| Guard {
            key: key.clone(),
            mod_revision: slot
                .as_ref()
                .map_or(Revision(0), |found| found.mod_revision),
        };
        self.slots.iter().map(guard).collect()
    }

    /// The keys that are there.
    pub(crate) fn present(&self) -> impl Iterator<Item = &str> {
        self.slots
            .iter()
            .filter(|(_, slot)| slot.is_some())
            .map(|(key, _)| key.as_str())
    }
}

impl Access<'_> {
    /// One key.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<KeyValue>, Problem> {
        let (found, _) = bounded(STORE_PATIENCE, self.fleet.store.get(key)).await?;
        Ok(found)
    }

    /// What to answer for an entry. Reads the second key only if the first is not there.
    pub(crate) async fn find(&self, entry: &Entry) -> Result<Option<KeyValue>, Problem> {
        let found = self.get(&entry.key(self.fleet.prefix())).await?;
        match (found, entry.old_key(self.fleet.prefix())) {
            (None, Some(old)) => self.get(&old).await,
            (found, _) => Ok(found),
        }
    }

    /// What a write has to guard.
    pub(crate) async fn current(&self, entry: &Entry) -> Result<Current, Problem> {
        let key = entry.key(self.fleet.prefix());
        let mut slots = vec![(key.clone(), self.get(&key).await?)];
        if let Some(old) = entry.old_key(self.fleet.prefix()) {
            let found = self.get(&old).await?;
            slots.push((old, found));
        }
        Ok(Current { slots })
    }

    /// Everything under a prefix.
    pub(crate) async fn read(&self, prefix: &str) -> Result<Reading, Problem> {
        bounded(READ_PATIENCE, self.fleet.store.read(prefix)).await
    }

    /// All or nothing.
    pub(crate) async fn commit(&self, txn: Txn) -> Result<Commit, Problem> {
        bounded(STORE_PATIENCE, self.fleet.store.commit(txn)).await
    }

    /// A new lease.
    pub(crate) async fn grant(&self, ttl: Duration) -> Result<LeaseId, Problem> {
        bounded(STORE_PATIENCE, self.fleet.store.grant(ttl)).await
    }

    /// Ends a lease that was not used. It would end by itself; a failure changes nothing for anybody.
    pub(crate) async fn give_back(&self, lease: LeaseId) {
        if let Err(problem) = bounded(STORE_PATIENCE, self.fleet.store.revoke(lease)).await {
            tracing::debug!(%lease, reason = %problem, "unused lease not revoked");
        }
    }
}

/// Does work that takes long enough to keep other requests waiting, like parsing 100,000 values.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    // It ends without a result only if the runtime stops.
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Problem::GoingDown)
}

/// A call to a store, or several, that a client waits for.
pub(crate) async fn bounded<T, E: Into<Problem>>(
    patience: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(patience, call).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(Problem::Slow {
            what: "the store",
            seconds: patience.as_secs(),
        }),
    }
}
