//! Owns what the rest of the server may know of a fleet: where its configuration is, and how it does.
//! Must not know: HTTP, gRPC, or how configuration is compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether::snapshot::Snapshot;
use bellwether_xds::{Feed, SnapshotFeed};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::fleets::Definition;
use crate::keys::Prefix;
use crate::lane::{InstancesFeed, InstancesStatus};
use crate::settings::SettingsStatus;
use crate::staged::{Staged, StagedStatus};
use crate::store::Store;
use crate::store::follow::Operator;
pub use crate::store::status::{StoreState, StoreStatus};
use crate::views::{Secrets, Translation, Views};

/// The fleet that `/apisix/admin` and unnamed nodes mean.
pub const DEFAULT_FLEET: &str = "default";

/// One fleet, as the rest of the server sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Its name.
    pub name: String,
    /// How it is defined.
    pub definition: Arc<Definition>,
    /// The store that holds it.
    pub store: Arc<dyn Store>,
    /// How it does, latest wins.
    pub status: watch::Receiver<Arc<FleetStatus>>,
    /// Where an operator says that the store is to be believed.
    pub operator: Operator,
    /// Its configuration as it stands, for each kind of client.
    pub views: Views,
    /// What its nodes get of that.
    pub serving: Serving,
    /// The instances of its services.
    pub instances: InstancesFeed,
}

/// What the nodes of a fleet get.
#[derive(Clone, Debug)]
pub enum Serving {
    /// It is not known yet how it is defined. Nothing is ever sent here; whoever waits is let go when
    /// the sender is.
    NotYet(Arc<watch::Sender<Option<Arc<Snapshot>>>>, SnapshotFeed),
    /// The configuration as it stands.
    Direct,
    /// Releases.
    Staged(Staged),
}

impl Fleet {
    /// One that nothing is done for: a part of a server of one's own.
    #[must_use]
    pub fn idle(name: &str, definition: Definition, store: Arc<dyn Store>) -> Self {
        Self {
            name: name.to_owned(),
            definition: Arc::new(definition),
            store,
            status: watch::channel(Arc::default()).1,
            operator: Operator::default(),
            views: Views::idle(),
            serving: Serving::Direct,
            instances: watch::channel(None).1,
        }
    }

    /// What the keys of its configuration start with.
    #[must_use]
    pub fn prefix(&self) -> &Prefix {
        &self.definition.prefix
    }

    /// How it is served in stages, if it is.
    #[must_use]
    pub fn staged(&self) -> Option<&Staged> {
        match &self.serving {
            Serving::Staged(staged) => Some(staged),
            Serving::Direct | Serving::NotYet(..) => None,
        }
    }

    /// What a node gets that calls itself `user_agent`.
    #[must_use]
    pub fn feed(&self, user_agent: &str, secrets: Secrets) -> Feed {
        match &self.serving {
            Serving::NotYet(_, waiting) => waiting.clone().into(),
            Serving::Direct => self.views.feed(user_agent, secrets).into(),
            Serving::Staged(staged) => {
                // What can't be expressed in the draft is told as well.
                let _ = self.views.feed(user_agent, secrets);
                staged.feed(self.views.view(user_agent, secrets))
            }
        }
    }
}

/// How a fleet does. `/v1/status` answers a list of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStatus {
    /// The fleet's name.
    pub fleet: String,
    /// Where its configuration is in the store.
    pub prefix: String,
    /// Store revision of the last change in force; 0 before the first sync.
    pub revision: u64,
    /// The store's revision up to which the server knows of every change.
    pub synced_to: u64,
    /// The store's own health.
    pub store: StoreStatus,
    /// Keys in force, by directory: `routes` 12.
    pub keys: BTreeMap<String, u64>,
    /// Resources served, by short type: `Route` 12.
    pub resources: BTreeMap<String, u64>,
    /// Keys that are not in force as they stand, in key order.
    pub problems: Vec<KeyProblem>,
    /// Keys that are in force but not as their author meant, in key order.
    pub warnings: Vec<KeyProblem>,
    /// What is served of its releases; `None` in direct mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<StagedStatus>,
    /// The instances of its services.
    #[serde(default)]
    pub instances: InstancesStatus,
    /// The fleet's settings.
    #[serde(default)]
    pub settings: SettingsStatus,
    /// What is made for clients that are no agents, by kind: `envoy`, `grpc`. A kind that never came is
    /// not there.
    #[serde(default)]
    pub translations: BTreeMap<String, Translation>,
}

/// Something about one key that its author should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyProblem {
    /// The whole key.
    pub key: String,
    /// What is wrong, for the author of the key.
    pub reason: String,
    /// Revision of the value that has it.
    pub revision: u64,
    /// Whether an earlier, good value of the key is still served.
    pub last_good: bool,
}
