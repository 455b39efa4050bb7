//! Owns the promises about watches. Must not know: which store keeps them.

use super::*;

/// Writers race, and the watch that began before them sees each revision once and in order.
pub(in super::super) async fn a_watch_has_every_change_once_and_in_order(subject: Subject) {
    const WRITERS: u64 = 8;
    const WRITES: u64 = 50;
    let store = subject.store();
    put(&store, "/p/before", "x").await;
    let reading = store.read("/p/").await.unwrap();
    let mut watch = store.watch("/p/", reading.revision.next()).await.unwrap();
    assert_eq!(watch.store, reading.store);
    assert!(watch.revision >= reading.revision);
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..WRITES {
                put(&store, &format!("/p/{writer}"), &n.to_string()).await;
            }
        });
    }
    let mut expected = reading.revision.next();
    let last = Revision(reading.revision.0 + WRITERS * WRITES);
    while expected <= last {
        let batch = next(&mut watch).await.unwrap();
        for change in batch.changes {
            let Change::Put(kv) = change else {
                panic!("{change:?} was never made");
            };
            assert_eq!(kv.mod_revision, expected);
            expected = expected.next();
        }
        assert!(batch.revision >= Revision(expected.0 - 1));
    }
}

/// However large and however mixed a transaction is.
pub(in super::super) async fn a_watch_has_all_changes_of_a_transaction_together(subject: Subject) {
    let store = subject.store();
    put(&store, "/p/gone", "x").await;
    apply(
        &store,
        (0..50)
            .map(|n| write(&format!("/p/many/{n:02}"), "x", None))
            .collect(),
    )
    .await;
    let (_, now) = store.get("/p/gone").await.unwrap();
    let mut watch = store.watch("/p/", now.next()).await.unwrap();
    let mut writes = vec![
        delete("/p/gone"),
        delete("/p/never-there"),
        Write::DeletePrefix {
            prefix: "/p/many/".to_owned(),
        },
        write("/q/not-watched", "x", None),
    ];
    writes.extend((0..40).map(|n| write(&format!("/p/new/{n:02}"), &"x".repeat(30 << 10), None)));
    let revision = apply(&store, writes).await;
    let batch = loop {
        let batch = next(&mut watch).await.unwrap();
        if !batch.changes.is_empty() {
            break batch;
        }
    };
    assert_eq!(batch.revision, revision);
    let count = |wanted: fn(&Change) -> bool| batch.changes.iter().filter(|c| wanted(c)).count();
    assert_eq!(count(|change| matches!(change, Change::Put(_))), 40);
    assert_eq!(count(|change| matches!(change, Change::Delete { .. })), 51);
    assert!(batch.changes.contains(&deleted("/p/gone")));
    assert!(!batch.changes.contains(&deleted("/p/never-there")));
}

/// More than etcd puts into one message, and than gRPC takes by default.
pub(in super::super) async fn a_watch_has_a_large_revision_in_one_piece(subject: Subject) {
    const KEYS: usize = 1500;
    let store = subject.store();
    let filler = "x".repeat(3500);
    let keys: Vec<String> = (0..KEYS).map(|n| format!("/p/{n:04}/{filler}")).collect();
    for some in keys.chunks(100) {
        apply(
            &store,
            some.iter().map(|key| write(key, "x", None)).collect(),
        )
        .await;
    }
    let (_, now) = store.get("/").await.unwrap();
    let mut watch = store.watch("/p/", now.next()).await.unwrap();
    let all = Write::DeletePrefix {
        prefix: "/p/".to_owned(),
    };
    let revision = apply(&store, vec![all]).await;
    let batch = next(&mut watch).await.unwrap();
    assert_eq!((batch.revision, batch.changes.len()), (revision, KEYS));
    let again = store.watch("/p/", revision).await;
    assert_eq!(next(&mut again.unwrap()).await.unwrap().changes.len(), KEYS);
}

/// From any revision that is kept, and from one that is still to come.
pub(in super::super) async fn a_watch_can_begin_in_the_past_and_in_the_future(subject: Subject) {
    let store = subject.store();
    let first = put(&store, "/p/a", "1").await;
    let second = put(&store, "/p/a", "2").await;
    let mut all = store.watch("/p/", Revision(1)).await.unwrap();
    let mut past = store.watch("/p/", second).await.unwrap();
    let mut future = store.watch("/p/", Revision(second.0 + 2)).await.unwrap();
    let third = apply(&store, vec![delete("/p/a")]).await;
    let fourth = put(&store, "/p/a", "4").await;
    assert_eq!(
        (second, third, fourth),
        (first.next(), second.next(), third.next())
    );
    let texts = |changes: Vec<Change>| -> Vec<String> {
        let text = |change| match change {
            Change::Put(kv) => {
                format!(
                    "{}@{}/{}",
                    kv.key,
                    kv.mod_revision.0 - first.0,
                    kv.create_revision.0 - first.0
                )
            }
            Change::Delete { key } => format!("-{key}"),
        };
        changes.into_iter().map(text).collect()
    };
    let whole = texts(changes_to(&mut all, fourth).await);
    assert_eq!(whole, ["/p/a@0/0", "/p/a@1/0", "-/p/a", "/p/a@3/3"]);
    assert_eq!(texts(changes_to(&mut past, fourth).await), whole[1..]);
    assert_eq!(texts(changes_to(&mut future, fourth).await), whole[3..]);
}

/// The reader that does not read costs the writer nothing, and itself nothing either.
pub(in super::super) async fn a_slow_watch_holds_up_nobody_and_misses_nothing(subject: Subject) {
    const WRITES: usize = 400;
    let store = subject.store();
    let (_, now) = store.get("/").await.unwrap();
    let mut slow = store.watch("/p/", now.next()).await.unwrap();
    let mut last = now;
    for n in 0..WRITES {
        last = put(&store, "/p/a", &format!("{n}{}", "x".repeat(20 << 10))).await;
    }
    let mut quick = store.watch("/p/", now.next()).await.unwrap();
    assert_eq!(changes_to(&mut quick, last).await.len(), WRITES);
    assert_eq!(changes_to(&mut slow, last).await.len(), WRITES);
}

/// And the present can still be watched.
pub(in super::super) async fn a_watch_of_forgotten_history_says_so(subject: Subject) {
    let store = subject.store();
    let first = put(&store, "/p/a", "1").await;
    put(&store, "/p/a", "2").await;
    subject.forget_history().await;
    let error = match store.watch("/p/", first).await {
        Ok(mut watch) => next(&mut watch).await.unwrap_err(),
        Err(error) => error,
    };
    let StoreError::Compacted { wanted, oldest } = error else {
        panic!("{error}");
    };
    assert_eq!(wanted, first);
    assert!(oldest > first);
    let (_, now) = store.get("/").await.unwrap();
    let mut watch = store.watch("/p/", now.next()).await.unwrap();
    let last = put(&store, "/p/a", "3").await;
    assert_eq!(changes_to(&mut watch, last).await.len(), 1);
}
