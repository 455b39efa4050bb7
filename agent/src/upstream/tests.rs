//! The choice of endpoints over a request's attempts, and what survives a change.

use std::collections::BTreeMap;

use bellwether::name::{Name, TypeUrl};
use bellwether::wire::native;
use bytes::Bytes;
use prost::Message;

use super::*;
use crate::table::{Matching, Table};

fn endpoint(host: &str, weight: u32, priority: i32) -> native::Endpoint {
    native::Endpoint {
        host: host.into(),
        port: 80,
        weight,
        priority,
        zone: String::new(),
    }
}

fn table(previous: Option<&Arc<Table>>, policy: i32, endpoints: &[native::Endpoint]) -> Arc<Table> {
    let empty = Table::empty(Limits::default(), Matching::default());
    let mut edit = previous.unwrap_or(&empty).edit();
    let cluster = native::Cluster {
        endpoints: "e".into(),
        balancing: Some(native::Balancing {
            policy,
            hash_on: 0,
            hash_key: "uri".into(),
        }),
        ..native::Cluster::default()
    };
    let endpoints = native::Endpoints {
        endpoints: endpoints.to_vec(),
        ..native::Endpoints::default()
    };
    let put = |edit: &mut crate::table::Edit, type_url, name: &str, body: Vec<u8>| {
        edit.upsert(&type_url, &Name::from(name), &Bytes::from(body))
            .unwrap();
    };
    if previous.is_none() {
        put(&mut edit, TypeUrl::CLUSTER, "c", cluster.encode_to_vec());
    }
    put(
        &mut edit,
        TypeUrl::ENDPOINTS,
        "e",
        endpoints.encode_to_vec(),
    );
    edit.finish()
}

fn of(table: &Table) -> Arc<Upstream> {
    table.upstream(&Name::from("c")).unwrap().clone()
}

fn one(upstream: &Upstream) -> String {
    upstream
        .pick(&mut Tried::default(), || "key".into())
        .unwrap()
        .host()
        .to_owned()
}

const ROUND_ROBIN: i32 = 0;
const CONSISTENT_HASH: i32 = 1;
const LEAST_CONNECTIONS: i32 = 2;
const EWMA: i32 = 3;
const ALL: [i32; 4] = [ROUND_ROBIN, CONSISTENT_HASH, LEAST_CONNECTIONS, EWMA];

/// §3.2: over a cycle each has exactly its weight, wherever the cycle begins; weight 0 has nothing.
#[test]
fn round_robin_is_exact_over_a_cycle() {
    let endpoints = [
        endpoint("10.0.0.1", 4, 0),
        endpoint("10.0.0.2", 2, 0),
        endpoint("10.0.0.3", 0, 0),
    ];
    let upstream = of(&table(None, ROUND_ROBIN, &endpoints));
    for _ in 0..5 {
        let mut counts = BTreeMap::<String, u32>::new();
        for _ in 0..3 {
            *counts.entry(one(&upstream)).or_default() += 1;
        }
        assert_eq!(
            counts,
            BTreeMap::from([("10.0.0.1".into(), 2), ("10.0.0.2".into(), 1)])
        );
    }
}

/// §3.3, §3.4: each endpoint is tried once, a lower priority after all of the higher.
#[test]
fn a_request_tries_each_endpoint_once_and_higher_priorities_first() {
    for policy in ALL {
        let endpoints = [
            endpoint("10.0.0.1", 1, 0),
            endpoint("10.0.0.2", 5, 1),
            endpoint("10.0.0.3", 1, 1),
            endpoint("10.0.0.4", 1, -1),
            endpoint("10.0.0.5", 0, 9),
        ];
        let upstream = of(&table(None, policy, &endpoints));
        for _ in 0..20 {
            let mut tried = Tried::default();
            let mut order = Vec::new();
            while let Some(peer) = upstream.pick(&mut tried, || "key".into()) {
                order.push(peer.host().to_owned());
            }
            order[..2].sort_unstable();
            assert_eq!(
                order,
                ["10.0.0.2", "10.0.0.3", "10.0.0.1", "10.0.0.4"],
                "{policy}"
            );
        }
    }
}

#[test]
fn consistent_hashing_keeps_a_key_where_it_is() {
    let endpoints = [endpoint("10.0.0.1", 1, 0), endpoint("10.0.0.2", 1, 0)];
    let upstream = of(&table(None, CONSISTENT_HASH, &endpoints));
    let first = one(&upstream);
    assert!((0..100).all(|_| one(&upstream) == first));
}

/// §3.2: the least of (1 + in flight) / weight.
#[test]
fn least_connections_looks_at_what_is_in_flight() {
    let endpoints = [endpoint("10.0.0.1", 1, 0), endpoint("10.0.0.2", 3, 0)];
    let upstream = of(&table(None, LEAST_CONNECTIONS, &endpoints));
    let mut held = Vec::new();
    let mut order = Vec::new();
    for _ in 0..4 {
        let peer = upstream.pick(&mut Tried::default(), String::new).unwrap();
        order.push(peer.host().to_owned());
        held.push(peer.hold());
    }
    order.sort_unstable();
    assert_eq!(order, ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.2"]);
}

/// A change of endpoints keeps those that stay, with their connections, and round robin's turn.
#[test]
fn what_stays_is_kept_when_endpoints_change() {
    let before = table(
        None,
        ROUND_ROBIN,
        &[endpoint("10.0.0.1", 1, 0), endpoint("10.0.0.2", 1, 0)],
    );
    one(&of(&before));
    let after = table(
        Some(&before),
        ROUND_ROBIN,
        &[endpoint("10.0.0.2", 7, 0), endpoint("10.0.0.3", 1, 0)],
    );
    let (before, after) = (of(&before), of(&after));
    assert!(Arc::ptr_eq(&before.peers()[1], &after.peers()[0]));
    assert!(Arc::ptr_eq(&before.stats, &after.stats));
    assert_eq!(
        before.groups[0].balancer.turn(),
        after.groups[0].balancer.turn()
    );
}

#[test]
fn an_upstream_without_weight_is_empty() {
    assert!(of(&table(None, ROUND_ROBIN, &[])).is_empty());
    let without = [endpoint("10.0.0.1", 0, 0), endpoint("10.0.0.2", 0, 0)];
    assert!(
        ALL.iter()
            .all(|policy| of(&table(None, *policy, &without)).is_empty())
    );
}

/// §3.1, §3.2: where there is one endpoint there is nothing to choose; only `least_conn` looks at it.
#[test]
fn an_endpoint_alone_is_taken_whatever_its_weight() {
    let alone = [endpoint("10.0.0.1", 0, 0)];
    for policy in ALL {
        let upstream = of(&table(None, policy, &alone));
        assert_eq!(upstream.is_empty(), policy == LEAST_CONNECTIONS, "{policy}");
    }
}

/// Requests that come one after the other find nothing in flight; they must not all go to the first.
#[test]
fn least_connections_spreads_what_is_equal() {
    let endpoints = [endpoint("10.0.0.1", 1, 0), endpoint("10.0.0.2", 1, 0)];
    let upstream = of(&table(None, LEAST_CONNECTIONS, &endpoints));
    let hosts: std::collections::BTreeSet<_> = (0..100).map(|_| one(&upstream)).collect();
    assert_eq!(hosts.len(), 2);
}
