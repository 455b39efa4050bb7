//! Owns the harness's own test. Must not know: Bellwether.

use super::etcd::{Etcd, EtcdOptions};

#[tokio::test]
async fn etcd_starts_keeps_its_data_over_a_kill_and_counts_calls() {
    let mut etcd = Etcd::start(EtcdOptions::default()).await;
    etcd.etcdctl(&["put", "/a", "1"]).await;
    assert_eq!(etcd.calls("Put").await, 1);
    etcd.stop_process();
    etcd.cont();
    etcd.kill();
    etcd.restart().await;
    assert_eq!(etcd.etcdctl(&["get", "/a"]).await, "/a\n1\n");
    etcd.kill();
    etcd.wipe();
    etcd.restart().await;
    assert_eq!(etcd.etcdctl(&["get", "/a"]).await, "");
}
