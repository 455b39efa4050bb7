//! Owns the translation of one native route: the routes of Envoy's that stand for it, and where in the
//! order they belong. Must not know: other routes.

use std::collections::BTreeSet;

use bellwether::name::Name;
use bellwether::wire::native;
use bellwether::wire::native::route::Action as NativeAction;
use http::StatusCode;
use prost::Message;

use crate::Client;
use crate::route::action::{self, CLOSED};
use crate::route::clause::{Clause, Known, header};
use crate::route::condition;
use crate::route::host::{Host, Scope};
use crate::route::order::Order;
use crate::route::path::Pattern;
use crate::route::re2;
use crate::route::subject::{Facts, within_blocks};
use crate::route::test::block;
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
    /// What can't be expressed, and what becomes of it.
    pub(crate) unsupported: BTreeSet<String>,
}

/// Translates one route.
pub(crate) fn route(view: &View<'_>, name: &Name, native: &native::Route) -> Compiled {
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
    let action = Outcome::of(view, native, &mut compiled);
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
        let known = match &native.condition {
            None => base.clone(),
            Some(expression) => base.and(&condition::known(
                expression,
                &Facts {
                    client: view.client,
                    route_id: &native.id,
                    route_name: &native.display_name,
                    service_id: &native.service_id,
                    service_name: &native.service_name,
                    parameters: &pattern.parameters(),
                },
            )),
        };
        let routes = action.routes(view.client, name, &pattern, known, &mut compiled);
        compiled.entries.push((order, routes));
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
    Said(Box<Route>),
    /// The route is closed for all.
    Closed,
}

impl Outcome {
    fn of(view: &View<'_>, native: &native::Route, compiled: &mut Compiled) -> Self {
        let unsupported: Vec<&str> = native
            .plugins
            .iter()
            .map(|plugin| plugin.name.as_str())
            .filter(|name| !bellwether::plugins::is_run_by_agent(name))
            .collect();
        if !unsupported.is_empty() {
            let reason = format!("needs {}; answered 503", unsupported.join(", "));
            compiled.unsupported.insert(reason);
            return Self::Closed;
        }
        let mut route = Route::default();
        match &native.action {
            None => {
                compiled
                    .unsupported
                    .insert("it has no action; answered 503".to_owned());
                return Self::Closed;
            }
            Some(NativeAction::Respond(respond)) => {
                let status = u16::try_from(respond.status)
                    .ok()
                    .filter(|status| (200..=599).contains(status))
                    .and_then(|status| StatusCode::from_u16(status).ok());
                let Some(status) = status else {
                    let reason = format!("{} is no status; answered 503", respond.status);
                    compiled.unsupported.insert(reason);
                    return Self::Closed;
                };
                action::answer(&mut route, status, None, view.client);
            }
            Some(NativeAction::Cluster(name)) => {
                let cluster = Name::from(name.as_str());
                let Some(message) = view.native.clusters.get(&cluster) else {
                    return Self::Closed;
                };
                let forward = action::forward(name, native, message, view.client);
                route.action = Some(Action::Route(forward));
                compiled.clusters.insert(cluster);
            }
        }
        Self::Said(Box::new(route))
    }

    /// The routes of Envoy's for one path: first those that are closed, then the others.
    fn routes(
        &self,
        client: Client,
        name: &Name,
        pattern: &Pattern,
        known: Known,
        compiled: &mut Compiled,
    ) -> Vec<Vec<u8>> {
        let Known {
            yes,
            closed,
            reasons,
        } = known;
        for reason in reasons {
            compiled.unsupported.insert(format!(
                "{reason}; requests that it may take are answered 503"
            ));
        }
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
        let make = |clause: Clause, outcome: &Self| {
            let mut route = match outcome {
                Self::Said(route) => Route::clone(route),
                Self::Closed => {
                    let mut route = Route::default();
                    let status = StatusCode::SERVICE_UNAVAILABLE;
                    action::answer(&mut route, status, Some(CLOSED), client);
                    route
                }
            };
            route.name = name.to_string();
            route.r#match = Some(clause.into_match(path.clone()));
            route.encode_to_vec()
        };
        let outcome = if all_closed { &Self::Closed } else { self };
        let closed = closed.into_iter().map(|clause| make(clause, &Self::Closed));
        closed
            .collect::<Vec<_>>()
            .into_iter()
            .chain(yes.into_iter().map(|clause| make(clause, outcome)))
            .collect()
    }
}
