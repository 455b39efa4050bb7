//! Owns the report on a configuration that is served by someone else today: what is in it, what an
//! agent could not do with it, and what it costs etcd. Pure. Must not know: where the reading came
//! from, or how the report is printed.

mod load;

use std::collections::BTreeMap;

use bellwether::name::TypeUrl;
use bellwether::plugins::is_run_by_agent;
use bellwether::wire::native;
use bellwether::wire::native::route::Action;
use prost::Message;
use serde::{Deserialize, Serialize};

pub use self::load::{EtcdLoad, Proxies};

use super::Catalog;
use super::spec::{Code, Remark, Spec};
use crate::fleet::KeyProblem;
use crate::keys::{Kind, Prefix};
use crate::store::{Batch, Change, Reading};

/// What is under a prefix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// The prefix that was read.
    pub prefix: String,
    /// The revision it was read at.
    pub revision: u64,
    /// Every key under the prefix, placeholders and scratch keys included.
    pub keys: u64,
    /// Bytes of those keys and their values.
    pub bytes: u64,
    /// Keys in force, by directory.
    pub counts: BTreeMap<String, u64>,
    /// Plugins by name, and where they are used. Disabled ones are not.
    pub plugins: Vec<PluginUse>,
    /// How the agent would answer.
    pub routes: RouteAnswers,
    /// What the agent can't run, besides plugins.
    pub not_run: NotRun,
    /// Keys whose value is bad, in key order.
    pub problems: Vec<KeyProblem>,
    /// Keys that would be in force with reservations, in key order.
    pub warnings: Vec<KeyProblem>,
    /// What the proxies of today cost etcd.
    pub load: LoadReport,
}

/// One plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginUse {
    /// Its name.
    pub name: String,
    /// Whether the agent runs it.
    pub run_by_agent: bool,
    /// How many keys declare it, by directory.
    pub declared_by: BTreeMap<String, u64>,
    /// How many routes have it once everything is merged.
    pub routes: u64,
}

/// Routes by what the agent does with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteAnswers {
    /// Forwarded to a cluster, with every plugin run.
    pub forwarded: u64,
    /// Every plugin is run, and then an error is answered unless a plugin has answered before, as one
    /// that redirects does.
    pub answered: u64,
    /// A plugin is missing at the agent, so 503.
    pub plugin_missing: u64,
}

/// What the agent can't run, besides plugins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotRun {
    /// Routes with Lua code that decides whether they match.
    pub filter_funcs: u64,
    /// Routes and services with Lua code instead of plugins.
    pub scripts: u64,
    /// TCP and UDP proxying.
    pub stream_routes: u64,
    /// Upstreams by the discovery system that their instances come from.
    pub discovery: BTreeMap<String, u64>,
    /// Upstreams by a scheme that is not proxied.
    pub schemes: BTreeMap<String, u64>,
}

/// What proxies cost etcd, today and with Bellwether between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// What was assumed.
    pub proxies: Proxies,
    /// Newer APISIX: the workers share one connection for all directories each.
    pub today: EtcdLoad,
    /// Older APISIX: each worker has a connection for each directory.
    pub today_connection_a_directory: EtcdLoad,
    /// With discovery servers as the only clients.
    pub with_bellwether: EtcdLoad,
}

/// Inspects everything under a prefix. Nothing is written anywhere.
#[must_use]
pub fn inspect(prefix: &Prefix, reading: &Reading, proxies: &Proxies) -> Inspection {
    let mut catalog = Catalog::new(prefix.clone());
    let puts = reading.entries.iter().cloned().map(Change::Put);
    let changes = catalog.apply(&Batch {
        revision: reading.revision,
        changes: puts.collect(),
    });
    let size = |entry: &crate::store::KeyValue| (entry.key.len() + entry.value.len()) as u64;
    let bytes = reading.entries.iter().map(size).sum();
    let mut report = Inspection {
        prefix: prefix.to_string(),
        revision: reading.revision.0,
        keys: reading.entries.len() as u64,
        bytes,
        problems: catalog.problems().collect(),
        warnings: catalog.warnings().collect(),
        load: LoadReport::estimate(proxies, bytes),
        ..Inspection::default()
    };
    for (directory, count) in catalog.counts() {
        report.counts.insert(directory.to_owned(), count);
    }
    report.not_run.stream_routes = report
        .counts
        .get("stream_routes")
        .copied()
        .unwrap_or_default();
    let mut uses = Uses::default();
    for (item, entry) in catalog.entries.iter() {
        let credentials = entry
            .credentials()
            .filter_map(|(_, source)| source.spec.as_ref());
        for spec in entry.spec().into_iter().chain(credentials) {
            report.not_run.add(spec);
            uses.declared(item.kind, spec);
        }
    }
    for resource in changes.upserts {
        if *resource.type_url() == TypeUrl::ROUTE {
            let route = native::Route::decode(resource.body());
            let route = route.expect("the catalog encoded it itself");
            report.routes.add(&route);
            uses.merged(route);
        }
    }
    report.plugins = uses.list();
    report
}

/// Plugins by name, while they are being counted.
#[derive(Default)]
struct Uses(BTreeMap<String, PluginUse>);

impl Uses {
    fn declared(&mut self, kind: Kind, spec: &Spec) {
        let directory = match spec {
            Spec::Credential(_) => super::CREDENTIALS,
            _ => kind.directory(),
        };
        for (name, _) in spec
            .plugins()
            .into_iter()
            .flat_map(|plugins| plugins.enabled())
        {
            let used = self.0.entry(name.to_owned()).or_default();
            *used.declared_by.entry(directory.to_owned()).or_default() += 1;
        }
    }

    fn merged(&mut self, route: native::Route) {
        for plugin in route.plugins {
            self.0.entry(plugin.name).or_default().routes += 1;
        }
    }

    fn list(self) -> Vec<PluginUse> {
        let named = |(name, used): (String, PluginUse)| PluginUse {
            run_by_agent: is_run_by_agent(&name),
            name,
            ..used
        };
        self.0.into_iter().map(named).collect()
    }
}

impl RouteAnswers {
    fn add(&mut self, route: &native::Route) {
        let runs = |plugin: &native::Plugin| is_run_by_agent(&plugin.name);
        let count = match &route.action {
            _ if !route.plugins.iter().all(runs) => &mut self.plugin_missing,
            Some(Action::Cluster(_)) => &mut self.forwarded,
            Some(Action::Respond(_)) | None => &mut self.answered,
        };
        *count += 1;
    }
}

impl NotRun {
    fn add(&mut self, spec: &Spec) {
        match spec.code() {
            Some(Code::FilterFunc) => self.filter_funcs += 1,
            Some(Code::Script) => self.scripts += 1,
            None => {}
        }
        for remark in spec.remarks() {
            if let Remark::Discovery(system) = remark {
                *self.discovery.entry(system.to_string()).or_default() += 1;
            }
        }
        if let Some(scheme) = spec.upstream().and_then(|upstream| upstream.foreign_scheme) {
            *self.schemes.entry(scheme.to_owned()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests;
