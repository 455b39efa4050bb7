//! Owns the properties that hold for any history of a store, good and bad. Must not know: what the
//! right resource of a value is; that is told by the golden tests.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::catalog::parse::Shape;

/// Routes with references that hit and miss, and one that is bad.
fn routes() -> Vec<Value> {
    let (tls, split) = (tls(), split());
    vec![
        json!({"uri": "/1", "upstream": upstream("a:1")}),
        json!({"uri": "/1", "upstream": tls}),
        json!({"uri": "/2", "upstream_id": 1}),
        json!({"uri": "/3", "service_id": 1, "plugins": {"a": {}}}),
        json!({"uri": "/3", "service_id": 2, "plugin_config_id": 1, "host": "b"}),
        json!({"uri": "/4", "service_id": 1, "upstream_id": 2, "plugins": split}),
        json!({"uri": "/5", "upstream_id": 1, "status": 0}),
        json!({"uri": "/6", "service_id": 1, "upstream": {"scheme": "udp", "nodes": {}}}),
        json!({"uri": "/7", "filter_func": "function(vars) end", "upstream_id": 2}),
        json!({"uri": "bad", "upstream_id": 2}),
    ]
}

fn tls() -> Value {
    json!({"scheme": "https", "nodes": {"a": 1}, "tls": {"client_cert_id": 1}})
}

fn split() -> Value {
    json!({"traffic-split": {"rules": [{"weighted_upstreams": [{"upstream_id": 2}]}]}})
}

/// Keys, and values that may be written there. Ids are few, so that references hit and miss.
fn pool() -> Vec<(&'static str, Vec<String>)> {
    let (tls, split) = (tls(), split());
    let services = vec![
        json!({"upstream_id": 1, "hosts": ["a"]}),
        json!({"upstream": upstream("s:1"), "plugins": {"a": {"s": 1}}}),
        json!({"upstream": tls, "plugins": split}),
        json!({"script": "x"}),
        json!({"hosts": []}),
    ];
    let upstreams = vec![
        upstream("u:1"),
        upstream("u:2"),
        tls.clone(),
        json!({"scheme": "kafka", "nodes": {}}),
        json!({"discovery_type": "dns", "service_name": "x"}),
        json!({"nodes": {"a:0": 1}}),
    ];
    let ssl = |usage, status| json!({"type": usage, "sni": "a", "cert": CERTIFICATE, "key": PRIVATE_KEY, "status": status});
    let ssls = vec![
        ssl("client", 1),
        ssl("server", 1),
        ssl("client", 0),
        json!({"sni": "a"}),
    ];
    let plugins = vec![
        json!({"plugins": {"p": {"n": 1}, "a": {"_meta": {"disable": true}}}}),
        json!({"plugins": split}),
        json!({}),
    ];
    let consumers = vec![
        json!({"username": "j", "group_id": 1}),
        json!({"username": "j", "plugins": {"a": {}}}),
        json!({"username": "x"}),
    ];
    let credentials = vec![
        json!({"plugins": {"key-auth": {"key": "k"}}}),
        json!({"plugins": {}}),
    ];
    let text = |values: Vec<Value>| -> Vec<String> {
        let broken = [
            "{",
            "",
            "init_dir",
            "null",
            "[]",
            r#"{"uri":"/","plugins":{},"vars":[1]}"#,
        ];
        let values = values.iter().map(Value::to_string);
        values
            .chain(broken.into_iter().map(str::to_owned))
            .collect()
    };
    vec![
        ("routes/1", text(routes())),
        ("routes/2", text(routes())),
        ("routes/3", text(routes())),
        ("services/1", text(services.clone())),
        ("services/2", text(services)),
        ("upstreams/1", text(upstreams.clone())),
        ("upstreams/2", text(upstreams)),
        ("ssls/1", text(ssls.clone())),
        ("ssl/1", text(ssls)),
        ("plugin_configs/1", text(plugins.clone())),
        ("consumer_groups/1", text(plugins.clone())),
        ("global_rules/1", text(plugins)),
        ("consumers/j", text(consumers)),
        ("consumers/j/credentials/1", text(credentials)),
        ("plugin_metadata/x", text(vec![json!({"a": 1})])),
    ]
}

/// One step: which key, which value of it (none: delete), and whether the batch ends here.
type Step = (prop::sample::Index, Option<prop::sample::Index>, bool);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = prop::option::weighted(0.8, any::<prop::sample::Index>());
    vec(
        (
            any::<prop::sample::Index>(),
            value,
            prop::bool::weighted(0.6),
        ),
        0..60,
    )
}

/// What a key has in force by the rule of the last good value.
#[derive(Default)]
struct Model(BTreeMap<String, (KeyValue, bool)>);

impl Model {
    fn take(&mut self, change: &Change) {
        match change {
            Change::Put(entry) if entry.value == INIT_DIR => drop(self.0.remove(&entry.key)),
            Change::Delete { key } => drop(self.0.remove(key)),
            Change::Put(entry) => {
                let good = is_good(entry);
                let kept = self
                    .0
                    .get(&entry.key)
                    .is_some_and(|(_, was_good)| *was_good);
                if good || !kept {
                    self.0.insert(entry.key.clone(), (entry.clone(), good));
                }
            }
        }
    }

    /// A catalog that has only ever seen what is in force.
    fn fresh(&self) -> World {
        let mut world = World::new();
        let entries = self.0.values().map(|(entry, _)| Change::Put(entry.clone()));
        world.apply(entries.collect());
        world
    }
}

fn is_good(entry: &KeyValue) -> bool {
    let shape = match Prefix::new("/apisix").unwrap().parse(&entry.key) {
        Some(Key::Item(item)) => parse::bytes(Shape::Item(item.kind, &item.id), &entry.value),
        Some(Key::Credential { .. }) => parse::bytes(Shape::Credential, &entry.value),
        other => panic!("{other:?} is not in the pool"),
    };
    shape.is_ok()
}

fn served(world: &World) -> BTreeMap<ResourceId, String> {
    let one =
        |(id, resource): (&ResourceId, &Resource)| (id.clone(), resource.version().to_string());
    world.resources.iter().map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// However it came about, what is served follows from what is in force.
    #[test]
    fn step_by_step_is_the_same_as_from_scratch(steps in steps()) {
        let pool = pool();
        let mut world = World::new();
        let mut model = Model::default();
        let mut batch = Vec::new();
        for (key, value, ends) in steps {
            let (key, values) = &pool[key.index(pool.len())];
            let change = match value {
                Some(value) => world.written(key, value.get(values).as_bytes()),
                None => world.deleted(key),
            };
            model.take(&change);
            batch.push(change);
            if ends {
                world.apply(std::mem::take(&mut batch));
            }
        }
        world.apply(batch);
        let fresh = model.fresh();
        prop_assert_eq!(served(&world), served(&fresh));
        prop_assert_eq!(world.warnings(), fresh.warnings());
        prop_assert_eq!(world.catalog.counts(), fresh.catalog.counts());
        // One batch or many, a restart that finds no bad key serves the same.
        if world.catalog.problems().len() == 0 {
            prop_assert_eq!(served(&world), served(&world.restarted()));
        }
    }

    /// Nothing in a store can make the catalog panic or break its promises.
    #[test]
    fn bytes_of_any_kind_are_survived(entries in vec(("[a-z_0-9/]{0,24}", vec(any::<u8>(), 0..64)), 0..20)) {
        let mut world = World::new();
        for (key, value) in entries {
            world.put_bytes(&key, &value);
        }
    }
}

#[test]
fn deep_and_huge_values_are_survived() {
    let mut world = World::new();
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let mut nested = json!(1);
    for _ in 0..100 {
        nested = json!({"a": nested});
    }
    let nodes: Vec<Value> = (0..20_000)
        .map(|n| json!({"host": format!("h{n}"), "weight": 1}))
        .collect();
    let values = [
        deep.clone(),
        format!(r#"{{"uri":"/","plugins":{{}},"vars":{deep}}}"#),
        json!({"uri": "/", "plugins": {"a": nested}}).to_string(),
        json!({"uri": "/", "upstream": {"nodes": nodes}}).to_string(),
        json!({"uri": "/", "plugins": {"x".repeat(100_000): {}}}).to_string(),
        json!({"uri": "/", "plugins": {}, "host": "é".repeat(50_000)}).to_string(),
        r#"{"uri":"/","uri":"/b","plugins":{},"priority":-0,"priority":1E400}"#.to_owned(),
        r#"{"uri":"/\ud800","plugins":{}}"#.to_owned(),
        " ".repeat(3 << 20),
    ];
    let good: Vec<bool> = values
        .iter()
        .map(|value| {
            world.put_bytes("routes/1", value.as_bytes());
            let good = world.catalog.problems().len() == 0;
            world.delete("routes/1");
            good
        })
        .collect();
    assert_eq!(
        good,
        [false, false, true, true, false, false, false, false, false]
    );
}
