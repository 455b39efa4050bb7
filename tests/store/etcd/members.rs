//! Owns the choice among several members: the dead first, the one that dies, all of them gone.
//! Must not know: logins.

use std::time::Duration;

use bellwether_server::fleet::StoreState;
use bellwether_server::store::StoreError;
use bellwether_server::store::etcd::{EtcdConfig, Patience};
use tokio::net::TcpListener;

use super::{Mirror, at, store};
use crate::harness::etcd::{Etcd, EtcdOptions};
use crate::harness::gate::Gate;
use crate::harness::ports;
use crate::store::subject::put;

#[tokio::test]
async fn a_dead_member_is_passed_over() {
    let etcd = Etcd::start(EtcdOptions::default()).await;
    let dead = format!("http://127.0.0.1:{}", ports::free());
    let config = EtcdConfig {
        endpoints: vec![dead.clone(), etcd.endpoint()],
        ..EtcdConfig::default()
    };
    let revision = put(&store(config), "/p/a", "1").await;
    let error = store(at(&dead)).read("/p/").await.unwrap_err();
    let StoreError::Unavailable { reason } = error else {
        panic!("{error}");
    };
    assert!(
        reason.contains(&dead) && reason.contains("refused"),
        "{reason}"
    );
    assert_eq!(
        store(at(etcd.endpoint())).get("/p/a").await.unwrap().1,
        revision
    );
}

/// The kernel takes the connection, and nobody is behind it.
#[tokio::test]
async fn a_member_that_never_answers_is_passed_over() {
    let etcd = Etcd::start(EtcdOptions::default()).await;
    let stuck = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = EtcdConfig {
        endpoints: vec![
            format!("http://{}", stuck.local_addr().unwrap()),
            etcd.endpoint(),
        ],
        patience: Patience {
            connect: Duration::from_millis(500),
            request: Duration::from_millis(500),
            ..Patience::default()
        },
        ..EtcdConfig::default()
    };
    put(&store(config), "/p/a", "1").await;
}

/// Nobody repeats a write, so the first one after a restart must find the member by itself.
#[tokio::test]
async fn a_write_after_a_restart_finds_its_way() {
    let mut etcd = Etcd::start(EtcdOptions::default()).await;
    let store = store(at(etcd.endpoint()));
    for n in 0..5 {
        put(&store, "/p/a", &n.to_string()).await;
        etcd.kill();
        etcd.restart().await;
    }
    put(&store, "/p/a", "last").await;
}

/// Two ways to the same cluster, as two members are.
#[tokio::test]
async fn a_member_that_goes_is_replaced_by_the_next() {
    let etcd = Etcd::start(EtcdOptions::default()).await;
    let gates = [
        Gate::before(etcd.address()).await,
        Gate::before(etcd.address()).await,
    ];
    let config = EtcdConfig {
        endpoints: gates
            .iter()
            .map(|gate| format!("http://{}", gate.address()))
            .collect(),
        ..EtcdConfig::default()
    };
    let store = store(config);
    for key in ["/p/stays", "/p/a"] {
        put(&store, key, "0").await;
    }
    let mut mirror = Mirror::of(store.clone()).await;
    for round in 1..=4 {
        let (gone, left) = (&gates[(round + 1) % 2], &gates[round % 2]);
        left.open();
        gone.shut();
        assert_eq!(store.read("/p/").await.unwrap().entries.len(), 2);
        let value = round.to_string();
        put(&store, "/p/a", &value).await;
        assert_eq!(
            mirror.until("/p/a", &value).await,
            [format!("+/p/a={value}")]
        );
    }
    gates.iter().for_each(Gate::shut);
    mirror.state(StoreState::Disconnected).await;
    gates[0].open();
    mirror.state(StoreState::Live).await;
    assert_eq!(mirror.follower.health.borrow().resyncs, 0);
}
