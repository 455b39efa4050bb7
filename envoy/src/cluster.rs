//! Owns Envoy's clusters: how to talk to a set of endpoints (`docs/apisix.md` §3).
//! Must not know: routes, listeners.

mod endpoints;
mod health;
mod tls;

use std::borrow::Cow;
use std::time::Duration;

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::resource::Resource;
use bellwether::wire::native;
use bellwether::wire::native::balancing::Policy;
use bellwether::wire::native::cluster::{PassHost, Scheme};
use prost::Message;

use self::endpoints::{Assignment, Discovery};
use crate::any::Any;
use crate::made::Made;
use crate::translator::{Client, View};
use crate::wire::cluster::circuit_breakers::Thresholds;
use crate::wire::cluster::cluster::common_lb_config::LocalityConfigSpecifier;
use crate::wire::cluster::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, DnsLookupFamily, EdsClusterConfig,
    LbPolicy,
};
use crate::wire::cluster::{CircuitBreakers, Cluster};
use crate::wire::core::config_source::ConfigSourceSpecifier;
use crate::wire::core::{
    AggregatedConfigSource, ApiVersion, ConfigSource, Http1ProtocolOptions, Http2ProtocolOptions,
    HttpProtocolOptions as Common, UpstreamHttpProtocolOptions,
};
use crate::wire::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use crate::wire::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use crate::wire::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions,
};
use crate::wire::endpoint::ClusterLoadAssignment;
use crate::wire::types::Percent;

/// How long a connection may take to be made if nothing is said: nginx's default.
const CONNECT: Duration = Duration::from_secs(60);
/// How long an idle connection is kept if nothing is said (§1.5).
const POOL_IDLE_MS: u64 = 60_000;
/// Requests on one connection if nothing is said (§1.5).
const POOL_REQUESTS: u32 = 1_000;
/// What may go to a cluster at once. The default of Envoy and of gRPC (A32), 1024 and 3 retries, is a
/// limit that nobody asked for; APISIX has none.
const UNLIMITED: u32 = 1 << 30;
/// Percent of healthy endpoints below which health is ignored. APISIX ignores it when none is
/// healthy (§3.1); Envoy rounds to whole percents.
const PANIC: f64 = 1.0;
/// Under this name a cluster says which HTTP it speaks.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// What must be looked at to make a cluster, besides itself.
pub(crate) fn uses(cluster: &native::Cluster) -> Vec<ResourceId> {
    let mut uses = vec![ResourceId::new(
        TypeUrl::ENDPOINTS,
        cluster.endpoints.as_str(),
    )];
    let certificate = cluster.tls.as_ref().map(|tls| &tls.client_certificate);
    if let Some(name) = certificate.filter(|name| !name.is_empty()) {
        uses.push(ResourceId::new(TypeUrl::CERTIFICATE, name.as_str()));
    }
    uses
}

/// The cluster, and its endpoints and secrets.
pub(crate) fn compile(view: &View<'_>, name: &Name, native: &native::Cluster) -> Made {
    let nothing = native::Endpoints::default();
    let endpoints = view
        .native
        .endpoints
        .get(native.endpoints.as_str())
        .unwrap_or(&nothing);
    let mut work = Work::new(name, native);
    let told = work.told(view.client, endpoints);
    work.asks_by_endpoint =
        work.encrypts() && work.pass_host == PassHost::Node && endpoints::names(&told).len() > 1;
    match view.client {
        Client::Envoy => work.envoy(view, &told),
        Client::Grpc => work.grpc(&told),
    }
    work.made
}

/// The endpoints of a cluster that follows a service, as a [`crate::Translator`] for this kind of client
/// makes them beside `made`, the Envoy cluster that it made then. `None`: they are a part of that cluster,
/// and can't change without it.
#[must_use]
pub fn assignment(
    client: Client,
    name: &Name,
    native: &native::Cluster,
    endpoints: &native::Endpoints,
    made: &Resource,
) -> Option<Resource> {
    let mut work = Work::new(name, native);
    let made = Cluster::decode(made.body()).ok()?;
    let eds = ClusterDiscoveryType::Type(DiscoveryType::Eds.into());
    if endpoints.service_name.is_empty() || made.cluster_discovery_type != Some(eds) {
        return None;
    }
    // What was to be encrypted and could not be stays closed.
    let closed = client == Client::Envoy && work.encrypts() && made.transport_socket.is_none();
    let told = match closed {
        true => Cow::Owned(native::Endpoints::default()),
        false => work.told(client, endpoints),
    };
    let message = match client {
        Client::Envoy => work.assignment(&told).message,
        Client::Grpc => work.grpc_assignment(&told),
    };
    let id = ResourceId::new(TypeUrl::ENVOY_ENDPOINTS, name.clone());
    Some(Resource::new(id, &message, Vec::new()))
}

/// A cluster without endpoints. What is forwarded to it fails as unavailable.
pub(crate) fn empty(name: &str) -> [Resource; 2] {
    let id = ResourceId::new(TypeUrl::ENVOY_ENDPOINTS, name);
    let nobody = ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        ..ClusterLoadAssignment::default()
    };
    let cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(eds()),
        ..Cluster::default()
    };
    let cluster_id = ResourceId::new(TypeUrl::ENVOY_CLUSTER, name);
    [
        Resource::new(cluster_id, &cluster, vec![id.clone()]),
        Resource::new(id, &nobody, Vec::new()),
    ]
}

/// One cluster in the making.
struct Work<'a> {
    id: ResourceId,
    name: &'a Name,
    native: &'a native::Cluster,
    scheme: Scheme,
    pass_host: PassHost,
    /// Whether the name to ask for in TLS is each endpoint's own.
    asks_by_endpoint: bool,
    made: Made,
}

impl<'a> Work<'a> {
    fn new(name: &'a Name, native: &'a native::Cluster) -> Self {
        Self {
            id: ResourceId::new(TypeUrl::CLUSTER, name.clone()),
            name,
            native,
            scheme: Scheme::try_from(native.scheme).unwrap_or_default(),
            pass_host: PassHost::try_from(native.pass_host).unwrap_or_default(),
            asks_by_endpoint: false,
            made: Made::default(),
        }
    }

    /// The endpoints that this kind of client can be told of. Instances come and go without their cluster,
    /// so they must not have a say in how it finds them: Envoys are told those that are addresses.
    fn told<'e>(
        &mut self,
        client: Client,
        endpoints: &'e native::Endpoints,
    ) -> Cow<'e, native::Endpoints> {
        if client == Client::Grpc
            || endpoints.service_name.is_empty()
            || endpoints::names(endpoints).is_empty()
        {
            return Cow::Borrowed(endpoints);
        }
        let what = format!(
            "leaves out instances of {} with a host name, which Envoys don't resolve",
            endpoints.service_name
        );
        self.made.cannot(&self.id, what);
        let mut told = endpoints.clone();
        told.endpoints
            .retain(|endpoint| endpoints::ip(&endpoint.host).is_some());
        Cow::Owned(told)
    }
}

impl Work<'_> {
    fn envoy(&mut self, view: &View<'_>, endpoints: &native::Endpoints) {
        let tls = self.tls(view, endpoints);
        let closed = self.encrypts() && tls.is_none();
        let nothing = native::Endpoints::default();
        let assignment = self.assignment(if closed { &nothing } else { endpoints });
        let mut cluster = self.common();
        self.discovery(&mut cluster, &assignment);
        cluster.connect_timeout = Some(duration(
            self.native
                .timeouts
                .as_ref()
                .map(|timeouts| timeouts.connect_ms)
                .filter(|ms| *ms > 0)
                .map_or(CONNECT, Duration::from_millis),
        ));
        cluster.circuit_breakers = Some(unlimited());
        cluster.common_lb_config = Some(CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: PANIC }),
            locality_config_specifier: None::<LocalityConfigSpecifier>,
            ..CommonLbConfig::default()
        });
        cluster.typed_extension_protocol_options =
            [(HTTP_OPTIONS.to_owned(), Any::pack(&self.protocol()))].into();
        // What is gone from the configuration gets no more requests, whatever probes say.
        cluster.ignore_health_on_host_removal = true;
        let mut refers = Vec::new();
        if let Some(tls) = tls {
            cluster.transport_socket = Some(tls.socket);
            refers.extend(tls.refers);
        }
        self.health(&mut cluster);
        let children = match assignment.discovery {
            Discovery::Eds => vec![assignment.message],
            Discovery::StrictDns | Discovery::LogicalDns => {
                cluster.load_assignment = Some(assignment.message);
                Vec::new()
            }
        };
        for message in children {
            let id = ResourceId::new(TypeUrl::ENVOY_ENDPOINTS, self.name.clone());
            refers.push(id.clone());
            self.made.add(Resource::new(id, &message, Vec::new()));
        }
        let id = ResourceId::new(TypeUrl::ENVOY_CLUSTER, self.name.clone());
        self.made.add(Resource::new(id, &cluster, refers));
    }

    /// What gRPC's clients accept of a cluster (A27): EDS over the same stream, round robin, and the
    /// ring of A42. A policy or a feature that only some of them know is left out, because the others
    /// would reject the cluster, and with it every route to it.
    fn grpc(&mut self, endpoints: &native::Endpoints) {
        let assignment = self.grpc_assignment(endpoints);
        let mut cluster = self.common();
        if cluster.lb_policy == i32::from(LbPolicy::LeastRequest) {
            cluster.lb_policy = LbPolicy::RoundRobin.into();
            let what = "is balanced by turns, as not all gRPC clients know another way (A48)";
            self.made.cannot(&self.id, what);
        }
        cluster.cluster_discovery_type =
            Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
        cluster.eds_cluster_config = Some(eds());
        cluster.circuit_breakers = Some(unlimited());
        if self.encrypts() {
            let what = "does not tell gRPC clients to encrypt; their own credentials decide";
            self.made.cannot(&self.id, what);
        }
        if self.native.health_check.is_some() {
            let what = "is not probed by gRPC clients; they see only whether they can connect";
            self.made.cannot(&self.id, what);
        }
        let id = ResourceId::new(TypeUrl::ENVOY_ENDPOINTS, self.name.clone());
        self.made
            .add(Resource::new(id.clone(), &assignment, Vec::new()));
        let cluster_id = ResourceId::new(TypeUrl::ENVOY_CLUSTER, self.name.clone());
        self.made.add(Resource::new(cluster_id, &cluster, vec![id]));
    }

    fn common(&self) -> Cluster {
        let policy = self.native.balancing.as_ref().map(|b| b.policy());
        Cluster {
            name: self.name.to_string(),
            lb_policy: match policy.unwrap_or_default() {
                Policy::RoundRobin => LbPolicy::RoundRobin,
                Policy::ConsistentHash => LbPolicy::RingHash,
                // Both send a request where the fewest are under way; EWMA looks at latency besides.
                Policy::LeastConnections | Policy::Ewma => LbPolicy::LeastRequest,
            }
            .into(),
            ..Cluster::default()
        }
    }

    fn discovery(&self, cluster: &mut Cluster, assignment: &Assignment) {
        let kind = match assignment.discovery {
            Discovery::Eds => {
                cluster.eds_cluster_config = Some(eds());
                DiscoveryType::Eds
            }
            Discovery::StrictDns => DiscoveryType::StrictDns,
            Discovery::LogicalDns => DiscoveryType::LogicalDns,
        };
        if assignment.discovery != Discovery::Eds {
            // As APISIX's resolver: an A record before an AAAA, for as long as it says.
            cluster.dns_lookup_family = DnsLookupFamily::V4Preferred.into();
            cluster.respect_dns_ttl = true;
        }
        cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind.into()));
    }

    /// Which HTTP is spoken, and for how long a connection is kept.
    fn protocol(&self) -> HttpProtocolOptions {
        let pool = self.native.keepalive_pool.unwrap_or_default();
        let or = |value: u32, default| if value == 0 { default } else { value };
        let idle = match pool.idle_timeout_ms {
            0 => POOL_IDLE_MS,
            set => set,
        };
        let explicit = match self.scheme {
            Scheme::Http | Scheme::Https => {
                ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default())
            }
            Scheme::Grpc | Scheme::Grpcs => {
                ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default())
            }
        };
        HttpProtocolOptions {
            common_http_protocol_options: Some(Common {
                idle_timeout: Some(duration(Duration::from_millis(idle))),
                max_requests_per_connection: Some(or(pool.requests, POOL_REQUESTS)),
                ..Common::default()
            }),
            upstream_http_protocol_options: self.takes_name_from_host().then(|| {
                let verify = self.native.tls.as_ref().is_some_and(|tls| tls.verify);
                UpstreamHttpProtocolOptions {
                    auto_sni: true,
                    auto_san_validation: verify,
                    ..UpstreamHttpProtocolOptions::default()
                }
            }),
            upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
                ExplicitHttpConfig {
                    protocol_config: Some(explicit),
                },
            )),
        }
    }

    fn encrypts(&self) -> bool {
        matches!(self.scheme, Scheme::Https | Scheme::Grpcs)
    }

    fn default_port(&self) -> u32 {
        if self.encrypts() { 443 } else { 80 }
    }
}

/// The stream that the cluster came on (R110).
pub(crate) fn ads() -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        resource_api_version: ApiVersion::V3.into(),
        ..ConfigSource::default()
    }
}

fn eds() -> EdsClusterConfig {
    EdsClusterConfig {
        eds_config: Some(ads()),
        service_name: String::new(),
    }
}

fn unlimited() -> CircuitBreakers {
    CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: Some(UNLIMITED),
            max_pending_requests: Some(UNLIMITED),
            max_requests: Some(UNLIMITED),
            max_retries: Some(UNLIMITED),
            ..Thresholds::default()
        }],
        per_host_thresholds: Vec::new(),
    }
}

/// The longest time that is told from "for ever". Envoy rejects durations of 10,000 years.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A duration on the wire.
pub(crate) fn duration(from: Duration) -> crate::wire::Duration {
    let from = from.min(LONGEST);
    crate::wire::Duration {
        seconds: i64::try_from(from.as_secs()).unwrap_or_default(),
        nanos: i32::try_from(from.subsec_nanos()).unwrap_or_default(),
    }
}
