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
use crate::store::{Commit, LeaseId, Revision, StoreError, Txn};

/// Leases that one write to disk ends, so that many at once don't hold up the others.
const MAX_ENDED: usize = 256;

/// Before the end of leases is tried again when the disk took nothing.
const RETRY: Duration = Duration::from_secs(1);

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer can be asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Commit(Txn, Reply<Commit>),
    Grant(Duration, Reply<LeaseId>),
    KeepAlive(LeaseId, Reply<Duration>),
    Revoke(LeaseId, Reply<()>),
}

/// Where the history ends and begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) revision: Revision,
    pub(super) oldest: Revision,
    pub(super) history_bytes: u64,
}

/// What a command came to, answered once it is on disk.
#[derive(Debug)]
enum Done {
    Commit(Reply<Commit>, Result<Commit, StoreError>),
    Grant(Reply<LeaseId>, LeaseId, u64),
    Revoke(Reply<()>, LeaseId, Result<(), StoreError>),
    Ended(LeaseId),
}

/// The only one who writes.
#[derive(Debug)]
pub(super) struct Writer {
    file: Arc<File>,
    options: EmbeddedOptions,
    leases: Leases,
    head: watch::Sender<Head>,
    queue: mpsc::Receiver<Command>,
    /// Before this nothing is tried because of leases alone.
    not_before: Instant,
}

impl Writer {
    pub(super) fn new(
        file: Arc<File>,
        loaded: &Loaded,
        options: EmbeddedOptions,
        queue: mpsc::Receiver<Command>,
    ) -> (Self, watch::Receiver<Head>) {
        let (head, following) = watch::channel(Head {
            revision: Revision(loaded.facts.revision),
            oldest: Revision(loaded.facts.oldest),
            history_bytes: loaded.facts.history_bytes,
        });
        let now = Instant::now();
        let writer = Self {
            file,
            options,
            leases: Leases::started(&loaded.facts.leases, now),
            head,
            queue,
            not_before: now,
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
            let lease_ends = self.leases.next_end().map(|at| at.max(self.not_before));
            let first = tokio::select! {
                command = self.queue.recv() => match command {
                    Some(command) => Some(command),
                    None => return,
                },
                () = until(lease_ends) => None,
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
        let ended = if now >= self.not_before {
            self.leases.ended(now, MAX_ENDED)
        } else {
            Vec::new()
        };
        let mut writes = Vec::new();
        for command in group {
            match command {
                Command::KeepAlive(lease, reply) => {
                    // One that has ended can't be called back, even if its keys are still there.
                    let kept = (!ended.contains(&lease))
                        .then(|| self.leases.keep_alive(lease, now))
                        .flatten();
                    answer(reply, kept.ok_or_else(|| no_such_lease(lease)));
                }
                other => writes.push(other),
            }
        }
        if !writes.is_empty() || !ended.is_empty() {
            self.write(writes, ended, now);
        }
    }

    fn write(&mut self, group: Vec<Command>, ended: Vec<LeaseId>, now: Instant) {
        let before = *self.head.borrow();
        let mut done = Vec::with_capacity(group.len() + ended.len());
        let written = self.file.write(|txn| {
            let mut tables = Tables::open(txn, before)?;
            for lease in ended {
                // It may have been revoked meanwhile; then there is nothing left to do.
                let _ = tables.revoke(lease)?;
                done.push(Done::Ended(lease));
            }
            for command in group {
                apply(&mut tables, command, &mut done)?;
            }
            tables.finish(self.options)
        });
        match written {
            Ok(head) => {
                self.head.send_replace(head);
                for done in done {
                    self.confirm(done, now);
                }
            }
            Err(error) => {
                // Commands not yet applied lose their reply, which says the same.
                tracing::error!(%error, "the embedded store could not write");
                self.not_before = now + RETRY;
                for done in done {
                    fail(done, &error);
                }
            }
        }
    }

    fn confirm(&mut self, done: Done, now: Instant) {
        match done {
            Done::Commit(reply, outcome) => answer(reply, outcome),
            Done::Grant(reply, lease, seconds) => {
                self.leases.grant(lease, seconds, now);
                answer(reply, Ok(lease));
            }
            Done::Revoke(reply, lease, outcome) => {
                self.leases.end(lease);
                answer(reply, outcome);
            }
            Done::Ended(lease) => self.leases.end(lease),
        }
    }
}

fn apply(
    tables: &mut Tables<'_>,
    command: Command,
    done: &mut Vec<Done>,
) -> Result<(), redb::Error> {
    done.push(match command {
        Command::Commit(txn, reply) => {
            let outcome = tables.commit(&txn)?;
            Done::Commit(reply, outcome)
        }
        Command::Grant(ttl, reply) => {
            let seconds = whole_seconds(ttl);
            Done::Grant(reply, tables.grant(seconds)?, seconds)
        }
        Command::Revoke(lease, reply) => {
            let outcome = tables.revoke(lease)?;
            Done::Revoke(reply, lease, outcome)
        }
        // Answered from memory, before.
        Command::KeepAlive(..) => return Ok(()),
    });
    Ok(())
}

fn fail(done: Done, error: &StoreError) {
    match done {
        Done::Commit(reply, _) => answer(reply, Err(error.clone())),
        Done::Grant(reply, ..) => answer(reply, Err(error.clone())),
        Done::Revoke(reply, ..) => answer(reply, Err(error.clone())),
        Done::Ended(_) => {}
    }
}

/// Whoever asked may have gone.
fn answer<T>(reply: Reply<T>, outcome: Result<T, StoreError>) {
    let _ = reply.send(outcome);
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
