//! Clusters and endpoints as gRPC's own clients want them.

use bellwether::wire::native::balancing::Policy;
use bellwether::wire::native::cluster::Scheme;
use bellwether::wire::native::health_check::Active;
use bellwether::wire::native::{Balancing, Cluster, UpstreamTls};

use super::clusters::{check, kind, made_for};
use super::*;
use crate::wire::cluster::cluster::DiscoveryType;
use crate::wire::core::config_source::ConfigSourceSpecifier;

/// A27: only what every gRPC client takes. Everything else is left out, and said.
#[test]
fn grpc_clients_get_eds_and_nothing_that_they_reject() {
    let message = Cluster {
        tls: Some(UpstreamTls::default()),
        scheme: Scheme::Grpcs.into(),
        ..check(Active::default())
    };
    let endpoints = vec![node("10.0.0.1", 80, 1, 0), node("a.example.com", 80, 1, 0)];
    let (bench, made) = made_for(Client::Grpc, message, endpoints);
    assert_eq!(kind(&made), DiscoveryType::Eds);
    assert_eq!(made.transport_socket, None);
    assert_eq!(made.health_checks, []);
    assert_eq!(made.load_assignment, None);
    assert!(made.typed_extension_protocol_options.is_empty());
    let members = [("10.0.0.1 80".to_owned(), 1)].into();
    assert_eq!(
        groups(&bench.endpoints("upstreams/1").unwrap()),
        [(0, members)]
    );
    assert_eq!(bench.unsupported().len(), 3, "{:?}", bench.unsupported());
    let eds = made.eds_cluster_config.unwrap().eds_config.unwrap();
    assert!(matches!(
        eds.config_source_specifier,
        Some(ConfigSourceSpecifier::Ads(_))
    ));
}

/// A27: gRPC's clients look at the weights of localities, and at those of endpoints only in a ring. More
/// than 1,024 calls at once are no reason to drop one (A32).
#[test]
fn grpc_clients_find_weights_where_they_look() {
    let endpoints = || {
        vec![
            node("10.0.0.1", 80, 9, 0),
            node("10.0.0.2", 80, 1, 0),
            node("10.0.0.3", 80, 9, 0),
            node("10.0.0.4", 80, 9, -1),
        ]
    };
    let localities = |cluster: Cluster| {
        let (bench, made) = made_for(Client::Grpc, cluster, endpoints());
        let thresholds = &made.circuit_breakers.unwrap().thresholds;
        assert!(thresholds[0].max_requests > Some(1_000_000));
        let assignment = bench.endpoints("upstreams/1").unwrap();
        let localities = assignment.endpoints.iter().map(|group| {
            let name = group.locality.as_ref().unwrap().sub_zone.clone();
            let weight = group.load_balancing_weight.unwrap();
            (name, group.priority, weight, group.lb_endpoints.len())
        });
        localities.collect::<Vec<_>>()
    };
    assert_eq!(
        localities(Cluster::default()),
        [
            ("priority-0-weight-1".to_owned(), 0, 1, 1),
            ("priority-0-weight-9".to_owned(), 0, 18, 2),
            ("priority-1-weight-9".to_owned(), 1, 9, 1),
        ]
    );
    let ring = Cluster {
        balancing: Some(Balancing {
            policy: Policy::ConsistentHash.into(),
            ..Balancing::default()
        }),
        ..Cluster::default()
    };
    assert_eq!(
        localities(ring),
        [
            ("priority-0".to_owned(), 0, 1, 3),
            ("priority-1".to_owned(), 1, 1, 1),
        ]
    );
}
