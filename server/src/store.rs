//! Owns the seam to storage: what a store can do, in the words of etcd, and what every store promises.
//! Must not know: what the values mean, or who reads them.
//!
//! A store is a map from keys to values with one revision that grows by one for each committed
//! transaction. The promises, which one contract suite checks against every implementation:
//!
//! * [`Store::read`] sees all keys under a prefix as they were at one revision, however many there are.
//! * [`Store::watch`] from the revision after a read delivers every later change once, in order, all
//!   changes of one revision together, or fails with [`StoreError::Compacted`].
//! * [`Store::commit`] applies all writes or none, and only if every guard holds.
//! * A key under a lease goes when the lease ends; writing it without the lease detaches it.
//! * What a commit has confirmed is there after a kill.

mod check;
pub mod embedded;
pub mod etcd;
pub mod follow;
pub mod status;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

/// A point in the history of a store. Starts at 1; 0 means "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The one after.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which store it is: etcd's cluster id, or the id an embedded file got when it was made. Revisions of
/// different stores can't be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreId(pub u64);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A lease. Displayed in decimal, as etcd's JSON has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId(pub i64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key and its value. `Debug` leaves the value out: it may be a private key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The whole key. Keys that are not UTF-8 are no one's and are left out by the store.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// When the key was created.
    pub create_revision: Revision,
    /// When the key was last written.
    pub mod_revision: Revision,
    /// The lease it goes with, if any.
    pub lease: Option<LeaseId>,
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "KeyValue({} @{}, {} bytes)",
            self.key,
            self.mod_revision,
            self.value.len()
        )
    }
}

/// All keys under a prefix at one revision, in key order.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The store that was read.
    pub store: StoreId,
    /// The revision the reading was made at. A watch goes on from the one after.
    pub revision: Revision,
    /// In key order.
    pub entries: Vec<KeyValue>,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Written.
    Put(KeyValue),
    /// Deleted, or its lease ended.
    Delete {
        /// The whole key.
        key: String,
    },
}

/// All changes of one or more whole revisions, in order. Never a part of a revision.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The last revision it holds.
    pub revision: Revision,
    /// In order. May be empty: then it only says that nothing changed up to `revision`.
    pub changes: Vec<Change>,
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    /// The store that is watched.
    pub store: StoreId,
    /// The store's revision when the watch began. Lower than the one before `from`: the store has gone
    /// backwards, and nothing it says can be trusted to follow on what it said.
    pub revision: Revision,
    /// Bounded. Ends after an error, or when the store goes away.
    pub batches: mpsc::Receiver<Result<Batch, StoreError>>,
}

/// What must hold for a transaction to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The whole key.
    pub key: String,
    /// Its `mod_revision`; `Revision(0)`: the key does not exist.
    pub mod_revision: Revision,
}

/// One write of a transaction.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Creates or replaces.
    Put {
        /// The whole key.
        key: String,
        /// The new value.
        value: Bytes,
        /// The lease to attach; `None` detaches.
        lease: Option<LeaseId>,
    },
    /// Deletes; no error if there is nothing.
    Delete {
        /// The whole key.
        key: String,
    },
    /// Deletes everything under a prefix.
    DeletePrefix {
        /// The prefix, with its slash.
        prefix: String,
    },
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value, lease } => {
                write!(f, "Put({key}, {} bytes, {lease:?})", value.len())
            }
            Self::Delete { key } => write!(f, "Delete({key})"),
            Self::DeletePrefix { prefix } => write!(f, "DeletePrefix({prefix})"),
        }
    }
}

/// A compare-and-swap: all writes if all guards hold, else nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold. Empty: always.
    pub guards: Vec<Guard>,
    /// What to do. At most [`MAX_TXN_WRITES`], no key twice.
    pub writes: Vec<Write>,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Applied at this revision.
    Applied(Revision),
    /// A guard did not hold; nothing was written.
    Conflict,
}

/// Operations in one transaction: etcd's own limit is 128, guards not counted.
pub const MAX_TXN_WRITES: usize = 100;

/// Bytes of one value: etcd refuses requests over 1.5 MiB, and we stay under 1 MiB.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// Why a store could not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The revision asked for is gone; read again.
    #[error("revision {wanted} is compacted, the oldest is {oldest}")]
    Compacted {
        /// The revision that was asked for.
        wanted: Revision,
        /// The oldest that can be had.
        oldest: Revision,
    },
    /// Can't be reached, or did not answer in time. Worth another try.
    #[error("store is unavailable: {reason}")]
    Unavailable {
        /// What was seen.
        reason: String,
    },
    /// The identity we have was refused.
    #[error("store refused our identity: {reason}")]
    Unauthenticated {
        /// What was seen, without secrets.
        reason: String,
    },
    /// The request can't be done as it stands: too large, too many operations, no such lease.
    #[error("store refused the request: {reason}")]
    Refused {
        /// What was seen.
        reason: String,
    },
    /// The embedded file is damaged or not ours.
    #[error("store file {path} is unusable: {reason}")]
    Corrupt {
        /// The file.
        path: String,
        /// What was seen.
        reason: String,
    },
    /// The embedded file is held by another process.
    #[error("store file {path} is in use by another process")]
    Locked {
        /// The file.
        path: String,
    },
}

/// A transactional, watchable key-value store. See the module's promises.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Which store this is.
    async fn id(&self) -> Result<StoreId, StoreError>;

    /// Everything under `prefix`, as it was at one revision.
    async fn read(&self, prefix: &str) -> Result<Reading, StoreError>;

    /// One key, and the revision of the answer.
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError>;

    /// Every change under `prefix` at `from` and later.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError>;

    /// All or nothing.
    async fn commit(&self, txn: Txn) -> Result<Commit, StoreError>;

    /// A new lease that ends after `ttl` unless it is kept alive.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Starts the lease's time anew; the time it now has.
    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, StoreError>;

    /// Ends the lease and deletes its keys.
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;
}
