//! Clusters, endpoints, and TLS towards them.

use bellwether::wire::native::balancing::{HashOn, Policy};
use bellwether::wire::native::cluster::{PassHost, Scheme};
use bellwether::wire::native::health_check::{Active, Kind, Passive, Thresholds};
use bellwether::wire::native::{
    Balancing, Cluster, HealthCheck, KeepalivePool, KeyPair, Timeouts, UpstreamTls,
};

use super::*;
use crate::any::Any;
use crate::wire::cluster::cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, LbPolicy};
use crate::wire::core::config_source::ConfigSourceSpecifier;
use crate::wire::core::health_check::HealthChecker;
use crate::wire::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use crate::wire::envoy::extensions::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions;
use crate::wire::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use crate::wire::tls::common_tls_context::ValidationContextType;

fn made_of(
    message: Cluster,
    endpoints: Vec<native::Endpoint>,
) -> (Bench, crate::wire::cluster::Cluster) {
    made_for(Client::Envoy, message, endpoints)
}

pub(super) fn made_for(
    client: Client,
    message: Cluster,
    endpoints: Vec<native::Endpoint>,
) -> (Bench, crate::wire::cluster::Cluster) {
    let mut bench = Bench::new(client);
    bench.put(cluster("upstreams/1", message, endpoints));
    let made = bench.cluster("upstreams/1");
    (bench, made)
}

pub(super) fn kind(cluster: &crate::wire::cluster::Cluster) -> DiscoveryType {
    let ClusterDiscoveryType::Type(kind) = cluster.cluster_discovery_type.unwrap();
    DiscoveryType::try_from(kind).unwrap()
}

fn options(cluster: &crate::wire::cluster::Cluster) -> HttpProtocolOptions {
    let any: &Any = cluster
        .typed_extension_protocol_options
        .values()
        .next()
        .unwrap();
    any.unpack().unwrap()
}

fn tls_cluster(tls: UpstreamTls, pass_host: PassHost) -> Cluster {
    Cluster {
        scheme: Scheme::Https.into(),
        pass_host: pass_host.into(),
        upstream_host: "inner.example.com:8443".into(),
        tls: Some(tls),
        ..Cluster::default()
    }
}

#[test]
fn addresses_come_by_eds_on_the_same_stream() {
    let endpoints = vec![node("10.0.0.1", 80, 2, 0), node("[::1]", 81, 1, 0)];
    let (bench, made) = made_of(Cluster::default(), endpoints);
    assert_eq!(kind(&made), DiscoveryType::Eds);
    let eds = made.eds_cluster_config.clone().unwrap();
    assert_eq!(eds.service_name, "");
    let source = eds.eds_config.unwrap().config_source_specifier;
    assert!(matches!(source, Some(ConfigSourceSpecifier::Ads(_))));
    let assignment = bench.endpoints("upstreams/1").unwrap();
    assert_eq!(assignment.cluster_name, "upstreams/1");
    let members = [("10.0.0.1 80".to_owned(), 2), ("::1 81".to_owned(), 1)].into();
    assert_eq!(groups(&assignment), [(0, members)]);
    assert_eq!(
        bench.refers(&TypeUrl::ENVOY_CLUSTER, "upstreams/1"),
        ["ClusterLoadAssignment upstreams/1"]
    );
}

/// Nobody to send to is 503, not an error of configuration.
#[test]
fn no_endpoints_are_an_empty_assignment() {
    let (bench, made) = made_of(Cluster::default(), vec![]);
    assert_eq!(kind(&made), DiscoveryType::Eds);
    assert_eq!(groups(&bench.endpoints("upstreams/1").unwrap()), []);
}

/// §3.2: weight 0 gets nothing, unless there is nothing to choose.
#[test]
fn weight_0_is_left_out_where_there_is_a_choice() {
    let two = vec![node("10.0.0.1", 80, 0, 0), node("10.0.0.2", 80, 1, 0)];
    let (bench, _) = made_of(Cluster::default(), two);
    let members = [("10.0.0.2 80".to_owned(), 1)].into();
    assert_eq!(
        groups(&bench.endpoints("upstreams/1").unwrap()),
        [(0, members)]
    );

    let alone = || vec![node("10.0.0.1", 80, 0, 0)];
    let (bench, _) = made_of(Cluster::default(), alone());
    let members = [("10.0.0.1 80".to_owned(), 1)].into();
    assert_eq!(
        groups(&bench.endpoints("upstreams/1").unwrap()),
        [(0, members)]
    );

    let least = Cluster {
        balancing: Some(Balancing {
            policy: Policy::LeastConnections.into(),
            ..Balancing::default()
        }),
        ..Cluster::default()
    };
    let (bench, _) = made_of(least, alone());
    assert_eq!(groups(&bench.endpoints("upstreams/1").unwrap()), []);
}

/// Envoy and gRPC reject an address that stands twice, and a gap between priorities; higher is first
/// in APISIX (§3.3) and later in Envoy.
#[test]
fn an_address_stands_once_and_priorities_have_no_gap() {
    let endpoints = vec![
        node("10.0.0.1", 80, 2, -5),
        node("10.0.0.1", 80, 3, -5),
        node("10.0.0.2", 80, 1, 7),
        node("10.0.0.2", 80, 9, -5),
        node("0:0:0:0:0:0:0:1", 80, 1, 0),
        node("::1", 80, 1, 0),
    ];
    let (bench, _) = made_of(Cluster::default(), endpoints);
    let one = |address: &str, weight| [(address.to_owned(), weight)].into();
    assert_eq!(
        groups(&bench.endpoints("upstreams/1").unwrap()),
        [
            (0, one("10.0.0.2 80", 1)),
            (1, one("::1 80", 2)),
            (2, one("10.0.0.1 80", 5)),
        ]
    );
}

/// The weights of a locality must add up to what a `uint32` holds.
#[test]
fn large_weights_keep_their_proportion() {
    let endpoints = vec![
        node("10.0.0.1", 80, u32::MAX, 0),
        node("10.0.0.2", 80, u32::MAX, 0),
        node("10.0.0.3", 80, 1, 0),
    ];
    let (bench, _) = made_of(Cluster::default(), endpoints);
    let groups = groups(&bench.endpoints("upstreams/1").unwrap());
    let weights: Vec<u64> = groups[0].1.values().map(|w| u64::from(*w)).collect();
    assert!(weights.iter().sum::<u64>() <= u64::from(u32::MAX));
    assert_eq!(weights[0], weights[1]);
    assert!(weights[2] >= 1 && weights[0] > 1_000_000_000);
}

#[test]
fn names_are_resolved_by_envoy() {
    let one = vec![node("one.example.com", 80, 1, 0)];
    let (bench, made) = made_of(Cluster::default(), one);
    assert_eq!(kind(&made), DiscoveryType::LogicalDns);
    assert_eq!(made.dns_lookup_family(), DnsLookupFamily::V4Preferred);
    assert_eq!(bench.endpoints("upstreams/1"), None);
    let members = [("one.example.com 80".to_owned(), 1)].into();
    assert_eq!(groups(&made.load_assignment.unwrap()), [(0, members)]);

    let two = vec![
        node("one.example.com", 80, 1, 0),
        node("10.0.0.1", 80, 1, 0),
    ];
    let (bench, made) = made_of(Cluster::default(), two);
    assert_eq!(kind(&made), DiscoveryType::StrictDns);
    assert_eq!(bench.endpoints("upstreams/1"), None);
    assert_eq!(groups(&made.load_assignment.unwrap())[0].1.len(), 2);
}

/// From names to addresses and back: the assignment comes and goes with the kind of cluster.
#[test]
fn endpoints_change_between_names_and_addresses() {
    let mut bench = Bench::new(Client::Envoy);
    bench.put(cluster(
        "upstreams/1",
        Cluster::default(),
        vec![node("a", 80, 1, 0)],
    ));
    let changes = bench.put(vec![nodes("upstreams/1", vec![node("10.0.0.1", 80, 1, 0)])]);
    assert_eq!(
        names(&changes).0,
        ["Cluster upstreams/1", "ClusterLoadAssignment upstreams/1"]
    );
    let changes = bench.put(vec![nodes("upstreams/1", vec![node("10.0.0.2", 80, 1, 0)])]);
    assert_eq!(names(&changes).0, ["ClusterLoadAssignment upstreams/1"]);
    let changes = bench.put(vec![nodes("upstreams/1", vec![node("a", 80, 1, 0)])]);
    assert_eq!(
        names(&changes),
        (
            vec!["Cluster upstreams/1".to_owned()],
            vec!["ClusterLoadAssignment upstreams/1".to_owned()]
        )
    );
}

#[test]
fn balancing_has_a_policy_of_envoy() {
    for (policy, envoy, grpc) in [
        (
            Policy::RoundRobin,
            LbPolicy::RoundRobin,
            LbPolicy::RoundRobin,
        ),
        (
            Policy::ConsistentHash,
            LbPolicy::RingHash,
            LbPolicy::RingHash,
        ),
        (
            Policy::LeastConnections,
            LbPolicy::LeastRequest,
            LbPolicy::RoundRobin,
        ),
        (Policy::Ewma, LbPolicy::LeastRequest, LbPolicy::RoundRobin),
    ] {
        let message = Cluster {
            balancing: Some(Balancing {
                policy: policy.into(),
                hash_on: HashOn::Variable.into(),
                hash_key: "uri".into(),
            }),
            ..Cluster::default()
        };
        let (_, made) = made_for(Client::Envoy, message.clone(), vec![]);
        assert_eq!(made.lb_policy(), envoy);
        let (bench, made) = made_for(Client::Grpc, message, vec![]);
        assert_eq!(made.lb_policy(), grpc);
        assert_eq!(bench.unsupported().is_empty(), envoy == grpc);
    }
}

/// Envoy's own limits, 1024 of everything and 3 retries, are APISIX's in nothing.
#[test]
fn no_limit_is_set_that_nobody_asked_for() {
    let (_, made) = made_of(Cluster::default(), vec![]);
    let thresholds = &made.circuit_breakers.unwrap().thresholds[0];
    for limit in [
        thresholds.max_connections,
        thresholds.max_pending_requests,
        thresholds.max_requests,
        thresholds.max_retries,
    ] {
        assert!(limit.unwrap() > 1_000_000);
    }
    let common = made.common_lb_config.unwrap();
    assert_eq!(common.healthy_panic_threshold.unwrap().value, 1.0);
}

#[test]
fn connections_are_made_and_kept_as_the_upstream_says() {
    let (_, made) = made_of(Cluster::default(), vec![]);
    assert_eq!(made.connect_timeout.unwrap().seconds, 60);
    let common = options(&made).common_http_protocol_options.unwrap();
    assert_eq!(common.idle_timeout.unwrap().seconds, 60);
    assert_eq!(common.max_requests_per_connection, Some(1000));

    let message = Cluster {
        timeouts: Some(Timeouts {
            connect_ms: 1_500,
            send_ms: 1,
            read_ms: u64::MAX,
        }),
        keepalive_pool: Some(KeepalivePool {
            size: 1,
            idle_timeout_ms: 2_000,
            requests: 7,
        }),
        ..Cluster::default()
    };
    let (_, made) = made_of(message, vec![]);
    let connect = made.connect_timeout.unwrap();
    assert_eq!((connect.seconds, connect.nanos), (1, 500_000_000));
    let common = options(&made).common_http_protocol_options.unwrap();
    assert_eq!(common.idle_timeout.unwrap().seconds, 2);
    assert_eq!(common.max_requests_per_connection, Some(7));
}

#[test]
fn grpc_schemes_speak_http_2() {
    for (scheme, http2, tls) in [
        (Scheme::Http, false, false),
        (Scheme::Https, false, true),
        (Scheme::Grpc, true, false),
        (Scheme::Grpcs, true, true),
    ] {
        let message = Cluster {
            scheme: scheme.into(),
            ..Cluster::default()
        };
        let (_, made) = made_of(message, vec![]);
        let Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) =
            options(&made).upstream_protocol_options
        else {
            panic!("not explicit");
        };
        let is_2 = matches!(
            explicit.protocol_config,
            Some(ProtocolConfig::Http2ProtocolOptions(_))
        );
        assert_eq!(is_2, http2, "{scheme:?}");
        assert_eq!(made.transport_socket.is_some(), tls, "{scheme:?}");
    }
}

/// §3.4: APISIX asks in TLS for the Host that it sends.
#[test]
fn the_server_name_is_the_host_that_is_sent() {
    let one = || vec![node("one.example.com", 443, 1, 0)];
    let ask = UpstreamTls::default;
    let (_, made) = made_of(tls_cluster(ask(), PassHost::Pass), one());
    assert_eq!(upstream_tls(&made).sni, "");
    assert!(
        options(&made)
            .upstream_http_protocol_options
            .unwrap()
            .auto_sni
    );

    let (_, made) = made_of(tls_cluster(ask(), PassHost::Rewrite), one());
    assert_eq!(upstream_tls(&made).sni, "inner.example.com");
    assert_eq!(options(&made).upstream_http_protocol_options, None);

    let (_, made) = made_of(tls_cluster(ask(), PassHost::Node), one());
    assert_eq!(upstream_tls(&made).sni, "one.example.com");

    let two = vec![
        node("one.example.com", 8443, 1, 0),
        node("two.example.com", 443, 1, 0),
    ];
    let (_, made) = made_of(tls_cluster(ask(), PassHost::Node), two);
    assert_eq!(upstream_tls(&made).sni, "");
    assert!(upstream_tls(&made).auto_host_sni);
}

/// §3.4: `pass_host: node` is the endpoint's host, with a port that is not the scheme's own.
#[test]
fn an_endpoint_knows_the_host_it_wants_to_see() {
    let message = Cluster {
        pass_host: PassHost::Node.into(),
        ..Cluster::default()
    };
    let endpoints = vec![node("10.0.0.1", 80, 1, 0), node("::1", 8080, 1, 0)];
    let (bench, _) = made_of(message, endpoints);
    let assignment = bench.endpoints("upstreams/1").unwrap();
    let hosts: Vec<_> = assignment.endpoints[0]
        .lb_endpoints
        .iter()
        .map(|member| {
            let HostIdentifier::Endpoint(endpoint) = member.host_identifier.clone().unwrap();
            endpoint.hostname
        })
        .collect();
    assert_eq!(hosts, ["10.0.0.1", "[::1]:8080"]);
}

#[test]
fn a_client_certificate_is_a_secret() {
    let mut bench = Bench::new(Client::Envoy);
    let client = native::Certificate {
        usage: native::certificate::Usage::Client.into(),
        ..native::Certificate::default()
    };
    let named = UpstreamTls {
        client_certificate: "ssls/1".into(),
        ..UpstreamTls::default()
    };
    let inline = UpstreamTls {
        client_key_pair: Some(KeyPair {
            certificate: "c".into(),
            private_key: "k".into(),
        }),
        ..UpstreamTls::default()
    };
    let mut all = vec![certificate("ssls/1", &[], client.clone())];
    let endpoints = || vec![node("10.0.0.1", 443, 1, 0)];
    all.extend(cluster(
        "upstreams/1",
        tls_cluster(named, PassHost::Pass),
        endpoints(),
    ));
    all.extend(cluster(
        "upstreams/2",
        tls_cluster(inline, PassHost::Pass),
        endpoints(),
    ));
    bench.put(all);
    for (cluster, wanted) in [
        ("upstreams/1", "ssls/1/0"),
        ("upstreams/2", "upstreams/2/client"),
    ] {
        let context = upstream_tls(&bench.cluster(cluster))
            .common_tls_context
            .unwrap();
        assert_eq!(context.tls_certificate_sds_secret_configs[0].name, wanted);
        let refers = bench.refers(&TypeUrl::ENVOY_CLUSTER, cluster);
        assert!(refers.contains(&format!("Secret {wanted}")), "{refers:?}");
        assert!(secret(&bench, wanted).is_some());
    }
    // A rotated key is a new secret and nothing else.
    let mut rotated = client;
    rotated.protocols = vec!["TLSv1.3".into()];
    let changes = bench.put(vec![certificate("ssls/1", &[], rotated)]);
    assert_eq!(names(&changes).0, Vec::<String>::new());
}

/// Who asks for a verified endpoint never gets an unverified one.
#[test]
fn verification_without_authorities_fails_closed() {
    let verify = || UpstreamTls {
        verify: true,
        ..UpstreamTls::default()
    };
    let endpoints = || vec![node("10.0.0.1", 443, 1, 0)];
    let (bench, made) = made_of(tls_cluster(verify(), PassHost::Rewrite), endpoints());
    assert_eq!(made.transport_socket, None);
    assert_eq!(groups(&bench.endpoints("upstreams/1").unwrap()), []);
    assert!(
        bench.unsupported()[0].contains("trusted_ca_file"),
        "{:?}",
        bench.unsupported()
    );

    let settings = Settings::parse(br#"{"trusted_ca_file":"/ca.pem"}"#).unwrap();
    let mut bench = Bench::with(Client::Envoy, settings);
    let message = tls_cluster(verify(), PassHost::Rewrite);
    bench.put(cluster("upstreams/1", message, endpoints()));
    let context = upstream_tls(&bench.cluster("upstreams/1"))
        .common_tls_context
        .unwrap();
    let Some(ValidationContextType::ValidationContext(trusted)) = context.validation_context_type
    else {
        panic!("nothing is verified");
    };
    assert_eq!(trusted.match_typed_subject_alt_names.len(), 1);
    assert_eq!(bench.unsupported(), Vec::<String>::new());
}

pub(super) fn check(active: Active) -> Cluster {
    Cluster {
        health_check: Some(HealthCheck {
            active: Some(active),
            passive: None,
        }),
        ..Cluster::default()
    }
}

fn thresholds() -> Thresholds {
    Thresholds {
        successes: 2,
        healthy_statuses: vec![200, 302],
        http_failures: 5,
        tcp_failures: 3,
        timeouts: 4,
        unhealthy_statuses: vec![404, 500, 501],
    }
}

#[test]
fn probes_are_apisix_probes() {
    let active = Active {
        path: "/health".into(),
        host: "probe.example.com".into(),
        port: 8081,
        request_headers: vec!["User-Agent: curl".into(), "no header".into()],
        timeout_ms: 500,
        healthy_interval_ms: 2_000,
        unhealthy_interval_ms: 1_000,
        thresholds: Some(thresholds()),
        ..Active::default()
    };
    let (bench, made) = made_of(check(active), vec![node("10.0.0.1", 80, 1, 0)]);
    let probe = &made.health_checks[0];
    assert_eq!(probe.timeout.as_ref().unwrap().nanos, 500_000_000);
    assert_eq!(probe.interval.as_ref().unwrap().seconds, 2);
    assert_eq!(probe.no_traffic_interval, probe.interval);
    assert_eq!(probe.unhealthy_interval.as_ref().unwrap().seconds, 1);
    assert_eq!(
        (probe.healthy_threshold, probe.unhealthy_threshold),
        (Some(2), Some(3))
    );
    let Some(HealthChecker::HttpHealthCheck(http)) = &probe.health_checker else {
        panic!("no http");
    };
    assert_eq!(
        (http.path.as_str(), http.host.as_str()),
        ("/health", "probe.example.com")
    );
    assert_eq!(http.request_headers_to_add.len(), 1);
    let ranges: Vec<_> = http
        .expected_statuses
        .iter()
        .map(|r| (r.start, r.end))
        .collect();
    assert_eq!(ranges, [(100, 404), (405, 500), (502, 600)]);
    let assignment = bench.endpoints("upstreams/1").unwrap();
    let HostIdentifier::Endpoint(endpoint) = assignment.endpoints[0].lb_endpoints[0]
        .host_identifier
        .clone()
        .unwrap();
    assert_eq!(endpoint.health_check_config.unwrap().port_value, 8081);
}

#[test]
fn probes_in_plain_text_of_an_encrypted_cluster_have_a_socket_of_their_own() {
    let active = Active {
        thresholds: Some(thresholds()),
        ..Active::default()
    };
    let message = Cluster {
        scheme: Scheme::Https.into(),
        ..check(active.clone())
    };
    let (_, made) = made_of(message, vec![]);
    assert_eq!(
        made.transport_socket_matches[0].r#match,
        made.health_checks[0].transport_socket_match_criteria
    );
    let encrypted = Active {
        kind: Kind::Https.into(),
        verify_certificate: true,
        ..active
    };
    let (bench, made) = made_of(check(encrypted), vec![]);
    assert_eq!(made.health_checks, []);
    assert_eq!(bench.unsupported().len(), 1);
}

#[test]
fn counters_that_are_off_find_nothing_bad() {
    let off = Thresholds {
        http_failures: 0,
        tcp_failures: 0,
        timeouts: 0,
        ..thresholds()
    };
    let mut message = check(Active {
        thresholds: Some(off.clone()),
        ..Active::default()
    });
    message.health_check.as_mut().unwrap().passive = Some(Passive {
        thresholds: Some(off),
        ..Passive::default()
    });
    let (_, made) = made_of(message, vec![]);
    assert_eq!(made.health_checks, []);
    let outliers = made.outlier_detection.unwrap();
    assert_eq!(outliers.enforcing_consecutive_5xx, Some(0));
    assert_eq!(outliers.enforcing_consecutive_local_origin_failure, Some(0));
    assert_eq!(outliers.enforcing_success_rate, Some(0));
}
