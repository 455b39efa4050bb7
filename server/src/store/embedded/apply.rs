//! Owns what transactions and leases do to the tables: guards, revisions, history, its bounds.
//! Must not know: who asked, or when it reaches the disk.

use redb::{ReadableTable, Table, WriteTransaction};

use super::EmbeddedOptions;
use super::tables::{
    ATTACHED, HISTORY, KEYS, LEASES, META, META_HISTORY_BYTES, META_OLDEST, META_REVISION, Past,
    Record,
};
use super::writer::Head;
use crate::store::{Commit, Guard, LeaseId, Revision, StoreError, Txn, Write};

/// Bytes that an entry of the history costs besides its key and value, about.
const ENTRY_BYTES: u64 = 64;

/// The tables, open for one write to disk.
#[derive(Debug)]
pub(super) struct Tables<'t> {
    meta: Table<'t, &'static str, u64>,
    keys: Table<'t, &'static str, Record>,
    history: Table<'t, (u64, u32), Past>,
    leases: Table<'t, i64, u64>,
    attached: Table<'t, (i64, &'static str), ()>,
    head: Head,
    /// Changes made so far in the revision after the head.
    changes: u32,
}

/// An error of the file ends the whole write; one of the request ends only it.
type Outcome<T> = Result<Result<T, StoreError>, redb::Error>;

impl<'t> Tables<'t> {
    pub(super) fn open(txn: &'t WriteTransaction, head: Head) -> Result<Self, redb::Error> {
        Ok(Self {
            meta: txn.open_table(META)?,
            keys: txn.open_table(KEYS)?,
            history: txn.open_table(HISTORY)?,
            leases: txn.open_table(LEASES)?,
            attached: txn.open_table(ATTACHED)?,
            head,
            changes: 0,
        })
    }

    /// Applies a transaction if its guards hold. One that changes nothing makes no revision.
    pub(super) fn commit(&mut self, txn: &Txn) -> Outcome<Commit> {
        if !self.guards_hold(&txn.guards)? {
            return Ok(Ok(Commit::Conflict));
        }
        for write in &txn.writes {
            if let Write::Put {
                lease: Some(lease), ..
            } = write
                && self.leases.get(lease.0)?.is_none()
            {
                return Ok(Err(no_such_lease(*lease)));
            }
        }
        for write in &txn.writes {
            match write {
                Write::Put { key, value, lease } => self.put(key, value, *lease)?,
                Write::Delete { key } => self.delete(key)?,
                Write::DeletePrefix { prefix } => self.delete_prefix(prefix)?,
            }
        }
        self.close_revision();
        Ok(Ok(Commit::Applied(self.head.revision)))
    }

    /// Makes a lease with an id that no other has.
    pub(super) fn grant(&mut self, seconds: u64) -> Result<LeaseId, redb::Error> {
        loop {
            let lease = rand::random_range(1..=i64::MAX);
            if self.leases.get(lease)?.is_none() {
                self.leases.insert(lease, seconds)?;
                return Ok(LeaseId(lease));
            }
        }
    }

    /// Ends a lease: its keys go in one revision.
    pub(super) fn revoke(&mut self, lease: LeaseId) -> Outcome<()> {
        if self.leases.remove(lease.0)?.is_none() {
            return Ok(Err(no_such_lease(lease)));
        }
        let mut keys = Vec::new();
        for entry in self.attached.range((lease.0, "")..)? {
            let (at, _) = entry?;
            let (of, key) = at.value();
            if of != lease.0 {
                break;
            }
            keys.push(key.to_owned());
        }
        for key in keys {
            self.delete(&key)?;
        }
        self.close_revision();
        Ok(Ok(()))
    }

    /// Drops history beyond its bounds and writes down the head.
    pub(super) fn finish(mut self, options: EmbeddedOptions) -> Result<Head, redb::Error> {
        self.trim(options)?;
        self.meta.insert(META_REVISION, self.head.revision.0)?;
        self.meta.insert(META_OLDEST, self.head.oldest.0)?;
        self.meta
            .insert(META_HISTORY_BYTES, self.head.history_bytes)?;
        Ok(self.head)
    }

    fn guards_hold(&self, guards: &[Guard]) -> Result<bool, redb::Error> {
        for guard in guards {
            let found = self.keys.get(guard.key.as_str())?;
            let revision = found.map_or(0, |record| record.value().1);
            if revision != guard.mod_revision.0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn put(&mut self, key: &str, value: &[u8], lease: Option<LeaseId>) -> Result<(), redb::Error> {
        let revision = self.head.revision.next().0;
        let before = self.keys.get(key)?.map(|record| {
            let (create, _, lease, _) = record.value();
            (create, lease)
        });
        let create = before.map_or(revision, |(create, _)| create);
        if let Some((_, old)) = before
            && old != 0
        {
            self.attached.remove((old, key))?;
        }
        let lease = lease.map_or(0, |lease| lease.0);
        if lease != 0 {
            self.attached.insert((lease, key), ())?;
        }
        self.keys.insert(key, (create, revision, lease, value))?;
        self.remember(key, (key, true, create, lease, value))
    }

    fn delete(&mut self, key: &str) -> Result<(), redb::Error> {
        let Some(lease) = self.keys.remove(key)?.map(|record| record.value().2) else {
            return Ok(());
        };
        if lease != 0 {
            self.attached.remove((lease, key))?;
        }
        self.remember(key, (key, false, 0, 0, &[]))
    }

    fn delete_prefix(&mut self, prefix: &str) -> Result<(), redb::Error> {
        let mut keys = Vec::new();
        for entry in self.keys.range(prefix..)? {
            let (key, _) = entry?;
            if !key.value().starts_with(prefix) {
                break;
            }
            keys.push(key.value().to_owned());
        }
        for key in keys {
            self.delete(&key)?;
        }
        Ok(())
    }

    fn remember(
        &mut self,
        key: &str,
        past: (&str, bool, u64, i64, &[u8]),
    ) -> Result<(), redb::Error> {
        let at = (self.head.revision.next().0, self.changes);
        self.history.insert(at, past)?;
        self.changes += 1;
        self.head.history_bytes += cost(key, past.4);
        Ok(())
    }

    fn close_revision(&mut self) {
        if self.changes > 0 {
            self.head.revision = self.head.revision.next();
            self.changes = 0;
        }
    }

    /// Drops the oldest revisions, whole, until the bounds hold. The newest always stays.
    fn trim(&mut self, options: EmbeddedOptions) -> Result<(), redb::Error> {
        loop {
            let kept = self.head.revision.0.saturating_sub(self.head.oldest.0);
            let too_much = kept >= options.history_revisions.max(1)
                || self.head.history_bytes > options.history_bytes;
            if !too_much || kept == 0 {
                return Ok(());
            }
            let oldest = self.head.oldest;
            self.drop_revision(oldest)?;
            self.head.oldest = oldest.next();
        }
    }

    fn drop_revision(&mut self, revision: Revision) -> Result<(), redb::Error> {
        loop {
            let Some(first) = self.history.first()? else {
                return Ok(());
            };
            let (at, past) = (first.0.value(), first.1.value());
            if at.0 > revision.0 {
                return Ok(());
            }
            let bytes = cost(past.0, past.4);
            drop(first);
            self.history.remove(at)?;
            self.head.history_bytes = self.head.history_bytes.saturating_sub(bytes);
        }
    }
}

fn cost(key: &str, value: &[u8]) -> u64 {
    ENTRY_BYTES + key.len() as u64 + value.len() as u64
}

/// The same for a lease that never was and one that has ended.
pub(super) fn no_such_lease(lease: LeaseId) -> StoreError {
    StoreError::Refused {
        reason: format!("there is no lease {lease}"),
    }
}
