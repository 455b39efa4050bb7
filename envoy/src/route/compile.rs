//! Owns the translation of one native route: the routes of Envoy's that stand for it, and where in the
//! order they belong. Must not know: other routes.

use std::collections::BTreeSet;

use bellwether::name::Name;
use bellwether::wire::native;
use bellwether::wire::native::route::Action as NativeAction;
use http::StatusCode;
use prost::Message;

use crate::Client;
use crate::plugin::{self, Context, Limits};
use crate::route::action::{self, CLOSED, PLUGIN};
use crate::route::clause::{Clause, Known, header};
use crate::route::condition;
use crate::route::host::{Host, Scope};
use crate::route::order::Order;
use crate::route::path::Pattern;
use crate::route::re2;
use crate::route::subject::{Facts, within_blocks};
use crate::route::test::block;
use crate::route::way::{Way, ways};
use crate::settings::Router;
use crate::translator::View;
use crate::wire::route::Route;
use crate::wire::route::route::Action;

/// What is made of one native route.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    /// Under which hosts it is filed.
    pub(crate) scopes: BTreeSet<Scope>,
    /// By path: where it is tried, and encoded routes of Envoy's, which are tried one after the other.
    pub(crate) entries: Vec<(Order, Vec<Vec<u8>>)>,
    /// Clusters that requests go to.
    pub(crate) clusters: BTreeSet<Name>,
    /// What of its requests is counted.
    pub(crate) limits: Limits,
    /// What can't be expressed, and what becomes of it.
    pub(crate) unsupported: BTreeSet<String>,
}

/// Translates one route.
pub(crate) fn route(
    view: &View<'_>,
    context: &Context<'_>,
    name: &Name,
    native: &native::Route,
) -> Compiled {
    let mut compiled = Compiled {
        scopes: scopes(view, native),
        ..Compiled::default()
    };
    if view.client == Client::Grpc && !takes_grpc(native) {
        return compiled;
    }
    let parameters = match view.settings.router {
        Router::UriWithParameter => true,
        Router::HostUri | Router::Uri => !view.settings.literal_colon,
    };
    let base = base(view, native);
    let action = Outcome::of(view, context, native, &mut compiled);
    let mut seen = BTreeSet::new();
    for path in native
        .paths
        .iter()
        .filter(|path| seen.insert(path.as_str()))
    {
        let Some(pattern) = Pattern::parse(path, parameters) else {
            compiled
                .unsupported
                .insert(format!("its path {path:?} is one that no request has"));
            continue;
        };
        let order = Order::of(&pattern, name, native.priority, native.created);
        let parameters = pattern.parameters();
        let facts = Facts {
            client: view.client,
            route_id: &native.id,
            route_name: &native.display_name,
            service_id: &native.service_id,
            service_name: &native.service_name,
            parameters: &parameters,
        };
        let known = match &native.condition {
            None => base.clone(),
            Some(expression) => base.and(&condition::known(expression, &facts)),
        };
        let routes = action.routes(name, &pattern, &known, &facts, &mut compiled);
        compiled.entries.push((order, routes));
    }
    if compiled.scopes.is_empty() || compiled.entries.is_empty() {
        // No request can meet it, so that nothing is forwarded either.
        compiled.clusters.clear();
    }
    compiled
}

/// A call has no other method.
fn takes_grpc(native: &native::Route) -> bool {
    native.methods.is_empty() || native.methods.iter().any(|method| method == "POST")
}

fn scopes(view: &View<'_>, native: &native::Route) -> BTreeSet<Scope> {
    if native.hosts.is_empty() || view.settings.router != Router::HostUri {
        return BTreeSet::from([Scope::Any]);
    }
    native
        .hosts
        .iter()
        .filter_map(|host| match Host::parse(host) {
            Host::Scope(scope) => Some(scope),
            Host::Never => None,
        })
        .collect()
}

/// What the route asks for beside host, path and condition.
fn base(view: &View<'_>, native: &native::Route) -> Known {
    let mut known = Known::always();
    if view.client == Client::Envoy && !native.methods.is_empty() {
        let methods: BTreeSet<&str> = native.methods.iter().map(String::as_str).collect();
        let texts = methods.iter().map(|method| re2::literal(method));
        let matcher = match methods.len() {
            1 => Ok(re2::exact(&native.methods[0])),
            _ => re2::text(re2::one_of(texts)),
        };
        known = known.and(&match matcher {
            Ok(text) => Known::clauses(vec![Clause::header(header(":method", text, false))]),
            Err(error) => Known::nothing(format!("its methods: {error}")),
        });
    }
    if !native.remote_addresses.is_empty() {
        let blocks: Vec<_> = native
            .remote_addresses
            .iter()
            .map(|text| block(text))
            .collect();
        let blocks: Option<Vec<_>> = blocks.into_iter().collect();
        known = known.and(&match (blocks, view.client) {
            (Some(blocks), Client::Envoy) => Known::clauses(vec![within_blocks(&blocks, false)]),
            (Some(_), Client::Grpc) => {
                Known::nothing("it asks for the client's address, which a gRPC client can't tell")
            }
            (None, _) => Known::nothing("one of its remote_addrs is no address"),
        });
    }
    if view.settings.router != Router::HostUri && !native.hosts.is_empty() {
        known = known.and(&hosts(view.client, &native.hosts));
    }
    known
}

/// Hosts as a predicate: the routers that look at the path first. One with a colon is compared with the
/// Host as it came, port included.
fn hosts(client: Client, hosts: &[String]) -> Known {
    if client == Client::Grpc {
        return Known::nothing("it asks for the host after the path, which a gRPC client can't");
    }
    let texts = hosts.iter().map(|host| match Host::parse(host) {
        Host::Scope(scope) => scope.regex().unwrap_or_else(|| re2::ANY.to_owned()),
        Host::Never => {
            let (any, rest) = match host.strip_prefix('*') {
                Some(rest) => (re2::ANY, rest),
                None => ("", host.as_str()),
            };
            format!("(?i:{any}{})", re2::literal(rest))
        }
    });
    match re2::text(re2::one_of(texts)) {
        Ok(text) => Known::clauses(vec![Clause::header(header(":authority", text, false))]),
        Err(error) => Known::nothing(format!("its hosts: {error}")),
    }
}

/// What becomes of the requests of a route.
enum Outcome {
    /// As far as it can be said.
    Said(Vec<Way>),
    /// The route is closed, and says this.
    Closed(&'static str),
}

impl Outcome {
    fn of(
        view: &View<'_>,
        context: &Context<'_>,
        native: &native::Route,
        compiled: &mut Compiled,
    ) -> Self {
        let Some(base) = base_route(view, native, compiled) else {
            return Self::Closed(CLOSED);
        };
        let applied = match view.client {
            Client::Envoy => plugin::apply(&native.plugins, context),
            Client::Grpc => plugin::apply_to_grpc(&native.plugins, context),
        };
        let made = applied
            .map_err(|unsupported| unsupported.to_string())
            .and_then(|applied| {
                compiled.unsupported.extend(applied.notes.iter().cloned());
                compiled.limits = applied.limits.only(false);
                ways(view, native, &base, applied, &mut compiled.clusters)
            });
        match made {
            Ok(ways) => Self::Said(ways),
            Err(reason) => {
                compiled.clusters.clear();
                compiled.limits = Limits::default();
                compiled.unsupported.clear();
                compiled
                    .unsupported
                    .insert(format!("{reason}; answered 503"));
                Self::Closed(PLUGIN)
            }
        }
    }

    /// The routes of Envoy's for one path, way by way: first those that are closed, then the others.
    fn routes(
        &self,
        name: &Name,
        pattern: &Pattern,
        known: &Known,
        facts: &Facts<'_>,
        compiled: &mut Compiled,
    ) -> Vec<Vec<u8>> {
        let mut all_closed = false;
        let path = pattern.specifier().unwrap_or_else(|error| {
            compiled.unsupported.insert(format!(
                "its path {:?}: {error}; answered 503",
                pattern.text()
            ));
            all_closed = true;
            pattern.superset()
        });
        if pattern.has_backslash() {
            compiled.unsupported.insert(format!(
                "its path {:?} has a backslash, which becomes a slash here; answered 503",
                pattern.text()
            ));
            all_closed = true;
        }
        let mut routes = Vec::new();
        let mut add = |clauses: &[Clause], way: Result<&Way, &str>| {
            for clause in clauses {
                let mut matched = clause.clone().into_match(path.clone());
                let mut route = match way {
                    Ok(way) => {
                        way.limit(&mut matched);
                        way.route.clone()
                    }
                    Err(message) => {
                        let mut route = Route::default();
                        let status = StatusCode::SERVICE_UNAVAILABLE;
                        action::answer(&mut route, status, Some(message), facts.client);
                        route
                    }
                };
                if action::leads_nowhere(&route) {
                    compiled.clusters.insert(Name::from(action::NOWHERE));
                }
                route.name = name.to_string();
                route.r#match = Some(matched);
                routes.push(route.encode_to_vec());
            }
        };
        let mut reasons = known.reasons.clone();
        match self {
            Self::Said(ways) if !all_closed => {
                for way in ways {
                    let known = on(way, known, facts);
                    add(&known.closed, Err(CLOSED));
                    add(&known.yes, Ok(way));
                    reasons.extend(known.reasons);
                }
            }
            _ => {
                let message = match self {
                    Self::Closed(message) if !all_closed => message,
                    _ => CLOSED,
                };
                add(&known.closed, Err(CLOSED));
                add(&known.yes, Err(message));
            }
        }
        let closed = |reason| format!("{reason}; requests that it may take are answered 503");
        compiled.unsupported.extend(reasons.into_iter().map(closed));
        routes
    }
}

/// What is known of the requests that go a way.
pub(crate) fn on(way: &Way, known: &Known, facts: &Facts<'_>) -> Known {
    let mut known = known.clone();
    for header in &way.headers {
        known = known.and(&Known::clauses(vec![Clause::header(header.clone())]));
    }
    for expression in &way.conditions {
        known = known.and(&condition::known(expression, facts));
    }
    known
}

/// What the route does where no plugin says otherwise.
fn base_route(view: &View<'_>, native: &native::Route, compiled: &mut Compiled) -> Option<Route> {
    let mut route = Route::default();
    match &native.action {
        None => {
            compiled
                .unsupported
                .insert("it has no action; answered 503".to_owned());
            return None;
        }
        Some(NativeAction::Respond(respond)) => {
            let status = u16::try_from(respond.status)
                .ok()
                .filter(|status| (200..=599).contains(status))
                .and_then(|status| StatusCode::from_u16(status).ok());
            let Some(status) = status else {
                let reason = format!("{} is no status; answered 503", respond.status);
                compiled.unsupported.insert(reason);
                return None;
            };
            action::answer(&mut route, status, None, view.client);
        }
        Some(NativeAction::Cluster(name)) => {
            let cluster = Name::from(name.as_str());
            let message = view.native.clusters.get(&cluster)?;
            let forward = action::forward(name, native, message, view.client);
            route.action = Some(Action::Route(forward));
            compiled.clusters.insert(cluster);
        }
    }
    Some(route)
}
