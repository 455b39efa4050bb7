//! Owns the joining of what is served and what is decided: which fleets are staged, what was counted of
//! their nodes, what other servers say. Must not know: how either is done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bellwether_rollout::Release;
use bellwether_rollout::census::{Elsewhere, next_stage};
use bellwether_rollout::machine::{Command, Return};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::fleet::Fleet;
use crate::fleets::Served;
use crate::release::{DraftError, Releases, cut};
use crate::rollouts::{
    self, Drafts, FleetReport, Handle, LEADER_TTL, REPORT_TTL, Rollouts, StagedFleet,
};
use crate::staged::{Others, Staged};
use crate::store::Store;

/// Between two looks at what was counted: half of the time between two counts.
const LOOK: Duration = Duration::from_millis(500);

/// Between two tries to make what was forced here what is decided.
const RECONCILE_AGAIN: Duration = Duration::from_secs(5);

/// Who releases are by that are cut by themselves.
const AUTHOR: &str = "bellwether";

/// Takes part in the rollouts of every store.
pub(super) fn start(
    served: &Served,
    stores: impl IntoIterator<Item = (Option<String>, Arc<dyn Store>)>,
) -> Rollouts {
    let server = server_id();
    let handles = stores.into_iter().map(|(name, store)| {
        let (fleets, staged) = watch::channel(Arc::default());
        let (local, counted) = watch::channel(Arc::default());
        let drafts = Arc::new(Quiet {
            served: served.clone(),
            changed: Mutex::default(),
        });
        let handle = rollouts::start(rollouts::Config {
            store,
            server: server.clone(),
            fleets: staged,
            local: counted,
            drafts: Some(drafts),
            leader_ttl: LEADER_TTL,
            report_ttl: REPORT_TTL,
        });
        let join = Join {
            served: served.clone(),
            store: name,
            handle: handle.clone(),
            fleets,
            local,
            reconciling: BTreeMap::new(),
        };
        tokio::spawn(join.run());
        handle
    });
    Rollouts::of_stores(handles.collect())
}

/// Another one after each start, so that what a server said before is not taken for what it says now.
fn server_id() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c))
        .take(40)
        .collect();
    format!("{host}-{:08x}", rand::random::<u32>())
}

/// Carries between the two.
struct Join {
    served: Served,
    /// The store whose fleets these are.
    store: Option<String>,
    handle: Handle,
    fleets: watch::Sender<Arc<BTreeMap<String, StagedFleet>>>,
    local: watch::Sender<Arc<BTreeMap<String, FleetReport>>>,
    /// By fleet.
    reconciling: BTreeMap<String, JoinHandle<()>>,
}

impl Join {
    async fn run(mut self) {
        loop {
            self.carry();
            tokio::select! {
                changed = self.served.changed() => if changed.is_err() {
                    // They stay as they are; what is counted of them still changes.
                    sleep(LOOK).await;
                },
                () = sleep(LOOK) => {}
            }
        }
    }

    fn carry(&mut self) {
        let served = self.served.borrow_and_update().clone();
        let store = self.store.clone();
        let of_store = served
            .values()
            .filter(|fleet| fleet.definition.store == store);
        let staged = of_store.filter_map(|fleet| Some((fleet, fleet.staged()?)));
        let (mut fleets, mut local) = (BTreeMap::new(), BTreeMap::new());
        for (fleet, staged) in staged {
            fleets.insert(fleet.name.clone(), described(fleet));
            local.insert(fleet.name.clone(), report(staged));
            self.tell(fleet, staged);
            self.reconcile(fleet, staged);
        }
        set(&self.fleets, fleets);
        set(&self.local, local);
    }

    /// What an operator forced here while the store was away becomes what is decided for all.
    fn reconcile(&mut self, fleet: &Fleet, staged: &Staged) {
        let Some(forced) = staged.forced() else {
            return;
        };
        let before = self.reconciling.get(&fleet.name);
        let is_live = self.handle.replicas().borrow().is_live();
        if !is_live || before.is_some_and(|task| !task.is_finished()) {
            return;
        }
        let (handle, name) = (self.handle.clone(), fleet.name.clone());
        let task = tokio::spawn(async move {
            let command = Command::Return(Return {
                to: None,
                now: false,
                quarantine: false,
                author: forced.author.clone(),
                reason: format!("forced on {}: {}", handle.server(), forced.reason),
            });
            match handle.command(&name, &command, &forced.author).await {
                Ok(_) => info!(
                    fleet = name,
                    "what was forced here is decided for all servers"
                ),
                Err(error) => {
                    warn!(fleet = name, %error, "what was forced here is not decided for all servers yet");
                    sleep(RECONCILE_AGAIN).await;
                }
            }
        });
        self.reconciling.insert(fleet.name.clone(), task);
    }

    fn tell(&self, fleet: &Fleet, staged: &Staged) {
        let replicas = self.handle.replicas();
        let replicas = replicas.borrow();
        let me = self.handle.server();
        let others = Others {
            nodes: Elsewhere {
                departed: replicas.departed(&fleet.name, me),
                found: replicas.found(&fleet.name, me),
            },
            servers: u32::try_from(replicas.servers().len()).unwrap_or(u32::MAX),
        };
        set(&staged.others, others);
    }
}

fn set<T: PartialEq>(sender: &watch::Sender<Arc<T>>, value: T) {
    sender.send_if_modified(|known| {
        let changed = **known != value;
        if changed {
            *known = Arc::new(value);
        }
        changed
    });
}

fn described(fleet: &Fleet) -> StagedFleet {
    let definition = &fleet.definition;
    StagedFleet {
        name: fleet.name.clone(),
        policy: definition.policy().ok(),
        keep: definition.keep_releases,
        cut_after: definition.release_after,
    }
}

fn report(staged: &Staged) -> FleetReport {
    let count = staged.counted.borrow().clone();
    let view = staged.view.borrow();
    let rollout = view.as_ref().and_then(|view| view.state.rollout.as_deref());
    let next = rollout.and_then(next_stage);
    FleetReport {
        generation: count.generation,
        nodes: count.nodes,
        evidence: count.counted.evidence,
        wanted: next.map_or(0, |stage| stage.min_nodes as usize),
        in_use: count.in_use,
        departed: count.counted.departed,
        found: count.counted.found,
    }
}

/// Cuts releases of keys that have been quiet.
#[derive(Debug)]
struct Quiet {
    served: Served,
    /// Which revision is in force in each fleet, and since when. Held for a look only.
    changed: Mutex<BTreeMap<String, (u64, Instant)>>,
}

impl Quiet {
    /// How long nothing has changed.
    fn since(&self, fleet: &str, revision: u64) -> Duration {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let known = changed.entry(fleet.to_owned()).or_insert((revision, now));
        if known.0 != revision {
            *known = (revision, now);
        }
        now.saturating_duration_since(known.1)
    }
}

#[async_trait]
impl Drafts for Quiet {
    async fn cut_if_quiet(&self, name: &str, quiet: Duration) -> Result<Option<Release>, String> {
        let Some(fleet) = self.served.borrow().get(name).cloned() else {
            return Ok(None);
        };
        let revision = fleet.status.borrow().revision;
        if revision == 0 || self.since(name, revision) < quiet {
            return Ok(None);
        }
        let releases = Releases::new(fleet.store.clone(), name);
        let newest = releases.newest_header().await;
        let newest = newest.map_err(|error| error.to_string())?;
        if newest.is_some_and(|newest| newest.revision >= revision) {
            return Ok(None);
        }
        let reason = format!("keys were quiet for {} s", quiet.as_secs());
        match cut(&fleet, AUTHOR, &reason).await {
            Ok((header, true)) => Ok(Some(Release {
                seq: header.seq,
                digest: header.digest,
            })),
            Ok((_, false)) | Err(DraftError::NothingInForce(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}
