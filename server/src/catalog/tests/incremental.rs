//! Owns the tests of how little a change touches. Must not know: what is in a resource.

use serde_json::json;

use super::*;

#[test]
fn a_changed_node_touches_the_endpoints_and_nothing_else() {
    let mut world = World::with(&[
        ("upstreams/1", upstream("a:1")),
        ("services/1", json!({"upstream_id": 1})),
        ("routes/1", json!({"uri": "/", "service_id": 1})),
        ("routes/2", json!({"uri": "/", "upstream": upstream("a:1")})),
    ]);
    assert_eq!(
        world.put("upstreams/1", &upstream("b:1")),
        ["+Endpoints upstreams/1"]
    );
    let told = world.put(
        "routes/2",
        &json!({"uri": "/", "upstream": upstream("b:1")}),
    );
    assert_eq!(told, ["+Endpoints routes/2"]);
    let mut retried = upstream("b:1");
    retried["retries"] = json!(0);
    assert_eq!(world.put("upstreams/1", &retried), ["+Cluster upstreams/1"]);
}

#[test]
fn a_service_touches_its_routes_and_only_those_that_come_out_different() {
    let mut world = World::with(&[
        ("services/1", json!({"hosts": ["a.com"]})),
        ("routes/1", json!({"uri": "/", "service_id": 1})),
        (
            "routes/2",
            json!({"uri": "/", "service_id": 1, "host": "b.com"}),
        ),
        ("routes/3", json!({"uri": "/", "service_id": 2})),
    ]);
    assert_eq!(
        world.put("services/1", &json!({"hosts": ["c.com"]})),
        ["+Route routes/1"]
    );
}

#[test]
fn a_value_that_comes_out_the_same_changes_nothing() {
    let mut world = World::with(&[(
        "routes/1",
        json!({"uri": "/", "upstream": upstream("a:1"), "update_time": 1}),
    )]);
    let same = json!({"update_time": 2, "uri": "/", "upstream": upstream("a:1"), "unknown": [1]});
    assert!(world.put("routes/1", &same).is_empty());
    let reordered = json!({"uri": "/", "upstream": {"nodes": {"b:1": 1, "a:1": 1}}});
    world.put("routes/1", &reordered);
    let back = json!({"uri": "/", "upstream": {"nodes": {"a:1": 1, "b:1": 1}}});
    assert!(world.put("routes/1", &back).is_empty());
}

#[test]
fn a_thousand_writes_of_one_batch_come_out_once() {
    let mut world = World::new();
    let batch = (0..1000)
        .map(|n| {
            let value = json!({"uri": "/", "priority": n, "upstream": upstream("a:1")});
            world.written("routes/1", value.to_string().as_bytes())
        })
        .collect();
    assert_eq!(world.apply(batch).len(), 3);
    assert_eq!(world.route("1").priority, 999);
}

#[test]
fn nothing_is_left_when_every_key_is_gone() {
    let mut world = World::with(&[
        ("upstreams/1", upstream("a:1")),
        (
            "services/1",
            json!({"upstream_id": 1, "plugins": {"serverless-pre-function": {}}}),
        ),
        ("routes/1", json!({"uri": "/", "service_id": 1})),
        ("routes/2", json!({"uri": "/", "service_id": 9})),
    ]);
    world.put_bytes("routes/2", b"x");
    for key in [
        "upstreams/1",
        "routes/1",
        "services/1",
        "routes/2",
        "routes/2",
    ] {
        world.delete(key);
    }
    let empty = Catalog::new(Prefix::new("/apisix").unwrap());
    assert_eq!(format!("{:?}", world.catalog), format!("{empty:?}"));
    assert!(world.resources.is_empty());
}
