//! Owns what happens when many write at once, over both stores. Must not know: the single write.

use std::collections::BTreeSet;
use std::sync::Arc;

use bellwether_server::store::Store;
use bellwether_server::store::etcd::EtcdStore;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::api::{Api, of_member};
use crate::harness::etcd::{Etcd, EtcdOptions};

/// Writers at a time.
const WRITERS: usize = 24;

async fn over_etcd() -> (Etcd, Api) {
    let etcd = Etcd::start(EtcdOptions::default()).await;
    let config = of_member(etcd.endpoint());
    let store: Arc<dyn Store> = Arc::new(EtcdStore::new(config).unwrap());
    (etcd, Api::over(store).await)
}

async fn patches_of_different_fields_all_survive_or_are_told(api: &Api) {
    api.call(
        "PUT",
        "upstreams/1",
        json!({"nodes": {}, "labels": {"x": "y"}}),
    )
    .await
    .is(201);
    let patch = async |n: usize| {
        let change = json!({"labels": {format!("writer-{n}"): "was-here"}});
        let reply = api.call("PATCH", "upstreams/1", change).await;
        (n, reply)
    };
    let replies = join_all((0..WRITERS).map(patch)).await;
    let value = api.get("upstreams/1").await.body["value"].clone();
    for (n, reply) in replies {
        let survived = value["labels"].get(format!("writer-{n}")).is_some();
        match reply.status.as_u16() {
            200 => assert!(survived, "writer {n} was told yes, and is lost"),
            503 => {
                assert_eq!(reply.error(), "value changed before overwritten");
                assert!(!survived, "writer {n} was told no, and is there");
            }
            other => panic!("writer {n}: {other} {}", reply.text),
        }
    }
}

async fn of_a_delete_and_a_reference_one_loses(api: &Api) {
    for round in 0..20 {
        let id = format!("race-{round}");
        let upstream = format!("upstreams/{id}");
        api.call("PUT", &upstream, json!({"nodes": {}}))
            .await
            .is(201);
        let route = json!({"uri": "/", "upstream_id": id});
        let path = format!("routes/{id}");
        let (put, delete) = tokio::join!(
            api.call("PUT", &path, route),
            api.call("DELETE", &upstream, Value::Null)
        );
        let both = (put.status.as_u16(), delete.status.as_u16());
        assert!(matches!(both, (201, 400) | (400, 200)), "{round}: {both:?}");
        let there = api.get(&upstream).await.status.is_success();
        let refers = api.get(&path).await.status.is_success();
        assert_eq!(there, refers, "{round}: a reference dangles");
    }
}

async fn minted_ids_are_all_different(api: &Api) {
    let post = |n: usize| {
        api.call(
            "POST",
            "upstreams",
            json!({"nodes": {}, "desc": n.to_string()}),
        )
    };
    let replies = join_all((0..WRITERS).map(post)).await;
    let ids: BTreeSet<String> = replies
        .into_iter()
        .map(|reply| {
            reply.is(201).body["value"]["id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(ids.len(), WRITERS);
    for id in &ids {
        api.get(&format!("upstreams/{id}")).await.is(200);
    }
}

async fn one_creates_and_one_swaps(api: &Api) {
    let put = |condition: (&'static str, String)| async move {
        let headers = [(condition.0, condition.1.as_str())];
        api.call_if("PUT", "upstreams/only", &headers, json!({"nodes": {}}))
            .await
            .status
            .as_u16()
    };
    let count =
        |statuses: &[u16], wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    let created = join_all((0..WRITERS).map(|_| put(("if-none-match", "*".to_owned())))).await;
    assert_eq!(
        (count(&created, 201), count(&created, 412)),
        (1, WRITERS - 1),
        "{created:?}"
    );
    let etag = api.get("upstreams/only").await.etag().to_owned();
    let swapped = join_all((0..WRITERS).map(|_| put(("if-match", etag.clone())))).await;
    assert_eq!(
        (count(&swapped, 200), count(&swapped, 412)),
        (1, WRITERS - 1),
        "{swapped:?}"
    );
}

async fn a_credential_never_outlives_its_consumer(api: &Api) {
    for round in 0..10 {
        let name = format!("jack{round}");
        api.call("PUT", "consumers", json!({"username": name}))
            .await
            .is(201);
        let (consumer, credential) = (
            format!("consumers/{name}"),
            format!("consumers/{name}/credentials/c"),
        );
        let (put, delete) = tokio::join!(
            api.call(
                "PUT",
                &credential,
                json!({"plugins": {"key-auth": {"key": round.to_string()}}})
            ),
            api.call("DELETE", &consumer, Value::Null)
        );
        delete.is(200);
        assert!(matches!(put.status.as_u16(), 201 | 404), "{}", put.text);
        api.get(&credential).await.is(404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_race_over_the_embedded_store() {
    let api = Api::start().await;
    patches_of_different_fields_all_survive_or_are_told(&api).await;
    of_a_delete_and_a_reference_one_loses(&api).await;
    minted_ids_are_all_different(&api).await;
    one_creates_and_one_swaps(&api).await;
    a_credential_never_outlives_its_consumer(&api).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_race_over_etcd() {
    let (_etcd, api) = over_etcd().await;
    patches_of_different_fields_all_survive_or_are_told(&api).await;
    of_a_delete_and_a_reference_one_loses(&api).await;
    minted_ids_are_all_different(&api).await;
    one_creates_and_one_swaps(&api).await;
    a_credential_never_outlives_its_consumer(&api).await;
}
