//! Owns staged rollouts of one store: who leads, what servers saw, what is decided, what people want.
//! Must not know: how nodes are watched, or how they are given what they get.
//!
//! ```text
//! census of this server -> FleetReport -> replicas/<id> (leased) -> every server: Replicas
//!                                                                        |
//!                          leader (leased, fences) ---> one Steward a fleet: Evidence + gates -> tick
//!                                                                        |
//! people -> Admin API -> Line::command ---compare-and-swap---> <fleet>/state, with <fleet>/audit/…
//! ```
//!
//! With the store away nothing is decided, and all stays as it is.

mod controller;
mod gates;
mod leader;
pub mod line;
mod mirror;
pub mod report;
pub mod status;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bellwether_rollout::machine::Command;
use bellwether_rollout::{Evidence, Policy, Release};
use tokio::sync::watch;

pub use self::leader::{LEADER_TTL, Leader, Term};
pub use self::line::{Current, Line, LineError, Record};
use self::mirror::Of;
pub use self::report::publish::{LocalReports, REPORT_TTL};
pub use self::report::{FleetReport, Replicas, Report};
use crate::keys;
use crate::store::{Store, StoreError};

/// How long one call to a store may take. Nothing that is decided is worth more than what is seen then.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// How long giving back what is held may take when a server ends.
const GOODBYE: Duration = Duration::from_secs(3);

/// Releases of a fleet that are kept, where nothing else is said.
pub const KEEP_RELEASES: usize = 50;

/// The fleets of this store that are in staged mode; latest wins.
pub type StagedFleets = watch::Receiver<Arc<BTreeMap<String, StagedFleet>>>;

/// A fleet whose releases are rolled out in stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedFleet {
    /// Its name.
    pub name: String,
    /// How a release is rolled out where nothing else is said.
    pub policy: Option<Policy>,
    /// How many releases are kept besides those in use.
    pub keep: usize,
    /// How long keys must be quiet until a release is cut of them and rolled out by `policy`. None: only
    /// people cut releases.
    pub cut_after: Option<Duration>,
}

impl StagedFleet {
    /// With what holds where nothing else is said.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            policy: None,
            keep: KEEP_RELEASES,
            cut_after: None,
        }
    }
}

/// Who cuts releases of the keys as they stand.
#[async_trait]
pub trait Drafts: fmt::Debug + Send + Sync + 'static {
    /// Cuts a release, if keys have changed since the newest one and have been quiet for that long. Asked
    /// about once a second, on the leader only; quick where there is nothing to do.
    ///
    /// # Errors
    /// Why none could be cut.
    async fn cut_if_quiet(&self, fleet: &str, quiet: Duration) -> Result<Option<Release>, String>;
}

/// What it takes to take part in the rollouts of one store.
#[derive(Debug)]
pub struct Config {
    /// The store.
    pub store: Arc<dyn Store>,
    /// This server's id: unique among all that use the store, another one after a restart.
    pub server: String,
    /// Its fleets in staged mode. While there are none, nothing is written or asked.
    pub fleets: StagedFleets,
    /// What this server sees of its nodes, for each of these fleets.
    pub local: LocalReports,
    /// Who cuts releases by itself.
    pub drafts: Option<Arc<dyn Drafts>>,
    /// How long a leader is missed before another is elected; [`LEADER_TTL`].
    pub leader_ttl: Duration,
    /// How long a server that is gone counts as one that has not reported; [`REPORT_TTL`].
    pub report_ttl: Duration,
}

/// The rollouts of one store, for whoever asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    store: Arc<dyn Store>,
    server: Arc<str>,
    fleets: StagedFleets,
    replicas: watch::Receiver<Arc<Replicas>>,
    leader: watch::Receiver<Option<Leader>>,
    terms: leader::Terms,
    stop: Arc<watch::Sender<bool>>,
}

/// Takes part, until [`Handle::stop`].
#[must_use]
pub fn start(config: Config) -> Handle {
    let (stop, stopped) = watch::channel(false);
    let (terms, term) = watch::channel(None);
    let (told, tells) = watch::channel(Arc::default());
    let (wanted, is_wanted) = watch::channel(false);
    let (heard, replicas) = watch::channel(Arc::default());
    let (leads, leader) = watch::channel(None);
    let publisher = report::publish::Publisher {
        store: config.store.clone(),
        server: config.server.clone(),
        ttl: config.report_ttl,
        local: config.local,
        told: tells,
        wanted: is_wanted.clone(),
        stop: stopped.clone(),
    };
    let listener = Listener {
        store: config.store.clone(),
        server: config.server.clone(),
        ttl: config.leader_ttl,
        wanted: is_wanted,
        heard,
        leads,
        terms,
        stop: stopped.clone(),
    };
    let context = Arc::new(controller::Context {
        store: config.store.clone(),
        server: config.server.clone(),
        terms: term.clone(),
        replicas: replicas.clone(),
        told,
        drafts: config.drafts,
    });
    let fleets = config.fleets.clone();
    tokio::spawn(want(fleets.clone(), wanted, stopped.clone()));
    tokio::spawn(publisher.run());
    tokio::spawn(listener.run());
    tokio::spawn(controller::run(context, fleets, stopped));
    Handle {
        store: config.store,
        server: config.server.into(),
        fleets: config.fleets,
        replicas,
        leader,
        terms: term,
        stop: Arc::new(stop),
    }
}

/// Says whether there is any fleet in staged mode: where there is none, all this costs nothing.
async fn want(mut fleets: StagedFleets, wanted: watch::Sender<bool>, stop: watch::Receiver<bool>) {
    loop {
        let some = !fleets.borrow_and_update().is_empty();
        wanted.send_if_modified(|known| std::mem::replace(known, some) != some);
        tokio::select! {
            () = becomes(&stop, true) => return,
            changed = fleets.changed() => if changed.is_err() {
                // They stay as they are.
                return becomes(&stop, true).await;
            },
        }
    }
}

/// Waits until it is so, or until nobody is left who could say it.
async fn becomes(flag: &watch::Receiver<bool>, wanted: bool) {
    let mut flag = flag.clone();
    let _ = flag.wait_for(|flag| *flag == wanted).await;
}

/// Listens to the other servers, and stands for election, while there is any reason to.
struct Listener {
    store: Arc<dyn Store>,
    server: String,
    ttl: Duration,
    wanted: watch::Receiver<bool>,
    heard: watch::Sender<Arc<Replicas>>,
    leads: watch::Sender<Option<Leader>>,
    terms: watch::Sender<Option<Term>>,
    stop: watch::Receiver<bool>,
}

impl Listener {
    async fn run(self) {
        loop {
            tokio::select! {
                biased;
                () = becomes(&self.stop, true) => return,
                () = becomes(&self.wanted, true) => {}
            }
            let (enough, ends) = watch::channel(false);
            let key = mirror::mirror(self.store.clone(), Of::Key(keys::leader()));
            let stand = leader::Stand {
                store: self.store.clone(),
                server: self.server.clone(),
                ttl: self.ttl,
                key: key.clone(),
                terms: self.terms.clone(),
                stop: ends,
            };
            let standing = tokio::spawn(stand.run());
            let reports = mirror::mirror(self.store.clone(), Of::Range(keys::replicas_range()));
            tokio::select! {
                () = becomes(&self.stop, true) => {}
                () = becomes(&self.wanted, false) => {}
                () = self.listen(key, report::replicas::follow(reports)) => {}
            }
            enough.send_replace(true);
            // It gives back its lease, so that another server leads at once.
            let _ = standing.await;
            self.heard.send_replace(Arc::default());
            self.leads.send_replace(None);
        }
    }

    async fn listen(&self, mut key: mirror::Mirror, mut replicas: watch::Receiver<Arc<Replicas>>) {
        loop {
            self.heard
                .send_replace(replicas.borrow_and_update().clone());
            let leader = leader::leader_of(&key.borrow_and_update());
            self.leads
                .send_if_modified(|known| std::mem::replace(known, leader.clone()) != leader);
            tokio::select! {
                changed = replicas.changed() => if changed.is_err() { return },
                changed = key.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// The rollouts of all stores.
#[derive(Clone, Debug, Default)]
pub struct Rollouts(Arc<Vec<Handle>>);

impl Rollouts {
    /// Of these.
    #[must_use]
    pub fn of_stores(handles: Vec<Handle>) -> Self {
        Self(Arc::new(handles))
    }

    /// Who decides about a fleet; nobody, if it is not in staged mode.
    #[must_use]
    pub fn of(&self, fleet: &str) -> Option<&Handle> {
        self.0.iter().find(|one| one.fleet(fleet).is_some())
    }

    /// The policies that fleets have of their own, each once.
    #[must_use]
    pub fn policies(&self) -> Vec<Policy> {
        let mut all: Vec<Policy> = Vec::new();
        for handle in self.0.iter() {
            for policy in handle
                .fleets
                .borrow()
                .values()
                .filter_map(|one| one.policy.clone())
            {
                if !all.contains(&policy) {
                    all.push(policy);
                }
            }
        }
        all
    }

    /// Takes part no longer; see [`Handle::stop`].
    pub async fn stop(&self) {
        futures_util::future::join_all(self.0.iter().map(Handle::stop)).await;
    }
}

impl Handle {
    /// A fleet, if it is one of this store and in staged mode.
    #[must_use]
    pub fn fleet(&self, name: &str) -> Option<StagedFleet> {
        self.fleets.borrow().get(name).cloned()
    }

    /// A fleet's state key and history.
    #[must_use]
    pub fn line(&self, fleet: &str) -> Line {
        Line::new(self.store.clone(), fleet)
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// This server's id.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// What all live servers said of their nodes, latest wins.
    #[must_use]
    pub fn replicas(&self) -> watch::Receiver<Arc<Replicas>> {
        self.replicas.clone()
    }

    /// Who leads, by what the store says.
    #[must_use]
    pub fn leader(&self) -> Option<Leader> {
        self.leader.borrow().clone()
    }

    /// This server's own term, if it leads.
    #[must_use]
    pub fn term(&self) -> watch::Receiver<Option<Term>> {
        self.terms.clone()
    }

    /// Does what a person wants.
    ///
    /// # Errors
    /// It can't be, and why.
    pub async fn command(
        &self,
        fleet: &str,
        command: &Command,
        who: &str,
    ) -> Result<Current, LineError> {
        let line = self.line(fleet);
        let evidence = match command {
            // It says whom the next stage takes.
            Command::Promote { .. } => self.glance(fleet, &line).await?,
            _ => Evidence::default(),
        };
        line.command(command, who, &evidence).await
    }

    async fn glance(&self, fleet: &str, line: &Line) -> Result<Evidence, LineError> {
        let current = line.load().await?;
        let exposure = current.state.rollout.map_or(0, |one| one.exposure);
        Ok(self.replicas.borrow().glance(fleet, exposure))
    }

    /// Takes part no longer: gives back what it holds, so that others need not wait for it to be missed.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        // All who hold the other end are done.
        if tokio::time::timeout(GOODBYE, self.stop.closed())
            .await
            .is_err()
        {
            tracing::warn!("the store did not take back what this server held; it ends by itself");
        }
    }
}

/// A call to a store that is not waited for without end.
async fn patient<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(STORE_PATIENCE, call)
        .await
        .unwrap_or_else(|_| Err(no_answer(STORE_PATIENCE)))
}

fn no_answer(patience: Duration) -> StoreError {
    StoreError::Unavailable {
        reason: format!("no answer within {} s", patience.as_secs()),
    }
}
