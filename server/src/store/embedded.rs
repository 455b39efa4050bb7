//! Owns the store in one file: the semantics of etcd for a laptop or a small site that has none.
//! Must not know: what the keys mean.
//!
//! One thread writes: it takes what is waiting, applies it in one transaction of the file, and answers
//! when that is on disk. Readers see snapshots and disturb nobody. A watch is a reader of the history
//! that follows the writer, so a slow one loses nothing and holds nobody up.

mod apply;
mod file;
mod leases;
mod tables;
mod watch;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use self::file::File;
use self::writer::{Command, Head, Pending, Writer};
use super::{
    Commit, KeyValue, LeaseId, Reading, Revision, Store, StoreError, StoreId, Txn, Watch, check,
};

/// How much history is kept for watches that begin in the past.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedOptions {
    /// Revisions. A reader that was away for longer reads everything again.
    pub history_revisions: u64,
    /// Bytes of keys and values.
    pub history_bytes: u64,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            history_revisions: 10_000,
            history_bytes: 64 << 20,
        }
    }
}

/// Commands that wait for the writer. It takes all of them at once, so this is also the most that
/// one write to disk confirms.
const QUEUE: usize = 256;

/// A store in a folder. Dropping it finishes what is waiting and closes the file.
#[derive(Debug)]
pub struct EmbeddedStore {
    id: StoreId,
    file: Arc<File>,
    head: tokio::sync::watch::Receiver<Head>,
    /// `None` only while being dropped.
    commands: Option<mpsc::Sender<Command>>,
    writer: Option<JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Opens the store in a folder, or makes a new one.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it, [`StoreError::Corrupt`] if the folder can't be
    /// used or the file in it is damaged or not ours.
    pub async fn open(
        folder: impl AsRef<Path> + Send,
        options: EmbeddedOptions,
    ) -> Result<Self, StoreError> {
        let folder = folder.as_ref().to_owned();
        let open = move || Self::open_blocking(&folder, options);
        tokio::task::spawn_blocking(open)
            .await
            .unwrap_or_else(|_| Err(stopped()))
    }

    fn open_blocking(folder: &Path, options: EmbeddedOptions) -> Result<Self, StoreError> {
        let (file, loaded) = File::open(folder)?;
        let file = Arc::new(file);
        let (commands, queue) = mpsc::channel(QUEUE);
        let (writer, head) = Writer::new(Arc::clone(&file), &loaded, options, queue);
        let thread = std::thread::Builder::new()
            .name("embedded-store".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::Unavailable {
                reason: format!("can't start the writer's thread: {error}"),
            })?;
        Ok(Self {
            id: loaded.id,
            file,
            head,
            commands: Some(commands),
            writer: Some(thread),
        })
    }

    async fn ask<T>(&self, command: impl FnOnce(Pending<T>) -> Command) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or_else(stopped)?;
        commands
            .send(command(Pending::new(reply)))
            .await
            .map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// The writer has ended, or waits for a disk that fails.
fn stopped() -> StoreError {
    StoreError::Unavailable {
        reason: "the embedded store is closed".to_owned(),
    }
}

impl Drop for EmbeddedStore {
    /// Waits for the write to disk that may be going on, so that the file is free afterwards.
    fn drop(&mut self) {
        self.commands = None;
        if let Some(writer) = self.writer.take() {
            // A panic in there was reported when it happened.
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn id(&self) -> Result<StoreId, StoreError> {
        Ok(self.id)
    }

    async fn read(&self, prefix: &str) -> Result<Reading, StoreError> {
        let prefix = prefix.to_owned();
        let read = file::read(&self.file, move |txn| tables::read(txn, &prefix)).await?;
        Ok(Reading {
            store: self.id,
            revision: read.0,
            entries: read.1,
        })
    }

    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        let key = key.to_owned();
        file::read(&self.file, move |txn| tables::get(txn, &key)).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        watch::open(self.id, &self.file, self.head.clone(), prefix, from)
    }

    async fn commit(&self, txn: Txn) -> Result<Commit, StoreError> {
        check::check(&txn)?;
        self.ask(|reply| Command::Commit(txn, reply)).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.ask(|reply| Command::Grant(ttl, reply)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.ask(|reply| Command::KeepAlive(lease, reply)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(|reply| Command::Revoke(lease, reply)).await
    }
}
