//! What a gRPC client rejects: known by name and reason, never sent again, without harm to the rest, and
//! healed by the next change.

use bellwether::name::{ResourceId, TypeUrl};
use bellwether::resource::Resource;
use bellwether::snapshot::Changes;
use envoy_types::pb::envoy::admin::v3::ClientResourceStatus::{self, Acked, Nacked};
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster};
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, Locality, SocketAddress,
};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Listener};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::google::protobuf::{Any, UInt32Value};
use prost::{Message, Name};

use super::TARGET;
use super::backend::Backend;
use super::caller::{Caller, ME};
use crate::harness::polyglot::{Language, in_every_language};
use crate::harness::programs::eventually;
use crate::harness::publisher::Publisher;
use crate::harness::stream::Stream;

in_every_language!(what_is_rejected_is_known_and_heals);

fn any(message: &impl Name) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{}", full_name(message)),
        value: message.encode_to_vec(),
    }
}

fn full_name<M: Name>(_: &M) -> String {
    M::full_name()
}

fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

fn resource(
    type_url: TypeUrl,
    name: &str,
    message: &impl Message,
    refers: &[(TypeUrl, &str)],
) -> Resource {
    let refers = refers
        .iter()
        .map(|(of, to)| ResourceId::new(of.clone(), *to));
    Resource::new(ResourceId::new(type_url, name), message, refers.collect())
}

fn listener() -> Resource {
    let router = hcm::http_filter::ConfigType::TypedConfig(any(&Router::default()));
    let manager = hcm::HttpConnectionManager {
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(
            hcm::Rds {
                config_source: Some(ads()),
                route_config_name: "names".to_owned(),
            },
        )),
        http_filters: vec![hcm::HttpFilter {
            name: "router".to_owned(),
            config_type: Some(router),
            ..hcm::HttpFilter::default()
        }],
        ..hcm::HttpConnectionManager::default()
    };
    let listener = Listener {
        name: "names.test".to_owned(),
        api_listener: Some(ApiListener {
            api_listener: Some(any(&manager)),
        }),
        ..Listener::default()
    };
    let refers = [(TypeUrl::ENVOY_ROUTES, "names")];
    resource(TypeUrl::ENVOY_LISTENER, "names.test", &listener, &refers)
}

fn route(prefix: &str, cluster: &str) -> Route {
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix(prefix.to_owned())),
            ..RouteMatch::default()
        }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
            ..RouteAction::default()
        })),
        ..Route::default()
    }
}

/// What is called goes to one cluster, and what is not to another.
fn routes() -> Resource {
    let routes = RouteConfiguration {
        name: "names".to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: "names".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![route("/other", "other"), route("", "names")],
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    };
    let refers = [
        (TypeUrl::ENVOY_CLUSTER, "names"),
        (TypeUrl::ENVOY_CLUSTER, "other"),
    ];
    resource(TypeUrl::ENVOY_ROUTES, "names", &routes, &refers)
}

/// gRPC takes clusters of the type `EDS`, and rejects `STATIC`. A good one that heals must differ from the
/// one in force in something that clients read: else the view of `@grpc/grpc-js-xds` says `NACKED` for ever.
fn cluster(name: &str, kind: DiscoveryType, most_requests: u32) -> Resource {
    let cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            ..EdsClusterConfig::default()
        }),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds {
                max_requests: Some(UInt32Value {
                    value: most_requests,
                }),
                ..Thresholds::default()
            }],
            ..CircuitBreakers::default()
        }),
        ..Cluster::default()
    };
    let refers = [(TypeUrl::ENVOY_ENDPOINTS, name)];
    resource(TypeUrl::ENVOY_CLUSTER, name, &cluster, &refers)
}

fn endpoints(name: &str, backend: &Backend) -> Resource {
    let address = SocketAddress {
        address: "127.0.0.1".to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(backend.port().into())),
        ..SocketAddress::default()
    };
    let endpoint = Endpoint {
        address: Some(Address {
            address: Some(AddressKind::SocketAddress(address)),
        }),
        ..Endpoint::default()
    };
    let one = Some(UInt32Value { value: 1 });
    let assignment = ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            locality: Some(Locality {
                region: "here".to_owned(),
                ..Locality::default()
            }),
            lb_endpoints: vec![LbEndpoint {
                load_balancing_weight: one,
                host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
                ..LbEndpoint::default()
            }],
            load_balancing_weight: one,
            ..LocalityLbEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    };
    resource(TypeUrl::ENVOY_ENDPOINTS, name, &assignment, &[])
}

fn changed(upserts: Vec<Resource>) -> Changes {
    Changes {
        upserts,
        ..Changes::default()
    }
}

/// What the program sees when its cluster is in this state and all else is well.
fn view(cluster: ClientResourceStatus) -> [(&'static str, &'static str, ClientResourceStatus); 6] {
    [
        ("Listener", "names.test", Acked),
        ("RouteConfiguration", "names", Acked),
        ("Cluster", "names", cluster),
        ("Cluster", "other", Acked),
        ("ClusterLoadAssignment", "names", Acked),
        ("ClusterLoadAssignment", "other", Acked),
    ]
}

/// Waits until `me` has rejected the cluster and nothing else; why.
async fn rejected(server: &Publisher) -> String {
    let mut rejected = eventually("the server to know", || async {
        let rejected = server.rejected_by(ME).await?;
        (!rejected.is_empty()).then_some(rejected)
    })
    .await;
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    let (name, reason) = rejected.remove(0);
    assert_eq!(name, "names");
    assert!(!reason.is_empty());
    reason
}

async fn what_is_rejected_is_known_and_heals(language: &Language) {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let server = Publisher::start(changed(vec![
        listener(),
        routes(),
        cluster("names", DiscoveryType::Eds, 1_000),
        cluster("other", DiscoveryType::Eds, 1_000),
        endpoints("names", &a),
        endpoints("other", &a),
    ]))
    .await;
    let Some(caller) = Caller::dial(language, TARGET, &[&server.xds]).await else {
        return;
    };
    let mut easy = Stream::open(&format!("http://{}", server.xds)).await;
    easy.follow("easy", "", TypeUrl::ENVOY_CLUSTER.as_str())
        .await;
    let first = easy.hear().await;
    easy.ack(&first).await;
    caller.hears_only(&["a"]).await;
    caller.sees(&view(Acked)).await;

    server.publish(
        "2",
        changed(vec![cluster("names", DiscoveryType::Static, 1_000)]),
    );
    let seen = caller.sees(&view(Nacked)).await;
    let theirs = &seen[&("Cluster".to_owned(), "names".to_owned())].2;
    assert!(!theirs.is_empty(), "it says why");
    let reason = rejected(&server).await;
    // Quotes are escaped there.
    let log = server.log().replace('\\', "");
    let logged = |line: &str| line.contains("node rejected resources") && line.contains(&reason);
    assert!(log.lines().any(logged), "{reason:?} in:\n{log}");

    // Other nodes and other resources are untouched, of the same type too; and what was rejected is
    // not tried again with them.
    assert_eq!(easy.hear().await.resources[0].name, "names");
    server.publish("3", changed(vec![endpoints("names", &b)]));
    caller.hears_only(&["b"]).await;
    let before = caller.view().await;
    server.publish(
        "4",
        changed(vec![cluster("other", DiscoveryType::Eds, 2_000)]),
    );
    let other = ("Cluster".to_owned(), "other".to_owned());
    eventually("the other cluster to change", || async {
        (caller.view().await[&other].1 != before[&other].1).then_some(())
    })
    .await;
    caller.hears_only(&["b"]).await;
    assert_eq!(rejected(&server).await, reason);
    assert_eq!(server.metric("bellwether_xds_nacks_total").await, 1);
    let rejections = "bellwether_xds_rejected_resources_total";
    assert_eq!(server.metric(rejections).await, 1);

    server.publish(
        "5",
        changed(vec![cluster("names", DiscoveryType::Eds, 2_000)]),
    );
    caller.sees(&view(Acked)).await;
    eventually("the rejection to be gone", || async {
        server.rejected_by(ME).await?.is_empty().then_some(())
    })
    .await;
    assert_eq!(server.metric("bellwether_xds_nacks_total").await, 1);
    assert_eq!(caller.errors(), [""; 0]);
}
