//! The services of one type each (R1, R4), and what is not served.

use bellwether::name::TypeUrl;
use bellwether::wire::core::Node;
use bellwether::wire::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tonic::Code;

use super::rig::{Rig, resource, snapshot};
use crate::harness::stream::Stream;

type Sotw = Stream<DiscoveryRequest, DiscoveryResponse>;
type Delta = Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

/// Every service: its path without the variant, and its type.
const SERVICES: [(&str, &str, TypeUrl); 5] = [
    (
        "/envoy.service.cluster.v3.ClusterDiscoveryService",
        "Clusters",
        TypeUrl::ENVOY_CLUSTER,
    ),
    (
        "/envoy.service.endpoint.v3.EndpointDiscoveryService",
        "Endpoints",
        TypeUrl::ENVOY_ENDPOINTS,
    ),
    (
        "/envoy.service.listener.v3.ListenerDiscoveryService",
        "Listeners",
        TypeUrl::ENVOY_LISTENER,
    ),
    (
        "/envoy.service.route.v3.RouteDiscoveryService",
        "Routes",
        TypeUrl::ENVOY_ROUTES,
    ),
    (
        "/envoy.service.secret.v3.SecretDiscoveryService",
        "Secrets",
        TypeUrl::ENVOY_SECRET,
    ),
];

fn node() -> Option<Node> {
    Some(Node {
        id: "n".into(),
        cluster: "g".into(),
        ..Node::default()
    })
}

async fn rig() -> Rig {
    let rig = Rig::start().await;
    let all = SERVICES.map(|(_, noun, type_url)| resource(&type_url, noun, "1"));
    rig.groups.set("g", snapshot("v1", all.into()));
    rig
}

/// R1, R4: both variants of each, where an empty type means the service's.
#[tokio::test(flavor = "multi_thread")]
async fn each_type_has_a_service_of_both_variants() {
    let rig = rig().await;
    for (service, noun, type_url) in SERVICES {
        for named in ["", type_url.as_str()] {
            let mut sotw: Sotw = rig.stream(&format!("{service}/Stream{noun}")).await;
            sotw.say(DiscoveryRequest {
                node: node(),
                type_url: named.into(),
                resource_names: vec![noun.into()],
                ..DiscoveryRequest::default()
            })
            .await;
            let heard = sotw.hear().await;
            assert_eq!(heard.type_url, type_url.as_str());
            assert_eq!(heard.version_info, "v1");
            assert_eq!(heard.resources.len(), 1);

            let mut delta: Delta = rig.stream(&format!("{service}/Delta{noun}")).await;
            delta
                .say(DeltaDiscoveryRequest {
                    node: node(),
                    type_url: named.into(),
                    resource_names_subscribe: vec![noun.into()],
                    ..DeltaDiscoveryRequest::default()
                })
                .await;
            let heard = delta.hear().await;
            assert_eq!(heard.resources[0].name, noun);
            assert_eq!(heard.type_url, type_url.as_str());
        }
    }
}

/// R4: another type is refused, and an aggregated stream needs one.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_serves_its_own_type_only() {
    let rig = rig().await;
    let (cds, noun, _) = &SERVICES[0];
    let mut delta: Delta = rig.stream(&format!("{cds}/Delta{noun}")).await;
    delta
        .say(DeltaDiscoveryRequest {
            node: node(),
            type_url: TypeUrl::ENVOY_LISTENER.as_str().into(),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    let status = delta.end().await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(
        status.message().contains("config.cluster.v3.Cluster"),
        "{status:?}"
    );

    let ads = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
    let mut sotw: Sotw = rig.stream(ads).await;
    let request = DiscoveryRequest {
        node: node(),
        ..DiscoveryRequest::default()
    };
    sotw.say(request).await;
    assert_eq!(sotw.end().await.code(), Code::InvalidArgument);
}

/// R12: what polls is told where to go.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_says_what_is() {
    let rig = rig().await;
    for (path, told) in [
        (
            format!("{}/FetchClusters", SERVICES[0].0),
            "Stream and Delta",
        ),
        ("/x.Y/Z".to_owned(), "not served here"),
        (format!("{}/DeltaRoutes", SERVICES[0].0), "not served here"),
    ] {
        let answer = rig
            .call::<DiscoveryRequest, DiscoveryResponse>(&path, DiscoveryRequest::default())
            .await;
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
        assert!(status.message().contains(told), "{status:?}");
    }
}
