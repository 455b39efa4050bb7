//! Owns what the nodes of a staged fleet get: follows the fleet's state, keeps the releases at hand that
//! it names, and gives every stream what to choose by. Must not know: how the state comes about, or who
//! the nodes are.
//!
//! The data flows one way: state key -> [`Worker`] -> [`FleetView`] -> streams. Nothing here writes.

mod count;
mod fleet_view;
mod pacer;
mod proof;
mod sight;
mod status;
mod stock;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::snapshot::{Position, Snapshot};
use bellwether_rollout::census::Elsewhere;
use bellwether_rollout::content::View;
use bellwether_rollout::state::Phase;
use bellwether_rollout::{Release, State};
use bellwether_xds::nodes::Nodes;
use bellwether_xds::{Choose, Feed};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::keys;
use crate::lane::{Instances, InstancesFeed};
use crate::release::Releases;
use crate::store::follow::{FollowOptions, Follower, Operator, follow};
use crate::store::status::StoreState;
use crate::store::{Batch, Change, KeyValue, Store};
pub use count::Count;
pub use fleet_view::FleetView;
use fleet_view::{Chooser, Offered};
use pacer::Pacer;
use proof::{Claim, prove};
pub use status::StagedStatus;
use stock::{Ready, Stock};

/// How long until a release is tried again that could not be read.
const LOAD_AGAIN: Duration = Duration::from_secs(2);

/// What each stream of one kind of client goes by.
type Chosen = watch::Receiver<Option<Arc<dyn Choose>>>;

/// Where that comes from.
type Choosers = watch::Sender<Option<Arc<dyn Choose>>>;

/// What the nodes of a staged fleet get. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Staged {
    feeds: Arc<BTreeMap<View, Chosen>>,
    /// What all streams go by; `None` until the state was read.
    pub view: watch::Receiver<Option<Arc<FleetView>>>,
    /// What operators see of it.
    pub status: watch::Receiver<Arc<StagedStatus>>,
    /// Where an operator says that the store is to be believed.
    pub operator: Operator,
    /// What was counted of its nodes at this server.
    pub counted: watch::Receiver<Count>,
    /// Where it is told what there is to know of other servers.
    pub others: Arc<watch::Sender<Arc<Others>>>,
    forced: Arc<watch::Sender<Option<Forced>>>,
}

/// An operator's word, given to one server, that everybody goes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forced {
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// What nodes get: `shop@41`.
    pub to: String,
    /// From which generation on. A newer decision outranks it.
    pub generation: u64,
}

/// What there is to know of other servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// What they say of nodes that left one of them.
    pub nodes: Elsewhere,
    /// How many servers share the pace of a rollout, this one among them; 0: nobody knows.
    pub servers: u32,
}

/// The one owner of what is served.
struct Worker {
    fleet: Arc<str>,
    releases: Releases,
    follower: Follower,
    choosers: BTreeMap<View, Choosers>,
    views: watch::Sender<Option<Arc<FleetView>>>,
    status: watch::Sender<Arc<StagedStatus>>,
    claims: watch::Sender<Claim>,
    proven: watch::Receiver<Option<Instant>>,
    forced: watch::Receiver<Option<Forced>>,
    others: watch::Receiver<Arc<Others>>,
    instances: InstancesFeed,
    /// How often an operator has said that the store is to be believed.
    accepted: watch::Receiver<u64>,
    /// How much of that is in force: each word opens a history of its own, as in [`crate::publish`].
    history: u64,
    /// Those that the releases at hand show.
    laid: Instances,
    known: Option<Decided>,
    synced_to: u64,
    stock: Stock,
    loads: JoinSet<Loaded>,
    loading: BTreeSet<u64>,
    problem: Option<String>,
    pacer: Arc<Pacer>,
    rollout_seen: Option<(u64, Instant)>,
}

/// The state, and when it was written.
#[derive(Clone, Debug)]
struct Decided {
    state: Arc<State>,
    generation: u64,
}

/// What came of reading a release.
struct Loaded {
    release: Release,
    ready: Result<Ready, String>,
}

/// Starts to serve a staged fleet, for as long as `tasks` are there.
pub fn serve(
    fleet: &str,
    store: &Arc<dyn Store>,
    nodes: &Nodes,
    instances: InstancesFeed,
    options: FollowOptions,
    tasks: &mut JoinSet<()>,
) -> Staged {
    let key = keys::state(fleet);
    let follower = follow(store.clone(), key.clone(), options);
    let operator = follower.operator.clone();
    let (claims, claimed) = watch::channel(Claim::default());
    let (prover, proven) = watch::channel(None);
    tasks.spawn(prove(store.clone(), key, claimed, prover));
    let (mut choosers, mut feeds) = (BTreeMap::new(), BTreeMap::new());
    for view in View::ALL {
        let (chooser, feed) = watch::channel(None);
        choosers.insert(view, chooser);
        feeds.insert(view, feed);
    }
    let (views, view) = watch::channel(None);
    let (status, statuses) = watch::channel(Arc::default());
    let (forced, force) = watch::channel(None);
    let (others, told) = watch::channel(Arc::default());
    let worker = Worker {
        fleet: fleet.into(),
        releases: Releases::new(store.clone(), fleet),
        accepted: operator.watch(),
        history: 0,
        follower,
        choosers,
        views,
        status,
        claims,
        proven,
        forced: force,
        others: told.clone(),
        instances,
        laid: Instances::default(),
        known: None,
        synced_to: 0,
        stock: Stock::default(),
        loads: JoinSet::new(),
        loading: BTreeSet::new(),
        problem: None,
        pacer: Arc::new(Pacer::new(0, Instant::now())),
        rollout_seen: None,
    };
    tasks.spawn(worker.run());
    let (counts, counted) = watch::channel(Count::default());
    tasks.spawn(count::count(nodes.clone(), view.clone(), told, counts));
    Staged {
        counted,
        others: Arc::new(others),
        feeds: Arc::new(feeds),
        view,
        status: statuses,
        operator,
        forced: Arc::new(forced),
    }
}

impl Staged {
    /// An operator's word, given to this server alone, that all of its nodes go back: while a rollout is
    /// under way to its base, otherwise to what was good before. It needs no store, and holds until
    /// anything is decided after it. `None`: there is nothing to go back from.
    pub fn force_base(&self, author: &str, reason: &str) -> Option<Forced> {
        let view = self.view.borrow().clone()?;
        let state = &view.state;
        let back = match &state.rollout {
            Some(rollout) => rollout.base,
            None => state.last_good.first().copied(),
        }?;
        let forced = Forced {
            author: author.to_owned(),
            reason: reason.to_owned(),
            to: format!("{}@{}", view.fleet, back.seq),
            generation: view.generation,
        };
        warn!(fleet = %view.fleet, author, reason, to = forced.to, "an operator has forced the nodes of this server back");
        self.forced.send_replace(Some(forced.clone()));
        Some(forced)
    }

    /// Whether this server knows the state, and has at hand what nodes get of which nothing else is said.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let view = self.view.borrow();
        let has = |view: &FleetView| {
            let stable = view.state.stable;
            stable.is_none_or(|stable| view.has(&stable.digest))
        };
        view.as_deref().is_some_and(has)
    }

    /// What an operator has forced, while it holds.
    #[must_use]
    pub fn forced(&self) -> Option<Forced> {
        let generation = self.view.borrow().as_ref()?.generation;
        let forced = self.forced.borrow().clone()?;
        (forced.generation == generation).then_some(forced)
    }

    /// What a kind of client gets.
    #[must_use]
    pub fn feed(&self, view: View) -> Feed {
        match self.feeds.get(&view) {
            Some(feed) => Feed::Each(feed.clone()),
            None => Feed::Each(watch::channel(None).1),
        }
    }
}

impl Worker {
    async fn run(mut self) {
        self.instances.mark_changed();
        loop {
            tokio::select! {
                batch = self.follower.batches.recv() => match batch {
                    Some(batch) => self.on_batch(&batch),
                    None => break,
                },
                Some(loaded) = self.loads.join_next(), if !self.loads.is_empty() => {
                    if let Ok(loaded) = loaded {
                        self.on_loaded(loaded);
                    }
                }
                Ok(()) = self.instances.changed() => self.on_instances(),
                Ok(()) = self.forced.changed() => self.publish(),
                Ok(()) = self.accepted.changed() => self.on_accepted(),
            }
        }
        error!(fleet = %self.fleet, "nothing follows the state of this fleet any more; its nodes keep what they have");
        // Whoever serves goes on with what there is.
        std::future::pending::<()>().await;
    }

    /// Nodes that have seen more than this server knows get what it knows from now on. What is frozen is
    /// read anew first: nodes must not be told of a generation that is none any more.
    fn on_accepted(&mut self) {
        if self.follower.health.borrow().state != StoreState::Frozen {
            self.history = *self.accepted.borrow_and_update();
            self.publish();
        }
    }

    fn on_batch(&mut self, batch: &Batch) {
        self.history = *self.accepted.borrow();
        self.synced_to = batch.revision.0;
        let own = keys::state(&self.fleet);
        for change in &batch.changes {
            match change {
                Change::Put(kv) if kv.key == own => self.on_state(kv),
                Change::Delete { key } if *key == own => {
                    let text = "the state key was deleted; the last state stays in force";
                    error!(fleet = %self.fleet, key, text);
                    self.problem = Some(text.to_owned());
                }
                Change::Put(_) | Change::Delete { .. } => {}
            }
        }
        self.load_missing();
        self.publish();
    }

    fn on_state(&mut self, kv: &KeyValue) {
        match serde_json::from_slice::<State>(&kv.value) {
            Ok(state) => {
                self.problem = None;
                self.known = Some(Decided {
                    state: Arc::new(state),
                    generation: kv.mod_revision.0,
                });
            }
            Err(bad) => {
                let reason = format!("the state can't be read, the last one stays in force: {bad}");
                error!(fleet = %self.fleet, key = kv.key, revision = kv.mod_revision.0, reason);
                self.problem = Some(reason);
            }
        }
    }

    /// Every release that a node may get, and the one that nodes would go back to.
    fn wanted(&self) -> Vec<Release> {
        let Some(known) = &self.known else {
            return Vec::new();
        };
        let state = &known.state;
        let rollout = state.rollout.iter();
        let of_rollout = rollout.flat_map(|one| [Some(one.start.target), one.base]);
        let all = of_rollout.chain([state.stable, state.last_good.first().copied()]);
        let pins = state.pins.iter().map(|pin| pin.release);
        all.flatten().chain(pins).collect()
    }

    fn load_missing(&mut self) {
        let wanted = self.wanted();
        self.stock.keep(&wanted);
        for release in wanted {
            if self.stock.get(&release.digest).is_none() && self.loading.insert(release.seq) {
                self.load(release, Duration::ZERO);
                if self.stock.is_empty() {
                    // The others wait for it: made of it, they share what is the same.
                    break;
                }
            }
        }
    }

    fn load(&mut self, release: Release, after: Duration) {
        let releases = self.releases.clone();
        let name = format!("{}@{}", self.fleet, release.seq);
        let label = format!("{} {name}", self.position());
        let earlier = self.stock.any();
        self.loads.spawn(async move {
            sleep(after).await;
            let ready = load(&releases, release, &name, label, earlier).await;
            Loaded { release, ready }
        });
    }

    fn on_loaded(&mut self, loaded: Loaded) {
        let Loaded { release, ready } = loaded;
        self.loading.remove(&release.seq);
        let is_wanted = self.wanted().contains(&release);
        match ready {
            Ok(ready) if is_wanted => {
                info!(fleet = %self.fleet, release = %ready.name, "release is at hand");
                let label = format!("{} {}", self.position(), ready.name);
                let services: Vec<&str> = ready.services().collect();
                let services = services.iter().copied();
                match ready.laid_over(services, &self.laid, &label) {
                    Ok(laid) => self.stock.add(laid),
                    Err(reason) => {
                        error!(fleet = %self.fleet, %reason, "instances make no snapshot with a release, which is a defect of this server");
                        self.stock.add(ready);
                    }
                }
            }
            Err(reason) if is_wanted => {
                warn!(fleet = %self.fleet, seq = release.seq, reason, "release can't be had; nodes that are to get it keep what they have");
                self.loading.insert(release.seq);
                self.load(release, LOAD_AGAIN);
            }
            // What is wanted by now may have the same number.
            Ok(_) | Err(_) => self.load_missing(),
        }
        self.load_missing();
        self.publish();
    }

    /// They wait for no rollout.
    fn on_instances(&mut self) {
        let Some(lane) = self.instances.borrow_and_update().clone() else {
            return;
        };
        let before = std::mem::replace(&mut self.laid, lane.instances.clone());
        let changed: Vec<&str> = self.laid.changed_since(&before).collect();
        let label = self.position().to_string();
        let laid = self
            .stock
            .lay_over(changed.iter().copied(), &self.laid, &label);
        if let Err(reason) = laid {
            error!(fleet = %self.fleet, %reason, "instances make no snapshot with a release, which is a defect of this server; endpoints stay as they are");
            return;
        }
        self.publish();
    }

    fn position(&self) -> Position {
        let id = self.follower.health.borrow().id.clone();
        Position {
            store: u64::from_str_radix(&id, 16)
                .unwrap_or_default()
                .wrapping_add(self.history),
            revision: self.synced_to,
        }
    }

    /// The state that nodes go by: what was decided, unless an operator has forced this server back since.
    fn in_force(&self, known: &Decided) -> Arc<State> {
        let forced = self.forced.borrow();
        let forced = forced
            .as_ref()
            .filter(|forced| forced.generation == known.generation);
        let Some(forced) = forced else {
            return known.state.clone();
        };
        let mut state = State::clone(&known.state);
        match &mut state.rollout {
            Some(rollout) => {
                rollout.phase = Phase::RollingBack {
                    reason: forced.reason.clone(),
                    stuck: false,
                };
            }
            None => state.stable = state.last_good.first().copied().or(state.stable),
        }
        Arc::new(state)
    }

    fn publish(&mut self) {
        // Endpoints that are not known yet must not look as if there were none.
        if self.synced_to == 0 || self.instances.borrow().is_none() {
            return;
        }
        let now = Instant::now();
        let known = self.known.clone();
        // Nothing was ever decided: there is no release.
        let known = known.unwrap_or_else(|| Decided {
            state: Arc::new(State::new(bellwether_rollout::cohort::Salt([0; 16]))),
            generation: 0,
        });
        let state = self.in_force(&known);
        let rollout = state.rollout.as_ref();
        self.claims.send_if_modified(|claim| {
            let next = Claim {
                generation: known.generation,
                matters: rollout.is_some(),
            };
            std::mem::replace(claim, next) != next
        });
        self.rollout_seen = rollout.map(|rollout| match self.rollout_seen {
            Some((id, seen)) if id == rollout.id => (id, seen),
            _ => (rollout.id, now),
        });
        let line = rollout.map_or(0, |rollout| rollout.exposure);
        if self.pacer.line != line {
            self.pacer = Arc::new(Pacer::new(line, now));
        }
        let view = Arc::new(self.view(&state, known.generation));
        self.status
            .send_replace(Arc::new(StagedStatus::of(&view, self.problem.clone())));
        self.views.send_replace(Some(view.clone()));
        for (kind, chooser) in &self.choosers {
            let chooses = Chooser {
                fleet: view.clone(),
                view: *kind,
            };
            chooser.send_replace(Some(Arc::new(chooses)));
        }
    }

    fn view(&self, state: &Arc<State>, generation: u64) -> FleetView {
        let position = self.position();
        let mut contents = BTreeMap::new();
        let offered = self.stock.all().map(|ready| {
            let digest = ready.release.digest;
            contents.extend(ready.contents().map(|content| (content, digest)));
            let each = ready.whole.iter();
            let snapshots = each.map(|(view, whole)| (*view, Arc::new(whole.clone().at(position))));
            let offered = Offered {
                ready: ready.clone(),
                snapshots: snapshots.collect(),
            };
            (digest, offered)
        });
        FleetView {
            fleet: self.fleet.clone(),
            position,
            generation,
            state: state.clone(),
            rollout_seen: self.rollout_seen.map(|(_, seen)| seen),
            releases: offered.collect(),
            contents,
            blank: Arc::new(Snapshot::default().at(position)),
            proven: self.proven.clone(),
            pacer: self.pacer.clone(),
            others: self.others.clone(),
        }
    }
}

/// Reads a release and makes it ready.
async fn load(
    releases: &Releases,
    release: Release,
    name: &str,
    label: String,
    earlier: Option<Arc<Ready>>,
) -> Result<Ready, String> {
    let loaded = releases.load(release.seq).await;
    let (header, items) = loaded.map_err(|error| error.to_string())?;
    if header.digest != release.digest {
        return Err(format!(
            "release {name} has digest {}, and {} was decided for",
            header.digest, release.digest
        ));
    }
    let name = name.to_owned();
    // Seconds of work where there are 100,000 routes.
    let made = tokio::task::spawn_blocking(move || {
        Ready::of(release, &name, &label, &items, earlier.as_deref())
    });
    match made.await {
        Ok(ready) => ready.map_err(|inconsistent| inconsistent.to_string()),
        Err(panic) => Err(panic.to_string()),
    }
}
