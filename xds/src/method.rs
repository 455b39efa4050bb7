//! Owns the paths of the discovery services and what each means. Must not know: how a stream is served.

use bellwether::encoding::Transport;
use bellwether::name::TypeUrl;

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// A stream of discovery: its variant, and its one type unless it is aggregated (R1, R2).
    Stream(Transport, Option<TypeUrl>),
    /// One answer to one request. Whoever asks like this polls, and is better served by a stream.
    Fetch,
    /// What nodes have: one answer, or a stream of them.
    ClientStatus {
        /// One answer.
        is_fetch: bool,
    },
    /// How a node does, in a stream.
    Reports,
    /// Nothing of ours.
    Unknown,
}

/// Where both variants of all types are.
const AGGREGATED: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";

/// The service that tells what nodes have.
const CLIENT_STATUS: &str = "envoy.service.status.v3.ClientStatusDiscoveryService";

/// The service that takes reports of nodes.
const REPORTS: &str = "bellwether.v1.ReportService";

/// The services of one type each, with what their methods are called after `Stream`, `Delta` and `Fetch`.
const OF_ONE_TYPE: [(&str, &str, TypeUrl); 5] = [
    (
        "envoy.service.cluster.v3.ClusterDiscoveryService",
        "Clusters",
        TypeUrl::ENVOY_CLUSTER,
    ),
    (
        "envoy.service.endpoint.v3.EndpointDiscoveryService",
        "Endpoints",
        TypeUrl::ENVOY_ENDPOINTS,
    ),
    (
        "envoy.service.listener.v3.ListenerDiscoveryService",
        "Listeners",
        TypeUrl::ENVOY_LISTENER,
    ),
    (
        "envoy.service.route.v3.RouteDiscoveryService",
        "Routes",
        TypeUrl::ENVOY_ROUTES,
    ),
    (
        "envoy.service.secret.v3.SecretDiscoveryService",
        "Secrets",
        TypeUrl::ENVOY_SECRET,
    ),
];

impl Method {
    /// What a request's path asks for.
    pub(crate) fn of(path: &str) -> Self {
        let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/'))
        else {
            return Self::Unknown;
        };
        if service == AGGREGATED {
            return Self::named(method, "AggregatedResources", None);
        }
        match (service, method) {
            (CLIENT_STATUS, "StreamClientStatus") => return Self::ClientStatus { is_fetch: false },
            (REPORTS, "StreamReports") => return Self::Reports,
            (CLIENT_STATUS, "FetchClientStatus") => return Self::ClientStatus { is_fetch: true },
            _ => {}
        }
        let found = OF_ONE_TYPE.into_iter().find(|(of, ..)| *of == service);
        found.map_or(Self::Unknown, |(_, noun, type_url)| {
            Self::named(method, noun, Some(type_url))
        })
    }

    fn named(method: &str, noun: &str, only: Option<TypeUrl>) -> Self {
        match method.strip_suffix(noun) {
            Some("Stream") => Self::Stream(Transport::Sotw, only),
            Some("Delta") => Self::Stream(Transport::Delta, only),
            Some("Fetch") => Self::Fetch,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R1, R2.
    #[test]
    fn a_path_says_variant_and_type() {
        let ads = "/envoy.service.discovery.v3.AggregatedDiscoveryService";
        let cds = "/envoy.service.cluster.v3.ClusterDiscoveryService";
        for (path, method) in [
            (
                format!("{ads}/StreamAggregatedResources"),
                Method::Stream(Transport::Sotw, None),
            ),
            (
                format!("{ads}/DeltaAggregatedResources"),
                Method::Stream(Transport::Delta, None),
            ),
            (
                format!("{cds}/StreamClusters"),
                Method::Stream(Transport::Sotw, Some(TypeUrl::ENVOY_CLUSTER)),
            ),
            (
                format!("{cds}/DeltaClusters"),
                Method::Stream(Transport::Delta, Some(TypeUrl::ENVOY_CLUSTER)),
            ),
            (format!("{cds}/FetchClusters"), Method::Fetch),
            (format!("{cds}/DeltaRoutes"), Method::Unknown),
            (format!("{cds}/Clusters"), Method::Unknown),
            ("/x.Y/StreamClusters".to_owned(), Method::Unknown),
            ("StreamClusters".to_owned(), Method::Unknown),
            ("/".to_owned(), Method::Unknown),
        ] {
            assert_eq!(Method::of(&path), method, "{path}");
        }
    }
}
