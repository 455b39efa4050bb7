//! Owns limits, faults and restrictions. Must not know: Envoy's filters.

use serde_json::json;

use super::{configure, envoy, route, to_a};

/// Long enough that no test sees a bucket fill.
const LONG: u32 = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn so_many_requests_and_no_more() {
    let count = |more: serde_json::Value| {
        let mut options = json!({"count": 2, "time_window": LONG});
        options
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"limit-count": options})
    };
    let mut both = route(count(json!({}))).await;
    both.said_all();
    let first = both.get("/", &[]).await;
    assert_eq!(first.all("x-ratelimit-limit"), ["2"]);
    assert_eq!(first.all("x-ratelimit-remaining"), ["1"]);
    assert_eq!(both.statuses(3, &[]).await, [200, 503, 503]);

    // By a header, and who has none by address.
    let by_header =
        count(json!({"key": "http_x_key", "rejected_code": 429, "show_limit_quota_header": false}));
    configure(&mut both, &[("routes/1", to_a("/*", by_header))]).await;
    both.said_all();
    assert_eq!(both.statuses(3, &[("x-key", "1")]).await, [200, 200, 429]);
    assert_eq!(both.statuses(3, &[("x-key", "2")]).await, [200, 200, 429]);
    assert_eq!(both.statuses(3, &[]).await, [200, 200, 429]);
    assert!(both.get("/", &[]).await.all("x-ratelimit-limit").is_empty());

    // All together; both variables; the address of who names one that there is not.
    let together = count(json!({"key_type": "constant", "key": "all"}));
    let both_of = count(json!({"key_type": "var_combination", "key": "$remote_addr $http_x_key"}));
    configure(
        &mut both,
        &[
            ("routes/1", to_a("/*", together)),
            (
                "routes/2",
                json!({"uri": "/*", "host": "both.test", "upstream_id": "a", "plugins": both_of}),
            ),
        ],
    )
    .await;
    both.said_all();
    assert_eq!(both.get("/", &[("x-key", "1")]).await.status, 200);
    assert_eq!(both.get("/", &[("x-key", "2")]).await.status, 200);
    assert_eq!(both.get("/", &[("x-key", "3")]).await.status, 503);
    let mut statuses = Vec::new();
    for key in ["1", "1", "1", "2"] {
        let mut ask = super::ask("GET", "/", &[("x-key", key)]);
        ask.host = "both.test".to_owned();
        statuses.push(both.ask_envoy(&ask).await.status);
    }
    assert_eq!(statuses, [200, 200, 503, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_has_a_limit_of_its_own() {
    let both = envoy(&[
        ("consumers/jack", json!({"username": "jack", "plugins": {"key-auth": {"key": "j"}}})),
        ("consumers/rose", json!({"username": "rose", "plugins": {"key-auth": {"key": "r"}}})),
        ("routes/1", to_a("/*", json!({
            "key-auth": {}, "limit-count": {"count": 1, "time_window": LONG, "key": "consumer_name"},
        }))),
    ])
    .await;
    both.said_all();
    let spoofed = [("apikey", "j"), ("x-consumer-username", "somebody")];
    assert_eq!(both.statuses(1, &[("apikey", "j")]).await, [200]);
    assert_eq!(both.statuses(2, &spoofed).await, [503, 503]);
    assert_eq!(both.statuses(2, &[("apikey", "r")]).await, [200, 503]);
    // Who is not let in does not count.
    assert_eq!(both.statuses(2, &[]).await, [401, 401]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_passes_and_what_is_above_it_does_not() {
    let both = route(json!({"limit-req": {
        "rate": 0.001, "burst": 2, "key": "remote_addr", "rejected_code": 429, "nodelay": true,
    }}))
    .await;
    both.said_all();
    assert_eq!(both.statuses(5, &[]).await, [200, 200, 200, 429, 429]);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_let_in_or_kept_out() {
    let lists = |list: &str, addresses: &[&str]| json!({"ip-restriction": {list: addresses}});
    let both = envoy(&[
        (
            "routes/1",
            to_a("/1", lists("whitelist", &["127.0.0.77/24", "10.0.0.1"])),
        ),
        (
            "routes/2",
            to_a("/2", lists("whitelist", &["10.0.0.0/8", "::1"])),
        ),
        ("routes/3", to_a("/3", lists("blacklist", &["127.0.0.1"]))),
        (
            "routes/4",
            to_a("/4", lists("blacklist", &["127.0.0.2", "10.0.0.0/8"])),
        ),
        (
            "routes/5",
            to_a(
                "/5",
                json!({"ip-restriction": {"whitelist": ["10.0.0.1"], "message": "no"}}),
            ),
        ),
    ])
    .await;
    let claims = [("x-forwarded-for", "10.0.0.1"), ("x-real-ip", "10.0.0.1")];
    for (target, status) in [
        ("/1", 200),
        ("/2", 403),
        ("/3", 403),
        ("/4", 200),
        ("/5", 403),
    ] {
        assert_eq!(both.get(target, &[]).await.status, status, "{target}");
        assert_eq!(
            both.get(target, &claims).await.status,
            status,
            "{target}: what a client claims"
        );
    }
    let told = both.unsupported();
    assert!(
        told.len() == 1 && told[0].contains("message is not sent"),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_injected() {
    let fault = |options| json!({"fault-injection": options});
    let both = envoy(&[
        ("routes/1", to_a("/1", fault(json!({"abort": {"http_status": 418, "body": "teapot", "headers": {"x-f": "1"}}})))),
        ("routes/2", to_a("/2", fault(json!({"abort": {"http_status": 500, "percentage": 0}})))),
        ("routes/3", to_a("/3", fault(json!({"delay": {"duration": 0.01}})))),
        ("routes/4", to_a("/4", fault(json!({"abort": {"http_status": 500, "vars": [[["arg_a", "==", "1"]]]}})))),
        // Faults come before anybody is asked who it is.
        ("routes/5", to_a("/5", json!({"fault-injection": {"abort": {"http_status": 500}}, "key-auth": {}}))),
    ])
    .await;
    let answer = both.get("/1", &[]).await;
    assert_eq!(
        (answer.status, answer.text(), answer.all("x-f")),
        (418, "teapot", vec!["1"])
    );
    assert_eq!(both.get("/2", &[]).await.status, 200);
    assert_eq!(both.get("/3", &[]).await.status, 200);
    assert_eq!(both.envoy.sum("fault.delays_injected").await, 1);
    assert_eq!(both.get("/4", &[]).await.status, 503);
    assert_eq!(both.get("/5", &[]).await.status, 500);
}

/// A limit is one, over all paths, hosts and ways of its route: a client must not find another counter.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_shared_by_all_ways_to_its_route() {
    let limited = json!({
        "limit-count": {"count": 4, "time_window": LONG, "rejected_code": 429},
        "limit-req": {"rate": 1_000, "burst": 1_000},
        "traffic-split": {"rules": [
            {"match": [{"vars": [["arg_v", "==", "1"]]}], "weighted_upstreams": [{"upstream_id": "b"}, {"weight": 1}]},
        ]},
    });
    let both = envoy(&[
        (
            "routes/1",
            json!({"uris": ["/x", "/y/*"], "upstream_id": "a", "plugins": limited}),
        ),
        (
            "routes/2",
            json!({"uri": "/z", "host": "other.test", "upstream_id": "a",
            "plugins": {"limit-count": {"count": 1, "time_window": LONG}}}),
        ),
    ])
    .await;
    let ask = async |host: &str, target: &str| {
        let mut ask = super::ask("GET", target, &[]);
        ask.host = host.to_owned();
        both.ask_envoy(&ask).await.status
    };
    assert_eq!(ask("shop.test", "/x").await, 200);
    assert_eq!(ask("shop.test", "/y/1").await, 200);
    assert_eq!(ask("other.test", "/x").await, 200);
    assert_eq!(ask("shop.test", "/x?v=1").await, 200);
    for (host, target) in [
        ("shop.test", "/x"),
        ("other.test", "/y/2"),
        ("third.test", "/x?v=1"),
    ] {
        assert_eq!(ask(host, target).await, 429, "{host}{target}");
    }
    assert_eq!(ask("other.test", "/z").await, 200);
    assert_eq!(ask("other.test", "/z").await, 503);
}

/// Where nobody authenticates, what a client says of itself gives it no counter of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_nobody_authenticated_does_not_count() {
    let both = envoy(&[(
        "routes/1",
        to_a(
            "/*",
            json!({
                "limit-count": {"count": 1, "time_window": LONG, "key": "consumer_name"},
                "response-rewrite": {"headers": {"set": {"x-who": "<$consumer_name>"}}},
            }),
        ),
    )])
    .await;
    both.said_all();
    let claims = |name| [("x-consumer-username", name)];
    let answer = both.get("/", &claims("jack")).await;
    assert_eq!((answer.status, answer.all("x-who")), (200, vec!["<>"]));
    assert_eq!(both.statuses(1, &claims("rose")).await, [503]);
    assert_eq!(both.statuses(1, &[]).await, [503]);
}

/// A global limit counts for all routes together, and before it is known who asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_global_limit_counts_for_all_routes() {
    let both = envoy(&[
        (
            "global_rules/1",
            json!({"plugins": {"limit-count": {"count": 3, "time_window": LONG, "key": "http_x_key"}}}),
        ),
        ("routes/1", to_a("/1", json!({}))),
        (
            "routes/2",
            to_a("/2", json!({"limit-count": {"count": 1, "time_window": LONG, "rejected_code": 429}})),
        ),
    ])
    .await;
    both.said_all();
    let key = [("x-key", "k")];
    let mut statuses = Vec::new();
    for target in ["/1", "/2", "/2", "/1", "/2"] {
        statuses.push(both.get(target, &key).await.status);
    }
    assert_eq!(statuses, [200, 200, 429, 503, 503]);
}
