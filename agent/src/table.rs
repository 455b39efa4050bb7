//! Owns what is in force: routes to match, clusters to forward to, certificates. A table never
//! changes; an [`Edit`] makes the next one, which shares with the old one all that did not change.
//! Must not know: that a control plane exists, sockets of clients.

use std::fmt;
use std::sync::Arc;

use bellwether::name::Name;
use imbl::{HashMap, OrdSet};

use crate::upstream::Upstream;
use crate::variable::View;

pub(crate) mod address;
pub mod cluster;
pub mod condition;
mod edit;
pub mod host;
pub mod identity;
pub mod normalize;
pub mod path;
pub mod route;
pub mod router;
pub mod timeouts;

use self::cluster::{Cluster, Endpoints};
pub use self::edit::Edit;
use self::identity::{Certificate, Consumer, GlobalRule};
use self::route::Route;
use self::router::{Candidate, Router};

/// The proxy's own limits on resources. The discovery server does not know them: what is beyond
/// them is rejected here, with the reason, and the previous resource of that name stays in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Encoded size of one resource. etcd refuses values above 1.5 MiB; a flattened route can be a
    /// few such values.
    pub resource_bytes: usize,
    /// Compiled size of one regular expression in a route's `vars`. Ordinary ones are large because
    /// `\w` is Unicode's: `^[\w-]{1,64}$` takes megabytes.
    pub regex_bytes: usize,
    /// Instructions of one regular expression with look-around or back-references: one that calls
    /// itself is expanded without an end.
    pub regex_instructions: usize,
    /// Steps one regular expression may take back on one request, before it counts as no match.
    pub regex_steps: usize,
    /// Comparisons in a route's `vars`, since each may run for each request.
    pub comparisons_per_route: usize,
    /// Paths of one route.
    pub paths_per_route: usize,
    /// Hosts of one route.
    pub hosts_per_route: usize,
    /// Endpoints of one cluster: a choice by `least_conn` looks at each.
    pub endpoints_per_cluster: usize,
    /// Key pairs of one certificate.
    pub keys_per_certificate: usize,
    /// Points on the ring of `chash` and turns in the cycle of `roundrobin`. Weights whose sum asks
    /// for more are scaled down to it: 8 bytes a point.
    pub balancer_points: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            resource_bytes: 4 << 20,
            regex_bytes: 10 << 20,
            regex_instructions: 1 << 16,
            regex_steps: 100_000,
            comparisons_per_route: 1_000,
            paths_per_route: 1_000,
            hosts_per_route: 1_000,
            endpoints_per_cluster: 10_000,
            keys_per_certificate: 16,
            balancer_points: 1 << 20,
        }
    }
}

impl Limits {
    pub(crate) fn check(&self, field: &str, count: usize, limit: usize) -> Result<(), Reason> {
        if count > limit {
            let text = format!("has {count} entries, more than this proxy's limit of {limit}");
            return Err(Reason::new(field, text));
        }
        Ok(())
    }
}

/// Which of APISIX's routers is followed (`docs/apisix.md` §2.1). It is a setting of the proxy, not
/// a part of the configuration in etcd.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// `radixtree_host_uri`: the host first, then the path. Default since APISIX 3.
    #[default]
    HostUri,
    /// `radixtree_uri`: the path first. Default of APISIX 2.
    Uri,
    /// `radixtree_uri_with_parameter`: the path first, with parameters.
    UriWithParameter,
}

/// How a path segment that begins with a colon is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Colon {
    /// It is a parameter in every mode. This differs from APISIX, where the first two modes take it
    /// literally; what takes `/user/:id` literally there also matches here.
    #[default]
    Parameter,
    /// It is a parameter only in [`Mode::UriWithParameter`], as in APISIX.
    AsInApisix,
}

/// How requests are matched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Matching {
    /// The router to follow.
    pub mode: Mode,
    /// What a colon is.
    pub colon: Colon,
}

impl Matching {
    pub(crate) fn hosts_first(self) -> bool {
        match self.mode {
            Mode::HostUri => true,
            Mode::Uri | Mode::UriWithParameter => false,
        }
    }

    pub(crate) fn parameters(self) -> bool {
        match (self.mode, self.colon) {
            (Mode::UriWithParameter, _) | (_, Colon::Parameter) => true,
            (Mode::HostUri | Mode::Uri, Colon::AsInApisix) => false,
        }
    }
}

/// Why a resource can't be put in force: the field, and what is wrong with it. For the operator.
#[derive(Debug, PartialEq, Eq)]
pub struct Reason {
    field: String,
    text: String,
}

impl Reason {
    pub(crate) fn new(field: impl Into<String>, text: impl fmt::Display) -> Self {
        Self {
            field: field.into(),
            text: text.to_string(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.text)
    }
}

/// Everything in force. To clone it copies a few pointers.
#[derive(Debug, Clone)]
pub struct Table {
    limits: Arc<Limits>,
    matching: Matching,
    router: Router,
    routes: HashMap<Name, Arc<Route>>,
    clusters: HashMap<Name, Arc<Cluster>>,
    endpoints: HashMap<Name, Arc<Endpoints>>,
    /// A cluster with its endpoints: connections, positions, counters.
    upstreams: HashMap<Name, Arc<Upstream>>,
    users: edit::Users,
    certificates: HashMap<Name, Arc<Certificate>>,
    consumers: HashMap<Name, Arc<Consumer>>,
    global_rules: HashMap<Name, Arc<GlobalRule>>,
    unsupported_routes: OrdSet<Name>,
    unsupported_rules: OrdSet<Name>,
}

impl Table {
    /// A table that has nothing in it: every request is answered 404.
    #[must_use]
    pub fn empty(limits: Limits, matching: Matching) -> Arc<Self> {
        Arc::new(Self {
            limits: Arc::new(limits),
            matching,
            router: Router::default(),
            routes: HashMap::new(),
            clusters: HashMap::new(),
            endpoints: HashMap::new(),
            upstreams: HashMap::new(),
            users: HashMap::new(),
            certificates: HashMap::new(),
            consumers: HashMap::new(),
            global_rules: HashMap::new(),
            unsupported_routes: OrdSet::new(),
            unsupported_rules: OrdSet::new(),
        })
    }

    /// Begins the next table.
    #[must_use]
    pub fn edit(self: &Arc<Self>) -> Edit {
        Edit::new(Self::clone(self))
    }

    /// The route that takes a request, and the path by which it does.
    #[must_use]
    pub fn find(&self, view: &View<'_>) -> Option<&Candidate> {
        self.router.find(view, self.matching)
    }

    /// A cluster, ready to forward to; `None` if it is not in the table.
    #[must_use]
    pub fn upstream(&self, name: &Name) -> Option<&Arc<Upstream>> {
        self.upstreams.get(name)
    }

    /// Whether a cluster and its endpoints are in force.
    #[must_use]
    pub fn can_forward_to(&self, cluster: &Name) -> bool {
        let cluster = self.clusters.get(cluster);
        cluster.is_some_and(|cluster| self.endpoints.contains_key(&cluster.endpoints))
    }

    /// All upstreams, in no order.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.upstreams.values()
    }

    /// All routes, in no order.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values()
    }

    /// How many routes there are.
    #[must_use]
    pub fn route_count(&self) -> usize {
        self.routes.len()
    }

    /// How many clusters there are.
    #[must_use]
    pub fn cluster_count(&self) -> usize {
        self.clusters.len()
    }

    /// Global rules that ask for plugins this proxy does not run, and these. While there is one,
    /// every request is answered 503.
    pub fn unsupported_rules(&self) -> impl Iterator<Item = (&Name, &[Box<str>])> {
        self.unsupported_rules
            .iter()
            .filter_map(|name| Some((name, &*self.global_rules.get(name)?.unsupported)))
    }

    /// Routes that ask for plugins this proxy does not run, and these.
    pub fn unsupported_routes(&self) -> impl Iterator<Item = (&Name, &[Box<str>])> {
        self.unsupported_routes
            .iter()
            .filter_map(|name| Some((name, &*self.routes.get(name)?.unsupported)))
    }

    /// Whether a global rule closes every route.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !self.unsupported_rules.is_empty()
    }

    /// How many routes ask for plugins this proxy does not run.
    #[must_use]
    pub fn unsupported_route_count(&self) -> usize {
        self.unsupported_routes.len()
    }

    /// Every resource in force as it was sent, by type in make-before-break order, then by name.
    #[must_use]
    pub fn resources(&self) -> Vec<(bellwether::name::TypeUrl, Vec<(&Name, &bytes::Bytes)>)> {
        use bellwether::name::TypeUrl;
        fn sorted<T>(
            map: &HashMap<Name, Arc<T>>,
            body: fn(&T) -> &bytes::Bytes,
        ) -> Vec<(&Name, &bytes::Bytes)> {
            let mut all: Vec<_> = map.iter().map(|(name, one)| (name, body(one))).collect();
            all.sort_unstable_by_key(|(name, _)| *name);
            all
        }
        vec![
            (TypeUrl::ENDPOINTS, sorted(&self.endpoints, |e| &e.body)),
            (TypeUrl::CLUSTER, sorted(&self.clusters, |c| &c.body)),
            (
                TypeUrl::CERTIFICATE,
                sorted(&self.certificates, |c| &c.body),
            ),
            (TypeUrl::CONSUMER, sorted(&self.consumers, |c| &c.body)),
            (
                TypeUrl::GLOBAL_RULE,
                sorted(&self.global_rules, |g| &g.body),
            ),
            (TypeUrl::ROUTE, sorted(&self.routes, |r| &r.body)),
        ]
    }
}

#[cfg(test)]
mod tests;
