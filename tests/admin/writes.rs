//! Owns what writes do to the store: times, leases, conditions, both layouts, private keys, fleets.
//! Must not know: races.

use std::time::Duration;

use bellwether_server::store::{Change, Revision};
use serde_json::{Value, json};

use super::api::{ADMIN, Api, certificate};

fn upstream() -> Value {
    json!({"nodes": {"127.0.0.1:80": 1}})
}

#[tokio::test]
async fn a_lease_ends_and_a_later_put_detaches_it() {
    let api = Api::start().await;
    for bad in ["x", "-1", "0", "1.5", "", "99999999999999999999"] {
        let reply = api
            .call("PUT", &format!("upstreams/1?ttl={bad}"), upstream())
            .await
            .is(400);
        assert!(
            reply.error().starts_with("invalid argument ttl"),
            "{}",
            reply.text
        );
    }
    let from = api.store.get("/x").await.unwrap().1.next();
    let mut watch = api.store.watch("/apisix/upstreams/", from).await.unwrap();
    api.call("PUT", "upstreams/short?ttl=1", upstream())
        .await
        .is(201);
    api.call("PUT", "upstreams/kept?ttl=1", upstream())
        .await
        .is(201);
    api.call("PATCH", "upstreams/kept", json!({"desc": "no lease"}))
        .await
        .is(200);
    let mut gone = Vec::new();
    while gone.is_empty() {
        let batch = tokio::time::timeout(Duration::from_secs(60), watch.batches.recv());
        for change in batch.await.unwrap().unwrap().unwrap().changes {
            if let Change::Delete { key } = change {
                gone.push(key);
            }
        }
    }
    assert_eq!(gone, ["/apisix/upstreams/short"]);
    api.get("upstreams/short").await.is(404);
    let (kept, _) = api.store.get("/apisix/upstreams/kept").await.unwrap();
    assert_eq!(kept.unwrap().lease, None);
}

#[tokio::test]
async fn conditions_compare_and_swap() {
    let api = Api::start().await;
    let put = async |condition: (&str, &str)| {
        api.call_if("PUT", "upstreams/1", &[condition], upstream())
            .await
    };
    let reply = put(("if-match", "*")).await.is(412);
    assert_eq!(
        reply.error(),
        "precondition failed: If-Match does not hold, there is none"
    );
    let first = put(("if-none-match", "*")).await.is(201).etag().to_owned();
    put(("if-none-match", "*")).await.is(412);
    let second = put(("if-match", &first)).await.is(200).etag().to_owned();
    assert_ne!(first, second);
    let lost = put(("if-match", &first)).await.is(412);
    let at = second.trim_matches('"');
    assert_eq!(
        lost.error(),
        format!("precondition failed: If-Match does not hold, it is at {at}")
    );

    let desc = json!({"desc": "d"});
    api.call_if(
        "PATCH",
        "upstreams/1",
        &[("if-match", &first)],
        desc.clone(),
    )
    .await
    .is(412);
    let third = api
        .call_if("PATCH", "upstreams/1", &[("if-match", &second)], desc)
        .await
        .is(200);
    let third = third.etag().to_owned();
    api.call_if(
        "DELETE",
        "upstreams/1",
        &[("if-match", &second)],
        Value::Null,
    )
    .await
    .is(412);
    let cached = api
        .call_if(
            "GET",
            "upstreams/1",
            &[("if-none-match", &third)],
            Value::Null,
        )
        .await;
    assert_eq!(cached.is(304).text, "");
    api.call_if(
        "DELETE",
        "upstreams/1",
        &[("if-match", &third)],
        Value::Null,
    )
    .await
    .is(200);
}

#[tokio::test]
async fn both_layouts_are_one() {
    let api = Api::start().await;
    let (cert, key) = certificate();
    let old = json!({"cert": cert, "key": key, "sni": "a.com", "create_time": 7});
    api.write_key("/apisix/ssl/1", &old.to_string()).await;
    api.write_key("/apisix/ssl/", "init_dir").await;
    let found = api.get("ssls/1").await.is(200);
    assert_eq!(found.body["key"], "/apisix/ssl/1");
    assert_eq!(api.get("ssls").await.body["total"], 1);

    let mut new = old.clone();
    new.as_object_mut().unwrap().remove("create_time");
    new["sni"] = json!("b.com");
    let written = api
        .call_if("PUT", "ssls/1", &[("if-match", found.etag())], new)
        .await
        .is(200);
    assert_eq!(written.body["key"], "/apisix/ssls/1");
    assert_eq!(written.body["value"]["create_time"], 7);
    assert_eq!(api.stored("/apisix/ssl/1").await, None);
    assert_eq!(api.stored("/apisix/ssls/1").await.unwrap()["sni"], "b.com");

    // Somebody with an old tool writes the old key again: the new one counts, and both go together.
    api.write_key("/apisix/ssl/1", &old.to_string()).await;
    assert_eq!(api.get("ssls/1").await.body["value"]["sni"], "b.com");
    let list = api.get("ssls").await;
    assert_eq!(list.body["total"], 1);
    assert_eq!(list.body["list"][0]["key"], "/apisix/ssls/1");
    api.call("DELETE", "ssls/1", Value::Null).await.is(200);
    api.get("ssls/1").await.is(404);

    api.write_key("/apisix/proto/p", r#"{"content":"syntax"}"#)
        .await;
    let gone = api.call("DELETE", "protos/p", Value::Null).await.is(200);
    assert_eq!(gone.body["key"], "/apisix/proto/p");
}

#[tokio::test]
async fn private_keys_stay_in() {
    let api = Api::start().await;
    let (cert, secret) = certificate();
    let (second, other) = certificate();
    let ssl = json!({
        "cert": cert, "key": secret, "certs": [second], "keys": [other], "sni": "a.com",
    });
    let mut texts = vec![api.call("PUT", "ssls/1", ssl).await.is(201).text];
    texts.push(api.get("ssls/1").await.is(200).text);
    texts.push(api.get("ssls").await.is(200).text);
    texts.push(
        api.call("PATCH", "ssls/1", json!({"sni": "b.com"}))
            .await
            .is(200)
            .text,
    );
    for text in texts {
        assert!(
            text.contains("BEGIN CERTIFICATE") && !text.contains("PRIVATE"),
            "{text}"
        );
    }
    assert_eq!(api.stored("/apisix/ssls/1").await.unwrap()["key"], secret);
}

#[tokio::test]
async fn consumers_take_their_credentials_with_them() {
    let api = Api::start().await;
    let credential = json!({"plugins": {"key-auth": {"key": "k"}}});
    for name in ["jack", "jackson"] {
        api.call("PUT", "consumers", json!({"username": name}))
            .await
            .is(201);
        let path = format!("consumers/{name}/credentials/c1");
        let reply = api.call("PUT", &path, credential.clone()).await.is(201);
        assert_eq!(
            reply.body["key"],
            format!("/apisix/consumers/{name}/credentials/c1")
        );
    }
    assert_eq!(api.get("consumers").await.body["total"], 2);
    assert_eq!(
        api.get("consumers/jack/credentials").await.is(200).body["total"],
        1
    );
    assert!(
        api.stored("/apisix/consumers/jack")
            .await
            .unwrap()
            .get("id")
            .is_none()
    );
    api.call("DELETE", "consumers/jack", Value::Null)
        .await
        .is(200);
    let left = api.store.read("/apisix/").await.unwrap().entries;
    let keys: Vec<&str> = left.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "/apisix/consumers/jackson",
            "/apisix/consumers/jackson/credentials/c1"
        ]
    );
    api.call("DELETE", "consumers/jackson/credentials/c1", Value::Null)
        .await
        .is(200);
    api.get("consumers/jackson").await.is(200);
}

#[tokio::test]
async fn fleets_are_apart() {
    let api = Api::start().await;
    let headers = [("x-api-key", ADMIN)];
    let shop = "/fleets/shop/apisix/admin/upstreams/1";
    api.raw("PUT", shop, &headers, upstream().to_string())
        .await
        .is(201);
    api.get("upstreams/1").await.is(404);
    let one = api.raw("GET", shop, &headers, "").await.is(200);
    assert_eq!(one.body["key"], "/shop/upstreams/1");
    api.raw(
        "PUT",
        "/fleets/default/apisix/admin/upstreams/2",
        &headers,
        upstream().to_string(),
    )
    .await
    .is(201);
    api.get("upstreams/2").await.is(200);
    let route = json!({"uri": "/", "upstream_id": "1"});
    api.call("PUT", "routes/1", route).await.is(400);
}

#[tokio::test]
async fn a_failed_write_leaves_no_lease_and_no_mark() {
    let api = Api::start().await;
    let before = api.store.get("/x").await.unwrap().1;
    let dangling = json!({"uri": "/", "upstream_id": "none"});
    api.call("PUT", "routes/1?ttl=60", dangling).await.is(400);
    api.call_if(
        "PUT",
        "upstreams/1?ttl=60",
        &[("if-match", "*")],
        upstream(),
    )
    .await
    .is(412);
    assert_eq!(api.store.get("/x").await.unwrap().1, before);
    assert_ne!(before, Revision(0));
}
