//! Methods, types, nodes, sizes: R1 to R12, R108.

use bellwether::name::TypeUrl;
use bellwether::wire::core::Node;
use bellwether::wire::discovery::{DeltaDiscoveryRequest, DiscoveryRequest, ResourceLocator};
use bellwether_xds::Groups;
use tonic::Code;

use super::rig::{CDS, EDS, LDS, RDS, Rig, SDS};
use super::script::{Delta, Heard, Sotw, Variant, types};

/// The services of one type each.
const SERVICES: [(&str, &str, TypeUrl); 5] = [
    (
        "envoy.service.cluster.v3.ClusterDiscoveryService",
        "Clusters",
        CDS,
    ),
    (
        "envoy.service.endpoint.v3.EndpointDiscoveryService",
        "Endpoints",
        EDS,
    ),
    (
        "envoy.service.listener.v3.ListenerDiscoveryService",
        "Listeners",
        LDS,
    ),
    (
        "envoy.service.route.v3.RouteDiscoveryService",
        "Routes",
        RDS,
    ),
    (
        "envoy.service.secret.v3.SecretDiscoveryService",
        "Secrets",
        SDS,
    ),
];

/// R1, R2, R4: each type on its own stream, which is known by its method, and all on one.
#[tokio::test]
async fn r1_r2_r4_every_method_serves_its_variant_and_its_type() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let world = SERVICES.map(|(.., type_url)| (type_url, "a", "1"));
        let rig = Rig::with(&world).await;
        for (service, noun, type_url) in SERVICES {
            let path = format!("/{service}/{}{noun}", V::METHOD);
            let mut script = rig.open_at::<V>(&path).await;
            // R4: it need not be said there which type is meant.
            script.subscribe(&TypeUrl::from(""), &["a"]).await;
            let heard = script.hear().await;
            assert!(
                heard.is(&type_url) && heard.bodies() == ["1"],
                "{path}: {heard:?}"
            );
            let unsaid = Heard {
                type_url: String::new(),
                ..heard
            };
            script.ack(&unsaid).await;
            rig.publish(&[(type_url, "a", "2")]);
            assert_eq!(script.hear().await.bodies(), ["2"], "{path}");
        }
        let mut script = rig.open::<V>().await;
        for (.., type_url) in SERVICES {
            assert_eq!(script.start(&type_url, &["a"]).await.bodies(), ["2"]);
        }
    }
}

/// R1, R12: what is not served says so.
#[tokio::test]
async fn r1_r12_what_is_not_served_is_unimplemented() {
    let rig = Rig::with(&[(CDS, "a", "1")]).await;
    for path in [
        // Virtual hosts on demand.
        "/envoy.service.route.v3.VirtualHostDiscoveryService/DeltaVirtualHosts",
        // R12: one answer to one request, for clients that poll.
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/FetchAggregatedResources",
        "/envoy.service.cluster.v3.ClusterDiscoveryService/FetchClusters",
        "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaRoutes",
        // The version before this one.
        "/envoy.service.discovery.v2.AggregatedDiscoveryService/StreamAggregatedResources",
        "/envoy.api.v2.ClusterDiscoveryService/StreamClusters",
        "/",
    ] {
        let status = rig.open_at::<Delta>(path).await.end().await;
        assert_eq!(status.code(), Code::Unimplemented, "{path}: {status:?}");
        assert!(status.message().contains(path), "{status:?}");
    }
}

/// R3, R56: a gRPC client follows names from the listener on, all on one stream, and never everything.
#[tokio::test]
async fn r3_r56_a_grpc_client_asks_for_one_name_after_the_other() {
    let world = [
        (LDS, "l", "l1->r"),
        (LDS, "other", "o1->r"),
        (RDS, "r", "r1->c"),
        (CDS, "c", "c1->c"),
        (CDS, "d", "d1->d"),
        (EDS, "c", "e1"),
        (EDS, "d", "e2"),
    ];
    let rig = Rig::with(&world).await;
    let mut script = rig.open::<Sotw>().await;
    for (type_url, name, body) in [
        (LDS, "l", "l1->r"),
        (RDS, "r", "r1->c"),
        (CDS, "c", "c1->c"),
        (EDS, "c", "e1"),
    ] {
        assert_eq!(script.start(&type_url, &[name]).await.bodies(), [body]);
    }
    script.silence().await;
    // A route to a cluster that it does not know makes it ask for that one too: the route can't wait.
    rig.publish(&[(RDS, "r", "r2->c,d")]);
    assert_eq!(script.settle().await[0].bodies(), ["r2->c,d"]);
    assert_eq!(
        script.start(&CDS, &["d"]).await.bodies(),
        ["c1->c", "d1->d"]
    );
    let endpoints = script.settle().await;
    assert!(
        endpoints.iter().all(|heard| heard.is(&EDS)),
        "{endpoints:?}"
    );
    assert_eq!(script.start(&EDS, &["d"]).await.bodies(), ["e2"]);
}

#[tokio::test]
async fn r4_an_aggregated_stream_must_say_which_type_and_another_only_its_own() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(CDS, "a", "1")]).await;
        let mut script = rig.open::<V>().await;
        script.say(V::Request::default()).await;
        let status = script.end().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains("type_url"), "{status:?}");

        let path = format!("/{}/{}{}", SERVICES[0].0, V::METHOD, SERVICES[0].1);
        let mut script = rig.open_at::<V>(&path).await;
        script.subscribe(&EDS, &["a"]).await;
        let status = script.end().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
}

#[tokio::test]
async fn r5_a_response_is_of_the_type_of_its_resources() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let thing = TypeUrl::from("type.googleapis.com/example.Thing");
        let every = [CDS, EDS, LDS, RDS, SDS, TypeUrl::ROUTE, thing];
        let world: Vec<_> = every.iter().map(|it| (it.clone(), "a", "1")).collect();
        let rig = Rig::with(&world).await;
        let mut script = rig.open::<V>().await;
        for type_url in every {
            let heard = script.start(&type_url, &["a"]).await;
            let any = heard.resources[0].resource.as_ref().unwrap();
            assert_eq!(
                (&any.type_url, any.type_url.as_str()),
                (&heard.type_url, type_url.as_str())
            );
        }
    }
}

/// R6: subscription, nonce and version of one type say nothing of another, and nobody waits.
#[tokio::test]
async fn r6_types_are_streams_of_their_own() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(LDS, "a", "1"), (EDS, "a", "1"), (SDS, "a", "1")]).await;
        let mut script = rig.open::<V>().await;
        script.subscribe(&LDS, &["a"]).await;
        let listeners = script.hear().await;
        script.subscribe(&EDS, &["a"]).await;
        let endpoints = script.hear().await;
        // The nonce of one type in an answer of the other.
        let crossed = Heard {
            nonce: listeners.nonce.clone(),
            ..endpoints.clone()
        };
        script.nack(&crossed, "no").await;
        script.silence().await;
        assert_eq!(
            (rig.seen.count("acked L"), rig.seen.count("nacked")),
            (0, 0)
        );
        // Listeners are not answered, which is no concern of endpoints.
        script.ack(&endpoints).await;
        rig.publish(&[(EDS, "a", "2"), (LDS, "a", "2")]);
        let heard = script.settle().await;
        assert_eq!(types(&heard), [EDS]);
        script.ack(&listeners).await;
        assert_eq!(types(&script.settle().await), [LDS]);
    }
}

/// R7, R8: the first request names the node; none, or another one, changes nothing later.
#[tokio::test]
async fn r7_r8_a_stream_belongs_to_the_node_of_its_first_request() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let groups = Groups::by_cluster();
        let rig = Rig::of(groups).await;
        rig.publish_to(
            "of-b",
            &[(CDS, "a", "b's"), (EDS, "a", "b's"), (LDS, "a", "b's")],
        );
        rig.publish_to(
            "of-a",
            &[(CDS, "a", "a's"), (EDS, "a", "a's"), (LDS, "a", "a's")],
        );
        let node = |id: &str, cluster: &str| Node {
            id: id.to_owned(),
            cluster: cluster.to_owned(),
            ..Node::default()
        };
        let mut script = rig.open::<V>().await;
        script.node = Some(node("n", "of-a"));
        assert_eq!(script.start(&CDS, &[]).await.bodies(), ["a's"]);
        script.node = Some(node("m", "of-b"));
        assert_eq!(script.start(&EDS, &["a"]).await.bodies(), ["a's"]);
        script.node = Some(Node::default());
        assert_eq!(script.start(&LDS, &[]).await.bodies(), ["a's"]);
        let nodes = rig.nodes.list().await;
        assert_eq!(
            (nodes[0].id.as_str(), nodes[0].group.as_str()),
            ("n", "of-a")
        );
        let mut script = rig.open::<V>().await;
        script.node = Some(node("n", "of-c"));
        script.subscribe(&CDS, &[]).await;
        assert_eq!(script.end().await.code(), Code::NotFound);
    }
}

/// R9: nothing of an old stream is left but what the client says again.
#[tokio::test]
async fn r9_a_new_stream_begins_anew() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(EDS, "a", "1"), (EDS, "b", "1")]).await;
        let mut old = rig.open::<V>().await;
        let first = old.start(&EDS, &["a", "b"]).await;
        rig.publish(&[(EDS, "a", "bad")]);
        let second = old.hear().await;
        old.nack(&second, "no").await;
        old.silence().await;
        drop(old);
        let mut script = rig.open::<V>().await;
        let again = script.start(&EDS, &["a"]).await;
        assert_eq!(
            again.bodies(),
            ["bad"],
            "it did not say that it has rejected it"
        );
        script
            .nack(
                &Heard {
                    nonce: first.nonce + "0",
                    ..again
                },
                "no",
            )
            .await;
        rig.publish(&[(EDS, "b", "2")]);
        script.silence().await;
    }
}

/// R11: 20 MB, to a client that takes 4 MiB at once, as those of gRPC do.
#[tokio::test]
async fn r11_no_response_is_larger_than_grpc_clients_take() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let body = "x".repeat(500_000);
        let names: Vec<String> = (0..40).map(|n| format!("n{n}")).collect();
        let world: Vec<_> = names
            .iter()
            .map(|name| (EDS, name.as_str(), body.as_str()))
            .collect();
        let rig = Rig::with(&world).await;
        let mut script = rig.open::<V>().await;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        script.subscribe(&EDS, &names).await;
        let heard = script.settle().await;
        assert!(heard.iter().all(|it| it.bytes < 4 << 20));
        let sent: usize = heard.iter().map(|it| it.resources.len()).sum();
        assert_eq!(sent, 40);
    }
}

/// R108: who asks for resources by parameters must know that it will not get them.
#[tokio::test]
async fn r108_resource_locators_are_refused() {
    let rig = Rig::with(&[(CDS, "a", "1")]).await;
    let locator = ResourceLocator {
        name: "a".to_owned(),
    };
    let empty = || DeltaDiscoveryRequest {
        type_url: CDS.to_string(),
        ..DeltaDiscoveryRequest::default()
    };
    let subscribe = DeltaDiscoveryRequest {
        resource_locators_subscribe: vec![locator.clone()],
        ..empty()
    };
    let unsubscribe = DeltaDiscoveryRequest {
        resource_locators_unsubscribe: vec![locator.clone()],
        ..empty()
    };
    for request in [subscribe, unsubscribe] {
        let mut script = rig.open::<Delta>().await;
        script.say(request).await;
        assert_eq!(script.end().await.code(), Code::Unimplemented);
    }
    let mut script = rig.open::<Sotw>().await;
    script
        .say(DiscoveryRequest {
            type_url: CDS.to_string(),
            resource_locators: vec![locator],
            ..DiscoveryRequest::default()
        })
        .await;
    assert_eq!(script.end().await.code(), Code::Unimplemented);
}
