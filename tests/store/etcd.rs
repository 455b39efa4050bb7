//! Owns what the store in etcd must bear besides the contract, each against the real server.
//! Must not know: the embedded store.

mod following;
mod half_open;
mod login;
mod members;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bellwether_server::store::Store;
use bellwether_server::store::etcd::{EtcdConfig, EtcdStore, Patience};

use super::mirror::Mirror;

fn store(config: EtcdConfig) -> Arc<dyn Store> {
    Arc::new(EtcdStore::new(config).unwrap())
}

fn at(endpoint: impl ToString) -> EtcdConfig {
    EtcdConfig {
        endpoints: vec![endpoint.to_string()],
        ..EtcdConfig::default()
    }
}

/// Nothing short of the operating system ends a connection.
fn without_pings(patience: Patience) -> Patience {
    Patience {
        ping: Duration::from_secs(3600),
        pong: Duration::from_secs(3600),
        ..patience
    }
}
