//! Owns listings: placeholders and strangers, filters, pages, and very many entries.
//! Must not know: how entries are written.

use bellwether_server::store::{Txn, Write};
use serde_json::json;

use super::api::Api;

#[tokio::test]
async fn a_directory_holds_more_than_entries() {
    let api = Api::start().await;
    for (key, value) in [
        ("/apisix/routes/", "init_dir"),
        ("/apisix/routes/1", r#"{"uri":"/"}"#),
        ("/apisix/routes/2", "not json"),
        ("/apisix/routes_else/3", "{}"),
        ("/apisix/services/1", "{}"),
        ("/apisix/services/1/graphql_cost_decorations/1", "{}"),
        ("/apisix/plugins", "[]"),
    ] {
        api.write_key(key, value).await;
    }
    let routes = api.get("routes").await.is(200);
    assert_eq!(routes.body["total"], 2);
    assert_eq!(routes.body["list"][1]["value"], json!(null));
    api.get("routes/2").await.is(200);
    assert_eq!(api.get("services").await.body["total"], 1);
    let schema = api.get("schema/plugin_config").await.is(200);
    assert_eq!(schema.body["required"], json!(["plugins"]));
    api.get("schema/wizard").await.is(404);
}

#[tokio::test]
async fn pages_and_filters() {
    let api = Api::start().await;
    for n in 0..12 {
        let route = json!({"uri": format!("/u/{n}"), "name": format!("n{n}"), "plugins": {}});
        api.call("PUT", &format!("routes/{}", 99 - n), route)
            .await
            .is(201);
    }
    let page = api.get("routes?page=2&page_size=10").await.is(200);
    assert_eq!(page.body["total"], 12);
    let keys: Vec<&str> = page.body["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["key"].as_str().unwrap())
        .collect();
    assert_eq!(
        keys,
        ["/apisix/routes/89", "/apisix/routes/88"],
        "in order of creation"
    );
    assert_eq!(
        api.get("routes?page=9&page_size=10").await.text,
        r#"{"list":[],"total":12}"#
    );
    assert_eq!(api.get("routes?name=n1&uri=1").await.body["total"], 3);
    api.get("routes?page=1&page_size=5").await.is(400);
    api.get("routes?uri=(").await.is(400);
}

#[tokio::test]
async fn ten_thousand_entries_and_one_among_them() {
    let api = Api::start().await;
    for hundred in 0..100 {
        let writes = (0..100)
            .map(|n| {
                let id = hundred * 100 + n;
                Write::Put {
                    key: format!("/apisix/routes/{id}"),
                    value: format!(r#"{{"uri":"/{id}","upstream_id":"{}"}}"#, id % 1000).into(),
                    lease: None,
                }
            })
            .collect();
        api.store
            .commit(Txn {
                guards: vec![],
                writes,
            })
            .await
            .unwrap();
    }
    assert_eq!(api.get("routes").await.is(200).body["total"], 10_000);
    // A reading by prefix would bring 111 of them.
    assert!(api.get("routes/99").await.is(200).text.len() < 200);
    api.write_key("/apisix/upstreams/999", r#"{"nodes":{}}"#)
        .await;
    let refused = api
        .call("DELETE", "upstreams/999", json!(null))
        .await
        .is(400);
    assert!(refused.error().contains("route [1999]"), "{}", refused.text);
}
