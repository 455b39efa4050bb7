//! Owns the file: made whole or not at all, held by one process, checked when opened, read in snapshots.
//! Must not know: what a transaction means.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::{Builder, Database, ReadTransaction, WriteTransaction};

use super::tables::{
    self, ATTACHED, FORMAT, Facts, HISTORY, KEYS, LEASES, META, META_FORMAT, META_ID, META_OLDEST,
    META_REVISION,
};
use crate::store::{StoreError, StoreId};

/// Bytes of pages kept in memory. The library's own default of 1 GiB is more than a small site has.
const CACHE_BYTES: usize = 64 << 20;

/// The database in the folder.
const NAME: &str = "store.redb";

/// It under construction: it gets its name when it is whole.
const UNFINISHED: &str = "store.redb.new";

/// Held locked as long as the store is open.
const LOCK: &str = "lock";

/// How long a lock that somebody holds is waited for: a predecessor that is just ending, or a child of
/// ours between its fork and its exec, which holds all that we held.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// Between two tries.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// An open file.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    /// `None` once closed. Nobody waits for this lock but who closes, for reads that are going on.
    database: RwLock<Option<Database>>,
    /// Released when closed, and by the operating system when we are killed.
    lock: fs::File,
}

/// What the writer starts from.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) id: StoreId,
    pub(super) facts: Facts,
}

impl File {
    /// Opens the file in a folder, or makes both.
    pub(super) fn open(folder: &Path) -> Result<(Self, Loaded), StoreError> {
        let path = folder.join(NAME);
        let lock = patiently(|| lock(folder))?;
        if !path.try_exists().map_err(|error| unusable(&path, &error))? {
            create(folder).map_err(|error| damaged(&path, &error))?;
        }
        let length = fs::metadata(&path)
            .map_err(|error| unusable(&path, &error))?
            .len();
        if length == 0 {
            // The library would take it for new and make an empty store of it.
            return Err(unusable(&path, &"file is empty"));
        }
        let (database, facts) = patiently(|| load(&path))?;
        let loaded = Loaded {
            id: StoreId(facts.id),
            facts,
        };
        let file = Self {
            path,
            database: RwLock::new(Some(database)),
            lock,
        };
        Ok((file, loaded))
    }

    /// Reads a snapshot.
    fn snapshot<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(super::stopped)?;
        let read = || read(&redb::ReadableDatabase::begin_read(database)?);
        self.guard(read)
    }

    /// Writes and waits until it is on disk. On any error nothing was written.
    pub(super) fn write<T>(
        &self,
        write: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(super::stopped)?;
        self.guard(|| {
            let txn = database.begin_write()?;
            let value = write(&txn)?;
            txn.commit()?;
            Ok(value)
        })
    }

    /// Opens the file anew after an error of the disk, which the library wants before it goes on. Says
    /// what is really in it: a write that failed may have arrived.
    pub(super) fn reopen(&self) -> Result<Facts, StoreError> {
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *database = None;
        let (fresh, facts) = load(&self.path)?;
        *database = Some(fresh);
        Ok(facts)
    }

    /// Closes the database after the reads that are going on. Watches may hold on to this for a moment
    /// longer, so the lock is released by hand.
    pub(super) fn close(&self) {
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *database = None;
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(path = %self.path.display(), %error, "can't release the store's lock");
        }
    }

    /// The library panics on some kinds of damage.
    fn guard<T>(&self, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => result.map_err(|error| damaged(&self.path, &error)),
            Err(_) => Err(unusable(&self.path, &"file is damaged")),
        }
    }
}

/// Reads a snapshot without holding up the runtime.
pub(super) async fn read<T: Send + 'static>(
    file: &Arc<File>,
    read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
) -> Result<T, StoreError> {
    let file = Arc::clone(file);
    let read = tokio::task::spawn_blocking(move || file.snapshot(read)).await;
    read.unwrap_or_else(|_| Err(super::stopped()))
}

fn patiently<T>(mut open: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let began = Instant::now();
    loop {
        match open() {
            Err(StoreError::Locked { .. }) if began.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_RETRY);
            }
            outcome => return outcome,
        }
    }
}

fn lock(folder: &Path) -> Result<fs::File, StoreError> {
    if folder.is_file() {
        return Err(StoreError::Corrupt {
            path: folder.display().to_string(),
            reason: "it is a file, and the store needs a folder".to_owned(),
        });
    }
    fs::create_dir_all(folder).map_err(|error| unusable(folder, &error))?;
    let path = folder.join(LOCK);
    let lock = fs::File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(|error| unusable(&path, &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Locked {
            path: folder.display().to_string(),
        }),
        Err(fs::TryLockError::Error(error)) => Err(unusable(&path, &error)),
    }
}

/// Makes a new file beside its place and moves it there when it is on disk, so that a crash in between
/// leaves no half of a store.
fn create(folder: &Path) -> Result<(), redb::Error> {
    let unfinished = folder.join(UNFINISHED);
    if unfinished.try_exists()? {
        fs::remove_file(&unfinished)?;
    }
    let database = builder().create(&unfinished)?;
    let txn = database.begin_write()?;
    {
        let mut meta = txn.open_table(META)?;
        meta.insert(META_FORMAT, FORMAT)?;
        meta.insert(META_ID, rand::random::<u64>())?;
        // As in etcd, the first write makes revision 2.
        meta.insert(META_REVISION, 1)?;
        meta.insert(META_OLDEST, 1)?;
        txn.open_table(KEYS)?;
        txn.open_table(HISTORY)?;
        txn.open_table(LEASES)?;
        txn.open_table(ATTACHED)?;
    }
    txn.commit()?;
    drop(database);
    fs::rename(&unfinished, folder.join(NAME))?;
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

/// Opens a file that is there and reads all of it once: damage is found now and not by a request.
fn load(path: &Path) -> Result<(Database, Facts), StoreError> {
    let load = || -> Result<(Database, Facts), redb::Error> {
        let mut database = builder().open(path)?;
        if !database.check_integrity()? {
            tracing::warn!(path = %path.display(), "store file was repaired");
        }
        let facts = tables::facts(&redb::ReadableDatabase::begin_read(&database)?)?;
        Ok((database, facts))
    };
    let (database, facts) = match catch_unwind(AssertUnwindSafe(load)) {
        Ok(loaded) => loaded.map_err(|error| match damaged(path, &error) {
            StoreError::Unavailable { reason } => unusable(path, &reason),
            other => other,
        })?,
        Err(_) => return Err(unusable(path, &"file is damaged")),
    };
    match facts.format {
        Some(FORMAT) => Ok((database, facts)),
        Some(other) => Err(unusable(
            path,
            &format!("file has format {other}, this build knows format {FORMAT}"),
        )),
        None => Err(unusable(path, &"file is not a store of ours")),
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

/// What an error of the library means.
fn damaged(path: &Path, error: &redb::Error) -> StoreError {
    match error {
        redb::Error::DatabaseAlreadyOpen => StoreError::Locked {
            path: path.display().to_string(),
        },
        redb::Error::Io(_) | redb::Error::PreviousIo => StoreError::Unavailable {
            reason: format!("{}: {error}", path.display()),
        },
        other => unusable(path, other),
    }
}
