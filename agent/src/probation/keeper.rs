//! Owns the probation of a running agent: what is noted before a change, and what becomes the last good.
//! Must not know: the protocol, how a change is put in force.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::content::Content;
use bellwether::name::ResourceId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use tracing::{error, info};

use super::boot::{Boot, note};
use super::guard::Guard;
use super::machine::{Probation, Ripe};
use super::quarantine::Quarantine;
use super::{ProbationStatus, States};
use crate::disk::{Disk, DiskError, Kept};
use crate::held::Held;
use crate::watchdog::Pulse;

/// What is asked of the keeper.
#[derive(Debug)]
pub enum Ask {
    /// Something is about to be put in force.
    Before {
        /// What all will be called then, if somebody can tell.
        content: Option<Content>,
        /// What is about to change.
        states: States,
        /// What is refused no more.
        released: Vec<ResourceId>,
        /// Told when it may be.
        done: oneshot::Sender<()>,
    },
    /// It is in force.
    After {
        /// What all is called.
        content: Option<Content>,
        /// What is refused no more.
        released: Vec<ResourceId>,
    },
    /// How long something must live from now on.
    Length(Duration),
}

/// Asks that wait: there is one who changes something, and one who is told a length.
const ASKS: usize = 4;

/// How long to wait after the last good could not be kept.
const RETRY: Duration = Duration::from_secs(10);

/// The only one who writes what is noted and what is the last good.
#[derive(Debug)]
pub struct Keeper {
    disk: Disk,
    probation: Probation,
    /// What the agent was started with; a server's word of zero returns to it.
    length: Duration,
    asks: mpsc::Receiver<Ask>,
    held: watch::Receiver<Held>,
    status: watch::Sender<ProbationStatus>,
    saving: Option<(Ripe, JoinHandle<Result<(), DiskError>>)>,
    not_before: Instant,
}

impl Keeper {
    /// For a process that has just put in force what `boot` gave; `held` is what is in force.
    #[must_use]
    pub fn new(
        disk: Disk,
        boot: Boot,
        held: watch::Receiver<Held>,
        length: Duration,
    ) -> (Self, Guard) {
        let now = Instant::now();
        let content = held.borrow().content();
        // What a newer build can't take of it is left out, and it is the last good still.
        let last_good = match boot.is_last_good {
            true => (content, true),
            false => (boot.last_good, false),
        };
        let is_careful = boot.record.crashes > 0;
        let quarantine = Quarantine::new(boot.record.quarantine.clone());
        let probation = Probation::new(boot.record, content, last_good, length, now);
        let (status, reader) = watch::channel(probation.status().clone());
        let (asks, asked) = mpsc::channel(ASKS);
        let keeper = Self {
            disk,
            probation,
            length,
            asks: asked,
            held,
            status,
            saving: None,
            not_before: now,
        };
        let guard = Guard {
            asks,
            status: reader,
            is_careful,
            quarantine,
            pulse: Arc::new(Pulse::default()),
        };
        (keeper, guard)
    }

    /// Follows how things stand.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ProbationStatus> {
        self.status.subscribe()
    }

    /// Works until `stop` is true, and notes that the end was meant.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let due = self.probation.due().filter(|_| self.saving.is_none());
            let due = due.map(|due| due.max(self.not_before));
            tokio::select! {
                biased;
                () = stops(&mut stop) => break,
                Some(ask) = self.asks.recv() => self.answer(ask).await,
                saved = saved(&mut self.saving), if self.saving.is_some() => self.saved(saved).await,
                () = at(due), if due.is_some() => self.ripens().await,
            }
            self.tell();
        }
        if self.probation.stops() {
            self.note().await;
        }
    }

    /// Nobody is woken for nothing.
    fn tell(&self) {
        let now = self.probation.status();
        self.status.send_if_modified(|told| {
            let differs = told != now;
            if differs {
                now.clone_into(told);
            }
            differs
        });
    }

    async fn answer(&mut self, ask: Ask) {
        let now = Instant::now();
        match ask {
            Ask::Before {
                content,
                states,
                released,
                done,
            } => {
                if self.probation.before(content, states, &released, now) {
                    self.note().await;
                }
                // Nobody waits if the agent is going down.
                let _ = done.send(());
            }
            Ask::After { content, released } => {
                if self.probation.after(content, &released, now) {
                    self.note().await;
                }
            }
            Ask::Length(length) if length.is_zero() => self.probation.set_length(self.length),
            Ask::Length(length) => self.probation.set_length(length),
        }
    }

    async fn ripens(&mut self) {
        let now = Instant::now();
        let Some(ripe) = self.probation.ripe(now) else {
            return;
        };
        if ripe.is_kept {
            return self.settle(&ripe).await;
        }
        // Nothing is being put in force at this moment, so this is what has lived so long.
        let (disk, held) = (self.disk.clone(), self.held.borrow().clone());
        let saving = tokio::task::spawn_blocking(move || disk.save(Kept::LastGood, &held));
        self.saving = Some((ripe, saving));
    }

    async fn saved(&mut self, saved: Option<(Ripe, Result<(), String>)>) {
        match saved {
            Some((ripe, Ok(()))) => self.settle(&ripe).await,
            Some((_, Err(error))) => {
                error!(%error, "can't keep the last good configuration; a restart after a crash would serve an older one");
                self.not_before = Instant::now() + RETRY;
            }
            None => {}
        }
    }

    async fn settle(&mut self, ripe: &Ripe) {
        if self.probation.kept(ripe, Instant::now()) {
            self.note().await;
            let content = self.probation.status().content;
            let content = content.map(|content| content.to_string());
            info!(
                content,
                "the configuration in force is stable, and the last good from now on"
            );
        }
    }

    async fn note(&self) {
        let (disk, record) = (self.disk.clone(), self.probation.record().clone());
        let noted = tokio::task::spawn_blocking(move || note(&disk, &record)).await;
        if let Err(panic) = noted {
            error!(%panic, "noting what is attempted failed");
        }
    }
}

async fn stops(stop: &mut watch::Receiver<bool>) {
    // An agent that ends without saying so has failed, and what is noted must stay as it is.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

type Saving = (Ripe, JoinHandle<Result<(), DiskError>>);

async fn saved(saving: &mut Option<Saving>) -> Option<(Ripe, Result<(), String>)> {
    let (ripe, task) = saving.as_mut()?;
    let result = match task.await {
        Ok(saved) => saved.map_err(|error| error.to_string()),
        Err(panic) => Err(panic.to_string()),
    };
    let ripe = *ripe;
    *saving = None;
    Some((ripe, result))
}
