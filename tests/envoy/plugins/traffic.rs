//! Owns where requests go, and what runs for all of them. Must not know: Envoy's filters.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{configure, envoy, route, to_a};
use crate::envoy::rig::Both;
use crate::harness::programs::eventually;

async fn names(both: &Both, target: &str, count: usize) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for _ in 0..count {
        let answer = both.get(target, &[]).await;
        let name = answer.json()["name"].as_str().unwrap().to_owned();
        *names.entry(name).or_default() += 1;
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_is_split() {
    let to = |upstreams| json!({"traffic-split": {"rules": [{"weighted_upstreams": upstreams}]}});
    let mut both = envoy(&[
        ("routes/1", to_a("/b", to(json!([{"upstream_id": "b", "weight": 1}, {"weight": 0}])))),
        ("routes/2", to_a("/third", to(json!([{"upstream_id": "b", "weight": 1}, {"weight": 1}, {"upstream_id": "c"}])))),
        ("routes/3", to_a("/match", json!({"traffic-split": {"rules": [
            {"match": [{"vars": [["arg_v", "==", "2"], ["http_x_beta", "~~", "^(on|yes)$"]]}, {"vars": [["arg_v", "in", ["3"]]]}],
             "weighted_upstreams": [{"upstream_id": "b"}]},
            {"match": [{"vars": [["arg_v", "==", "4"]]}], "weighted_upstreams": [{"upstream_id": "c"}]},
        ]}}))),
        ("routes/4", to_a("/inline", to(json!([{"upstream": {"nodes": {"127.0.0.1:1": 1}}}])))),
        ("routes/5", to_a("/missing", to(json!([{"upstream_id": "later"}])))),
    ])
    .await;
    assert_eq!(
        names(&both, "/b", 20).await,
        BTreeMap::from([("b".to_owned(), 20)])
    );
    let thirds = names(&both, "/third", 300).await;
    let counts: Vec<usize> = ["a", "b", "c"].map(|name| thirds[name]).to_vec();
    // 100 each; 40 is more than seven deviations away.
    assert!(counts.iter().all(|count| *count > 40), "{thirds:?}");
    for (target, headers, name) in [
        ("/match", &[][..], "a"),
        ("/match?v=2", &[], "a"),
        ("/match?v=2", &[("x-beta", "on")], "b"),
        ("/match?v=2", &[("x-beta", "only")], "a"),
        ("/match?v=3", &[], "b"),
        ("/match?v=4", &[], "c"),
    ] {
        let answer = both.get(target, headers).await;
        assert_eq!(answer.json()["name"], name, "{target} {headers:?}");
    }
    assert_eq!(both.get("/inline", &[]).await.status, 503);
    assert_eq!(both.get("/missing", &[]).await.status, 503);
    let told = both.unsupported();
    assert!(
        told.iter()
            .any(|line| line.contains("routes/4") && line.contains("upstream")),
        "{told:?}"
    );
    assert!(
        told.iter().any(|line| line.contains("upstreams/later")),
        "{told:?}"
    );

    // An upstream with another host is its own way.
    configure(
        &mut both,
        &[(
            "routes/1",
            to_a(
                "/*",
                json!({
                    "traffic-split": {"rules": [{"weighted_upstreams": [{"upstream_id": "d"}]}]},
                    "proxy-rewrite": {"uri": "/new", "host": "inner.test"},
                }),
            ),
        )],
    )
    .await;
    both.said_all();
    let told = both.get("/old", &[]).await.json();
    assert_eq!(
        (&told["name"], &told["target"], &told["host"]),
        (&json!("d"), &json!("/new"), &json!("inner.test"))
    );
}

/// Without waiting for the mark, which the global rule hides.
fn send(both: &mut Both, config: &[(&str, Value)]) {
    let config: Vec<_> = config
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    both.send(&config);
}

/// Waits until a request for `/a` is answered with this.
async fn until(both: &Both, status: u16) {
    eventually("the global rule to be in force", || async {
        (both.get("/a", &[]).await.status == status).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn global_rules_run_for_every_request() {
    let mut both = envoy(&[
        (
            "global_rules/1",
            json!({"plugins": {
                "response-rewrite": {"headers": {"set": {"x-global": "1"}}},
                "ip-restriction": {"blacklist": ["10.0.0.0/8"]},
            }}),
        ),
        (
            "routes/1",
            to_a(
                "/a",
                json!({"response-rewrite": {"headers": {"add": {"x-global": "2"}}}}),
            ),
        ),
    ])
    .await;
    both.said_all();
    assert_eq!(both.get("/a", &[]).await.all("x-global"), ["1", "2"]);
    let nowhere = both.get("/nowhere", &[]).await;
    assert_eq!((nowhere.status, nowhere.all("x-global")), (404, vec!["1"]));

    send(
        &mut both,
        &[
            (
                "global_rules/1",
                json!({"plugins": {"redirect": {"http_to_https": true}}}),
            ),
            ("routes/1", to_a("/a", json!({"key-auth": {}}))),
        ],
    );
    // The redirect comes before the route asks who it is.
    until(&both, 301).await;
    assert_eq!(both.say("POST", "/nowhere", &[]).await.status, 308);

    send(
        &mut both,
        &[
            ("global_rules/1", json!({"plugins": {"key-auth": {}}})),
            (
                "consumers/jack",
                json!({"username": "jack", "plugins": {"key-auth": {"key": "k"}}}),
            ),
            ("routes/1", to_a("/a", json!({}))),
        ],
    );
    until(&both, 401).await;
    both.said_all();
    assert_eq!(both.get("/nowhere", &[]).await.status, 401);
    assert_eq!(
        both.get("/a", &[("apikey", "k")])
            .await
            .seen("x-consumer-username"),
        ["jack"]
    );
}

/// Whatever runs before an answer is not undone by it, and whatever runs after it does not run.
#[tokio::test(flavor = "multi_thread")]
async fn priorities_can_be_changed() {
    let both = route(json!({
        "fault-injection": {"abort": {"http_status": 500}, "_meta": {"priority": 1}},
        "key-auth": {},
    }))
    .await;
    both.said_all();
    assert_eq!(both.get("/", &[]).await.status, 401);
}

/// What a plugin changes of a request does not lead it to another route, past that one's plugins.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_stays_on_the_route_that_it_found() {
    let both = envoy(&[
        (
            "routes/1",
            to_a(
                "/*",
                json!({"proxy-rewrite": {"uri": "/secret", "headers": {"set": {"x-inner": "1"}}}}),
            ),
        ),
        (
            "routes/2",
            json!({"uri": "/*", "priority": 1, "vars": [["http_x_inner", "==", "1"]], "upstream_id": "b"}),
        ),
        ("routes/3", to_a("/secret", json!({"key-auth": {}}))),
    ])
    .await;
    both.said_all();
    let told = both.get("/open", &[]).await.json();
    assert_eq!(
        (&told["name"], &told["target"]),
        (&json!("a"), &json!("/secret"))
    );
    assert_eq!(both.get("/secret", &[]).await.status, 401);
}
