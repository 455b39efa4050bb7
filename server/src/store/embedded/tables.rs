//! Owns the layout of the file: its tables, and how they are read. Must not know: who writes them, or when.

use std::collections::BTreeMap;

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, TableDefinition};

use crate::store::{Batch, Change, KeyValue, LeaseId, Revision};

/// Facts about the whole: see the `META_` keys.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The version of this layout. A file of another one is not touched.
pub(super) const META_FORMAT: &str = "format";
/// The store's id, made with the file.
pub(super) const META_ID: &str = "id";
/// The last revision.
pub(super) const META_REVISION: &str = "revision";
/// The oldest revision that a watch can begin with.
pub(super) const META_OLDEST: &str = "oldest";
/// Bytes of the history.
pub(super) const META_HISTORY_BYTES: &str = "history_bytes";

/// The version this build writes and reads.
pub(super) const FORMAT: u64 = 1;

/// Created at, written at, lease or 0, value.
pub(super) type Record = (u64, u64, i64, &'static [u8]);

/// What is there now, by key.
pub(super) const KEYS: TableDefinition<'_, &str, Record> = TableDefinition::new("keys");

/// Key, whether it was written (or else deleted), created at, lease or 0, value.
pub(super) type Past = (&'static str, bool, u64, i64, &'static [u8]);

/// What happened, by revision and order in it.
pub(super) const HISTORY: TableDefinition<'_, (u64, u32), Past> = TableDefinition::new("history");

/// Seconds a lease is granted for, by lease. When it ends is not kept: the time starts anew when the
/// file is opened, as it does in an etcd that has a new leader.
pub(super) const LEASES: TableDefinition<'_, i64, u64> = TableDefinition::new("leases");

/// Which keys go with a lease.
pub(super) const ATTACHED: TableDefinition<'_, (i64, &str), ()> = TableDefinition::new("attached");

/// Bytes of history that one watch reads at a time, give or take one revision.
const CHUNK_BYTES: usize = 1 << 20;

/// What the writer starts from.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) format: Option<u64>,
    pub(super) id: u64,
    pub(super) revision: u64,
    pub(super) oldest: u64,
    pub(super) history_bytes: u64,
    pub(super) leases: BTreeMap<i64, u64>,
}

/// Reads [`Facts`].
pub(super) fn facts(txn: &ReadTransaction) -> Result<Facts, redb::Error> {
    let meta = txn.open_table(META)?;
    let number = |name: &str| -> Result<Option<u64>, redb::Error> {
        Ok(meta.get(name)?.map(|guard| guard.value()))
    };
    let mut leases = BTreeMap::new();
    for entry in txn.open_table(LEASES)?.iter()? {
        let (lease, seconds) = entry?;
        leases.insert(lease.value(), seconds.value());
    }
    Ok(Facts {
        format: number(META_FORMAT)?,
        id: number(META_ID)?.unwrap_or_default(),
        revision: number(META_REVISION)?.unwrap_or_default(),
        oldest: number(META_OLDEST)?.unwrap_or_default(),
        history_bytes: number(META_HISTORY_BYTES)?.unwrap_or_default(),
        leases,
    })
}

fn number(txn: &ReadTransaction, name: &str) -> Result<Revision, redb::Error> {
    let number = txn.open_table(META)?.get(name)?;
    Ok(Revision(number.map_or(0, |guard| guard.value())))
}

/// Everything under a prefix.
pub(super) fn read(
    txn: &ReadTransaction,
    prefix: &str,
) -> Result<(Revision, Vec<KeyValue>), redb::Error> {
    let keys = txn.open_table(KEYS)?;
    let mut found = Vec::new();
    for entry in keys.range(prefix..)? {
        let (key, record) = entry?;
        if !key.value().starts_with(prefix) {
            break;
        }
        found.push(key_value(key.value(), record.value()));
    }
    Ok((number(txn, META_REVISION)?, found))
}

/// One key.
pub(super) fn get(
    txn: &ReadTransaction,
    key: &str,
) -> Result<(Option<KeyValue>, Revision), redb::Error> {
    let keys = txn.open_table(KEYS)?;
    let found = keys.get(key)?.map(|record| key_value(key, record.value()));
    Ok((found, number(txn, META_REVISION)?))
}

fn key_value(key: &str, record: (u64, u64, i64, &[u8])) -> KeyValue {
    let (create, modified, lease, value) = record;
    KeyValue {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value),
        create_revision: Revision(create),
        mod_revision: Revision(modified),
        lease: (lease != 0).then_some(LeaseId(lease)),
    }
}

/// A piece of history.
#[derive(Debug)]
pub(super) enum Piece {
    /// Changes of whole revisions, and the last of them.
    Some(Batch),
    /// It begins too early: this is the oldest that can be had.
    Compacted(Revision),
}

/// Changes under a prefix, from a revision on: as many whole revisions as make up [`CHUNK_BYTES`].
pub(super) fn history(
    txn: &ReadTransaction,
    prefix: &str,
    from: Revision,
) -> Result<Piece, redb::Error> {
    let oldest = number(txn, META_OLDEST)?;
    if from < oldest {
        return Ok(Piece::Compacted(oldest));
    }
    let mut batch = Batch {
        revision: Revision(from.0.saturating_sub(1)),
        changes: Vec::new(),
    };
    let mut bytes = 0;
    for entry in txn.open_table(HISTORY)?.range((from.0, 0)..)? {
        let (at, past) = entry?;
        let revision = Revision(at.value().0);
        if revision > batch.revision && bytes >= CHUNK_BYTES {
            break;
        }
        batch.revision = revision;
        let past = past.value();
        bytes += past.0.len() + past.4.len();
        if past.0.starts_with(prefix) {
            batch.changes.push(change(revision, past));
        }
    }
    Ok(Piece::Some(batch))
}

fn change(revision: Revision, past: (&str, bool, u64, i64, &[u8])) -> Change {
    let (key, written, create, lease, value) = past;
    if written {
        Change::Put(key_value(key, (create, revision.0, lease, value)))
    } else {
        Change::Delete {
            key: key.to_owned(),
        }
    }
}
