//! Owns one route, checked and compiled, and the predicates of `docs/apisix.md` §2.4.
//! Must not know: other routes, how a request is forwarded.

use std::sync::Arc;

use bellwether::name::Name;
use bellwether::plugins::is_run_by_agent;
use bellwether::wire::native::{self, route};
use bytes::Bytes;
use http::Method;
use ipnet::IpNet;

use crate::metrics::RouteStats;
use crate::table::condition::Condition;
use crate::table::host::HostPattern;
use crate::table::path::Pattern;
use crate::table::timeouts::Timeouts;
use crate::table::{Limits, Matching, Reason, address};
use crate::variable::View;

/// A route in force.
#[derive(Debug)]
pub struct Route {
    /// Its resource name.
    pub name: Name,
    /// The resource as it was sent, for `/config_dump`.
    pub body: Bytes,
    /// The id in its key.
    pub id: Box<str>,
    /// The name given by people, or empty.
    pub display_name: Box<str>,
    /// The service it belongs to, or empty.
    pub service_id: Box<str>,
    /// The service's name, or empty.
    pub service_name: Box<str>,
    /// Plugins it asks for that this proxy does not run; if there are any, it answers 503.
    pub unsupported: Box<[Box<str>]>,
    /// What overrides the cluster's timeouts.
    pub timeouts: Option<Timeouts>,
    /// Whether a request may upgrade to a websocket.
    pub websocket: bool,
    /// What becomes of a request.
    pub action: Action,
    /// Counters, kept when the route changes.
    pub stats: Arc<RouteStats>,
    pub(super) patterns: Box<[Arc<Pattern>]>,
    pub(super) hosts: Box<[HostPattern]>,
    pub(super) priority: i64,
    pub(super) created: u64,
    methods: Box<[Method]>,
    remote_addresses: Box<[IpNet]>,
    condition: Option<Condition>,
}

/// What becomes of a request that a route takes.
#[derive(Debug)]
pub enum Action {
    /// It goes to a cluster.
    Forward(Name),
    /// It is answered here, with this status.
    Respond(http::StatusCode),
}

impl Route {
    pub(super) fn compile(
        name: &Name,
        body: &Bytes,
        message: native::Route,
        stats: Arc<RouteStats>,
        limits: &Limits,
        matching: Matching,
    ) -> Result<Self, Reason> {
        let condition = message
            .condition
            .as_ref()
            .map(|condition| Condition::compile(condition, limits))
            .transpose()
            .map_err(|error| Reason::new("condition", error))?;
        Ok(Self {
            patterns: patterns(&message.paths, limits, matching)?,
            hosts: hosts(&message.hosts, limits)?,
            methods: methods(&message.methods)?,
            remote_addresses: remote_addresses(&message.remote_addresses)?,
            condition,
            action: action(message.action)?,
            timeouts: message.timeouts.map(Timeouts::from),
            websocket: message.websocket,
            unsupported: unsupported(&message.plugins),
            priority: message.priority,
            created: message.created,
            name: name.clone(),
            body: Bytes::copy_from_slice(body),
            id: message.id.into(),
            display_name: message.display_name.into(),
            service_id: message.service_id.into(),
            service_name: message.service_name.into(),
            stats,
        })
    }

    /// Whether the route takes a request by one of its paths. The path comes before the variables,
    /// because a condition may ask what the path's parameters took.
    pub(super) fn takes(&self, pattern: &Pattern, view: &View<'_>, matching: Matching) -> bool {
        let method = &view.parts.method;
        (self.methods.is_empty() || self.methods.contains(method))
            && (self.remote_addresses.is_empty()
                || address::within(&self.remote_addresses, view.client.ip()))
            && (matching.hosts_first() || self.takes_host(view))
            && pattern.matches(view.path)
            && self.condition.as_ref().is_none_or(|condition| {
                condition.holds(&View {
                    matched: Some((self, pattern)),
                    ..*view
                })
            })
    }

    fn takes_host(&self, view: &View<'_>) -> bool {
        let mut hosts = self.hosts.iter();
        self.hosts.is_empty() || hosts.any(|host| host.matches(view.host, view.raw_host))
    }
}

fn patterns(
    paths: &[String],
    limits: &Limits,
    matching: Matching,
) -> Result<Box<[Arc<Pattern>]>, Reason> {
    if paths.is_empty() {
        return Err(Reason::new("paths", "is empty"));
    }
    limits.check("paths", paths.len(), limits.paths_per_route)?;
    let mut patterns: Vec<Arc<Pattern>> = Vec::with_capacity(paths.len());
    for (index, path) in paths.iter().enumerate() {
        let field = || format!("paths[{index}] {path:?}");
        let pattern = Pattern::parse(path, matching.parameters())
            .map_err(|error| Reason::new(field(), error))?;
        if patterns.iter().all(|known| known.text() != pattern.text()) {
            patterns.push(Arc::new(pattern));
        }
    }
    Ok(patterns.into())
}

fn hosts(texts: &[String], limits: &Limits) -> Result<Box<[HostPattern]>, Reason> {
    limits.check("hosts", texts.len(), limits.hosts_per_route)?;
    let mut hosts = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let host = HostPattern::parse(text)
            .map_err(|error| Reason::new(format!("hosts[{index}] {text:?}"), error))?;
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    Ok(hosts.into())
}

fn methods(texts: &[String]) -> Result<Box<[Method]>, Reason> {
    texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            Method::from_bytes(text.as_bytes())
                .map_err(|error| Reason::new(format!("methods[{index}] {text:?}"), error))
        })
        .collect()
}

fn remote_addresses(texts: &[String]) -> Result<Box<[IpNet]>, Reason> {
    texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            address::block(text).ok_or_else(|| {
                Reason::new(
                    format!("remote_addresses[{index}] {text:?}"),
                    "is not an ip address or cidr block",
                )
            })
        })
        .collect()
}

fn action(action: Option<route::Action>) -> Result<Action, Reason> {
    match action {
        Some(route::Action::Cluster(name)) if name.is_empty() => {
            Err(Reason::new("cluster", "is empty"))
        }
        Some(route::Action::Cluster(name)) => Ok(Action::Forward(Name::from(name))),
        Some(route::Action::Respond(respond)) => u16::try_from(respond.status)
            .ok()
            .filter(|status| (200..=599).contains(status))
            .and_then(|status| http::StatusCode::from_u16(status).ok())
            .map(Action::Respond)
            .ok_or_else(|| {
                Reason::new("respond.status", format!("{} is no status", respond.status))
            }),
        None => Err(Reason::new("action", "is missing")),
    }
}

pub(super) fn unsupported(plugins: &[native::Plugin]) -> Box<[Box<str>]> {
    plugins
        .iter()
        .filter(|plugin| !is_run_by_agent(&plugin.name))
        .map(|plugin| plugin.name.as_str().into())
        .collect()
}
