//! Servers agree on who is in force, whenever they began to look and however much of the story they missed:
//! random stories of registrations, ends of leases and drains, told by a real store.

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether_server::keys::Prefix;
use bellwether_server::lane::registry::{Registry, Which};
use bellwether_server::lane::{Instance, Lane};
use bellwether_server::store::{Batch, Change, LeaseId, Revision, Store};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::harness::programs::PATIENCE;
use crate::store::Subject;

#[derive(Clone, Copy, Debug)]
enum Act {
    Register(u8),
    Expire(u8),
    Drain(u8),
    /// As with every renewal.
    Forget,
    /// Somebody looks for the first time, or again after having been away.
    Look,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let id = || 0..7_u8;
    let act = prop_oneof![
        3 => id().prop_map(Act::Register),
        3 => id().prop_map(Act::Expire),
        1 => id().prop_map(Act::Drain),
        1 => Just(Act::Forget),
        1 => Just(Act::Look),
    ];
    vec(act, 1..40)
}

fn lane(fleet: &str) -> Lane {
    Lane::new(fleet, &Prefix::new("/gw").unwrap())
}

/// Those that proxies are told of.
fn told(lane: &Lane) -> Vec<String> {
    let endpoints = lane.view().instances.endpoints("users");
    endpoints.into_iter().map(|one| one.host).collect()
}

/// What one who was away reads: what is there, and what is not there any more.
async fn catch_up(store: &dyn Store, fleet: &str, known: &mut BTreeMap<String, Revision>) -> Batch {
    let prefix = format!("/bellwether/{fleet}/");
    let reading = store.read(&prefix).await.unwrap();
    let now: BTreeMap<_, _> = reading
        .entries
        .iter()
        .map(|kv| (kv.key.clone(), kv.mod_revision))
        .collect();
    let gone = known.keys().filter(|key| !now.contains_key(*key)).cloned();
    let mut changes: Vec<_> = gone.map(|key| Change::Delete { key }).collect();
    let new =
        |kv: &bellwether_server::store::KeyValue| known.get(&kv.key) != Some(&kv.mod_revision);
    changes.extend(
        reading
            .entries
            .iter()
            .filter(|kv| new(kv))
            .cloned()
            .map(Change::Put),
    );
    *known = now;
    Batch {
        revision: reading.revision,
        changes,
    }
}

async fn tell(store: &dyn Store, fleet: &str, acts: &[Act]) {
    let prefix = Prefix::new("/gw").unwrap();
    let registry = Registry {
        store,
        fleet,
        prefix: &prefix,
    };
    let (_, start) = store.get("/").await.unwrap();
    let range = format!("/bellwether/{fleet}/instances/");
    let mut watch = store.watch(&range, start.next()).await.unwrap();
    let (mut follows, mut looks) = (lane(fleet), lane(fleet));
    let (mut known, mut leases) = (BTreeMap::new(), BTreeMap::<u8, LeaseId>::new());
    let now = std::time::Instant::now();
    for act in acts {
        let before = told(&follows);
        let (_, from) = store.get("/").await.unwrap();
        match act {
            Act::Register(id) => {
                let (id, address) = (*id, format!("h{id}:1"));
                let which = Which {
                    service: "users",
                    id: &address,
                };
                let instance = Instance::at(&address).unwrap();
                let ttl = Duration::from_secs(600);
                let registered = registry
                    .register(which, &instance, ttl, false)
                    .await
                    .unwrap();
                leases.insert(id, registered.lease);
            }
            Act::Expire(id) => {
                if let Some(lease) = leases.remove(id) {
                    store.revoke(lease).await.unwrap();
                }
            }
            Act::Drain(id) => {
                let address = format!("h{id}:1");
                let which = Which {
                    service: "users",
                    id: &address,
                };
                let _ = registry.drain(which, false).await;
                if let Some(lease) = leases.remove(id) {
                    store.revoke(lease).await.unwrap();
                }
            }
            Act::Forget => registry.forget_the_lost("users").await.unwrap(),
            Act::Look => {
                let batch = catch_up(store, fleet, &mut known).await;
                looks.apply(&batch, now);
                let mut fresh = lane(fleet);
                fresh.apply(&catch_up(store, fleet, &mut BTreeMap::new()).await, now);
                assert_eq!(told(&looks), told(&follows), "one who looks now and then");
                assert_eq!(told(&fresh), told(&follows), "one who begins now");
            }
        }
        let (_, to) = store.get("/").await.unwrap();
        let mut seen = from;
        while seen < to {
            let batch = tokio::time::timeout(PATIENCE, watch.batches.recv()).await;
            let batch = batch.expect("the watch goes on").unwrap().unwrap();
            seen = batch.revision;
            follows.apply(&batch, now);
        }
        let emptied = !before.is_empty() && told(&follows).is_empty();
        assert!(
            !emptied || matches!(act, Act::Drain(_)),
            "{act:?} took the last ones"
        );
    }
}

#[test]
fn servers_agree() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let subject = runtime.block_on(Subject::embedded());
    let store = subject.store();
    let stories = std::cell::Cell::new(0);
    let config = ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&acts(), |mut acts| {
            stories.set(stories.get() + 1);
            acts.push(Act::Look);
            let fleet = format!("f{}", stories.get());
            runtime.block_on(tell(&*store, &fleet, &acts));
            Ok(())
        })
        .unwrap();
}
