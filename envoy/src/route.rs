//! Owns the route configurations: all routes of a fleet in the order in which Envoy, which takes the
//! first that matches, finds the one that APISIX finds (`docs/apisix.md` §2.3, §2.4).
//! Must not know: sockets, endpoints, what one route comes to.
//!
//! Envoy chooses a virtual host and never leaves it; APISIX falls back from a host to shorter wildcards
//! and to routes without a host. So a virtual host has, behind its own routes, those of all that it falls
//! back to. Where that product becomes too large, there is one virtual host, and the host is one more
//! condition of each route.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::resource::Resource;
use bellwether::wire::native;
use http::StatusCode;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::cluster;
use crate::made::Made;
use crate::native::Touched;
use crate::plugin::{self, Consumers, Context, Limits};
use crate::settings::Settings;
use crate::translator::{Client, View};
use crate::wire::route::route_match::{ConnectMatcher, PathSpecifier};
use crate::wire::route::{Route, RouteConfiguration, RouteMatch, VirtualHost};

mod action;
mod clause;
mod compile;
mod condition;
mod encoded;
pub(crate) mod host;
mod last;
mod number;
mod order;
mod path;
pub(crate) mod re2;
mod subject;
mod test;
#[cfg(test)]
mod tests;
mod way;

use self::clause::{Clause, header};
use self::compile::Compiled;
use self::host::Scope;
use self::last::Last;
use self::order::Order;
pub(crate) use self::subject::REMOTE_ADDRESS;

/// The route configuration of all of Envoy's listeners.
pub(crate) const EVERYTHING: &str = "routes";

/// Routes in all virtual hosts of one configuration together. At about 300 bytes each it is what a
/// client can be sent in one message, and Envoy keeps ten times that in memory.
const MAX_ENTRIES: usize = 50_000;

/// Field numbers of what is put together from encoded parts.
const VIRTUAL_HOSTS: u32 = 2;
const ROUTES: u32 = 3;
const MATCH: u32 = 1;

/// The routes of Envoy's for one path of one native route.
#[derive(Debug)]
struct Piece {
    routes: Vec<Vec<u8>>,
    clusters: BTreeSet<Name>,
}

/// All routes of one host, in order.
type Shelf = BTreeMap<Order, Arc<Piece>>;

/// Makes route configurations, and keeps what it needs to make the next ones quickly: a change makes
/// anew the routes and the virtual hosts that it touches, the rest is copied.
#[derive(Debug, Default)]
pub(crate) struct Compiler {
    filed: BTreeMap<Name, Compiled>,
    shelves: BTreeMap<Scope, Shelf>,
    /// The routes that forward to a cluster.
    by_cluster: BTreeMap<Name, BTreeSet<Name>>,
    /// Encoded virtual hosts.
    hosts: BTreeMap<Scope, Arc<Vec<u8>>>,
    /// Whether the host is a condition of each route.
    flat: bool,
    /// Whether a global rule closes every route.
    closed: bool,
    /// Who may authenticate.
    consumers: Consumers,
    /// What becomes of requests that no route takes.
    last: Last,
    /// Who asks for what was made, and since when there is something for each.
    names: BTreeMap<Name, u64>,
}

/// What was made of all routes.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// For [`Client::Envoy`] one with the name [`EVERYTHING`]. For [`Client::Grpc`] one for each
    /// exact host of the routes and each name in the settings: there will be an API listener for it.
    pub(crate) configurations: Vec<Configuration>,
    /// What of which native resource can't be expressed.
    pub(crate) unsupported: Vec<(ResourceId, String)>,
}

/// An encoded route configuration, and the clusters that it names.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) name: Name,
    /// The API listener that asks for it.
    pub(crate) listener: Name,
    pub(crate) body: Vec<u8>,
    pub(crate) clusters: BTreeSet<Name>,
    /// Of the routes for this very host, when the oldest was created; 0 where there is none.
    pub(crate) since: u64,
}

impl Compiler {
    /// Makes all route configurations. `touched` is what is different since the last call.
    pub(crate) fn compile(&mut self, view: &View<'_>, touched: &Touched) -> Output {
        if !touched.consumers.is_empty() {
            self.consumers = Consumers::new(view.native.consumers.values());
        }
        let opened = self.closed;
        let (last, rules) = match last::last(view, &self.consumers) {
            Ok(last) => (last, Vec::new()),
            Err(problems) => (Last::default(), problems),
        };
        self.closed = !rules.is_empty();
        let all = opened != self.closed || last.routes != self.last.routes;
        self.last = last;
        let dirty = self.file_all(view, &self.names_of(view, touched));
        let mut output = Output {
            unsupported: rules,
            ..Output::default()
        };
        output.configurations = match view.client {
            Client::Envoy => vec![self.for_envoy(&dirty, all)],
            Client::Grpc => self.for_grpc(view.settings),
        };
        for (name, compiled) in &self.filed {
            let id = ResourceId::new(TypeUrl::ROUTE, name.clone());
            let told = compiled.unsupported.iter();
            output
                .unsupported
                .extend(told.map(|what| (id.clone(), what.clone())));
        }
        let configurations = output.configurations.iter();
        self.names = configurations
            .map(|one| (one.listener.clone(), one.since))
            .collect();
        output
    }

    /// The API listeners that are wanted, and since when there is something for each.
    pub(crate) fn names(&self) -> &BTreeMap<Name, u64> {
        &self.names
    }

    /// The routes that are made of something that changed.
    fn names_of(&self, view: &View<'_>, touched: &Touched) -> BTreeSet<Name> {
        let mut names = touched.routes.clone();
        for cluster in &touched.clusters {
            names.extend(self.by_cluster.get(cluster).into_iter().flatten().cloned());
        }
        let depends = |plugins: &[native::Plugin]| {
            (!touched.consumers.is_empty() && plugin::uses_consumers(plugins))
                || (!touched.clusters.is_empty() && plugin::uses_clusters(plugins))
        };
        let rules = &view.native.global_rules;
        let all =
            !touched.global_rules.is_empty() || rules.values().any(|rule| depends(&rule.plugins));
        let routes = view.native.routes.iter();
        let more = routes.filter(|(_, route)| all || depends(&route.plugins));
        names.extend(more.map(|(name, _)| name.clone()));
        names
    }

    /// Files what changed, and says which hosts' routes are different.
    fn file_all(&mut self, view: &View<'_>, names: &BTreeSet<Name>) -> BTreeSet<Scope> {
        let has_cluster = |name: &str| view.native.clusters.contains_key(name);
        let consumers = std::mem::take(&mut self.consumers);
        let context = Context {
            name: "",
            global_rules: &view.native.global_rules,
            consumers: &consumers,
            has_cluster: &has_cluster,
        };
        let mut dirty = BTreeSet::new();
        for name in names {
            if let Some(old) = self.filed.remove(name) {
                self.take_out(name, &old);
                dirty.extend(old.scopes);
            }
            if let Some(native) = view.native.routes.get(name) {
                let context = Context {
                    name: name.as_str(),
                    ..context
                };
                let new = compile::route(view, &context, name, native);
                self.put_in(name, &new);
                dirty.extend(new.scopes.iter().cloned());
                self.filed.insert(name.clone(), new);
            }
        }
        self.consumers = consumers;
        dirty
    }

    fn take_out(&mut self, name: &Name, old: &Compiled) {
        for scope in &old.scopes {
            let Some(shelf) = self.shelves.get_mut(scope) else {
                continue;
            };
            for (order, _) in &old.entries {
                shelf.remove(order);
            }
            if shelf.is_empty() {
                self.shelves.remove(scope);
            }
        }
        for cluster in &old.clusters {
            if let Some(routes) = self.by_cluster.get_mut(cluster) {
                routes.remove(name);
                if routes.is_empty() {
                    self.by_cluster.remove(cluster);
                }
            }
        }
    }

    fn put_in(&mut self, name: &Name, new: &Compiled) {
        for (order, routes) in &new.entries {
            let piece = Arc::new(Piece {
                routes: routes.clone(),
                clusters: new.clusters.clone(),
            });
            for scope in &new.scopes {
                let shelf = self.shelves.entry(scope.clone()).or_default();
                shelf.insert(order.clone(), piece.clone());
            }
        }
        for cluster in &new.clusters {
            let routes = self.by_cluster.entry(cluster.clone()).or_default();
            routes.insert(name.clone());
        }
    }

    fn for_envoy(&mut self, dirty: &BTreeSet<Scope>, all: bool) -> Configuration {
        let head = RouteConfiguration {
            name: EVERYTHING.to_owned(),
            ignore_port_in_host_matching: true,
            typed_per_filter_config: self.limits().filter_config(),
            request_headers_to_add: vec![
                action::set_header("x-real-ip", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
                action::set_header("x-forwarded-host", "%REQ(:AUTHORITY)%"),
                action::set_header("x-forwarded-port", "%DOWNSTREAM_LOCAL_PORT%"),
            ],
            ..RouteConfiguration::default()
        };
        let mut body = head.encode_to_vec();
        let name = Name::from(EVERYTHING);
        if self.closed {
            let only = self.virtual_host(
                "*",
                vec!["*".to_owned()],
                &[],
                &[closed_to_all().encode_to_vec()],
            );
            field(&mut body, VIRTUAL_HOSTS, &only);
            return Configuration {
                listener: name.clone(),
                name,
                body,
                clusters: BTreeSet::new(),
                since: 0,
            };
        }
        let flat = self.product() > MAX_ENTRIES;
        if flat {
            self.hosts.clear();
            field(&mut body, VIRTUAL_HOSTS, &self.flat_host());
        } else {
            self.make_hosts(dirty, all || self.flat);
            for host in self.hosts.values() {
                field(&mut body, VIRTUAL_HOSTS, host);
            }
        }
        self.flat = flat;
        Configuration {
            listener: name.clone(),
            name,
            body,
            clusters: self.by_cluster.keys().cloned().collect(),
            since: 0,
        }
    }

    /// What is counted for all routes together.
    fn limits(&self) -> Limits {
        let mut limits = self.last.limits.clone();
        for compiled in self.filed.values() {
            limits.extend(&compiled.limits);
        }
        limits
    }

    /// The scopes that have a virtual host of their own.
    fn owners(&self) -> impl Iterator<Item = &Scope> {
        let named = self.shelves.keys().filter(|scope| match scope {
            Scope::Exact(_) => true,
            Scope::Suffix(end) => !end.is_empty(),
            Scope::Any => false,
        });
        named.chain([&Scope::Any])
    }

    fn chain(&self, owner: &Scope) -> Vec<Scope> {
        owner.chain(|scope| self.shelves.contains_key(scope))
    }

    /// How many entries all virtual hosts have together, counted until it is too many.
    fn product(&self) -> usize {
        let mut sum = 0;
        for owner in self.owners() {
            let shelves = self.chain(owner);
            let shelves = shelves.iter().filter_map(|scope| self.shelves.get(scope));
            sum += 1 + shelves.map(BTreeMap::len).sum::<usize>();
            if sum > MAX_ENTRIES {
                break;
            }
        }
        sum
    }

    fn make_hosts(&mut self, dirty: &BTreeSet<Scope>, all: bool) {
        let owners: BTreeSet<Scope> = self.owners().cloned().collect();
        self.hosts.retain(|owner, _| owners.contains(owner));
        for owner in owners {
            let touched = || dirty.iter().any(|scope| owner.depends_on(scope));
            if !all && self.hosts.contains_key(&owner) && !touched() {
                continue;
            }
            let chain = self.chain(&owner);
            let domains = owner.domains(|scope| self.shelves.contains_key(scope));
            let host = self.virtual_host(&owner.name(), domains, &chain, &self.last.routes);
            self.hosts.insert(owner, Arc::new(host));
        }
    }

    fn virtual_host(
        &self,
        name: &str,
        domains: Vec<String>,
        chain: &[Scope],
        last: &[Vec<u8>],
    ) -> Vec<u8> {
        let head = VirtualHost {
            name: name.to_owned(),
            domains,
            ..VirtualHost::default()
        };
        let mut body = head.encode_to_vec();
        field(&mut body, ROUTES, &no_connect().encode_to_vec());
        for shelf in chain.iter().filter_map(|scope| self.shelves.get(scope)) {
            for route in shelf.values().flat_map(|piece| &piece.routes) {
                field(&mut body, ROUTES, route);
            }
        }
        for route in last {
            field(&mut body, ROUTES, route);
        }
        body
    }

    /// One virtual host for all: exact hosts, then wildcards from the longest to the shortest, then any.
    fn flat_host(&self) -> Vec<u8> {
        let head = VirtualHost {
            name: "*".to_owned(),
            domains: vec!["*".to_owned()],
            ..VirtualHost::default()
        };
        let mut body = head.encode_to_vec();
        field(&mut body, ROUTES, &no_connect().encode_to_vec());
        let mut scopes: Vec<&Scope> = self.shelves.keys().collect();
        scopes.sort_by_key(|scope| match scope {
            Scope::Exact(_) => (0, 0),
            Scope::Suffix(end) => (1, usize::MAX - end.len()),
            Scope::Any => (2, 0),
        });
        for scope in scopes {
            let condition = scope.regex().and_then(|regex| re2::text(regex).ok());
            let condition = condition.map(|text| {
                let clause = Clause::header(header(":authority", text, false));
                let only = RouteMatch {
                    headers: clause.headers,
                    ..RouteMatch::default()
                };
                only.encode_to_vec()
            });
            let shelf = self.shelves.get(scope).into_iter().flatten();
            for route in shelf.flat_map(|(_, piece)| &piece.routes) {
                let mut route = route.clone();
                if let Some(condition) = &condition {
                    // A message field that comes twice is merged, says the encoding: one more header.
                    field(&mut route, MATCH, condition);
                }
                field(&mut body, ROUTES, &route);
            }
        }
        for route in &self.last.routes {
            field(&mut body, ROUTES, route);
        }
        body
    }

    /// A client of gRPC's asks for what it dials, and looks at the virtual hosts with that name.
    fn for_grpc(&self, settings: &Settings) -> Vec<Configuration> {
        let mut names: BTreeSet<String> = settings.grpc_listeners.clone();
        names.extend(self.shelves.keys().filter_map(|scope| match scope {
            Scope::Exact(host) => Some(host.clone()),
            Scope::Suffix(_) | Scope::Any => None,
        }));
        let one = |name: String| self.for_name(name);
        names.into_iter().map(one).collect()
    }

    fn for_name(&self, name: String) -> Configuration {
        let routes = host::routes_of(&name);
        let head = RouteConfiguration {
            name: routes.clone(),
            ..RouteConfiguration::default()
        };
        let mut body = head.encode_to_vec();
        let virtual_host = VirtualHost {
            name: name.clone(),
            domains: vec!["*".to_owned()],
            ..VirtualHost::default()
        };
        let mut host = virtual_host.encode_to_vec();
        let mut clusters = BTreeSet::new();
        let scope = Scope::Exact(host::of_target(&name));
        let own = self.shelves.get(&scope).into_iter().flatten();
        let since = own.map(|(order, _)| order.created()).min();
        if !self.closed {
            let chain = scope.chain(|scope| self.shelves.contains_key(scope));
            for shelf in chain.iter().filter_map(|scope| self.shelves.get(scope)) {
                for piece in shelf.values() {
                    clusters.extend(piece.clusters.iter().cloned());
                    for route in &piece.routes {
                        field(&mut host, ROUTES, route);
                    }
                }
            }
        }
        // grpc-java can't make anything of routes without a cluster.
        if clusters.is_empty() {
            let route = answered(StatusCode::SERVICE_UNAVAILABLE, None, Client::Grpc);
            field(&mut host, ROUTES, &route.encode_to_vec());
            clusters.insert(Name::from(action::NOWHERE));
        }
        field(&mut body, VIRTUAL_HOSTS, &host);
        Configuration {
            name: Name::from(routes),
            listener: Name::from(name),
            body,
            clusters,
            since: since.unwrap_or_default(),
        }
    }
}

/// Appends a message as a field of another.
fn field(body: &mut Vec<u8>, number: u32, message: &[u8]) {
    encode_key(number, WireType::LengthDelimited, body);
    encode_varint(message.len() as u64, body);
    body.extend_from_slice(message);
}

fn everything() -> RouteMatch {
    RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix(String::new())),
        ..RouteMatch::default()
    }
}

fn answered(status: StatusCode, message: Option<&str>, client: Client) -> Route {
    let mut route = Route {
        r#match: Some(everything()),
        ..Route::default()
    };
    action::answer(&mut route, status, message, client);
    route
}

fn closed_to_all() -> Route {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    answered(status, Some(action::PLUGIN), Client::Envoy)
}

/// A tunnel through the proxy to anywhere is not what routes are for.
fn no_connect() -> Route {
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::ConnectMatcher(ConnectMatcher {})),
            ..RouteMatch::default()
        }),
        ..answered(StatusCode::METHOD_NOT_ALLOWED, None, Client::Envoy)
    }
}

impl Output {
    /// As resources.
    pub(crate) fn into_made(self) -> Made {
        let mut made = Made::default();
        let nowhere = Name::from(action::NOWHERE);
        let mut configurations = self.configurations.iter();
        if configurations.any(|one| one.clusters.contains(&nowhere)) {
            for resource in cluster::empty(action::NOWHERE) {
                made.add(resource);
            }
        }
        for configuration in self.configurations {
            let id = ResourceId::new(TypeUrl::ENVOY_ROUTES, configuration.name);
            let refers = configuration
                .clusters
                .into_iter()
                .map(|name| ResourceId::new(TypeUrl::ENVOY_CLUSTER, name))
                .collect();
            made.add(Resource::from_encoded(id, &configuration.body, refers));
        }
        for (resource, what) in self.unsupported {
            made.cannot(&resource, what);
        }
        made
    }
}
