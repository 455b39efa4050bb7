//! Owns the fuzz target of configuration: whatever is in a store, the catalog survives it and keeps its
//! promises. Must not know: what the right resources are.
//!
//! An input is a JSON object from keys (below the prefix) to values, as if the store held them. What is
//! not such an object is put, as it is, into one key of each kind.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use bellwether::name::ResourceId;
use bellwether_server::catalog::{Catalog, check, references};
use bellwether_server::keys::{Item, Kind, Prefix};
use bellwether_server::store::{Batch, Change, KeyValue, Revision};
use bytes::Bytes;
use serde_json::Value;

use super::driver::{Target, fuzz};
use super::mutate::Format;

#[test]
fn catalog() {
    fuzz(&Target {
        name: "catalog",
        format: Format::Json,
        words: WORDS,
        run,
    });
}

/// Keys and fields, so that mutations reach what reads them.
const WORDS: &[&str] = &[
    "routes/1",
    "routes/2",
    "services/1",
    "upstreams/1",
    "ssl/1",
    "ssls/1",
    "consumers/j",
    "consumers/j/credentials/1",
    "consumer_groups/1",
    "plugin_configs/1",
    "global_rules/1",
    "stream_routes/1",
    "uri",
    "uris",
    "host",
    "hosts",
    "methods",
    "remote_addr",
    "vars",
    "plugins",
    "upstream",
    "upstream_id",
    "service_id",
    "plugin_config_id",
    "nodes",
    "type",
    "chash",
    "key",
    "hash_on",
    "scheme",
    "https",
    "grpcs",
    "kafka",
    "checks",
    "active",
    "passive",
    "healthy",
    "timeout",
    "tls",
    "client_cert_id",
    "status",
    "_meta",
    "disable",
    "traffic-split",
    "rules",
    "AND",
    "!OR",
    "==",
    "~~",
    "~*",
    "in",
    "ipmatch",
    "!",
    "(?=a)+",
    "(?R)",
    "a{1000}",
    "10.0.0.0/8",
    "init_dir",
    "filter_func",
];

fn run(input: &[u8]) -> u64 {
    let mut world = World::new();
    let mut seen = DefaultHasher::new();
    let keys = match serde_json::from_slice(input) {
        Ok(Value::Object(map)) => {
            for (key, value) in &map {
                world.put(key, value.to_string().as_bytes());
                ask(key, value);
            }
            map.keys().cloned().collect()
        }
        _ => raw(&mut world, input),
    };
    world.see(&mut seen);
    // Taken away one by one, from the first on, nothing may be left behind.
    for key in keys {
        world.apply(vec![Change::Delete {
            key: format!("/apisix/{key}"),
        }]);
    }
    assert!(world.resources.is_empty(), "{:?}", world.resources);
    assert_eq!(world.catalog.problems().len(), 0);
    assert_eq!(world.catalog.warnings().count(), 0);
    assert!(world.catalog.counts().is_empty());
    seen.finish()
}

fn raw(world: &mut World, input: &[u8]) -> Vec<String> {
    let keys: Vec<String> = Kind::ALL
        .iter()
        .map(|kind| format!("{}/1", kind.directory()))
        .chain([
            "consumers/1/credentials/1".to_owned(),
            "secrets/vault/1".to_owned(),
        ])
        .collect();
    for key in &keys {
        world.put(key, input);
    }
    keys
}

/// What the Admin API asks before it stores.
fn ask(key: &str, value: &Value) {
    for kind in Kind::ALL {
        if key.starts_with(kind.directory()) {
            let _ = check(&Item::new(kind, "1"), value);
            let _ = references(kind, value);
        }
    }
}

/// A catalog, and which resources it has told of.
struct World {
    catalog: Catalog,
    resources: BTreeSet<ResourceId>,
    revision: u64,
}

impl World {
    fn new() -> Self {
        let prefix = Prefix::new("/apisix").expect("it is a good prefix");
        Self {
            catalog: Catalog::new(prefix),
            resources: BTreeSet::new(),
            revision: 0,
        }
    }

    fn put(&mut self, key: &str, value: &[u8]) {
        let revision = Revision(self.revision + 1);
        self.apply(vec![Change::Put(KeyValue {
            key: format!("/apisix/{key}"),
            value: Bytes::copy_from_slice(value),
            create_revision: revision,
            mod_revision: revision,
            lease: None,
        })]);
    }

    fn apply(&mut self, changes: Vec<Change>) {
        self.revision += 1;
        let changes = self.catalog.apply(&Batch {
            revision: Revision(self.revision),
            changes,
        });
        for id in &changes.removals {
            assert!(self.resources.remove(id), "{id} was not there");
        }
        for resource in &changes.upserts {
            let id = resource.id();
            assert!(!changes.removals.contains(id), "{id} is named twice");
            self.resources.insert(id.clone());
        }
        for resource in &changes.upserts {
            for target in resource.refers() {
                assert!(
                    self.resources.contains(target),
                    "{} -> {target}",
                    resource.id()
                );
            }
        }
    }

    /// The outcome: which resources there are, and what was said, but for names and numbers.
    fn see(&self, seen: &mut DefaultHasher) {
        for id in &self.resources {
            id.type_url.short().hash(seen);
        }
        for told in self.catalog.problems().chain(self.catalog.warnings()) {
            let reason = told.reason.split('"').next().unwrap_or_default();
            let words: String = reason.chars().filter(|c| !c.is_ascii_digit()).collect();
            words.hash(seen);
        }
    }
}
