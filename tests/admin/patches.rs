//! Owns PATCH: merges, parts, and that the result is checked as a whole. Must not know: races.

use serde_json::{Value, json};

use super::api::Api;

async fn with_route(api: &Api) {
    let route = json!({
        "uri": "/a", "labels": {"a": "1", "b": "2"},
        "upstream": {"type": "roundrobin", "nodes": {"127.0.0.1:80": 1, "127.0.0.1:81": 1}},
    });
    api.call("PUT", "routes/1", route).await.is(201);
}

#[tokio::test]
async fn a_merge_keeps_what_it_does_not_name() {
    let api = Api::start().await;
    with_route(&api).await;
    let before = api.get("routes/1").await.body["value"].clone();
    let change = json!({
        "labels": {"a": null, "c": "3"}, "upstream": {"nodes": {"127.0.0.1:81": null}}, "methods": ["GET"],
    });
    let reply = api.call("PATCH", "routes/1", change).await.is(200);
    let value = &reply.body["value"];
    assert_eq!(value["labels"], json!({"b": "2", "c": "3"}));
    assert_eq!(value["upstream"]["nodes"], json!({"127.0.0.1:80": 1}));
    assert_eq!(value["uri"], "/a");
    assert_eq!(value["create_time"], before["create_time"]);
    assert_eq!(api.get("routes/1").await.body["value"], *value);
}

#[tokio::test]
async fn a_part_is_replaced() {
    let api = Api::start().await;
    with_route(&api).await;
    let nodes = json!({"127.0.0.1:90": 5});
    let reply = api
        .call("PATCH", "routes/1/upstream/nodes", nodes.clone())
        .await
        .is(200);
    assert_eq!(reply.body["value"]["upstream"]["nodes"], nodes);
    let reply = api
        .call("PATCH", "routes/1/methods", json!(["GET"]))
        .await
        .is(200);
    assert_eq!(reply.body["value"]["methods"], json!(["GET"]));
    let reply = api
        .call("PATCH", "routes/1/uri/x", json!("y"))
        .await
        .is(400);
    assert_eq!(reply.error(), "invalid sub-path: /uri is not an object");
    let reply = api.call("PATCH", "routes/1/uri", Value::Null).await.is(400);
    assert!(
        reply.error().starts_with("invalid request body"),
        "{}",
        reply.text
    );
}

#[tokio::test]
async fn the_result_is_checked_as_a_whole() {
    let api = Api::start().await;
    with_route(&api).await;
    let before = api.get("routes/1").await;
    for (path, change, reason) in [
        (
            "routes/1",
            json!({"uri": null}),
            "invalid configuration: one of \"uri\", \"uris\" is required",
        ),
        (
            "routes/1",
            json!({"foo": 1}),
            "invalid configuration: additional properties forbidden, found foo",
        ),
        (
            "routes/1/priority",
            json!("x"),
            "invalid configuration: property \"priority\" validation failed: wrong type: expected integer, got string",
        ),
        ("routes/1", json!({"id": "2"}), "wrong route id"),
        (
            "routes/1",
            json!({"create_time": 1}),
            "the property is forbidden: create_time",
        ),
        (
            "routes/1",
            json!(5),
            "invalid configuration: the body must be a JSON object",
        ),
        (
            "routes/1",
            json!({"upstream_id": "9"}),
            "failed to fetch upstream info by upstream id [9], response code: 404",
        ),
    ] {
        let reply = api.call("PATCH", path, change).await.is(400);
        assert_eq!(reply.error(), reason);
    }
    assert_eq!(api.get("routes/1").await.text, before.text);
    api.write_key("/apisix/routes/2", "not json").await;
    let reply = api
        .call("PATCH", "routes/2", json!({"uri": "/"}))
        .await
        .is(400);
    assert!(
        reply.error().contains("replace it by a PUT"),
        "{}",
        reply.text
    );
}
