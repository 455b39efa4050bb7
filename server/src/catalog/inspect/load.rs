//! Owns the arithmetic of what proxies cost etcd. Must not know: the configuration, but for its size.

use serde::{Deserialize, Serialize};

use super::LoadReport;

/// Directories that a worker watches: `upstreams`, `plugins`, `ssls`, `stream_routes`,
/// `plugin_metadata`, `routes`, `services`, `consumers`, `global_rules`, `protos`, `plugin_configs`,
/// `consumer_groups`, `secrets` (APISIX 3.x, HTTP subsystem).
const WATCHES_A_WORKER: u64 = 13;

/// Memory of etcd for one connection with its watches, measured on etcd 3.5 with idle watchers.
const WATCHER_BYTES: u64 = 88 << 10;

/// Password checks that one core does in a second, measured; bcrypt at etcd's default cost of 10.
const LOGINS_A_SECOND_AND_CORE: f64 = 16.0;

/// The proxies of today, and the discovery servers to put in front of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxies {
    /// How many proxies there are.
    pub proxies: u64,
    /// Worker processes of each; nginx has one a core.
    pub workers: u64,
    /// Discovery servers.
    pub servers: u64,
}

impl Default for Proxies {
    /// A small fleet, and a pair of servers.
    fn default() -> Self {
        Self {
            proxies: 10,
            workers: 8,
            servers: 2,
        }
    }
}

/// What clients cost etcd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EtcdLoad {
    /// Connections held open.
    pub connections: u64,
    /// Watches held open.
    pub watches: u64,
    /// Memory for those, in bytes.
    pub watcher_bytes: u64,
    /// Logins when all of them start at once, with a user and a password.
    pub logins: u64,
    /// How long those logins take on one core of etcd, in seconds.
    pub login_seconds: f64,
    /// Bytes read when all of them start, or after a compaction that they have missed.
    pub read_bytes: u64,
}

impl EtcdLoad {
    fn of(connections: u64, watches: u64, readers: u64, bytes: u64) -> Self {
        Self {
            connections,
            watches,
            watcher_bytes: connections.saturating_mul(WATCHER_BYTES),
            logins: connections,
            // Counts of proxies are far below 2^52.
            #[allow(clippy::cast_precision_loss)]
            login_seconds: connections as f64 / LOGINS_A_SECOND_AND_CORE,
            read_bytes: readers.saturating_mul(bytes),
        }
    }
}

impl LoadReport {
    /// What a configuration of so many bytes costs.
    pub(super) fn estimate(proxies: &Proxies, bytes: u64) -> Self {
        let workers = proxies.proxies.saturating_mul(proxies.workers);
        let watches = workers.saturating_mul(WATCHES_A_WORKER);
        Self {
            proxies: *proxies,
            today: EtcdLoad::of(workers, watches, workers, bytes),
            today_connection_a_directory: EtcdLoad::of(watches, watches, workers, bytes),
            with_bellwether: EtcdLoad::of(proxies.servers, proxies.servers, proxies.servers, bytes),
        }
    }
}
