//! Owns the supervision of one prefix: read, watch, resume, read again, and stop believing.
//! Must not know: what the values mean, or which kind of store it is.
//!
//! Absence is never an instruction. A store that is away, empty, older or another one than before takes
//! nothing from anybody: the follower says so and keeps looking.

mod backoff;
mod machine;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use self::backoff::Backoff;
use self::machine::{Contradiction, Machine, Step};
use super::status::{StoreState, StoreStatus};
use super::{Batch, Revision, Store, StoreError};
use crate::clock::unix_ms;

/// How to follow.
#[derive(Clone, Copy, Debug)]
pub struct FollowOptions {
    /// Batches that wait for the reader; behind them the store's watch waits.
    pub queue: usize,
    /// How often a frozen follower looks whether the contradiction is gone. Each look reads everything.
    pub look_again: Duration,
    /// Whether it is normal that nothing is there any more, or nothing of what was: keys under leases. Then
    /// only another store, or an older one, is a contradiction.
    pub fleeting: bool,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            queue: 64,
            look_again: Duration::from_secs(10),
            fleeting: false,
        }
    }
}

/// A followed prefix. Dropping `batches` ends it.
#[derive(Debug)]
pub struct Follower {
    /// First everything, then every change; the store's id is in `health` by then. The revision of the
    /// last one is what the reader is synced to; it only goes back when an operator accepts a store
    /// that is behind.
    pub batches: mpsc::Receiver<Batch>,
    /// How the store does.
    pub health: watch::Receiver<StoreStatus>,
    /// Can be kept when the rest is given away.
    pub operator: Operator,
}

/// The say that an operator has.
#[derive(Clone, Debug, Default)]
pub struct Operator {
    /// How often it was said.
    accepted: watch::Sender<u64>,
}

impl Operator {
    /// Takes the store as it now is, although it contradicts what was seen before.
    pub fn accept(&self) {
        self.accepted.send_modify(|times| *times += 1);
    }

    /// Follows how often it was said.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.accepted.subscribe()
    }
}

/// Follows every key under `range` until the reader goes.
pub fn follow(store: Arc<dyn Store>, range: String, options: FollowOptions) -> Follower {
    follow_by(&Operator::default(), store, range, options)
}

/// The same, where somebody has a say already.
pub fn follow_by(
    operator: &Operator,
    store: Arc<dyn Store>,
    range: String,
    options: FollowOptions,
) -> Follower {
    let (batches, receiver) = mpsc::channel(options.queue.max(1));
    let status = StoreStatus {
        since_ms: unix_ms(),
        ..StoreStatus::default()
    };
    let (health, following) = watch::channel(status);
    let driver = Driver {
        store,
        range,
        options,
        machine: Machine::new(options.fleeting),
        backoff: Backoff::default(),
        batches,
        health,
        acceptance: operator.watch(),
    };
    tokio::spawn(driver.run());
    Follower {
        batches: receiver,
        health: following,
        operator: operator.clone(),
    }
}

/// Does what the machine wants.
struct Driver {
    store: Arc<dyn Store>,
    range: String,
    options: FollowOptions,
    machine: Machine,
    backoff: Backoff,
    batches: mpsc::Sender<Batch>,
    health: watch::Sender<StoreStatus>,
    acceptance: watch::Receiver<u64>,
}

/// Why a step ended.
enum End {
    /// The reader is gone.
    Reader,
    /// The store failed.
    Store(StoreError),
    /// The store contradicts itself.
    Frozen(Contradiction),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Driver {
    async fn run(mut self) {
        loop {
            let outcome = match self.machine.step() {
                Step::Read => self.read().await,
                Step::Prove(key) => self.prove(&key).await,
                Step::Watch(from) => self.watch(from).await,
            };
            let wait = match outcome {
                Ok(()) => continue,
                Err(End::Reader) => return,
                // Nothing failed: we were only away for too long.
                Err(End::Store(error @ StoreError::Compacted { .. })) => {
                    tracing::info!(range = self.range, %error, "reading everything again");
                    self.machine.on_error(&error);
                    self.backoff.next(rand::random())
                }
                Err(End::Store(error)) => self.failed(&error),
                Err(End::Frozen(contradiction)) => self.froze(&contradiction),
            };
            if self.pause(wait).await.is_none() {
                return;
            }
        }
    }

    async fn read(&mut self) -> Result<(), End> {
        let again = self.machine.store().is_some();
        let store = Arc::clone(&self.store);
        let reading = tokio::select! {
            () = self.batches.closed() => return Err(End::Reader),
            reading = store.read(&self.range) => reading?,
        };
        let was_frozen = self.machine.frozen().is_some();
        let batch = self.machine.on_reading(reading).map_err(End::Frozen)?;
        if was_frozen {
            tracing::warn!(range = self.range, "store is believed again");
        }
        let id = self.id();
        // Before the batch, so that whoever gets it can say which store it is from.
        self.health.send_modify(|status| {
            status.id = id;
            status.resyncs += u64::from(again);
        });
        self.give(batch).await
    }

    async fn prove(&mut self, key: &str) -> Result<(), End> {
        let store = Arc::clone(&self.store);
        let (found, _) = tokio::select! {
            () = self.batches.closed() => return Err(End::Reader),
            answer = store.get(key) => answer?,
        };
        self.machine.on_proof(key, found.map(|kv| kv.mod_revision));
        Ok(())
    }

    async fn watch(&mut self, from: Revision) -> Result<(), End> {
        let store = Arc::clone(&self.store);
        let mut watch = tokio::select! {
            () = self.batches.closed() => return Err(End::Reader),
            watch = store.watch(&self.range, from) => watch?,
        };
        self.machine
            .on_watch(watch.store, watch.revision)
            .map_err(End::Frozen)?;
        self.report(StoreState::Live, String::new());
        let began = Instant::now();
        loop {
            let next = tokio::select! {
                () = self.batches.closed() => return Err(End::Reader),
                next = watch.batches.recv() => next,
            };
            // One that only begins and ends again has not earned a quick return.
            if matches!(next, Some(Ok(_))) || began.elapsed() > backoff::LONGEST {
                self.backoff.reset();
            }
            let batch = next.unwrap_or_else(|| {
                Err(StoreError::Unavailable {
                    reason: "watch ended".to_owned(),
                })
            })?;
            if let Some(batch) = self.machine.on_batch(batch) {
                self.give(batch).await?;
            }
        }
    }

    async fn give(&self, batch: Batch) -> Result<(), End> {
        self.batches.send(batch).await.map_err(|_| End::Reader)
    }

    fn failed(&mut self, error: &StoreError) -> Duration {
        self.machine.on_error(error);
        tracing::warn!(range = self.range, %error, "lost the store");
        if self.machine.frozen().is_some() {
            // Being away does not undo the contradiction.
            return self.options.look_again;
        }
        let state = match self.machine.store() {
            Some(_) => StoreState::Disconnected,
            None => StoreState::Connecting,
        };
        self.report(state, error.to_string());
        self.backoff.next(rand::random())
    }

    fn froze(&mut self, contradiction: &Contradiction) -> Duration {
        let reason = contradiction.to_string();
        let known = self.health.borrow().state == StoreState::Frozen;
        if !known {
            // What was said before this was known can't have been about it.
            self.acceptance.mark_unchanged();
        }
        if !known || self.health.borrow().reason != reason {
            tracing::error!(
                range = self.range,
                reason,
                "frozen: the store contradicts what it said; the last configuration stays in force"
            );
        }
        self.report(StoreState::Frozen, reason);
        self.options.look_again
    }

    /// Waits; `None` when the reader goes meanwhile. An operator's word ends the wait.
    async fn pause(&mut self, wait: Duration) -> Option<()> {
        tokio::select! {
            () = self.batches.closed() => return None,
            () = sleep(wait) => {}
            changed = self.acceptance.changed() => match changed {
                Ok(()) => self.machine.accept(),
                // Nobody is left to say anything.
                Err(_) => sleep(wait).await,
            },
        }
        Some(())
    }

    fn id(&self) -> String {
        let id = self.machine.store();
        id.map_or(String::new(), |id| id.to_string())
    }

    fn report(&self, state: StoreState, reason: String) {
        let id = self.id();
        self.health.send_if_modified(|status| {
            let moved = status.state != state;
            let changed = moved || status.reason != reason || status.id != id;
            if moved {
                status.since_ms = unix_ms();
            }
            status.state = state;
            status.reason = reason;
            status.id = id;
            changed
        });
    }
}
