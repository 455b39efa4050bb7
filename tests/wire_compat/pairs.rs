//! Owns which of our messages is which of theirs: every resource, every typed configuration, and what
//! the transport is made of. Must not know: what is in them.

use bellwether_envoy::wire::envoy as ours;
use envoy_types::pb::envoy as theirs;
use prost::Message;

/// A message, through the generated code of either side.
pub(super) struct Pair {
    /// Its full name.
    pub(super) name: &'static str,
    /// Decodes and encodes with our code.
    pub(super) ours: fn(&[u8]) -> Vec<u8>,
    /// The same with theirs.
    pub(super) theirs: fn(&[u8]) -> Vec<u8>,
}

fn through<M: Message + Default>(bytes: &[u8]) -> Vec<u8> {
    M::decode(bytes)
        .expect("the other side's bytes decode")
        .encode_to_vec()
}

macro_rules! pairs {
    ($($name:literal: $ours:ty = $theirs:ty,)*) => {
        vec![$(Pair { name: $name, ours: through::<$ours>, theirs: through::<$theirs> },)*]
    };
}

/// All of them.
pub(super) fn pairs() -> Vec<Pair> {
    let mut all = resources();
    all.extend(of_listeners());
    all.extend(filters());
    all.extend(transport());
    all
}

fn resources() -> Vec<Pair> {
    pairs![
        "envoy.config.cluster.v3.Cluster": ours::config::cluster::v3::Cluster = theirs::config::cluster::v3::Cluster,
        "envoy.config.endpoint.v3.ClusterLoadAssignment": ours::config::endpoint::v3::ClusterLoadAssignment = theirs::config::endpoint::v3::ClusterLoadAssignment,
        "envoy.config.listener.v3.Listener": ours::config::listener::v3::Listener = theirs::config::listener::v3::Listener,
        "envoy.config.route.v3.RouteConfiguration": ours::config::route::v3::RouteConfiguration = theirs::config::route::v3::RouteConfiguration,
        "envoy.extensions.transport_sockets.tls.v3.Secret": ours::extensions::transport_sockets::tls::v3::Secret = theirs::extensions::transport_sockets::tls::v3::Secret,
    ]
}

fn of_listeners() -> Vec<Pair> {
    pairs![
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": ours::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager = theirs::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager,
        "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector": ours::extensions::filters::listener::tls_inspector::v3::TlsInspector = theirs::extensions::filters::listener::tls_inspector::v3::TlsInspector,
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext": ours::extensions::transport_sockets::tls::v3::DownstreamTlsContext = theirs::extensions::transport_sockets::tls::v3::DownstreamTlsContext,
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext": ours::extensions::transport_sockets::tls::v3::UpstreamTlsContext = theirs::extensions::transport_sockets::tls::v3::UpstreamTlsContext,
        "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig": ours::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig = theirs::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig,
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer": ours::extensions::transport_sockets::raw_buffer::v3::RawBuffer = theirs::extensions::transport_sockets::raw_buffer::v3::RawBuffer,
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": ours::extensions::upstreams::http::v3::HttpProtocolOptions = theirs::extensions::upstreams::http::v3::HttpProtocolOptions,
        "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig": ours::extensions::request_id::uuid::v3::UuidRequestIdConfig = theirs::extensions::request_id::uuid::v3::UuidRequestIdConfig,
    ]
}

fn filters() -> Vec<Pair> {
    pairs![
        "envoy.extensions.filters.http.router.v3.Router": ours::extensions::filters::http::router::v3::Router = theirs::extensions::filters::http::router::v3::Router,
        "envoy.extensions.filters.http.cors.v3.Cors": ours::extensions::filters::http::cors::v3::Cors = theirs::extensions::filters::http::cors::v3::Cors,
        "envoy.extensions.filters.http.cors.v3.CorsPolicy": ours::extensions::filters::http::cors::v3::CorsPolicy = theirs::extensions::filters::http::cors::v3::CorsPolicy,
        "envoy.extensions.filters.http.fault.v3.HTTPFault": ours::extensions::filters::http::fault::v3::HttpFault = theirs::extensions::filters::http::fault::v3::HttpFault,
        "envoy.extensions.filters.http.rbac.v3.RBAC": ours::extensions::filters::http::rbac::v3::Rbac = theirs::extensions::filters::http::rbac::v3::Rbac,
        "envoy.extensions.filters.http.rbac.v3.RBACPerRoute": ours::extensions::filters::http::rbac::v3::RbacPerRoute = theirs::extensions::filters::http::rbac::v3::RbacPerRoute,
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit": ours::extensions::filters::http::local_ratelimit::v3::LocalRateLimit = theirs::extensions::filters::http::local_ratelimit::v3::LocalRateLimit,
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation": ours::extensions::filters::http::header_mutation::v3::HeaderMutation = theirs::extensions::filters::http::header_mutation::v3::HeaderMutation,
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute": ours::extensions::filters::http::header_mutation::v3::HeaderMutationPerRoute = theirs::extensions::filters::http::header_mutation::v3::HeaderMutationPerRoute,
        "envoy.extensions.filters.http.basic_auth.v3.BasicAuth": ours::extensions::filters::http::basic_auth::v3::BasicAuth = theirs::extensions::filters::http::basic_auth::v3::BasicAuth,
        "envoy.extensions.filters.http.basic_auth.v3.BasicAuthPerRoute": ours::extensions::filters::http::basic_auth::v3::BasicAuthPerRoute = theirs::extensions::filters::http::basic_auth::v3::BasicAuthPerRoute,
        "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth": ours::extensions::filters::http::api_key_auth::v3::ApiKeyAuth = theirs::extensions::filters::http::api_key_auth::v3::ApiKeyAuth,
        "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuthPerRoute": ours::extensions::filters::http::api_key_auth::v3::ApiKeyAuthPerRoute = theirs::extensions::filters::http::api_key_auth::v3::ApiKeyAuthPerRoute,
        "envoy.extensions.filters.http.filter_chain.v3.FilterChainConfig": ours::extensions::filters::http::filter_chain::v3::FilterChainConfig = theirs::extensions::filters::http::filter_chain::v3::FilterChainConfig,
        "envoy.extensions.filters.http.filter_chain.v3.FilterChainConfigPerRoute": ours::extensions::filters::http::filter_chain::v3::FilterChainConfigPerRoute = theirs::extensions::filters::http::filter_chain::v3::FilterChainConfigPerRoute,
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication": ours::extensions::filters::http::jwt_authn::v3::JwtAuthentication = theirs::extensions::filters::http::jwt_authn::v3::JwtAuthentication,
        "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig": ours::extensions::filters::http::jwt_authn::v3::PerRouteConfig = theirs::extensions::filters::http::jwt_authn::v3::PerRouteConfig,
        "envoy.extensions.filters.http.lua.v3.Lua": ours::extensions::filters::http::lua::v3::Lua = theirs::extensions::filters::http::lua::v3::Lua,
        "envoy.extensions.filters.http.lua.v3.LuaPerRoute": ours::extensions::filters::http::lua::v3::LuaPerRoute = theirs::extensions::filters::http::lua::v3::LuaPerRoute,
        "envoy.extensions.filters.http.set_filter_state.v3.Config": ours::extensions::filters::http::set_filter_state::v3::Config = theirs::extensions::filters::http::set_filter_state::v3::Config,
        "envoy.extensions.filters.network.set_filter_state.v3.Config": ours::extensions::filters::network::set_filter_state::v3::Config = theirs::extensions::filters::network::set_filter_state::v3::Config,
        "envoy.config.route.v3.RouteList": ours::config::route::v3::RouteList = theirs::config::route::v3::RouteList,
        "envoy.config.route.v3.FilterConfig": ours::config::route::v3::FilterConfig = theirs::config::route::v3::FilterConfig,
    ]
}

/// Ours are in the contract's crate.
fn transport() -> Vec<Pair> {
    use bellwether::wire::{discovery, status};
    use theirs::service::discovery::v3 as envoys;
    pairs![
        "envoy.service.discovery.v3.DiscoveryRequest": discovery::DiscoveryRequest = envoys::DiscoveryRequest,
        "envoy.service.discovery.v3.DiscoveryResponse": discovery::DiscoveryResponse = envoys::DiscoveryResponse,
        "envoy.service.discovery.v3.DeltaDiscoveryRequest": discovery::DeltaDiscoveryRequest = envoys::DeltaDiscoveryRequest,
        "envoy.service.discovery.v3.DeltaDiscoveryResponse": discovery::DeltaDiscoveryResponse = envoys::DeltaDiscoveryResponse,
        "envoy.service.discovery.v3.Resource": discovery::Resource = envoys::Resource,
        "envoy.service.status.v3.ClientStatusRequest": status::ClientStatusRequest = theirs::service::status::v3::ClientStatusRequest,
        "envoy.service.status.v3.ClientStatusResponse": status::ClientStatusResponse = theirs::service::status::v3::ClientStatusResponse,
    ]
}
