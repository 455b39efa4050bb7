//! Owns the promises about transactions. Must not know: which store keeps them.

use super::*;

fn swap(key: &str, mod_revision: Revision, value: &str) -> Txn {
    Txn {
        guards: vec![Guard {
            key: key.to_owned(),
            mod_revision,
        }],
        writes: vec![write(key, value, None)],
    }
}

/// Absent, as it was, as it is.
pub(in super::super) async fn a_swap_is_made_only_if_nobody_was_faster(subject: Subject) {
    let store = subject.store();
    let absent = Revision(0);
    let Commit::Applied(created) = store.commit(swap("/a", absent, "1")).await.unwrap() else {
        panic!("nobody was there before");
    };
    assert_eq!(
        store.commit(swap("/a", absent, "2")).await.unwrap(),
        Commit::Conflict
    );
    let Commit::Applied(second) = store.commit(swap("/a", created, "2")).await.unwrap() else {
        panic!("nobody wrote in between");
    };
    assert_eq!(second, created.next());
    assert_eq!(
        store.commit(swap("/a", created, "3")).await.unwrap(),
        Commit::Conflict
    );
    // One guard of several fails: nothing is written.
    let mut both = swap("/a", second, "3");
    both.guards.extend(swap("/b", second, "").guards);
    both.writes.push(write("/c", "3", None));
    assert_eq!(store.commit(both).await.unwrap(), Commit::Conflict);
    assert_eq!(value(&store, "/a").await.as_deref(), Some("2"));
    assert_eq!(value(&store, "/c").await, None);
    let (found, _) = store.get("/a").await.unwrap();
    let found = found.unwrap();
    assert_eq!(
        (found.create_revision, found.mod_revision),
        (created, second)
    );
    // Deleted is absent again.
    apply(&store, vec![delete("/a")]).await;
    let again = store.commit(swap("/a", absent, "5")).await.unwrap();
    assert!(matches!(again, Commit::Applied(_)));
}

/// All at once, again and again: always exactly one.
pub(in super::super) async fn one_of_many_racers_wins(subject: Subject) {
    const RACERS: usize = 16;
    let store = subject.store();
    let mut revision = Revision(0);
    for _ in 0..5 {
        let racers: Vec<_> = (0..RACERS)
            .map(|racer| {
                let store = Arc::clone(&store);
                let txn = swap("/prize", revision, &racer.to_string());
                tokio::spawn(async move { (racer, store.commit(txn).await.unwrap()) })
            })
            .collect();
        let mut winners = Vec::new();
        for racer in racers {
            if let (racer, Commit::Applied(at)) = racer.await.unwrap() {
                winners.push((racer, at));
            }
        }
        let [(winner, at)] = winners[..] else {
            panic!("{winners:?}");
        };
        assert_eq!(value(&store, "/prize").await, Some(winner.to_string()));
        revision = at;
    }
}

/// So that a watch can count on revisions, and nobody is woken for nothing.
pub(in super::super) async fn what_changes_nothing_makes_no_revision(subject: Subject) {
    let store = subject.store();
    let before = put(&store, "/a", "1").await;
    assert_eq!(apply(&store, vec![delete("/not-there")]).await, before);
    assert_eq!(apply(&store, Vec::new()).await, before);
    let none = Write::DeletePrefix {
        prefix: "/none/".to_owned(),
    };
    assert_eq!(apply(&store, vec![none]).await, before);
    assert_eq!(put(&store, "/a", "1").await, before.next());
}

/// By all stores alike, with a reason, and without harm to what is there.
pub(in super::super) async fn what_can_not_be_stored_is_refused(subject: Subject) {
    let store = subject.store();
    let before = put(&store, "/a", "1").await;
    let large = "x".repeat(bellwether_server::store::MAX_VALUE_BYTES + 1);
    let many = (0..=bellwether_server::store::MAX_TXN_WRITES).map(|n| delete(&format!("/{n}")));
    for writes in [
        vec![write("/a", &large, None)],
        vec![write("", "x", None)],
        many.collect(),
        vec![write("/a", "2", None), delete("/a")],
        vec![write("/a", "2", Some(LeaseId(4711)))],
    ] {
        let txn = Txn {
            guards: Vec::new(),
            writes,
        };
        let error = store.commit(txn).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    }
    assert_eq!(value(&store, "/a").await.as_deref(), Some("1"));
    assert_eq!(put(&store, "/a", "2").await, before.next());
    // The most that is allowed.
    let most = "x".repeat(bellwether_server::store::MAX_VALUE_BYTES);
    put(&store, "/most", &most).await;
    assert_eq!(
        value(&store, "/most").await.map(|value| value.len()),
        Some(most.len())
    );
}
