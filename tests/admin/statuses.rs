//! Owns the statuses and bodies of the Admin API, row by row as clients of APISIX expect them.
//! Must not know: races, or what is stored.

use serde_json::{Value, json};

use super::api::{ADMIN, Api, VIEWER};

fn route() -> Value {
    json!({"uri": "/hello", "upstream": {"type": "roundrobin", "nodes": {"127.0.0.1:1980": 1}}})
}

#[tokio::test]
async fn get_put_and_delete_of_one() {
    let api = Api::start().await;
    let created = api.call("PUT", "routes/1", route()).await.is(201);
    assert_eq!(created.body["key"], "/apisix/routes/1");
    assert_eq!(created.body["value"]["uri"], "/hello");
    assert_eq!(created.body["value"]["id"], "1");
    assert_eq!(
        created.body.as_object().unwrap().len(),
        2,
        "no indexes: {}",
        created.text
    );

    let one = api.get("routes/1").await.is(200);
    let names: Vec<&String> = one.body.as_object().unwrap().keys().collect();
    assert_eq!(names, ["key", "value", "createdIndex", "modifiedIndex"]);
    assert_eq!(one.body["value"], created.body["value"]);
    assert_eq!(one.etag(), created.etag());
    assert_eq!(one.etag(), format!("\"{}\"", one.body["modifiedIndex"]));

    let replaced = api.call("PUT", "routes/1", route()).await.is(200);
    assert_eq!(
        replaced.body["value"]["create_time"],
        created.body["value"]["create_time"]
    );
    let newer = api.get("routes/1").await;
    assert_eq!(newer.body["createdIndex"], one.body["createdIndex"]);
    assert!(newer.body["modifiedIndex"].as_u64() > one.body["modifiedIndex"].as_u64());

    let deleted = api.call("DELETE", "routes/1", Value::Null).await.is(200);
    assert_eq!(
        deleted.body,
        json!({"key": "/apisix/routes/1", "deleted": "1"})
    );
}

#[tokio::test]
async fn what_is_not_there_is_a_404() {
    let api = Api::start().await;
    for (method, path, body) in [
        ("GET", "routes/1", Value::Null),
        ("DELETE", "routes/1", Value::Null),
        ("PATCH", "routes/1", json!({"uri": "/"})),
        ("PATCH", "routes/1/uri", json!("/")),
        ("GET", "consumers/jack/credentials", Value::Null),
    ] {
        let reply = api.call(method, path, body).await.is(404);
        assert_eq!(
            reply.body,
            json!({"message": "Key not found"}),
            "{method} {path}"
        );
    }
    let unknown = api.get("wizards").await.is(404);
    assert_eq!(unknown.error(), "Unsupported resource type: wizards");
    let credential = json!({"plugins": {"key-auth": {"key": "k"}}});
    let reply = api
        .call("PUT", "consumers/jack/credentials/c", credential)
        .await
        .is(404);
    assert_eq!(reply.error(), "there is no consumer [jack]");
    api.get("routes/1/uri").await.is(404);
    for path in [
        "/",
        "/v2",
        "/v1/wizards",
        "/fleets/none/apisix/admin/routes",
    ] {
        let reply = api
            .raw("GET", path, &[("x-api-key", ADMIN)], "")
            .await
            .is(404);
        assert!(!reply.error().is_empty(), "{path}");
    }
}

#[tokio::test]
async fn lists() {
    let api = Api::start().await;
    let empty = api.get("routes").await.is(200);
    assert_eq!(empty.text, r#"{"list":[],"total":0}"#);
    for id in ["b", "a"] {
        api.call("PUT", &format!("routes/{id}"), route())
            .await
            .is(201);
    }
    let list = api.get("routes").await.is(200);
    assert_eq!(list.body["total"], 2);
    assert_eq!(list.body["list"][0]["key"], "/apisix/routes/a");
    assert!(
        list.body["list"][0]["createdIndex"].as_u64()
            > list.body["list"][1]["createdIndex"].as_u64()
    );
}

#[tokio::test]
async fn a_post_mints_an_id() {
    let api = Api::start().await;
    let reply = api.call("POST", "routes", route()).await.is(201);
    let id = reply.body["value"]["id"].as_str().unwrap();
    assert!(
        id.len() == 20 && id.bytes().all(|b| b.is_ascii_digit()),
        "{id}"
    );
    assert_eq!(reply.body["key"], format!("/apisix/routes/{id}"));
    api.get(&format!("routes/{id}")).await.is(200);
    for (path, id) in [("routes/1", None), ("routes", Some("1"))] {
        let mut body = route();
        if let Some(id) = id {
            body["id"] = json!(id);
        }
        let reply = api.call("POST", path, body).await.is(400);
        assert_eq!(reply.error(), "wrong route id, do not need it");
    }
}

#[tokio::test]
async fn invalid_configuration_is_a_400_and_changes_nothing() {
    let api = Api::start().await;
    for (path, body, reason) in [
        (
            "routes/1",
            json!({"uri": 1, "plugins": {}}),
            r#"invalid configuration: property "uri" validation failed: wrong type: expected string, got number"#,
        ),
        (
            "routes/1",
            json!([]),
            "invalid configuration: the body must be a JSON object",
        ),
        (
            "routes/1",
            json!({"uri": "/", "plugins": {}, "create_time": 1}),
            "the property is forbidden: create_time",
        ),
        (
            "routes/1",
            json!({"uri": "/", "plugins": {}, "id": "2"}),
            "wrong route id",
        ),
        (
            "routes",
            json!({"uri": "/", "plugins": {}}),
            "missing route id",
        ),
        (
            "routes/a%2Fb",
            json!({"uri": "/", "plugins": {}}),
            "wrong route id",
        ),
        (
            "consumers",
            json!({"plugins": {}}),
            "missing consumer username",
        ),
        (
            "consumers/jill",
            json!({"username": "jack"}),
            "wrong consumer username",
        ),
    ] {
        let reply = api.call("PUT", path, body).await.is(400);
        assert_eq!(reply.error(), reason);
    }
    // An id from the body is part of a key too.
    for (path, body) in [
        ("routes", json!({"uri": "/", "plugins": {}, "id": "a/b"})),
        ("plugin_metadata", json!({"id": "a/b"})),
        ("secrets", json!({"id": "vault/1/2"})),
        ("secrets/keepass/1", json!({"uri": "x"})),
        ("consumers", json!({"username": "jack/credentials/c"})),
    ] {
        let reply = api.call("PUT", path, body).await.is(400);
        assert!(
            reply.error().contains("failed to match pattern"),
            "{}",
            reply.text
        );
    }
    for method in ["DELETE", "PATCH"] {
        let reply = api.call(method, "routes", json!({})).await.is(400);
        assert_eq!(reply.error(), "missing route id");
    }
    assert_eq!(api.store.read("/").await.unwrap().entries.len(), 0);
}

#[tokio::test]
async fn bad_bodies_are_a_400_with_the_place() {
    let api = Api::start().await;
    let headers = [("x-api-key", ADMIN)];
    let put = |body: String| api.raw("PUT", "/apisix/admin/routes/1", &headers, body);
    let reply = put("{\"uri\": }".into()).await.is(400);
    assert_eq!(
        reply.error(),
        "invalid request body: expected value at line 1 column 9"
    );
    assert_eq!(reply.body["req_body"], "{\"uri\": }");
    let reply = put(String::new()).await.is(400);
    assert!(
        reply.error().starts_with("invalid request body: "),
        "{}",
        reply.text
    );
    let reply = put(r#"{"uri":"/a","uri":"/b"}"#.into()).await.is(400);
    assert!(
        reply.error().contains("duplicate key \"uri\""),
        "{}",
        reply.text
    );
    let reply = put("x".repeat(1_572_865)).await.is(400);
    assert_eq!(
        reply.error(),
        "invalid request body: request size 1572865 is greater than the maximum size 1572864 allowed"
    );
    // All of it is sent before the answer is read, which is what many clients do.
    let patient = std::net::TcpStream::connect(api.base.trim_start_matches("http://")).unwrap();
    let answer = tokio::task::spawn_blocking(move || send_then_read(patient, 8 << 20));
    let answer = answer.await.unwrap().expect("the connection holds");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let mut large = route();
    large["plugins"] = json!({"x": {"y": "z".repeat((1 << 20) + 1)}});
    let reply = put(large.to_string()).await.is(400);
    assert!(
        reply.error().contains("the store takes at most 1048576"),
        "{}",
        reply.text
    );
}

#[tokio::test]
async fn dangling_references_are_a_400() {
    let api = Api::start().await;
    for (path, body, reason) in [
        (
            "routes/1",
            json!({"uri": "/", "upstream_id": "x"}),
            "upstream info by upstream id [x]",
        ),
        (
            "routes/1",
            json!({"uri": "/", "upstream_id": 7}),
            "upstream info by upstream id [7]",
        ),
        (
            "routes/1",
            json!({"uri": "/", "service_id": "x"}),
            "service info by service id [x]",
        ),
        (
            "routes/1",
            json!({"uri": "/", "plugins": {}, "plugin_config_id": "x"}),
            "plugin config info by plugin config id [x]",
        ),
        (
            "services/1",
            json!({"upstream_id": "x"}),
            "upstream info by upstream id [x]",
        ),
        (
            "consumers",
            json!({"username": "jack", "group_id": "x"}),
            "consumer group info by consumer group id [x]",
        ),
    ] {
        let reply = api.call("PUT", path, body).await.is(400);
        assert_eq!(
            reply.error(),
            format!("failed to fetch {reason}, response code: 404")
        );
    }
}

#[tokio::test]
async fn what_is_referred_to_is_not_deleted() {
    let api = Api::start().await;
    let upstream = json!({"nodes": {"127.0.0.1:80": 1}});
    for path in ["upstreams/1", "upstreams/2", "upstreams/10"] {
        api.call("PUT", path, upstream.clone()).await.is(201);
    }
    api.call("PUT", "services/s", json!({"upstream_id": "2"}))
        .await
        .is(201);
    api.call("PUT", "consumer_groups/g", json!({"plugins": {}}))
        .await
        .is(201);
    api.call("PUT", "plugin_configs/p", json!({"plugins": {}}))
        .await
        .is(201);
    let split = json!({"rules": [{"weighted_upstreams": [{"upstream_id": "10"}]}]});
    for (path, body) in [
        (
            "routes/1",
            json!({"uri": "/", "upstream_id": 1, "plugin_config_id": "p"}),
        ),
        (
            "routes/2",
            json!({"uri": "/", "service_id": "s", "plugins": {"traffic-split": split}}),
        ),
        ("consumers", json!({"username": "jack", "group_id": "g"})),
    ] {
        api.call("PUT", path, body).await.is(201);
    }
    for (path, reason) in [
        ("upstreams/1", "this upstream, route [1]"),
        ("upstreams/2", "this upstream, service [s]"),
        ("upstreams/10", "this upstream, route [2]"),
        ("services/s", "this service, route [2]"),
        ("consumer_groups/g", "this consumer group, consumer [jack]"),
        ("plugin_configs/p", "this plugin config, route [1]"),
    ] {
        for query in ["", "?force=false", "?force=1"] {
            let reply = api
                .call("DELETE", &format!("{path}{query}"), Value::Null)
                .await
                .is(400);
            assert_eq!(
                reply.error(),
                format!("can not delete {reason} is still using it now")
            );
        }
    }
    api.call("DELETE", "upstreams/1?force=true", Value::Null)
        .await
        .is(200);
    api.call("DELETE", "routes/2", Value::Null).await.is(200);
    api.call("DELETE", "services/s", Value::Null).await.is(200);
    api.call("DELETE", "upstreams/10", Value::Null)
        .await
        .is(200);
    let marks = api.store.read("/bellwether/").await.unwrap().entries;
    let keys: Vec<&str> = marks
        .iter()
        .map(|mark| mark.key.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(keys, ["g", "p", "2"], "marks go with what they mark");
}

#[tokio::test]
async fn verbs_that_a_kind_does_not_take_are_a_405() {
    let api = Api::start().await;
    for (method, path, kind) in [
        ("POST", "consumers", "consumer"),
        ("PATCH", "consumers/jack", "consumer"),
        ("POST", "plugin_configs", "plugin config"),
        ("PATCH", "protos/1", "proto"),
        ("POST", "consumers/jack/credentials", "credential"),
        ("TRACE", "routes", "route"),
    ] {
        let reply = api.call(method, path, json!({})).await.is(405);
        assert_eq!(
            reply.error(),
            format!("not supported `{method}` method for {kind}")
        );
    }
    let reply = api
        .raw("POST", "/v1/nodes", &[("x-api-key", ADMIN)], "")
        .await
        .is(405);
    assert_eq!(reply.error(), "not supported `POST` method for /v1/nodes");
}

#[tokio::test]
async fn a_key_is_needed() {
    let api = Api::start().await;
    let check = async |method: &str, path: &str, headers: &[(&str, &str)], why: &str| {
        let reply = api.raw(method, path, headers, "").await.is(401);
        let body = json!({"error_msg": "failed to check token", "description": why});
        assert_eq!(reply.body, body, "{method} {path}");
    };
    for path in [
        "/apisix/admin/routes",
        "/v1/nodes",
        "/v1/status",
        "/v1/fleets",
        "/nowhere",
    ] {
        check("GET", path, &[], "missing apikey").await;
        check("GET", path, &[("x-api-key", "guess")], "wrong apikey").await;
    }
    let viewer = [("x-api-key", VIEWER)];
    for method in ["PUT", "POST", "PATCH", "DELETE"] {
        check(
            method,
            "/apisix/admin/routes/1",
            &viewer,
            "invalid method for role viewer",
        )
        .await;
    }
    api.raw("GET", "/apisix/admin/routes", &viewer, "")
        .await
        .is(200);
    api.raw("HEAD", "/apisix/admin/routes", &viewer, "")
        .await
        .is(200);
    api.raw(
        "GET",
        &format!("/apisix/admin/routes?api_key={ADMIN}"),
        &[],
        "",
    )
    .await
    .is(200);
    let cookie = format!("a=b; x_api_key={ADMIN}");
    api.raw("GET", "/apisix/admin/routes", &[("cookie", &cookie)], "")
        .await
        .is(200);
}

#[tokio::test]
async fn every_answer_is_dressed() {
    let api = Api::start().await;
    for (method, path, key, status) in [
        ("GET", "/apisix/admin/routes", ADMIN, 200),
        ("GET", "/apisix/admin/routes/1", ADMIN, 404),
        ("GET", "/apisix/admin/routes", "guess", 401),
        ("HEAD", "/apisix/admin", ADMIN, 200),
        ("OPTIONS", "/apisix/admin/routes", "", 200),
    ] {
        let reply = api
            .raw(method, path, &[("x-api-key", key)], "")
            .await
            .is(status);
        assert_eq!(reply.headers["x-api-version"], "v3", "{method} {path}");
        assert_eq!(reply.headers["server"], "APISIX/3.13.0");
        assert_eq!(reply.headers["access-control-allow-origin"], "*");
        if method == "GET" {
            assert_eq!(reply.headers["content-type"], "application/json");
        } else {
            assert_eq!(reply.text, "", "{method} {path}");
        }
    }
}

/// Writes a PUT with a body of this size, and only then looks for an answer.
fn send_then_read(mut connection: std::net::TcpStream, size: usize) -> std::io::Result<String> {
    use std::io::{Read as _, Write as _};
    let head = format!(
        "PUT /apisix/admin/routes/1 HTTP/1.1\r\nhost: a\r\nx-api-key: {ADMIN}\r\n\
         connection: close\r\ncontent-length: {size}\r\n\r\n"
    );
    connection.write_all(head.as_bytes())?;
    connection.write_all(&vec![b'x'; size])?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}
