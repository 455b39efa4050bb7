//! Owns what becomes of a request that a route takes: forwarded, or answered here.
//! Must not know: which requests those are.

use bellwether::wire::native;
use bellwether::wire::native::balancing::{HashOn, Policy};
use bellwether::wire::native::cluster::PassHost;
use http::StatusCode;

use crate::Client;
use crate::any::Any;
use crate::wire::Duration;
use crate::wire::core::data_source::Specifier;
use crate::wire::core::header_value_option::HeaderAppendAction;
use crate::wire::core::{DataSource, HeaderValue, HeaderValueOption};
use crate::wire::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use crate::wire::route::retry_policy::{
    RetryBackOff, RetryHostPredicate, RetryPriority, retry_priority,
};
use crate::wire::route::route::Action;
use crate::wire::route::route_action::hash_policy::{
    ConnectionProperties, Cookie, FilterState, Header, PolicySpecifier, QueryParameter,
};
use crate::wire::route::route_action::{
    ClusterSpecifier, HashPolicy, HostRewriteSpecifier, UpgradeConfig,
};
use crate::wire::route::{DirectResponseAction, RetryPolicy, Route, RouteAction};

/// nginx's default for each of an upstream's timeouts.
const DEFAULT_TIMEOUT_MS: u64 = 60_000;
/// The longest time that is told from "for ever".
const LONGEST_MS: u64 = 365 * 24 * 3_600 * 1_000;
/// Further attempts where APISIX makes one for each other endpoint. How many there are is no matter of
/// routes: they would change with every endpoint.
const RETRIES: u32 = 5;
/// Further attempts that Envoy is told of at most.
const MOST_RETRIES: u32 = 100;
/// How often a retry looks for an endpoint that was not tried.
const LOOKS_FOR_ANOTHER: i64 = 5;
/// Attempts at one priority before the next, where there are enough.
const TRIES_OF_A_PRIORITY: i32 = 2;
/// Envoy waits before a retry; APISIX does not. The least that Envoy takes.
const BACK_OFF_MS: u64 = 1;

/// The cluster without endpoints that a gRPC client's calls go to where a route is closed. No native
/// cluster has this name; it is what some clients say in the error.
pub(crate) const NOWHERE: &str = "closed";
/// What gRPC's clients call the channel that a call is made on (A42).
const CHANNEL: &str = "io.grpc.channel_id";
/// The message of an answer by a route whose plugins do not all run here; the agent says the same.
pub(crate) const PLUGIN: &str =
    "503 Service Unavailable: a plugin of this route does not run on this proxy";
/// The message of an answer by a route of which something else can't be said here.
pub(crate) const CLOSED: &str =
    "503 Service Unavailable: this proxy can't tell whether this route takes the request";

/// Forwards to a cluster as its settings say.
pub(crate) fn forward(
    name: &str,
    route: &native::Route,
    cluster: &native::Cluster,
    client: Client,
) -> RouteAction {
    let mut action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(name.to_owned())),
        hash_policy: hash_policies(cluster.balancing.as_ref(), client),
        ..RouteAction::default()
    };
    if client == Client::Grpc {
        return action;
    }
    let timeouts = route.timeouts.or(cluster.timeouts).unwrap_or_default();
    let (read, send) = (or_default(timeouts.read_ms), or_default(timeouts.send_ms));
    // APISIX limits the time between two reads and two writes, never the whole.
    action.timeout = Some(Duration::default());
    action.idle_timeout = Some(duration(read.max(send)));
    action.retry_policy = Some(retry_policy(route, cluster, read));
    action.host_rewrite_specifier = match PassHost::try_from(cluster.pass_host) {
        Ok(PassHost::Node) => Some(HostRewriteSpecifier::AutoHostRewrite(true)),
        Ok(PassHost::Rewrite) => Some(HostRewriteSpecifier::HostRewriteLiteral(
            cluster.upstream_host.clone(),
        )),
        Ok(PassHost::Pass) | Err(_) => None,
    };
    if route.websocket {
        action.upgrade_configs.push(UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            enabled: Some(true),
        });
    }
    action
}

fn or_default(milliseconds: u64) -> u64 {
    match milliseconds {
        0 => DEFAULT_TIMEOUT_MS,
        set => set.min(LONGEST_MS),
    }
}

fn duration(milliseconds: u64) -> Duration {
    Duration {
        seconds: i64::try_from(milliseconds / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(milliseconds % 1_000 * 1_000_000).unwrap_or_default(),
    }
}

/// Methods that nginx does not send twice (`proxy_next_upstream` without `non_idempotent`).
const SENT_ONCE: [&str; 3] = ["POST", "PATCH", "LOCK"];

/// Attempts after one that could not connect, for which nothing was sent; where all methods of the
/// route may be repeated, also after one that broke off. The limit on the time between two reads is part
/// of an attempt (`docs/apisix.md` §3.4).
fn retry_policy(route: &native::Route, cluster: &native::Cluster, read: u64) -> RetryPolicy {
    let repeatable = !route.methods.is_empty()
        && !route
            .methods
            .iter()
            .any(|method| SENT_ONCE.contains(&method.as_str()));
    let retries = cluster.retries.unwrap_or(RETRIES).min(MOST_RETRIES);
    let mut policy = RetryPolicy {
        per_try_idle_timeout: Some(duration(read)),
        num_retries: Some(retries),
        ..RetryPolicy::default()
    };
    if retries == 0 {
        return policy;
    }
    policy.retry_on = match repeatable {
        true => "connect-failure,refused-stream,reset-before-request,reset",
        false => "connect-failure,refused-stream,reset-before-request",
    }
    .to_owned();
    policy.retry_host_predicate.push(RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(
            crate::wire::route::retry_policy::retry_host_predicate::ConfigType::TypedConfig(Any {
                type_url: "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate".to_owned(),
                value: Vec::new(),
            }),
        ),
    });
    policy.host_selection_retry_max_attempts = LOOKS_FOR_ANOTHER;
    policy.retry_priority = Some(next_priority(retries));
    policy.retry_back_off = Some(RetryBackOff {
        base_interval: Some(duration(BACK_OFF_MS)),
        max_interval: Some(duration(BACK_OFF_MS)),
    });
    policy
}

/// Endpoints of the next priority get a turn where those of the first fail, without a probe that says so
/// (`docs/apisix.md` §3.1). How many stand in one is no matter of routes.
fn next_priority(retries: u32) -> RetryPriority {
    let config = PreviousPrioritiesConfig {
        update_frequency: if retries < TRIES_OF_A_PRIORITY.unsigned_abs() {
            1
        } else {
            TRIES_OF_A_PRIORITY
        },
    };
    RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(Any::pack(&config))),
    }
}

/// What a consistent hash is made of: the key, and where there is none the client's address (§3.2).
fn hash_policies(balancing: Option<&native::Balancing>, client: Client) -> Vec<HashPolicy> {
    let Some(balancing) = balancing else {
        return Vec::new();
    };
    if Policy::try_from(balancing.policy) != Ok(Policy::ConsistentHash) {
        return Vec::new();
    }
    let of = |specifier, terminal| HashPolicy {
        terminal,
        policy_specifier: Some(specifier),
    };
    let found: Vec<PolicySpecifier> = match HashOn::try_from(balancing.hash_on) {
        Ok(HashOn::Consumer) | Err(_) => Vec::new(),
        Ok(HashOn::Header) => header_hash(&balancing.hash_key).into_iter().collect(),
        Ok(HashOn::Cookie) => cookie_hash(&balancing.hash_key).into_iter().collect(),
        Ok(HashOn::Variable) => variable_hash(&balancing.hash_key).into_iter().collect(),
        Ok(HashOn::VariableCombination) => variables(&balancing.hash_key)
            .filter_map(variable_hash)
            .collect(),
    };
    let found = found.into_iter();
    let mut policies: Vec<HashPolicy> = found.map(|specifier| of(specifier, true)).collect();
    if policies.len() > 1 {
        // Of several, all that are there count.
        for policy in &mut policies {
            policy.terminal = false;
        }
        return policies;
    }
    match client {
        Client::Envoy => policies.push(of(
            PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }),
            false,
        )),
        // Nothing but the headers of a call and the channel, which stands for the client (A42).
        Client::Grpc => {
            policies.retain(|policy| {
                matches!(policy.policy_specifier, Some(PolicySpecifier::Header(_)))
            });
            let key = CHANNEL.to_owned();
            policies.push(of(PolicySpecifier::FilterState(FilterState { key }), false));
        }
    }
    policies
}

fn header_hash(name: &str) -> Option<PolicySpecifier> {
    let name = http::HeaderName::try_from(name.replace('_', "-")).ok()?;
    let header_name = match name == http::header::HOST {
        true => ":authority".to_owned(),
        false => name.as_str().to_owned(),
    };
    Some(PolicySpecifier::Header(Header {
        header_name,
        regex_rewrite: None,
    }))
}

fn cookie_hash(name: &str) -> Option<PolicySpecifier> {
    let name = http::HeaderName::try_from(name)
        .is_ok()
        .then(|| name.to_owned())?;
    Some(PolicySpecifier::Cookie(Cookie {
        name,
        ..Cookie::default()
    }))
}

fn variable_hash(name: &str) -> Option<PolicySpecifier> {
    match name {
        "remote_addr" => {
            let source_ip = true;
            let properties = ConnectionProperties { source_ip };
            Some(PolicySpecifier::ConnectionProperties(properties))
        }
        "uri" | "request_uri" => header_of(":path"),
        "host" | "hostname" | "server_name" => header_of(":authority"),
        _ => {
            if let Some(header) = name.strip_prefix("http_") {
                return header_hash(header);
            }
            if let Some(cookie) = name.strip_prefix("cookie_") {
                return cookie_hash(cookie);
            }
            let name = name.strip_prefix("arg_").filter(|arg| !arg.is_empty())?;
            Some(PolicySpecifier::QueryParameter(QueryParameter {
                name: name.to_owned(),
            }))
        }
    }
}

fn header_of(name: &str) -> Option<PolicySpecifier> {
    Some(PolicySpecifier::Header(Header {
        header_name: name.to_owned(),
        regex_rewrite: None,
    }))
}

/// The variables of a template: `$remote_addr$uri`, `${arg_a ?? none}`.
fn variables(template: &str) -> impl Iterator<Item = &str> {
    template.split('$').skip(1).filter_map(|rest| {
        let inner = match rest.strip_prefix('{') {
            Some(braced) => braced.split('}').next()?,
            None => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                &rest[..end.unwrap_or(rest.len())]
            }
        };
        Some(inner.split("??").next()?.trim())
    })
}

/// Makes a route answer by itself, as the agent does: `{"error_msg":…}`.
pub(crate) fn answer(route: &mut Route, status: StatusCode, message: Option<&str>, client: Client) {
    if client == Client::Grpc {
        // Clients reject the whole for most other actions (A28). `non_forwarding_action` (A36) fails the
        // call too, but a process with `@grpc/grpc-js-xds` ends when it meets one in a route of a client.
        route.action = Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(NOWHERE.to_owned())),
            ..RouteAction::default()
        }));
        return;
    }
    let text = match message {
        Some(message) => message.to_owned(),
        None if status == StatusCode::NOT_FOUND => "404 Route Not Found".to_owned(),
        None => status.to_string(),
    };
    route.action = Some(Action::DirectResponse(DirectResponseAction {
        status: u32::from(status.as_u16()),
        body: Some(DataSource {
            specifier: Some(Specifier::InlineString(format!(
                "{{\"error_msg\":\"{text}\"}}\n"
            ))),
        }),
        ..DirectResponseAction::default()
    }));
    route
        .response_headers_to_add
        .push(set_header("content-type", "application/json"));
}

/// Whether calls that take this route of a gRPC client's fail.
pub(crate) fn leads_nowhere(route: &Route) -> bool {
    let Some(Action::Route(forward)) = &route.action else {
        return false;
    };
    matches!(&forward.cluster_specifier, Some(ClusterSpecifier::Cluster(name)) if name == NOWHERE)
}

/// A header that is set, whatever was there.
pub(crate) fn set_header(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value: value.to_owned(),
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}
