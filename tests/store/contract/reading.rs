//! Owns the promises about readings, and about what is there after a kill.
//! Must not know: which store keeps them.

use super::*;

/// Two keys that are only ever written together are never read apart.
pub(in super::super) async fn a_reading_is_of_one_revision(subject: Subject) {
    let store = subject.store();
    apply(
        &store,
        vec![write("/p/a", "0", None), write("/p/z", "0", None)],
    )
    .await;
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 1..200 {
                let text = n.to_string();
                apply(
                    &store,
                    vec![write("/p/a", &text, None), write("/p/z", &text, None)],
                )
                .await;
            }
        })
    };
    let mut seen = Revision(0);
    while !writer.is_finished() {
        let reading = store.read("/p/").await.unwrap();
        let [a, z] = &reading.entries[..] else {
            panic!("{reading:?}");
        };
        assert_eq!((a.key.as_str(), z.key.as_str()), ("/p/a", "/p/z"));
        assert_eq!(a.value, z.value);
        assert_eq!(
            (a.mod_revision, z.mod_revision),
            (reading.revision, reading.revision)
        );
        assert!(reading.revision >= seen, "time goes one way");
        seen = reading.revision;
    }
    writer.await.unwrap();
}

/// Many keys, large values, neighbours that are not meant.
pub(in super::super) async fn a_reading_has_everything_under_its_prefix(subject: Subject) {
    const KEYS: usize = 12_000;
    const LARGE: usize = 8;
    const LARGE_BYTES: usize = 900 << 10;
    let store = subject.store();
    for neighbour in ["/p", "/o/x", "/p0", "/pp/x"] {
        put(&store, neighbour, "not meant").await;
    }
    for n in 0..LARGE {
        put(&store, &format!("/p/large/{n}"), &"x".repeat(LARGE_BYTES)).await;
    }
    let keys: Vec<String> = (0..KEYS).map(|n| format!("/p/small/{n:05}")).collect();
    for some in keys.chunks(100) {
        apply(
            &store,
            some.iter().map(|key| write(key, key, None)).collect(),
        )
        .await;
    }
    let reading = store.read("/p/").await.unwrap();
    assert_eq!(reading.entries.len(), KEYS + LARGE);
    assert!(reading.entries.is_sorted_by(|a, b| a.key < b.key));
    let bytes: usize = reading.entries.iter().map(|kv| kv.value.len()).sum();
    assert_eq!(bytes, LARGE * LARGE_BYTES + KEYS * "/p/small/00000".len());
    assert_eq!(reading.store, store.id().await.unwrap());
    assert_eq!(
        store.read("/nothing/").await.unwrap().entries,
        Vec::<KeyValue>::new()
    );
    assert_eq!(store.read("/p/").await.unwrap().revision, reading.revision);
}

/// Confirmed is confirmed, the store is the same, and its history goes on.
pub(in super::super) async fn what_was_confirmed_is_there_after_a_kill(mut subject: Subject) {
    let store = subject.store();
    let id = store.id().await.unwrap();
    let lease = store.grant(Duration::from_secs(300)).await.unwrap();
    let short = store.grant(Duration::from_secs(2)).await.unwrap();
    let leased = |key: &str, lease| write(key, "x", Some(lease));
    let writes = vec![leased("/kill/leased", lease), leased("/kill/short", short)];
    let before = apply(&store, writes).await;
    drop(store);

    let confirmed = subject.write_until_killed().await;

    let store = subject.store();
    assert_eq!(store.id().await.unwrap(), id);
    let reading = store.read("/kill/").await.unwrap();
    for (key, revision) in &confirmed {
        let found = reading.entries.iter().find(|kv| kv.key == *key);
        assert_eq!(found.map(|kv| kv.mod_revision), Some(*revision), "{key}");
    }
    let (_, last) = confirmed.last().unwrap();
    assert!(reading.revision >= *last);
    let (leased, _) = store.get("/kill/leased").await.unwrap();
    assert_eq!(leased.unwrap().lease, Some(lease));
    assert!(store.keep_alive(lease).await.is_ok(), "a lease survives");

    let mut watch = store.watch("/kill/", before.next()).await.unwrap();
    let changes = changes_to(&mut watch, *last).await;
    assert!(
        changes.len() >= confirmed.len(),
        "a watch resumes over the kill"
    );
    assert!(put(&store, "/kill/after", "x").await > reading.revision);
}
