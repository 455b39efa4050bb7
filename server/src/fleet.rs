//! Owns what the rest of the server may know of a fleet: where its configuration is, and how it does.
//! Must not know: HTTP, gRPC, or how configuration is compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::keys::Prefix;
use crate::lane::{InstancesFeed, InstancesStatus};
use crate::settings::SettingsStatus;
use crate::store::Store;
use crate::store::follow::Operator;
pub use crate::store::status::{StoreState, StoreStatus};
use crate::views::Translation;

/// The fleet that `/apisix/admin` and unnamed nodes mean.
pub const DEFAULT_FLEET: &str = "default";

/// One fleet, as the Admin API sees it.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Its name.
    pub name: String,
    /// Where its configuration is.
    pub prefix: Prefix,
    /// The store that holds it.
    pub store: Arc<dyn Store>,
    /// How it does, latest wins.
    pub status: watch::Receiver<Arc<FleetStatus>>,
    /// Where an operator says that the store is to be believed.
    pub operator: Operator,
    /// The instances of its services.
    pub instances: InstancesFeed,
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
