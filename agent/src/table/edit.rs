//! Owns how one table becomes the next. Must not know: where a resource comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bellwether::name::{Name, TypeUrl};
use bellwether::wire::native;
use bytes::Bytes;
use imbl::{HashMap, OrdSet};
use prost::Message;

use crate::table::cluster::{Cluster, Endpoints};
use crate::table::identity::{Certificate, Consumer, GlobalRule};
use crate::table::route::{Action, Route};
use crate::table::{Reason, Table};
use crate::upstream::Upstream;
use crate::upstream::tls;

/// Changes to a table that nobody sees before [`Edit::finish`].
#[derive(Debug)]
pub struct Edit {
    table: Table,
    /// Clusters to put together again: they, their endpoints or their certificate changed.
    stale: BTreeSet<Name>,
    /// Routes that were refused only because their cluster is not in force, and that cluster.
    waiting: BTreeMap<Name, Name>,
}

impl Edit {
    pub(super) fn new(table: Table) -> Self {
        Self {
            table,
            stale: BTreeSet::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Routes that were refused only because their cluster is not in force, and that cluster. Once
    /// [`Table::can_forward_to`] it, they are worth another try.
    #[must_use]
    pub fn waiting(&self) -> &BTreeMap<Name, Name> {
        &self.waiting
    }

    /// Decodes, checks and compiles one resource.
    ///
    /// # Errors
    /// The reason, which names the field. Nothing of the resource is in force then, and the one that
    /// had its name before stays.
    pub fn upsert(&mut self, type_url: &TypeUrl, name: &Name, body: &Bytes) -> Result<(), String> {
        let limit = self.table.limits.resource_bytes;
        if body.len() > limit {
            return Err(format!(
                "has {} bytes, more than this proxy's limit of {limit}",
                body.len()
            ));
        }
        let outcome = if *type_url == TypeUrl::ROUTE {
            self.route(name, body)
        } else if *type_url == TypeUrl::CLUSTER {
            self.cluster(name, body)
        } else if *type_url == TypeUrl::ENDPOINTS {
            self.endpoints(name, body)
        } else if *type_url == TypeUrl::CERTIFICATE {
            self.certificate(name, body)
        } else if *type_url == TypeUrl::CONSUMER {
            self.consumer(name, body)
        } else if *type_url == TypeUrl::GLOBAL_RULE {
            self.global_rule(name, body)
        } else {
            return Err(format!("type {type_url} is not known to this proxy"));
        };
        outcome.map_err(|reason| reason.to_string())
    }

    /// Takes a resource out. One that is not there is no error.
    pub fn remove(&mut self, type_url: &TypeUrl, name: &Name) {
        let table = &mut self.table;
        if *type_url == TypeUrl::ROUTE {
            self.remove_route(name);
        } else if *type_url == TypeUrl::CLUSTER {
            if let Some(cluster) = table.clusters.remove(name) {
                unlink(&mut table.users, &cluster);
            }
            table.upstreams.remove(name);
            self.stale.remove(name);
        } else if *type_url == TypeUrl::ENDPOINTS {
            table.endpoints.remove(name);
            self.touch(TypeUrl::ENDPOINTS, name);
        } else if *type_url == TypeUrl::CERTIFICATE {
            table.certificates.remove(name);
            self.touch(TypeUrl::CERTIFICATE, name);
        } else if *type_url == TypeUrl::CONSUMER {
            table.consumers.remove(name);
        } else if *type_url == TypeUrl::GLOBAL_RULE {
            table.global_rules.remove(name);
            table.unsupported_rules.remove(name);
        }
    }

    /// The next table. Connections, positions and counters of what is still there are kept.
    #[must_use]
    pub fn finish(mut self) -> Arc<Table> {
        for name in std::mem::take(&mut self.stale) {
            self.assemble(&name);
        }
        Arc::new(self.table)
    }

    fn route(&mut self, name: &Name, body: &Bytes) -> Result<(), Reason> {
        let message = decode::<native::Route>(body)?;
        let table = &mut self.table;
        let previous = table.routes.get(name);
        let stats = previous.map(|old| old.stats.clone()).unwrap_or_default();
        let matching = table.matching;
        let route = Route::compile(name, body, message, stats, &table.limits, matching)?;
        if let Some(cluster) = self.would_break(name, &route) {
            let text = format!("{cluster} is not in force here, so the route that works stays");
            self.waiting.insert(name.clone(), cluster);
            return Err(Reason::new("cluster", text));
        }
        let route = Arc::new(route);
        let previous = self.table.routes.get(name);
        let known = previous.is_some_and(|old| old.unsupported == route.unsupported);
        if !route.unsupported.is_empty() && !known {
            tracing::warn!(
                route = %name,
                plugins = ?route.unsupported,
                "answers 503: it asks for plugins that this proxy does not run"
            );
        }
        self.remove_route(name);
        let table = &mut self.table;
        table.router.insert(&route, matching);
        if !route.unsupported.is_empty() {
            table.unsupported_routes.insert(name.clone());
        }
        table.routes.insert(name.clone(), route);
        Ok(())
    }

    /// The cluster that a route can't do without, if the route before it can do its work. A cluster is
    /// sent before its routes, so one that is not there was refused; what works is not given up for it.
    fn would_break(&self, name: &Name, route: &Route) -> Option<Name> {
        let table = &self.table;
        let works = |route: &Route| match &route.action {
            Action::Forward(cluster) => table.can_forward_to(cluster),
            Action::Respond(_) => true,
        };
        match &route.action {
            Action::Forward(cluster) if !works(route) => table
                .routes
                .get(name)
                .filter(|old| works(old))
                .map(|_| cluster.clone()),
            Action::Forward(_) | Action::Respond(_) => None,
        }
    }

    fn remove_route(&mut self, name: &Name) {
        let table = &mut self.table;
        if let Some(old) = table.routes.remove(name) {
            table.router.remove(&old, table.matching);
            table.unsupported_routes.remove(name);
        }
    }

    fn cluster(&mut self, name: &Name, body: &Bytes) -> Result<(), Reason> {
        let cluster = Arc::new(Cluster::compile(name, body, decode(body)?)?);
        let table = &mut self.table;
        if let Some(message) = &cluster.tls {
            tls::check(message)?;
        }
        if let Some(old) = table.clusters.insert(name.clone(), cluster.clone()) {
            unlink(&mut table.users, &old);
        }
        for id in references(&cluster) {
            let users = table.users.entry(id).or_default();
            users.insert(name.clone());
        }
        self.stale.insert(name.clone());
        Ok(())
    }

    fn endpoints(&mut self, name: &Name, body: &Bytes) -> Result<(), Reason> {
        let endpoints = Endpoints::compile(body, decode(body)?, &self.table.limits)?;
        let endpoints = Arc::new(endpoints);
        self.table.endpoints.insert(name.clone(), endpoints);
        self.touch(TypeUrl::ENDPOINTS, name);
        Ok(())
    }

    fn certificate(&mut self, name: &Name, body: &Bytes) -> Result<(), Reason> {
        let message = decode::<native::Certificate>(body)?;
        let certificate = Certificate::compile(body, &message, &self.table.limits)?;
        let certificate = Arc::new(certificate);
        self.table.certificates.insert(name.clone(), certificate);
        self.touch(TypeUrl::CERTIFICATE, name);
        Ok(())
    }

    fn consumer(&mut self, name: &Name, body: &Bytes) -> Result<(), Reason> {
        let message = decode::<native::Consumer>(body)?;
        if message.username.is_empty() {
            return Err(Reason::new("username", "is empty"));
        }
        let body = Bytes::copy_from_slice(body);
        let consumer = Arc::new(Consumer { body });
        self.table.consumers.insert(name.clone(), consumer);
        Ok(())
    }

    fn global_rule(&mut self, name: &Name, body: &Bytes) -> Result<(), Reason> {
        let rule = Arc::new(GlobalRule::compile(body, &decode(body)?));
        let table = &mut self.table;
        if rule.unsupported.is_empty() {
            table.unsupported_rules.remove(name);
        } else {
            table.unsupported_rules.insert(name.clone());
        }
        table.global_rules.insert(name.clone(), rule);
        Ok(())
    }

    fn touch(&mut self, type_url: TypeUrl, name: &Name) {
        if let Some(users) = self.table.users.get(&(type_url, name.clone())) {
            self.stale.extend(users.iter().cloned());
        }
    }

    fn assemble(&mut self, name: &Name) {
        let table = &mut self.table;
        let Some(cluster) = table.clusters.get(name) else {
            return;
        };
        let endpoints = table.endpoints.get(&cluster.endpoints);
        let certificate = cluster
            .tls
            .as_ref()
            .and_then(|tls| table.certificates.get(tls.client_certificate.as_str()));
        let upstream = Upstream::new(
            cluster.clone(),
            endpoints.map_or(&[], |found| &*found.endpoints),
            certificate,
            table.upstreams.get(name).map(|previous| &**previous),
            &table.limits,
        );
        table.upstreams.insert(name.clone(), Arc::new(upstream));
    }
}

/// Which clusters use a resource.
pub(super) type Users = HashMap<(TypeUrl, Name), OrdSet<Name>>;

fn references(cluster: &Cluster) -> Vec<(TypeUrl, Name)> {
    let mut ids = vec![(TypeUrl::ENDPOINTS, cluster.endpoints.clone())];
    if let Some(tls) = &cluster.tls
        && !tls.client_certificate.is_empty()
    {
        let name = Name::from(tls.client_certificate.as_str());
        ids.push((TypeUrl::CERTIFICATE, name));
    }
    ids
}

fn unlink(users: &mut Users, cluster: &Cluster) {
    for id in references(cluster) {
        if let Some(of) = users.get_mut(&id) {
            of.remove(&cluster.name);
            if of.is_empty() {
                users.remove(&id);
            }
        }
    }
}

fn decode<M: Message + Default>(body: &Bytes) -> Result<M, Reason> {
    M::decode(body.clone())
        .map_err(|error| Reason::new("body", format!("does not decode: {error}")))
}
