//! Endpoints that follow a service change without their cluster: what is made of them alone is what is made
//! of everything.

use bellwether::name::Name;
use proptest::prelude::*;

use super::*;
use crate::assignment;

const NAME: &str = "upstreams/1";

fn follows(endpoints: Vec<native::Endpoint>) -> native::Endpoints {
    native::Endpoints {
        endpoints,
        service_name: "users".into(),
    }
}

fn put(message: &native::Endpoints) -> Resource {
    let id = ResourceId::new(TypeUrl::ENDPOINTS, NAME);
    Resource::new(id, message, Vec::new())
}

fn made<'a>(bench: &'a Bench, type_url: &TypeUrl) -> &'a Resource {
    let set = bench.made.published(type_url).unwrap().set();
    set.get(&NAME.into()).unwrap()
}

fn clusters() -> impl Strategy<Value = native::Cluster> {
    let verify = |verify| native::UpstreamTls {
        verify,
        ..native::UpstreamTls::default()
    };
    (0..4, 0..3, 0..4, any::<Option<bool>>(), any::<bool>()).prop_map(
        move |(scheme, pass_host, policy, tls, probed)| native::Cluster {
            endpoints: NAME.into(),
            scheme,
            pass_host,
            upstream_host: "up.example.com".into(),
            tls: tls.map(verify),
            balancing: Some(native::Balancing {
                policy,
                ..native::Balancing::default()
            }),
            health_check: probed.then(|| native::HealthCheck {
                active: Some(native::health_check::Active {
                    port: 81,
                    ..native::health_check::Active::default()
                }),
                passive: None,
            }),
            ..native::Cluster::default()
        },
    )
}

fn instances() -> impl Strategy<Value = Vec<native::Endpoint>> {
    let host = prop_oneof![
        4 => (1..9_u8).prop_map(|n| format!("10.0.0.{n}")),
        1 => Just("::1".to_owned()),
        1 => Just("a.example.com".to_owned()),
        1 => Just("b.example.com".to_owned()),
    ];
    let one = (host, 80..83_u32, 0..3_u32);
    let one = one.prop_map(|(host, port, weight)| node(&host, port, weight, 0));
    proptest::collection::vec(one, 0..6)
}

proptest! {
    #[test]
    fn alone_and_with_everything_are_the_same(
        cluster in clusters(),
        client in prop_oneof![Just(Client::Envoy), Just(Client::Grpc)],
        before in instances(),
        after in instances(),
    ) {
        let mut bench = Bench::new(client);
        let id = ResourceId::new(TypeUrl::CLUSTER, NAME);
        let refers = vec![ResourceId::new(TypeUrl::ENDPOINTS, NAME)];
        bench.put(vec![put(&follows(before)), Resource::new(id, &cluster, refers)]);
        let frozen = made(&bench, &TypeUrl::ENVOY_CLUSTER).clone();
        let now = follows(after);
        let name = Name::from(NAME);
        let alone = assignment(client, &name, &cluster, &now, &frozen).unwrap();
        bench.put(vec![put(&now)]);
        // The cluster is configuration: instances have no say in it.
        prop_assert_eq!(made(&bench, &TypeUrl::ENVOY_CLUSTER).body(), frozen.body());
        prop_assert_eq!(made(&bench, &TypeUrl::ENVOY_ENDPOINTS).body(), alone.body());
    }
}

#[test]
fn what_stands_in_the_configuration_follows_nobody() {
    let mut bench = Bench::new(Client::Envoy);
    bench.put(cluster(
        NAME,
        native::Cluster::default(),
        vec![node("10.0.0.1", 80, 1, 0)],
    ));
    let frozen = made(&bench, &TypeUrl::ENVOY_CLUSTER).clone();
    let message = native::Cluster::default();
    let endpoints = native::Endpoints::default();
    assert!(assignment(Client::Envoy, &NAME.into(), &message, &endpoints, &frozen).is_none());
}
