//! Owns how a follower comes through what happens to etcd: compaction, kills, a lost disk.
//! Must not know: logins, certificates.

use bellwether_server::fleet::StoreState;

use super::{Mirror, at, store};
use crate::harness::etcd::{Etcd, EtcdOptions};
use crate::harness::gate::Gate;

/// An etcd with some keys, a gate before it, and a reader behind the gate.
async fn followed() -> (Etcd, Gate, Mirror) {
    let etcd = Etcd::start(EtcdOptions::default()).await;
    for key in ["/p/a", "/p/stays", "/p/b"] {
        etcd.etcdctl(&["put", key, "1"]).await;
    }
    let gate = Gate::before(etcd.address()).await;
    let mirror = Mirror::of(store(at(format!("http://{}", gate.address())))).await;
    (etcd, gate, mirror)
}

async fn revision(etcd: &Etcd) -> u64 {
    let status = etcd.etcdctl(&["get", "/", "--write-out=fields"]).await;
    let line = status
        .lines()
        .find(|line| line.starts_with("\"Revision\""))
        .unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_reader_behind_a_compaction_gets_the_difference_only() {
    let (etcd, gate, mut mirror) = followed().await;
    gate.shut();
    mirror.state(StoreState::Disconnected).await;
    etcd.etcdctl(&["del", "/p/b"]).await;
    etcd.etcdctl(&["put", "/p/c", "1"]).await;
    let now = revision(&etcd).await;
    etcd.etcdctl(&["compact", &now.to_string()]).await;
    gate.open();
    assert_eq!(mirror.until("/p/c", "1").await, ["-/p/b", "+/p/c=1"]);
    assert_eq!(mirror.state(StoreState::Live).await.resyncs, 1);
    etcd.etcdctl(&["put", "/p/a", "2"]).await;
    assert_eq!(mirror.until("/p/a", "2").await, ["+/p/a=2"]);
}

/// A compaction at the very revision that a watch goes on from takes a deletion made there, and this
/// etcd lets the watch begin all the same.
#[tokio::test]
async fn a_deletion_that_was_compacted_where_the_watch_goes_on_is_not_lost() {
    let (etcd, gate, mut mirror) = followed().await;
    gate.shut();
    mirror.state(StoreState::Disconnected).await;
    etcd.etcdctl(&["del", "/p/b"]).await;
    let now = revision(&etcd).await;
    etcd.etcdctl(&["compact", &now.to_string()]).await;
    etcd.etcdctl(&["put", "/p/c", "1"]).await;
    gate.open();
    assert_eq!(mirror.until("/p/c", "1").await, ["-/p/b", "+/p/c=1"]);
}

#[tokio::test]
async fn what_happened_while_etcd_and_the_way_to_it_were_away_arrives() {
    let (mut etcd, gate, mut mirror) = followed().await;
    etcd.kill();
    let status = mirror.state(StoreState::Disconnected).await;
    assert!(!status.reason.is_empty());
    gate.shut();
    etcd.restart().await;
    etcd.etcdctl(&["put", "/p/a", "2"]).await;
    etcd.etcdctl(&["del", "/p/b"]).await;
    etcd.etcdctl(&["put", "/p/c", "1"]).await;
    gate.open();
    assert_eq!(
        mirror.until("/p/c", "1").await,
        ["+/p/a=2", "-/p/b", "+/p/c=1"]
    );
    let status = mirror.state(StoreState::Live).await;
    assert_eq!((status.resyncs, status.reason.as_str()), (0, ""));
}

#[tokio::test]
async fn a_reader_that_starts_before_etcd_waits_for_it() {
    let mut etcd = Etcd::start(EtcdOptions::default()).await;
    etcd.etcdctl(&["put", "/p/a", "1"]).await;
    etcd.kill();
    let mut mirror = Mirror::unsynced(store(at(etcd.endpoint())));
    let health = &mut mirror.follower.health;
    let status = health
        .wait_for(|status| !status.reason.is_empty())
        .await
        .unwrap()
        .clone();
    assert_eq!(
        (status.state, status.id.as_str()),
        (StoreState::Connecting, "")
    );
    etcd.restart().await;
    assert_eq!(mirror.until("/p/a", "1").await, ["+/p/a=1"]);
    mirror.state(StoreState::Live).await;
}

/// The same ports and the same cluster id, which etcd computes from them, but no data.
#[tokio::test]
async fn an_etcd_that_lost_its_disk_takes_nothing_from_anybody() {
    let (mut etcd, _gate, mut mirror) = followed().await;
    let before = mirror.content.clone();
    etcd.kill();
    etcd.wipe();
    etcd.restart().await;
    let status = mirror.state(StoreState::Frozen).await;
    assert!(status.reason.contains("behind the"), "{}", status.reason);
    assert!(!status.id.is_empty());
    // It fills up again, past where it was, with less than it had.
    for n in 0..8 {
        etcd.etcdctl(&["put", "/p/a", &format!("new {n}")]).await;
    }
    let health = &mut mirror.follower.health;
    let grown = health.wait_for(|status| status.reason.contains("shares no value"));
    assert_eq!(grown.await.unwrap().state, StoreState::Frozen);
    assert!(mirror.was_told_nothing());
    assert_eq!(mirror.content, before);
}

/// The same behind our back: while the way to it was shut, it was lost and grew past where it was.
#[tokio::test]
async fn an_etcd_that_was_replaced_while_we_were_away_is_found_out() {
    let (mut etcd, gate, mut mirror) = followed().await;
    let before = mirror.content.clone();
    gate.shut();
    mirror.state(StoreState::Disconnected).await;
    etcd.kill();
    etcd.wipe();
    etcd.restart().await;
    for n in 0..8 {
        etcd.etcdctl(&["put", &format!("/p/{n}"), "other"]).await;
    }
    gate.open();
    let status = mirror.state(StoreState::Frozen).await;
    assert!(
        status.reason.contains("was not so when"),
        "{}",
        status.reason
    );
    assert!(mirror.was_told_nothing());
    assert_eq!(mirror.content, before);
}

#[tokio::test]
async fn another_cluster_freezes_until_an_operator_takes_it() {
    let (mut etcd, _gate, mut mirror) = followed().await;
    let before = mirror.content.clone();
    etcd.kill();
    etcd.wipe();
    etcd.add_arg("--initial-cluster-token=another");
    etcd.restart().await;
    for n in 0..8 {
        etcd.etcdctl(&["put", "/p/x", &n.to_string()]).await;
    }
    let status = mirror.state(StoreState::Frozen).await;
    assert!(
        status.reason.contains("answers where store"),
        "{}",
        status.reason
    );
    assert!(mirror.was_told_nothing());
    assert_eq!(mirror.content, before);
    mirror.follower.operator.accept();
    assert_eq!(
        mirror.until("/p/x", "7").await,
        ["-/p/a", "-/p/b", "-/p/stays", "+/p/x=7"]
    );
    let after = mirror.state(StoreState::Live).await;
    assert_ne!(after.id, status.id);
    etcd.etcdctl(&["put", "/p/y", "1"]).await;
    assert_eq!(mirror.until("/p/y", "1").await, ["+/p/y=1"]);
}

#[tokio::test]
async fn a_store_that_comes_back_with_its_data_is_believed_again() {
    let (mut etcd, _gate, mut mirror) = followed().await;
    let (data, aside) = (etcd.folder().join("data"), etcd.folder().join("aside"));
    etcd.kill();
    std::fs::rename(&data, &aside).unwrap();
    etcd.restart().await;
    mirror.state(StoreState::Frozen).await;
    etcd.kill();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&aside, &data).unwrap();
    etcd.restart().await;
    etcd.etcdctl(&["put", "/p/c", "1"]).await;
    assert_eq!(mirror.until("/p/c", "1").await, ["+/p/c=1"]);
    mirror.state(StoreState::Live).await;
}
