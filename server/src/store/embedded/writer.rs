//! Owns the order of writes: one thread, all that waits in one write to disk, answers after it.
//! Must not know: how tables are laid out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::EmbeddedOptions;
use super::apply::{Tables, no_such_lease};
use super::file::{File, Loaded};
use super::leases::{Leases, whole_seconds};
use super::tables::Facts;
use crate::store::{Commit, LeaseId, Revision, StoreError, Txn};

/// Leases that one write to disk ends, so that many at once don't hold up the others.
const MAX_ENDED: usize = 256;

/// Before the file is opened anew after an error of the disk, and again.
const RETRY: Duration = Duration::from_secs(1);

/// Someone who waits for an answer, and what it will be once it is on disk.
#[derive(Debug)]
pub(super) struct Pending<T> {
    reply: oneshot::Sender<Result<T, StoreError>>,
    outcome: Option<Result<T, StoreError>>,
}

impl<T> Pending<T> {
    pub(super) fn new(reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self {
            reply,
            outcome: None,
        }
    }

    /// Answers. Whoever asked may have gone.
    fn answer(self) {
        if let Some(outcome) = self.outcome {
            let _ = self.reply.send(outcome);
        }
    }

    fn fail(self, error: &StoreError) {
        let _ = self.reply.send(Err(error.clone()));
    }
}

/// What the writer can be asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Commit(Txn, Pending<Commit>),
    Grant(Duration, Pending<LeaseId>),
    KeepAlive(LeaseId, Pending<Duration>),
    Revoke(LeaseId, Pending<()>),
}

impl Command {
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<(), redb::Error> {
        match self {
            Self::Commit(txn, pending) => pending.outcome = Some(tables.commit(txn)?),
            Self::Grant(ttl, pending) => {
                pending.outcome = Some(Ok(tables.grant(whole_seconds(*ttl))?));
            }
            Self::Revoke(lease, pending) => pending.outcome = Some(tables.revoke(*lease)?),
            // Answered from memory, before.
            Self::KeepAlive(..) => {}
        }
        Ok(())
    }

    /// It is on disk.
    fn confirm(self, leases: &mut Leases, now: Instant) {
        match self {
            Self::Commit(_, pending) => pending.answer(),
            Self::Grant(ttl, pending) => {
                if let Some(Ok(lease)) = pending.outcome {
                    leases.grant(lease, whole_seconds(ttl), now);
                }
                pending.answer();
            }
            Self::KeepAlive(_, pending) => pending.answer(),
            Self::Revoke(lease, pending) => {
                leases.end(lease);
                pending.answer();
            }
        }
    }

    fn fail(self, error: &StoreError) {
        match self {
            Self::Commit(_, pending) => pending.fail(error),
            Self::Grant(_, pending) => pending.fail(error),
            Self::KeepAlive(_, pending) => pending.fail(error),
            Self::Revoke(_, pending) => pending.fail(error),
        }
    }
}

/// Where the history ends and begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) revision: Revision,
    pub(super) oldest: Revision,
    pub(super) history_bytes: u64,
}

impl Head {
    fn of(facts: &Facts) -> Self {
        Self {
            revision: Revision(facts.revision),
            oldest: Revision(facts.oldest),
            history_bytes: facts.history_bytes,
        }
    }
}

/// The only one who writes.
#[derive(Debug)]
pub(super) struct Writer {
    file: Arc<File>,
    options: EmbeddedOptions,
    leases: Leases,
    head: watch::Sender<Head>,
    queue: mpsc::Receiver<Command>,
    /// When to open the file anew, after an error of the disk.
    reopen_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        file: Arc<File>,
        loaded: &Loaded,
        options: EmbeddedOptions,
        queue: mpsc::Receiver<Command>,
    ) -> (Self, watch::Receiver<Head>) {
        let (head, following) = watch::channel(Head::of(&loaded.facts));
        let writer = Self {
            file,
            options,
            leases: Leases::started(&loaded.facts.leases, Instant::now()),
            head,
            queue,
            reopen_at: None,
        };
        (writer, following)
    }

    /// Until nobody can ask any more. Closes the file.
    pub(super) fn run(mut self) {
        // The queue and the clock are tokio's; writing blocks, which harms nobody on a thread of its own.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.serve()),
            Err(error) => tracing::error!(%error, "the embedded store can't run"),
        }
        self.file.close();
    }

    async fn serve(&mut self) {
        loop {
            let wake = self.reopen_at.or_else(|| self.leases.next_end());
            let first = tokio::select! {
                command = self.queue.recv() => match command {
                    Some(command) => Some(command),
                    None => return,
                },
                () = until(wake) => None,
            };
            let mut group: Vec<Command> = first.into_iter().collect();
            while let Ok(command) = self.queue.try_recv() {
                group.push(command);
                if group.len() >= super::QUEUE {
                    break;
                }
            }
            self.handle(group, Instant::now());
        }
    }

    fn handle(&mut self, group: Vec<Command>, now: Instant) {
        if let Err(error) = self.recover(now) {
            for command in group {
                command.fail(&error);
            }
            return;
        }
        let ended = self.leases.ended(now, MAX_ENDED);
        let mut writes = Vec::new();
        for command in group {
            match command {
                Command::KeepAlive(lease, mut pending) => {
                    // One that has ended can't be called back, even if its keys are still there.
                    let kept = (!ended.contains(&lease))
                        .then(|| self.leases.keep_alive(lease, now))
                        .flatten();
                    pending.outcome = Some(kept.ok_or_else(|| no_such_lease(lease)));
                    pending.answer();
                }
                other => writes.push(other),
            }
        }
        if !writes.is_empty() || !ended.is_empty() {
            self.write(writes, &ended, now);
        }
    }

    fn write(&mut self, mut group: Vec<Command>, ended: &[LeaseId], now: Instant) {
        let before = *self.head.borrow();
        let written = self.file.write(|txn| {
            let mut tables = Tables::open(txn, before)?;
            for lease in ended {
                // It may have been revoked meanwhile; then there is nothing left to do.
                let _ = tables.revoke(*lease)?;
            }
            for command in &mut group {
                command.apply(&mut tables)?;
            }
            tables.finish(self.options)
        });
        match written {
            Ok(head) => {
                self.head.send_replace(head);
                for lease in ended {
                    self.leases.end(*lease);
                }
                for command in group {
                    command.confirm(&mut self.leases, now);
                }
            }
            Err(error) => {
                tracing::error!(%error, "the embedded store could not write");
                self.reopen_at = Some(now);
                for command in group {
                    command.fail(&error);
                }
            }
        }
    }

    /// After an error of the disk: opens the file anew and believes what is in it.
    fn recover(&mut self, now: Instant) -> Result<(), StoreError> {
        let Some(at) = self.reopen_at else {
            return Ok(());
        };
        if now < at {
            return Err(super::stopped());
        }
        match self.file.reopen() {
            Ok(facts) => {
                tracing::warn!("the embedded store is open again");
                self.reopen_at = None;
                self.leases = Leases::started(&facts.leases, now);
                self.head.send_replace(Head::of(&facts));
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the embedded store can't be opened again");
                self.reopen_at = Some(now + RETRY);
                Err(error)
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
