//! Owns the promises about leases. Must not know: which store keeps them.

use super::*;

/// The shortest that all stores have.
const SHORT: Duration = Duration::from_secs(1);

/// By its time and by a word, and all its keys in one revision.
pub(in super::super) async fn a_lease_takes_its_keys_along_when_it_ends(subject: Subject) {
    let store = subject.store();
    let short = store.grant(SHORT).await.unwrap();
    let long = store.grant(Duration::from_secs(300)).await.unwrap();
    let leased = |key: &str, lease| write(key, "x", Some(lease));
    apply(&store, vec![leased("/p/s1", short), leased("/p/s2", short)]).await;
    let last = apply(&store, vec![leased("/p/l1", long), leased("/p/l2", long)]).await;
    let mut watch = store.watch("/p/", last.next()).await.unwrap();
    let reading = store.read("/p/s").await.unwrap();
    assert!(reading.entries.iter().all(|kv| kv.lease == Some(short)));

    let mut expired = next(&mut watch).await.unwrap();
    expired.changes.sort_by_key(|change| format!("{change:?}"));
    assert_eq!(expired.changes, [deleted("/p/s1"), deleted("/p/s2")]);
    assert_eq!(expired.revision, last.next());

    store.revoke(long).await.unwrap();
    let mut revoked = next(&mut watch).await.unwrap();
    revoked.changes.sort_by_key(|change| format!("{change:?}"));
    assert_eq!(revoked.changes, [deleted("/p/l1"), deleted("/p/l2")]);
    assert!(store.read("/p/").await.unwrap().entries.is_empty());
    for ended in [short, long, LeaseId(4711)] {
        for error in [
            store.keep_alive(ended).await.map(|_| ()).unwrap_err(),
            store.revoke(ended).await.unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::Refused { .. }), "{error}");
        }
    }
}

/// A twin that is not kept alive shows that the time had come.
pub(in super::super) async fn a_lease_lives_as_long_as_it_is_kept_alive(subject: Subject) {
    let store = subject.store();
    let kept = store.grant(SHORT * 3).await.unwrap();
    let twin = store.grant(SHORT * 3).await.unwrap();
    let writes = vec![
        write("/p/kept", "x", Some(kept)),
        write("/p/twin", "x", Some(twin)),
    ];
    let last = apply(&store, writes).await;
    let mut watch = store.watch("/p/", last.next()).await.unwrap();
    let ended = loop {
        assert!(store.keep_alive(kept).await.unwrap() >= SHORT * 3);
        let quiet = SHORT / 4;
        if let Ok(batch) = tokio::time::timeout(quiet, watch.batches.recv()).await {
            break batch.unwrap().unwrap();
        }
    };
    assert_eq!(ended.changes, [deleted("/p/twin")]);
    assert!(value(&store, "/p/kept").await.is_some());
    let ended = next(&mut watch).await.unwrap();
    assert_eq!(ended.changes, [deleted("/p/kept")]);
}

/// A write is the whole truth about a key, its lease included.
pub(in super::super) async fn a_key_written_without_its_lease_stays(subject: Subject) {
    let store = subject.store();
    let lease = store.grant(Duration::from_secs(300)).await.unwrap();
    let other = store.grant(Duration::from_secs(300)).await.unwrap();
    for key in ["/detached", "/moved", "/attached"] {
        apply(&store, vec![write(key, "1", Some(lease))]).await;
    }
    put(&store, "/detached", "2").await;
    apply(&store, vec![write("/moved", "2", Some(other))]).await;
    store.revoke(lease).await.unwrap();
    assert_eq!(value(&store, "/detached").await.as_deref(), Some("2"));
    assert_eq!(value(&store, "/moved").await.as_deref(), Some("2"));
    assert_eq!(value(&store, "/attached").await, None);
    let (detached, _) = store.get("/detached").await.unwrap();
    assert_eq!(detached.unwrap().lease, None);
    store.revoke(other).await.unwrap();
    assert_eq!(value(&store, "/moved").await, None);
}
