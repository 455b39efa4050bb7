//! Owns one fleet's way from the store to its snapshots: follows the keys, has the catalog compile
//! them, and publishes the newest consistent snapshot. Must not know: who receives it.

mod journal;

use std::sync::Arc;
use std::time::Instant;

use bellwether::snapshot::{Changes, Position, Snapshot};
use bellwether::step::Published;
use bellwether_xds::SnapshotFeed;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::catalog::Catalog;
use crate::fleet::{FleetStatus, KeyProblem};
use crate::keys::{Layout, Prefix};
use crate::lane::{InstancesFeed, follow_instances};
use crate::store::follow::{FollowOptions, Follower, Operator, follow};
use crate::store::{Batch, Store};
use journal::Journal;

/// Batches that are compiled together when they come faster than they can be published.
const COALESCED_BATCHES: usize = 256;

/// Changes in one go that are worth moving off the other tasks' thread: some 10 ms of compiling.
const MANY_CHANGES: usize = 500;

/// Keys named in the log when many go bad at once; the status lists them all.
const LOGGED_PROBLEMS: usize = 20;

/// The one owner of a fleet's desired state.
#[derive(Debug)]
struct Publisher {
    catalog: Catalog,
    snapshot: Snapshot,
    follower: Follower,
    journal: Journal,
    /// The instances of services. Nothing is published before they are known.
    instances: InstancesFeed,
    /// How often an operator has said that the store is to be believed.
    accepted: watch::Receiver<u64>,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    status: watch::Sender<Arc<FleetStatus>>,
}

/// What comes of following a fleet.
#[derive(Debug)]
pub struct Following {
    /// The newest consistent snapshot.
    pub snapshots: SnapshotFeed,
    /// How the fleet does.
    pub status: watch::Receiver<Arc<FleetStatus>>,
    /// Where an operator says that the store is to be believed.
    pub operator: Operator,
    /// The instances of its services.
    pub instances: InstancesFeed,
}

/// Starts to follow a fleet, for as long as `tasks` are there.
pub fn publish(
    name: &str,
    prefix: &Prefix,
    layout: Layout,
    store: &Arc<dyn Store>,
    options: FollowOptions,
    tasks: &mut JoinSet<()>,
) -> Following {
    let (snapshots, feed) = watch::channel(None);
    let first = FleetStatus {
        fleet: name.to_owned(),
        prefix: prefix.to_string(),
        ..FleetStatus::default()
    };
    let (status, statuses) = watch::channel(Arc::new(first));
    let follower = follow(store.clone(), prefix.range(), options);
    let operator = follower.operator.clone();
    let instances = follow_instances(name, prefix, layout, store, &operator, options);
    let publisher = Publisher {
        accepted: operator.watch(),
        catalog: Catalog::new(prefix.clone()).reading(layout),
        snapshot: Snapshot::default(),
        follower,
        instances: instances.clone(),
        journal: Journal::default(),
        snapshots,
        status,
    };
    tasks.spawn(publisher.run());
    Following {
        snapshots: feed,
        status: statuses,
        operator,
        instances,
    }
}

impl Publisher {
    async fn run(mut self) {
        let mut knows_instances = false;
        loop {
            let now = Instant::now();
            let unsaid = self.journal.due(now);
            tokio::select! {
                // First, so that a server that has just begun serves no empty services.
                changed = self.instances.changed() => match changed {
                    Ok(()) => {
                        knows_instances = true;
                        self.on_instances();
                    }
                    Err(_) => break,
                },
                batch = self.follower.batches.recv(), if knows_instances => match batch {
                    Some(batch) => self.on_batches(batch),
                    None => break,
                },
                // Its sender lives in the follower, which outlives nothing of this.
                Ok(()) = self.accepted.changed() => self.on_accepted(),
                health = self.follower.health.changed() => match health {
                    Ok(()) => self.report_health(),
                    Err(_) => break,
                },
                () = tokio::time::sleep_until(unsaid.unwrap_or(now).into()), if unsaid.is_some() => {
                    self.log_compiled();
                }
            }
        }
        error!(
            fleet = self.status.borrow().fleet,
            "nothing follows the store any more; the last configuration is served until the server is restarted"
        );
        // Whoever serves goes on with what there is.
        std::future::pending::<()>().await;
    }

    fn on_batches(&mut self, first: Batch) {
        let mut batches = vec![first];
        while batches.len() < COALESCED_BATCHES
            && let Ok(batch) = self.follower.batches.try_recv()
        {
            batches.push(batch);
        }
        let changes: usize = batches.iter().map(|batch| batch.changes.len()).sum();
        // A runtime of one thread has nobody to go on meanwhile.
        let has_others = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
        if changes > MANY_CHANGES && has_others {
            tokio::task::block_in_place(|| self.compile(&batches));
        } else {
            self.compile(&batches);
        }
    }

    /// Goes to every node at once.
    fn on_instances(&mut self) {
        let Some(lane) = self.instances.borrow_and_update().clone() else {
            return;
        };
        let changes = self.catalog.set_instances(&lane.instances);
        let synced_to = self.status.borrow().synced_to;
        // Before the first sync there is nothing that follows a service.
        if synced_to == 0 || !self.advance(self.position(synced_to), changes) {
            return;
        }
        self.report(synced_to, true);
    }

    /// Nodes that have seen more than this server knows get what it knows from now on.
    fn on_accepted(&mut self) {
        warn!(
            fleet = self.status.borrow().fleet,
            "an operator has accepted the store as it is"
        );
        if let Some(known) = self.snapshot.position() {
            self.snapshot = self
                .snapshot
                .clone()
                .at(self.position(known.revision))
                .trusted();
            self.snapshots
                .send_replace(Some(Arc::new(self.snapshot.clone())));
        }
    }

    /// Positions before and after an operator's word are not compared: it opens a history of its own.
    fn position(&self, revision: u64) -> Position {
        Position {
            store: self.store_id().wrapping_add(*self.accepted.borrow()),
            revision,
        }
    }

    fn compile(&mut self, batches: &[Batch]) {
        let started = Instant::now();
        let Some(newest) = batches.last().map(|batch| batch.revision) else {
            return;
        };
        let keys: usize = batches.iter().map(|batch| batch.changes.len()).sum();
        let each = batches.iter().map(|batch| self.catalog.apply(batch));
        let changes = Changes::merged(each.collect());
        let position = self.position(newest.0);
        let resources = changes.upserts.len() + changes.removals.len();
        if !self.advance(position, changes) {
            return;
        }
        self.report(newest.0, keys > 0);
        if keys > 0 {
            self.journal
                .add(newest.0, keys, resources, started.elapsed());
            self.log_compiled();
        }
    }

    fn advance(&mut self, position: Position, changes: Changes) -> bool {
        match self.snapshot.next(position.to_string(), changes) {
            Ok(next) => self.snapshot = next.at(position),
            Err(reason) => {
                error!(
                    fleet = self.status.borrow().fleet,
                    revision = position.revision,
                    %reason,
                    "compiled resources contradict each other, which is a defect of this server; the last snapshot is served on"
                );
                return false;
            }
        }
        self.snapshots
            .send_replace(Some(Arc::new(self.snapshot.clone())));
        true
    }

    fn log_compiled(&mut self) {
        let Some(compiled) = self.journal.take(Instant::now()) else {
            return;
        };
        info!(
            fleet = self.status.borrow().fleet,
            revision = compiled.revision,
            snapshots = compiled.snapshots,
            keys = compiled.keys,
            resources = compiled.resources,
            micros = compiled.took.as_micros(),
            "configuration compiled"
        );
    }

    /// The store's id as the follower last saw it.
    fn store_id(&self) -> u64 {
        u64::from_str_radix(&self.follower.health.borrow().id, 16).unwrap_or_default()
    }

    /// `changed`: keys or instances did, so what is said of them is looked at again.
    fn report(&self, synced_to: u64, changed: bool) {
        let mut status = FleetStatus::clone(&self.status.borrow());
        status.synced_to = synced_to;
        status.store = self.follower.health.borrow().clone();
        if changed || status.revision == 0 {
            status.revision = synced_to;
            status.problems = self.catalog.problems().collect();
            status.warnings = self.catalog.warnings().collect();
            if let Some(lane) = &*self.instances.borrow() {
                status.instances = lane.instances.status();
                status.problems.extend(lane.problems.iter().cloned());
                status.problems.sort_by(|a, b| a.key.cmp(&b.key));
                status.warnings.extend(lane.warnings.iter().cloned());
            }
            let of_kind = |(directory, count): (&str, u64)| (directory.to_owned(), count);
            status.keys = self.catalog.counts().into_iter().map(of_kind).collect();
            status.resources = self
                .snapshot
                .types()
                .map(|published| count(published))
                .collect();
            self.log_new(&status.problems);
        }
        self.status.send_replace(Arc::new(status));
    }

    fn report_health(&mut self) {
        let health = self.follower.health.borrow_and_update().clone();
        self.status
            .send_modify(|status| Arc::make_mut(status).store = health);
    }

    /// A key that has just gone bad is worth a line; one that still is, is not.
    fn log_new(&self, problems: &[KeyProblem]) {
        let known = self.status.borrow().clone();
        let mut fresh = journal::fresh(problems, &known.problems);
        for problem in fresh.by_ref().take(LOGGED_PROBLEMS) {
            warn!(
                fleet = known.fleet,
                key = problem.key,
                revision = problem.revision,
                reason = problem.reason,
                last_good = problem.last_good,
                "key is not in force"
            );
        }
        let more = fresh.count();
        if more > 0 {
            warn!(
                fleet = known.fleet,
                more, "further keys are not in force; the status names them"
            );
        }
    }
}

fn count(published: &Published) -> (String, u64) {
    (
        published.type_url().short().to_owned(),
        published.set().len() as u64,
    )
}
