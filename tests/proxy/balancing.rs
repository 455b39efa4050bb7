//! How requests spread over endpoints.

use std::collections::BTreeMap;

use bellwether::wire::native;

use super::rig::{Rig, endpoint, put_cluster, put_endpoints, put_route};
use crate::harness::http::Upstream;

/// §3.2: over a cycle each endpoint has exactly its weight, and weight 0 nothing.
#[tokio::test]
async fn weights_are_exact_over_a_cycle() {
    let upstreams = [
        Upstream::start("three").await,
        Upstream::start("one").await,
        Upstream::start("none").await,
    ];
    let rig = Rig::start().await;
    rig.edit(|edit| {
        let weights = [3, 1, 0];
        let endpoints: Vec<_> = upstreams
            .iter()
            .zip(weights)
            .map(|(upstream, weight)| endpoint(upstream.address, weight))
            .collect();
        put_endpoints(edit, "1", &endpoints);
        put_cluster(edit, "1", |_| {});
        put_route(edit, "1", &["/*"], "1", |_| {});
    });
    let mut client = rig.http1().await;
    let mut counts = BTreeMap::<String, u32>::new();
    for _ in 0..40 {
        let name = client.get("/").await.json()["name"]
            .as_str()
            .unwrap()
            .to_owned();
        *counts.entry(name).or_default() += 1;
    }
    assert_eq!(
        counts,
        BTreeMap::from([("one".into(), 10), ("three".into(), 30)])
    );
}

/// §3.2: a key keeps its endpoint.
#[tokio::test]
async fn a_hashed_header_keeps_its_endpoint() {
    let (one, two) = (Upstream::start("one").await, Upstream::start("two").await);
    let rig = Rig::start().await;
    let change = |cluster: &mut native::Cluster| {
        cluster.balancing = Some(native::Balancing {
            policy: native::balancing::Policy::ConsistentHash.into(),
            hash_on: native::balancing::HashOn::Header.into(),
            hash_key: "X-User".into(),
        });
    };
    rig.forward(&[one.address, two.address], change, |_| {});
    let mut client = rig.http1().await;
    let mut owners = BTreeMap::<String, String>::new();
    for round in 0..3 {
        for user in 0..20 {
            let mut request = client.request("GET", "/", "");
            let user = format!("user-{user}");
            request
                .headers_mut()
                .insert("x-user", user.parse().unwrap());
            let seen = client.ask(request).await.json();
            let name = seen["name"].as_str().unwrap().to_owned();
            let owner = owners.entry(user).or_insert_with(|| name.clone());
            assert_eq!(*owner, name, "round {round}");
        }
    }
    assert_eq!(one.requests() + two.requests(), 60);
    assert!(one.requests() > 0 && two.requests() > 0);
}

/// A table is put in force many times while requests run; none of them fails or is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_table_under_load_fails_no_request() {
    let (one, two) = (Upstream::start("one").await, Upstream::start("two").await);
    let rig = Rig::start().await;
    rig.forward_to(&[one.address]);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let address = rig.address;
            tokio::spawn(async move {
                let mut client = crate::harness::http::Connection::http1(address).await;
                for _ in 0..100 {
                    assert_eq!(client.get("/x").await.status, 200);
                }
            })
        })
        .collect();
    let mut swaps = 0_u32;
    while !clients.iter().all(tokio::task::JoinHandle::is_finished) {
        let both = [one.address, two.address];
        rig.forward_to(&both[swaps as usize % 2..]);
        rig.edit(|edit| put_route(edit, &format!("r{}", swaps % 50), &["/r/*"], "1", |_| {}));
        swaps += 1;
        tokio::task::yield_now().await;
    }
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(one.requests() + two.requests(), 800);
}
