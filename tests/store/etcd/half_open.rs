//! Owns how a connection is found out that is open and has nobody behind it.
//! Must not know: what is in the store.

use std::time::Duration;

use bellwether_server::fleet::StoreState;
use bellwether_server::store::etcd::{EtcdConfig, Patience};
use tokio::time::Instant;

use super::{Mirror, at, store, without_pings};
use crate::harness::etcd::{Etcd, EtcdOptions};

/// Short enough for a test, long enough for a busy machine.
const SHORT: Duration = Duration::from_secs(1);

async fn stop_until_found(patience: Patience, stopped_for: Duration, found_by: &str) {
    let etcd = Etcd::start(EtcdOptions::default()).await;
    etcd.etcdctl(&["put", "/p/a", "1"]).await;
    let config = EtcdConfig {
        patience,
        ..at(etcd.endpoint())
    };
    let mut mirror = Mirror::of(store(config)).await;
    etcd.stop_process();
    let stopped = Instant::now();
    let status = mirror.state(StoreState::Disconnected).await;
    eprintln!("found after {:?}: {}", stopped.elapsed(), status.reason);
    assert!(status.reason.contains(found_by), "{}", status.reason);
    tokio::time::sleep_until(stopped + stopped_for).await;
    etcd.cont();
    mirror.state(StoreState::Live).await;
    etcd.etcdctl(&["put", "/p/a", "2"]).await;
    assert_eq!(mirror.until("/p/a", "2").await, ["+/p/a=2"]);
    assert_eq!(mirror.follower.health.borrow().resyncs, 0);
}

/// With the times of production.
#[tokio::test]
async fn an_etcd_stopped_for_30_s_is_found_out_and_found_again() {
    stop_until_found(Patience::default(), Duration::from_secs(30), "").await;
}

#[tokio::test]
async fn a_connection_that_does_not_answer_pings_is_found_out() {
    let patience = Patience {
        ping: SHORT,
        pong: SHORT,
        ..Patience::default()
    };
    stop_until_found(patience, SHORT, "").await;
}

/// As behind a proxy that answers pings by itself.
#[tokio::test]
async fn a_watch_that_does_not_answer_a_progress_request_is_found_out() {
    let patience = Patience {
        idle: SHORT,
        probe: SHORT,
        request: SHORT,
        connect: SHORT,
        ..without_pings(Patience::default())
    };
    stop_until_found(patience, SHORT, "half-open").await;
}

/// Silence alone is no reason to leave.
#[tokio::test]
async fn an_idle_watch_stays_as_it_is() {
    let etcd = Etcd::start(EtcdOptions::default()).await;
    etcd.etcdctl(&["put", "/p/a", "1"]).await;
    let patience = Patience {
        idle: Duration::from_millis(100),
        ..Patience::default()
    };
    let config = EtcdConfig {
        patience,
        ..at(etcd.endpoint())
    };
    let mut mirror = Mirror::of(store(config)).await;
    while etcd.messages("Watch").await < 6 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    etcd.etcdctl(&["put", "/p/a", "2"]).await;
    assert_eq!(mirror.until("/p/a", "2").await, ["+/p/a=2"]);
    assert_eq!(etcd.calls("Watch").await, 1);
}
