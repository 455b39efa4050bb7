//! Owns a small world to test the catalog in: a store's changes in, the accumulated resources out, and
//! the promises that hold after every batch. Must not know: how the catalog is built inside.

mod certificates;
mod incremental;
mod lane;
mod merge;
mod problems;
mod property;
mod values;

use std::collections::BTreeMap;

use bellwether::resource::Resource;
use bellwether::wire::native;
use bytes::Bytes;
use serde_json::json;

use super::*;

/// A fleet under `/apisix`.
pub(super) struct World {
    pub(super) catalog: Catalog,
    pub(super) resources: BTreeMap<ResourceId, Resource>,
    store: BTreeMap<String, KeyValue>,
    revision: u64,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            catalog: Catalog::new(Prefix::new("/apisix").unwrap()),
            resources: BTreeMap::new(),
            store: BTreeMap::new(),
            revision: 0,
        }
    }

    /// The same with some keys written, one revision each.
    pub(super) fn with(values: &[(&str, Value)]) -> Self {
        let mut world = Self::new();
        for (key, value) in values {
            world.put(key, value);
        }
        world
    }

    /// Writes one key; what changed, as `+Route routes/1` or `-Route routes/1`.
    pub(super) fn put(&mut self, key: &str, value: &Value) -> Vec<String> {
        self.put_bytes(key, value.to_string().as_bytes())
    }

    pub(super) fn put_bytes(&mut self, key: &str, value: &[u8]) -> Vec<String> {
        let change = self.written(key, value);
        self.apply(vec![change])
    }

    pub(super) fn delete(&mut self, key: &str) -> Vec<String> {
        let change = self.deleted(key);
        self.apply(vec![change])
    }

    /// A change in the store, not yet applied.
    pub(super) fn written(&mut self, key: &str, value: &[u8]) -> Change {
        self.revision += 1;
        let key = format!("/apisix/{key}");
        let mod_revision = Revision(self.revision);
        let created = self.store.get(&key).map(|entry| entry.create_revision);
        let entry = KeyValue {
            key: key.clone(),
            value: Bytes::copy_from_slice(value),
            create_revision: created.unwrap_or(mod_revision),
            mod_revision,
            lease: None,
        };
        self.store.insert(key, entry.clone());
        Change::Put(entry)
    }

    pub(super) fn deleted(&mut self, key: &str) -> Change {
        self.revision += 1;
        let key = format!("/apisix/{key}");
        self.store.remove(&key);
        Change::Delete { key }
    }

    /// Applies a batch and checks what must hold after any.
    pub(super) fn apply(&mut self, changes: Vec<Change>) -> Vec<String> {
        let batch = Batch {
            revision: Revision(self.revision),
            changes,
        };
        let changes = self.catalog.apply(&batch);
        let mut seen = BTreeSet::new();
        let mut told = Vec::new();
        for id in &changes.removals {
            assert!(seen.insert(id.clone()), "{id} is named twice");
            assert!(self.resources.remove(id).is_some(), "{id} was not there");
            told.push(format!("-{id}"));
        }
        for resource in changes.upserts {
            let id = resource.id().clone();
            assert!(seen.insert(id.clone()), "{id} is named twice");
            told.push(format!("+{id}"));
            let version = resource.version();
            let old = self.resources.insert(id.clone(), resource);
            assert_ne!(
                old.map(|old| old.version()),
                Some(version),
                "{id} did not change"
            );
        }
        for resource in self.resources.values() {
            for target in resource.refers() {
                assert!(
                    self.resources.contains_key(target),
                    "{} -> {target}",
                    resource.id()
                );
            }
        }
        told.sort();
        told
    }

    /// A fresh catalog that reads what the store now holds, as after a restart.
    pub(super) fn restarted(&self) -> Self {
        let mut fresh = Self::new();
        fresh.revision = self.revision;
        fresh.store.clone_from(&self.store);
        fresh.apply(self.store.values().cloned().map(Change::Put).collect());
        fresh
    }

    pub(super) fn get<M: prost::Message + Default>(
        &self,
        type_url: TypeUrl,
        name: &str,
    ) -> Option<M> {
        let resource = self.resources.get(&ResourceId::new(type_url, name))?;
        Some(M::decode(resource.body()).unwrap())
    }

    pub(super) fn route(&self, id: &str) -> native::Route {
        self.get(TypeUrl::ROUTE, &format!("routes/{id}")).unwrap()
    }

    pub(super) fn cluster(&self, name: &str) -> native::Cluster {
        self.get(TypeUrl::CLUSTER, name).unwrap()
    }

    /// `host:port*weight/priority`, separated by blanks.
    pub(super) fn endpoints(&self, name: &str) -> String {
        let message: native::Endpoints = self.get(TypeUrl::ENDPOINTS, name).unwrap();
        let one =
            |e: &native::Endpoint| format!("{}:{}*{}/{}", e.host, e.port, e.weight, e.priority);
        message
            .endpoints
            .iter()
            .map(one)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// What the route does: `cluster upstreams/1`, or `404 reason`.
    pub(super) fn action(&self, id: &str) -> String {
        match self.route(id).action.unwrap() {
            native::route::Action::Cluster(name) => format!("cluster {name}"),
            native::route::Action::Respond(respond) => {
                format!("{} {}", respond.status, respond.reason)
            }
        }
    }

    /// Plugins of a route as `name=config`, separated by blanks.
    pub(super) fn plugins(&self, id: &str) -> String {
        show_plugins(&self.route(id).plugins)
    }

    /// `key: reason (@revision)`, and a star if a last good value is in force.
    pub(super) fn problems(&self) -> Vec<String> {
        self.catalog
            .problems()
            .map(|problem| show(&problem))
            .collect()
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        self.catalog
            .warnings()
            .map(|warning| show(&warning))
            .collect()
    }
}

fn show(problem: &KeyProblem) -> String {
    let star = if problem.last_good { "*" } else { "" };
    format!(
        "{}: {} (@{}{star})",
        problem.key, problem.reason, problem.revision
    )
}

pub(super) fn show_plugins(plugins: &[native::Plugin]) -> String {
    let one = |plugin: &native::Plugin| format!("{}={}", plugin.name, plugin.config);
    plugins.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// An upstream with one node.
pub(super) fn upstream(node: &str) -> Value {
    json!({"type": "roundrobin", "nodes": {node: 1}})
}

/// A certificate for `localhost`, and its key.
pub(super) const CERTIFICATE: &str = include_str!("tests/localhost.crt");
pub(super) const PRIVATE_KEY: &str = include_str!("tests/localhost.key");
