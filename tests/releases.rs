//! Owns the tests of releases in real stores. Must not know: how they are rolled out.

mod served;

use std::collections::BTreeSet;
use std::sync::Arc;

use bellwether::name::{ResourceId, TypeUrl};
use bellwether_rollout::Millis;
use bellwether_rollout::content::{Item, View};
use bellwether_server::release::{Cut, Pruned, ReleaseError, Releases};
use bellwether_server::store::{Commit, Guard, Revision, Store, Txn, Write};

use crate::store::Subject;

fn item(name: usize, bytes: usize, seed: usize) -> Item {
    let byte = |at: usize| u8::try_from((name * 31 + at * 7 + seed) % 251).unwrap();
    Item {
        view: View::Native,
        id: ResourceId::new(TypeUrl::ROUTE, format!("routes/{name}")),
        body: (0..bytes).map(byte).collect::<Vec<u8>>().into(),
        refers: Vec::new(),
        ttl: None,
    }
}

fn items(count: usize, bytes: usize, seed: usize) -> Vec<Item> {
    (0..count).map(|name| item(name, bytes, seed)).collect()
}

fn cut(reason: &str) -> Cut {
    Cut {
        author: "ann".to_owned(),
        reason: reason.to_owned(),
        now: Millis(1_000),
        revision: 7,
    }
}

async fn parts(store: &Arc<dyn Store>) -> usize {
    store
        .read("/bellwether/shop/blobs/")
        .await
        .unwrap()
        .entries
        .len()
}

async fn a_release_is_what_was_cut(store: Arc<dyn Store>) {
    let releases = Releases::new(store, "shop");
    let (header, new) = releases
        .create(items(20, 300, 1), &cut("first"))
        .await
        .unwrap();
    assert!(new);
    assert_eq!((header.seq, header.resources, header.bytes), (1, 20, 6_000));
    assert_eq!(
        (header.author.as_str(), header.reason.as_str()),
        ("ann", "first")
    );
    let (loaded, mut found) = releases.load(1).await.unwrap();
    assert_eq!(loaded, header);
    found.sort_by_key(|item| item.body.to_vec());
    let mut wanted = items(20, 300, 1);
    wanted.sort_by_key(|item| item.body.to_vec());
    assert_eq!(found, wanted);
    assert_eq!(releases.list().await.unwrap(), [header]);
    let unknown = releases.load(2).await.unwrap_err().to_string();
    assert_eq!(unknown, "shop has no release 2");
}

async fn twenty_megabytes_are_a_release_and_one_change_is_little(store: Arc<dyn Store>) {
    let releases = Releases::new(store.clone(), "shop");
    let mut all = items(5_000, 4_000, 1);
    all.push(item(9_999, 2 << 20, 3));
    releases.create(all.clone(), &cut("large")).await.unwrap();
    let before = parts(&store).await;
    all[42] = item(42, 4_000, 2);
    let (second, _) = releases
        .create(all.clone(), &cut("one change"))
        .await
        .unwrap();
    assert!(second.bytes > 20_000_000);
    // The part that holds it, and the manifest.
    assert_eq!(parts(&store).await, before + 2);
    let (_, found) = releases.load(2).await.unwrap();
    assert_eq!(found.len(), all.len());
    assert!(found.contains(&all[42]));
}

async fn the_same_twice_is_one_release(store: Arc<dyn Store>) {
    let releases = Releases::new(store, "shop");
    let (first, _) = releases.create(items(3, 10, 1), &cut("a")).await.unwrap();
    let again = releases.create(items(3, 10, 1), &cut("b")).await.unwrap();
    assert_eq!(again, (first.clone(), false));
    let (other, _) = releases.create(items(3, 10, 2), &cut("c")).await.unwrap();
    // An older one once more is new: it is said again, by somebody, for a reason.
    let (back, new) = releases.create(items(3, 10, 1), &cut("d")).await.unwrap();
    assert_eq!((other.seq, back.seq, new), (2, 3, true));
    assert_eq!(back.digest, first.digest);
}

async fn of_many_who_cut_at_once_each_gets_a_number(store: Arc<dyn Store>) {
    let releases = Releases::new(store, "shop");
    let cuts = (0..6).map(|seed| {
        let releases = releases.clone();
        tokio::spawn(async move {
            releases
                .create(items(50, 100, seed), &cut("race"))
                .await
                .unwrap()
        })
    });
    let mut seqs = BTreeSet::new();
    for cut in cuts.collect::<Vec<_>>() {
        seqs.insert(cut.await.unwrap().0.seq);
    }
    assert_eq!(seqs, (1..=6).collect());
    for seq in seqs {
        releases.load(seq).await.unwrap();
    }
}

async fn what_is_in_use_stays_and_what_nobody_has_goes(store: Arc<dyn Store>) {
    let releases = Releases::new(store.clone(), "shop");
    for seed in 0..6 {
        releases
            .create(items(5, 100, seed), &cut("one of many"))
            .await
            .unwrap();
    }
    // A server died after it had written parts, before it wrote the header.
    let orphan = Write::Put {
        key: format!("/bellwether/shop/blobs/{:064}", 0),
        value: "x".into(),
        lease: None,
    };
    let state = "/bellwether/shop/state".to_owned();
    let put_state = Write::Put {
        key: state.clone(),
        value: "{}".into(),
        lease: None,
    };
    let txn = Txn {
        guards: Vec::new(),
        writes: vec![orphan, put_state],
    };
    let Commit::Applied(at) = store.commit(txn).await.unwrap() else {
        panic!("no guard");
    };
    let guard = |mod_revision| Guard {
        key: state.clone(),
        mod_revision,
    };
    let none = releases
        .prune(2, &[2].into(), Some(&guard(Revision(1))))
        .await
        .unwrap();
    assert_eq!(none, Pruned::default(), "who decides has decided otherwise");
    let pruned = releases
        .prune(2, &[2].into(), Some(&guard(at)))
        .await
        .unwrap();
    assert_eq!(
        pruned,
        Pruned {
            releases: 3,
            parts: 7
        }
    );
    let left: Vec<u64> = releases
        .list()
        .await
        .unwrap()
        .iter()
        .map(|header| header.seq)
        .collect();
    assert_eq!(left, [2, 5, 6]);
    for seq in left {
        releases.load(seq).await.unwrap();
    }
    let (next, _) = releases
        .create(items(5, 100, 9), &cut("numbers go on"))
        .await
        .unwrap();
    assert_eq!(next.seq, 7);
}

async fn a_release_that_is_not_whole_is_none(store: Arc<dyn Store>) {
    let releases = Releases::new(store.clone(), "shop");
    let (header, _) = releases
        .create(items(5, 100, 1), &cut("whole"))
        .await
        .unwrap();
    let reading = store.read("/bellwether/shop/blobs/").await.unwrap();
    for entry in &reading.entries {
        let damage = |value: Option<&'static str>| Txn {
            guards: Vec::new(),
            writes: vec![match value {
                Some(value) => Write::Put {
                    key: entry.key.clone(),
                    value: value.into(),
                    lease: None,
                },
                None => Write::Delete {
                    key: entry.key.clone(),
                },
            }],
        };
        for value in [Some("damaged"), None] {
            store.commit(damage(value)).await.unwrap();
            let error = releases.load(header.seq).await.unwrap_err();
            assert!(
                matches!(error, ReleaseError::Damaged { seq: 1, .. }),
                "{error}"
            );
        }
        let mend = Write::Put {
            key: entry.key.clone(),
            value: entry.value.clone(),
            lease: None,
        };
        store
            .commit(Txn {
                guards: Vec::new(),
                writes: vec![mend],
            })
            .await
            .unwrap();
        releases.load(header.seq).await.unwrap();
    }
}

macro_rules! keeps {
    ($($promise:ident)*) => {
        mod embedded_keeps {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::Subject::embedded().await.store()).await;
            })*
        }
        mod etcd_keeps {
            $(#[tokio::test]
            async fn $promise() {
                let subject = super::Subject::etcd().await;
                super::$promise(subject.store()).await;
            })*
        }
    };
}

keeps! {
    a_release_is_what_was_cut
    twenty_megabytes_are_a_release_and_one_change_is_little
    the_same_twice_is_one_release
    of_many_who_cut_at_once_each_gets_a_number
    what_is_in_use_stays_and_what_nobody_has_goes
    a_release_that_is_not_whole_is_none
}
