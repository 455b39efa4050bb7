//! Owns Envoy's listeners: sockets, TLS by server name, and what HTTP is. They follow from settings
//! and the names in certificates; a change of routes never touches one, because that would close
//! connections. Must not know: what a route does.

mod address;
mod guard;
mod tls;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::resource::Resource;

use crate::any::Any;
use crate::cluster::{ads, duration};
use crate::made::Made;
use crate::plugin;
use crate::route::EVERYTHING;
use crate::route::host::routes_of;
use crate::settings;
use crate::translator::{Client, View};
use crate::wire::core::address::Address as AddressKind;
use crate::wire::core::socket_address::PortSpecifier;
use crate::wire::core::{Address, Http1ProtocolOptions, HttpProtocolOptions, SocketAddress};
use crate::wire::hcm::http_connection_manager::{
    PathWithEscapedSlashesAction, RouteSpecifier, ServerHeaderTransformation, UpgradeConfig,
};
use crate::wire::hcm::{HttpConnectionManager, HttpFilter, Rds, http_filter};
use crate::wire::http_filter::router::v3::Router;
use crate::wire::listener::filter::ConfigType;
use crate::wire::listener::{ApiListener, Filter, FilterChain, Listener};

/// APISIX's ports.
const HTTP_PORT: u16 = 9080;
const HTTPS_PORT: u16 = 9443;
/// How long a client's connection may be idle, and how long its headers may take: nginx's defaults.
const CLIENT: Duration = Duration::from_secs(60);
/// The host of a client that speaks HTTP/1.0 and names none. No route is for it by name.
const NO_HOST: &str = "_";

/// Forwards; always the last of the HTTP filters.
const ROUTER: &str = "envoy.filters.http.router";

/// `wanted` are the names of API listeners, and since when there is something for each.
pub(crate) fn compile(view: &View<'_>, wanted: &BTreeMap<Name, u64>) -> Made {
    match view.client {
        Client::Envoy => sockets(view),
        Client::Grpc => api_listeners(wanted),
    }
}

/// A listener without a socket for each name that may be dialled (A27). Only what gRPC's clients
/// accept is in it: they reject an HTTP connection manager that trusts hops, and filters that they
/// don't know (A39). One that was gone and comes back is never the same again: `@grpc/grpc-js-xds` takes
/// no notice of one that reads as it did before.
fn api_listeners(wanted: &BTreeMap<Name, u64>) -> Made {
    let mut made = Made::default();
    for (name, since) in wanted {
        let routes = routes_of(name.as_str());
        let manager = HttpConnectionManager {
            stat_prefix: format!("since-{since}"),
            route_specifier: Some(rds(&routes)),
            http_filters: vec![http_filter(ROUTER, &Router::default())],
            ..HttpConnectionManager::default()
        };
        let listener = Listener {
            name: name.to_string(),
            api_listener: Some(ApiListener {
                api_listener: Some(Any::pack(&manager)),
            }),
            ..Listener::default()
        };
        let refers = vec![ResourceId::new(TypeUrl::ENVOY_ROUTES, routes)];
        let id = ResourceId::new(TypeUrl::ENVOY_LISTENER, name.clone());
        made.add(Resource::new(id, &listener, refers));
    }
    made
}

fn sockets(view: &View<'_>) -> Made {
    let mut made = Made::default();
    let chains = tls::chains(view, &mut made);
    let listeners = match &view.settings.listeners {
        Some(listeners) => listeners.clone(),
        None => defaults(),
    };
    for settings in &listeners {
        // Without a certificate nobody could connect; Envoy rejects a listener without chains.
        if settings.tls && chains.is_empty() {
            continue;
        }
        let mut refers = vec![ResourceId::new(TypeUrl::ENVOY_ROUTES, EVERYTHING)];
        let guard = settings.tls.then(|| guard::filter(&chains)).flatten();
        let manager = manager(view, &settings.name, guard);
        let filters = vec![address::of_connection(), manager];
        let mut listener = Listener {
            name: settings.name.clone(),
            address: Some(address(settings)),
            ..Listener::default()
        };
        if settings.tls {
            listener.listener_filters = vec![tls::inspector()];
            for chain in &chains {
                refers.extend(chain.refers.iter().cloned());
                let mut filter_chain = chain.message.clone();
                filter_chain.filters = filters.clone();
                listener.filter_chains.push(filter_chain);
            }
        } else {
            listener.filter_chains = vec![FilterChain {
                filters,
                ..FilterChain::default()
            }];
        }
        let id = ResourceId::new(TypeUrl::ENVOY_LISTENER, settings.name.as_str());
        made.add(Resource::new(id, &listener, refers));
    }
    made
}

fn defaults() -> Vec<settings::Listener> {
    let any = |name: &str, port, tls| settings::Listener {
        name: name.to_owned(),
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        port,
        tls,
    };
    vec![
        any("http", HTTP_PORT, false),
        any("https", HTTPS_PORT, true),
    ]
}

fn address(settings: &settings::Listener) -> Address {
    Address {
        address: Some(AddressKind::SocketAddress(SocketAddress {
            address: settings.address.to_string(),
            port_specifier: Some(PortSpecifier::PortValue(settings.port.into())),
            ..SocketAddress::default()
        })),
    }
}

fn manager(view: &View<'_>, name: &str, guard: Option<HttpFilter>) -> Filter {
    let manager = HttpConnectionManager {
        stat_prefix: name.to_owned(),
        route_specifier: Some(rds(EVERYTHING)),
        http_filters: guard.into_iter().chain(http_filters(view)).collect(),
        common_http_protocol_options: Some(HttpProtocolOptions {
            idle_timeout: Some(duration(CLIENT)),
            ..HttpProtocolOptions::default()
        }),
        http_protocol_options: Some(Http1ProtocolOptions {
            accept_http_10: true,
            default_host_for_http_10: NO_HOST.to_owned(),
            // APISIX knows more methods than Envoy by itself, PURGE for one.
            allow_custom_methods: true,
            ..Http1ProtocolOptions::default()
        }),
        server_header_transformation: ServerHeaderTransformation::PassThrough.into(),
        request_headers_timeout: Some(duration(CLIENT)),
        // Who the client is, is not for the client to say.
        use_remote_address: Some(true),
        xff_num_trusted_hops: view.settings.trusted_hops,
        // Ids are the business of a plugin, `request-id`.
        generate_request_id: Some(false),
        preserve_external_request_id: true,
        // A route says whether it may upgrade.
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            enabled: Some(false),
            ..UpgradeConfig::default()
        }],
        // Routes are matched on nginx's `$uri` (`docs/apisix.md` §2.4): decoded, without dot segments
        // and empty ones.
        normalize_path: Some(true),
        merge_slashes: true,
        path_with_escaped_slashes_action: PathWithEscapedSlashesAction::UnescapeAndForward.into(),
        strip_trailing_host_dot: true,
        ..HttpConnectionManager::default()
    };
    Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(ConfigType::TypedConfig(Any::pack(&manager))),
    }
}

/// The same for all routes: what a plugin needs stands on the routes that have it.
fn http_filters(view: &View<'_>) -> Vec<HttpFilter> {
    let mut filters = Vec::new();
    filters.extend(address::of_request(view.settings));
    filters.extend(plugin::http_filters(view));
    filters
}

pub(super) fn http_filter(name: &str, config: &impl prost::Name) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(Any::pack(config))),
        ..HttpFilter::default()
    }
}

fn rds(name: &str) -> RouteSpecifier {
    RouteSpecifier::Rds(Rds {
        config_source: Some(ads()),
        route_config_name: name.to_owned(),
    })
}
