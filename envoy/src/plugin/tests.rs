//! What plugins become, as tables. That Envoy does with it what it should is shown by the integration
//! tests.

use serde_json::{Value, json};

use super::*;
use crate::wire::http_filter::filter_chain::v3::FilterChainConfigPerRoute;
use crate::wire::http_filter::local_ratelimit::v3::LocalRateLimit;

fn plugin(name: &str, config: &Value) -> native::Plugin {
    native::Plugin {
        name: name.to_owned(),
        config: config.to_string(),
    }
}

fn consumer(name: &str, plugins: Value) -> native::Consumer {
    let Value::Object(plugins) = plugins else {
        panic!("plugins are an object");
    };
    native::Consumer {
        username: name.to_owned(),
        plugins: plugins
            .iter()
            .map(|(name, config)| plugin(name, config))
            .collect(),
        ..native::Consumer::default()
    }
}

fn apply_with(
    plugins: &Value,
    rules: &Value,
    consumers: &[native::Consumer],
) -> Result<Applied, Unsupported> {
    let list = |plugins: &Value| {
        let plugins = plugins.as_object().unwrap().iter();
        plugins
            .map(|(name, config)| plugin(name, config))
            .collect::<Vec<_>>()
    };
    let rule = native::GlobalRule {
        plugins: list(rules),
    };
    let context = Context {
        name: "routes/1",
        global_rules: &BTreeMap::from([(Name::from("global_rules/1"), rule)]),
        consumers: &Consumers::new(consumers),
        has_cluster: &|name| name == "upstreams/b",
    };
    apply(&list(plugins), &context)
}

fn applied(plugins: Value) -> Result<Applied, Unsupported> {
    apply_with(&plugins, &json!({}), &[])
}

/// The names of a branch's filters, in the order of requests.
fn filters(branch: &Branch) -> Vec<String> {
    let Some(config) = branch.filter_config.get(FILTER) else {
        return Vec::new();
    };
    let chain: FilterChainConfigPerRoute = config.unpack().unwrap();
    let filters = chain.filter_chain.unwrap().filters.into_iter();
    filters.map(|filter| filter.name).collect()
}

/// A plugin, its options, and a part of why they can't be expressed.
const INEXACT: &[(&str, &str, &str)] = &[
    ("openid-connect", r#"{}"#, "not known"),
    ("cors", r#"[]"#, "not an object"),
    ("cors", r#"{"max_agee": 1}"#, "option max_agee is not known"),
    (
        "cors",
        r#"{"max_age": "x"}"#,
        "option max_age is not a whole number",
    ),
    ("cors", r#"{"allow_credential": true}"#, "allow_credential"),
    (
        "cors",
        r#"{"allow_origins_by_regex": ["a(?=b)"]}"#,
        "allow_origins_by_regex",
    ),
    (
        "cors",
        r#"{"_meta": {"filter": [["uri", "==", "/"]]}}"#,
        "_meta.filter",
    ),
    (
        "cors",
        r#"{"_meta": {"error_response": "x"}}"#,
        "_meta.error_response",
    ),
    (
        "cors",
        r#"{"_meta": {"pre_function": "return"}}"#,
        "_meta.pre_function",
    ),
    ("cors", r#"{"_meta": {"else": 1}}"#, "_meta.else"),
    ("request-id", r#"{"algorithm": "nanoid"}"#, "algorithm"),
    ("request-id", r#"{"header_name": ":path"}"#, ":path"),
    ("fault-injection", r#"{}"#, "neither"),
    (
        "fault-injection",
        r#"{"abort": {"http_status": 100}}"#,
        "abort.http_status",
    ),
    (
        "fault-injection",
        r#"{"abort": {"http_status": 500, "body": "$uri"}}"#,
        "abort.body",
    ),
    (
        "fault-injection",
        r#"{"delay": {"duration": -1}}"#,
        "delay.duration",
    ),
    (
        "fault-injection",
        r#"{"delay": {"duration": 1, "percentage": 101}}"#,
        "delay.percentage",
    ),
    ("ip-restriction", r#"{}"#, "exactly one"),
    (
        "ip-restriction",
        r#"{"whitelist": ["1.2.3.4"], "blacklist": ["1.2.3.4"]}"#,
        "exactly one",
    ),
    (
        "ip-restriction",
        r#"{"whitelist": []}"#,
        "whitelist is empty",
    ),
    ("ip-restriction", r#"{"whitelist": ["1.2.3"]}"#, "1.2.3"),
    (
        "ip-restriction",
        r#"{"whitelist": ["1.2.3.4"], "response_code": 404}"#,
        "response_code",
    ),
    (
        "key-auth",
        r#"{"anonymous_consumer": "x"}"#,
        "anonymous_consumer",
    ),
    ("key-auth", r#"{"header": "a b"}"#, "a b"),
    (
        "jwt-auth",
        r#"{"claims_to_verify": ["exp"]}"#,
        "claims_to_verify",
    ),
    ("jwt-auth", r#"{"store_in_ctx": true}"#, "store_in_ctx"),
    ("proxy-rewrite", r#"{"method": "GET"}"#, "method"),
    ("proxy-rewrite", r#"{"uri": "/a?b"}"#, "uri"),
    ("proxy-rewrite", r#"{"uri": "/$arg_a"}"#, "uri"),
    (
        "proxy-rewrite",
        r#"{"regex_uri": ["a", "b", "c", "d"]}"#,
        "regex_uri",
    ),
    (
        "proxy-rewrite",
        r#"{"regex_uri": ["(a)\\1", "/"]}"#,
        "regex_uri",
    ),
    (
        "proxy-rewrite",
        r#"{"regex_uri": ["(a)", "/$2"]}"#,
        "regex_uri",
    ),
    (
        "proxy-rewrite",
        r#"{"headers": {"set": {"host": "x"}}}"#,
        "host",
    ),
    (
        "proxy-rewrite",
        r#"{"headers": {"set": {"a": "$upstream_addr"}}}"#,
        "headers.set: variable $upstream_addr",
    ),
    (
        "proxy-rewrite",
        r#"{"headers": {"set": {}, "drop": ["a"]}}"#,
        "headers.drop",
    ),
    ("response-rewrite", r#"{"status_code": 200}"#, "status_code"),
    ("response-rewrite", r#"{"body": "x"}"#, "body"),
    (
        "response-rewrite",
        r#"{"vars": [["status", "==", 200]]}"#,
        "vars",
    ),
    ("limit-count", r#"{"count": 1}"#, "time_window is missing"),
    (
        "limit-count",
        r#"{"count": "$http_x", "time_window": 1}"#,
        "count",
    ),
    (
        "limit-count",
        r#"{"count": 1, "time_window": 1, "policy": "redis"}"#,
        "policy",
    ),
    (
        "limit-count",
        r#"{"count": 1, "time_window": 1, "group": "g"}"#,
        "group",
    ),
    (
        "limit-count",
        r#"{"count": 1, "time_window": 1, "window_type": "sliding"}"#,
        "window_type",
    ),
    (
        "limit-count",
        r#"{"count": 1, "time_window": 1, "rejected_code": 200}"#,
        "rejected_code",
    ),
    (
        "limit-count",
        r#"{"count": 1, "time_window": 1, "key": "arg_a"}"#,
        "key",
    ),
    (
        "limit-count",
        r#"{"count": 1, "time_window": 1, "key_type": "var_combination", "key": "$http_a$http_b"}"#,
        "several headers",
    ),
    ("limit-req", r#"{"rate": 0, "burst": 0}"#, "rate"),
    ("limit-req", r#"{"rate": 1, "burst": -1}"#, "burst"),
    (
        "traffic-split",
        r#"{"rules": [{"weighted_upstreams": [{"upstream": {}}]}]}"#,
        "upstream",
    ),
    (
        "traffic-split",
        r#"{"rules": [{"weighted_upstreams": [{"upstream_id": "c"}]}]}"#,
        "upstreams/c",
    ),
    (
        "traffic-split",
        r#"{"rules": [{"weighted_upstreams": [{"weight": 0}]}]}"#,
        "weights",
    ),
    (
        "traffic-split",
        r#"{"rules": [{"match": [{"vars": [["OR", ["a", "==", "b"]]]}]}]}"#,
        "match.vars",
    ),
    ("redirect", r#"{"regex_uri": ["a", "b"]}"#, "regex_uri"),
    ("redirect", r#"{"uri": "/a", "ret_code": 200}"#, "ret_code"),
    ("redirect", r#"{"uri": "/a", "http_to_https": true}"#, "uri"),
    ("redirect", r#"{"uri": "/a/$arg_x"}"#, "$arg_x"),
    ("redirect", r#"{"uri": "ftp://a/"}"#, "ftp"),
];

#[test]
fn what_is_not_exact_names_its_option() {
    for (name, config, reason) in INEXACT {
        let config: Value = serde_json::from_str(config).unwrap();
        let error = applied(json!({*name: config})).unwrap_err();
        assert_eq!(error.plugin, *name);
        assert!(error.reason.contains(reason), "{name} {config}: {error}");
    }
}

/// Every option that a policy depends on is read; what only differs in words is told.
#[test]
fn what_differs_harmlessly_is_told() {
    for (name, config, note) in [
        (
            "ip-restriction",
            json!({"whitelist": ["1.2.3.4"], "message": "no"}),
            "message",
        ),
        (
            "limit-count",
            json!({"count": 1, "time_window": 1, "rejected_msg": "no"}),
            "rejected_msg",
        ),
        ("limit-req", json!({"rate": 1, "burst": 2}), "not delayed"),
        ("key-auth", json!({"realm": "x"}), "realm"),
    ] {
        let notes = applied(json!({name: config})).unwrap().notes;
        assert!(
            notes.len() == 1 && notes[0].starts_with(name) && notes[0].contains(note),
            "{notes:?}"
        );
    }
    assert!(
        applied(json!({"limit-req": {"rate": 1, "burst": 2, "nodelay": true}}))
            .unwrap()
            .notes
            .is_empty()
    );
}

#[test]
fn plugins_run_in_apisix_order_and_stop_at_an_answer() {
    let consumers = [consumer("jack", json!({"key-auth": {"key": "k"}}))];
    let all = json!({
        "limit-count": {"count": 1, "time_window": 1}, "key-auth": {}, "request-id": {},
        "proxy-rewrite": {"headers": {"a": "b"}}, "ip-restriction": {"whitelist": ["1.2.3.4"]},
        "fault-injection": {"abort": {"http_status": 500}}, "cors": {}, "limit-req": {"rate": 1, "burst": 0},
        "prometheus": {},
    });
    let made = apply_with(
        &all,
        &json!({"response-rewrite": {"headers": {"a": "b"}}, "limit-req": {"rate": 1, "burst": 0}}),
        &consumers,
    );
    let made = made.unwrap();
    assert_eq!(made.branches.len(), 1);
    assert_eq!(
        filters(&made.branches[0]),
        [
            "responses",
            "global_rules/limits/503",
            "request-id",
            "fault-injection",
            "cors/preflight",
            "key-auth",
            "key-auth/headers",
            "proxy-rewrite",
            "ip-restriction",
            "limits/503/told",
            "limits/503",
        ]
    );
    let mut redirected = all.clone();
    redirected["redirect"] = json!({"http_to_https": true});
    let made = apply_with(&redirected, &json!({}), &consumers).unwrap();
    let [get, other, rest] = made.branches.as_slice() else {
        panic!("{:?}", made.branches);
    };
    let before = [
        "responses",
        "request-id",
        "fault-injection",
        "cors/preflight",
        "key-auth",
        "key-auth/headers",
        "proxy-rewrite",
    ];
    assert_eq!(filters(get), before);
    assert_eq!(filters(other), before);
    assert!(matches!(
        (&get.action, &rest.action),
        (Action::Redirect(_), Action::Keep)
    ));
    assert_eq!(filters(rest).len(), before.len() + 3);

    let mut last = all;
    last["request-id"] = json!({"_meta": {"priority": 1}});
    let made = apply_with(&last, &json!({}), &consumers).unwrap();
    assert_eq!(filters(&made.branches[0])[5], "proxy-rewrite");
    assert_eq!(filters(&made.branches[0])[6], "request-id");
}

#[test]
fn a_route_without_plugins_is_left_alone() {
    assert_eq!(applied(json!({})).unwrap(), Applied::nothing());
    assert_eq!(
        applied(json!({"prometheus": {"prefer_name": true}})).unwrap(),
        Applied::nothing()
    );
}

#[test]
fn a_grpc_client_runs_no_plugin_but_follows_a_split() {
    let context = Context {
        name: "routes/1",
        global_rules: &BTreeMap::new(),
        consumers: &Consumers::default(),
        has_cluster: &|name| name == "upstreams/b",
    };
    let observes = plugin("prometheus", &json!({}));
    let split = plugin(
        "traffic-split",
        &json!({"rules": [{"weighted_upstreams": [{"upstream_id": "b"}, {"weight": 2}]}]}),
    );
    assert_eq!(
        apply_to_grpc(std::slice::from_ref(&observes), &context).unwrap(),
        Applied::nothing()
    );
    let applied = apply_to_grpc(&[observes, split.clone()], &context).unwrap();
    assert!(matches!(&applied.branches[0].action, Action::Split(shares) if shares.len() == 2));
    let cors = plugin("cors", &json!({}));
    let error = apply_to_grpc(&[split.clone(), cors], &context).unwrap_err();
    assert_eq!(error.plugin, "cors");
    // A rule is for every route, and has no share of its own to give.
    let error = rule_in_grpc(&[split]).unwrap_err();
    assert_eq!(error.plugin, "traffic-split");
}

#[test]
fn a_credential_that_can_not_be_used_closes_the_routes_that_need_it() {
    let key = |key: &str| json!({"key-auth": {"key": key}});
    for (name, consumers, reason) in [
        (
            "key-auth",
            vec![("a", key("k")), ("b", key("k"))],
            "consumers a and b have the same",
        ),
        (
            "key-auth",
            vec![("a", key("$secret://vault/1/k"))],
            "kept elsewhere",
        ),
        ("key-auth", vec![("a", key("$ENV://K"))], "kept elsewhere"),
        ("key-auth", vec![("a", key(""))], "empty key"),
        ("key-auth", vec![("a", key("Bearer x"))], "Bearer"),
        (
            "key-auth",
            vec![("a", json!({"key-auth": {"key": "k"}, "cors": {}}))],
            "consumer a has the plugin cors",
        ),
        (
            "basic-auth",
            vec![(
                "a",
                json!({"basic-auth": {"username": "x:y", "password": "p"}}),
            )],
            "username",
        ),
        (
            "basic-auth",
            vec![("a", json!({"basic-auth": {"username": "x"}}))],
            "no password",
        ),
        (
            "jwt-auth",
            vec![("a", json!({"jwt-auth": {"key": "k"}}))],
            "no secret",
        ),
        (
            "jwt-auth",
            vec![(
                "a",
                json!({"jwt-auth": {"key": "k", "secret": "s", "algorithm": "HS1"}}),
            )],
            "algorithm",
        ),
        (
            "jwt-auth",
            vec![(
                "a",
                json!({"jwt-auth": {"key": "k", "secret": "?", "base64_secret": true}}),
            )],
            "base64",
        ),
        (
            "jwt-auth",
            vec![(
                "a",
                json!({"jwt-auth": {"key": "k", "public_key": "x", "algorithm": "RS256"}}),
            )],
            "public key",
        ),
    ] {
        let consumers: Vec<_> = consumers
            .into_iter()
            .map(|(name, plugins)| consumer(name, plugins))
            .collect();
        let error = apply_with(&json!({name: {}}), &json!({}), &consumers).unwrap_err();
        assert!(error.reason.contains(reason), "{name}: {error}");
        assert!(!error.reason.contains("vault"), "{error}");
    }
}

#[test]
fn only_one_plugin_says_who_asks() {
    let both = json!({"key-auth": {}, "jwt-auth": {}});
    assert!(applied(both).unwrap_err().reason.contains("only one"));
    let error = apply_with(&json!({"key-auth": {}}), &json!({"jwt-auth": {}}), &[]).unwrap_err();
    assert!(error.reason.contains("only one"));
}

/// Never more than is asked for.
#[test]
fn buckets_hold_what_the_limit_says() {
    let bucket = |config: Value| {
        let config = applied(config).unwrap().limits.filter_config();
        let limit: LocalRateLimit = config.values().next().unwrap().unpack().unwrap();
        let bucket = limit.descriptors[0].token_bucket.unwrap();
        let interval = bucket.fill_interval.unwrap().seconds;
        (bucket.max_tokens, bucket.tokens_per_fill.unwrap(), interval)
    };
    assert_eq!(
        bucket(json!({"limit-count": {"count": 5, "time_window": 60}})),
        (5, 5, 60)
    );
    assert_eq!(
        bucket(json!({"limit-count": {"count": 5, "time_window": 60, "key_type": "constant"}})),
        (5, 5, 60)
    );
    assert_eq!(
        bucket(json!({"limit-req": {"rate": 10, "burst": 3, "key": "remote_addr"}})),
        (4, 10, 1)
    );
    assert_eq!(
        bucket(json!({"limit-req": {"rate": 0.5, "burst": 0.9}})),
        (1, 500, 1_000)
    );
}
