//! Owns random configurations of everything that a store may hold and the catalog takes, however odd.
//! Must not know: what becomes of it.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::envoy::random::Config;

/// Text of any kind, and text that means something to somebody.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z_]{1,8}",
        1 => "\\PC{0,12}",
        1 => select(vec![
            "\\", "%", "%zz", "?", "#", "{", "}", "(", ")", "[", "]", "*", "+", "\n", "\t", "\u{0}", "é", "😀",
            "(?i)", "\\Q", "\\E", "$1", "\\1", "%REQ(:PATH)%", "%%", ":path", ":method", "host", "a\nb",
            "content-length", "transfer-encoding", "__proto__", "..", "//",
        ]).prop_map(String::from),
        1 => "[a-z%/:?*\\[\\]{}()|^$.+-]{0,24}",
    ]
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[*]?[0-9a-zA-Z._-]{1,12}",
        1 => "[*]?[0-9a-zA-Z._\\[\\]:-]{1,12}",
        1 => select(vec!["*", "*.", "**", "[::1]", "[::1]:80", "a.b:80", ".", "..", "*a", "A.b", "a.B.", "*.a.b.", "-"])
            .prop_map(String::from),
    ]
}

fn uri() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::collection::vec(word(), 0..4).prop_map(|words| format!("/{}", words.join("/"))),
        1 => prop::collection::vec(select(vec!["*", ":a", "*b", ":", "a*b", "", "x"]), 0..6)
            .prop_map(|words| format!("/{}", words.join("/"))),
        1 => "[/*][a-z*:/]{0,20}",
        1 => (1_usize..4_000).prop_map(|length| format!("/{}", "é:".repeat(length / 3))),
    ]
}

fn variable() -> impl Strategy<Value = String> {
    let prefix = select(vec![
        "http_",
        "arg_",
        "cookie_",
        "uri_param_",
        "",
        "post_arg_",
        "graphql_",
    ]);
    prop_oneof![
        3 => (prefix, word()).prop_map(|(prefix, word)| format!("{prefix}{word}")),
        1 => select(vec![
            "uri", "host", "request_uri", "remote_addr", "query_string", "scheme", "https", "is_args",
            "request_method", "http_host", "http_x_forwarded_for", "http_content_length", "route_id", "arg_",
            "cookie_", "http_",
        ]).prop_map(String::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => word().prop_map(Value::from),
        1 => any::<f64>().prop_map(|number| json!(number)),
        1 => any::<i64>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => prop::collection::vec(word(), 0..5).prop_map(|words| json!(words)),
        1 => (1_usize..3_000).prop_map(|length| json!("é(".repeat(length))),
    ]
}

fn comparison() -> impl Strategy<Value = Value> {
    let operator = select(vec![
        "==", "~=", ">", ">=", "<", "<=", "~~", "~*", "in", "has",
    ]);
    prop_oneof![
        6 => (variable(), operator, value()).prop_map(|(name, operator, value)| json!([name, operator, value])),
        1 => (variable(), operator_of_regex(), regex()).prop_map(|(name, op, regex)| json!([name, "!", op, regex])),
        1 => variable().prop_map(|name| json!([name, "!", "ipmatch", ["10.0.0.0/8", "::/0", "1.2.3.4"]])),
    ]
}

fn operator_of_regex() -> impl Strategy<Value = &'static str> {
    select(vec!["~~", "~*"])
}

fn regex() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-c.^$*+?|(){}0-9\\\\\\[\\]dwbs-]{1,16}",
        1 => select(vec![
            "^(([a-z]{1,30}\\.){1,30}){1,20}$", "a{1000}", "(a{100}){100}", "\\w{900}", "[^\\x00-\\x7f]+", "\\x{1F600}",
            "(?m)^a$", "(?s).", "(?x) a b", "\\p{Greek}", "[[:^alpha:]]", "\\Aa\\z", "a*?b+?", "()", "|", "(?:)",
            "[é-ü]", "é+", "(?i)É", "\\u0041", "\\C", "[\\D\\W]", "\\B", "(?P<n>a)", "(?<n>a)\\k<n>", "a{,3}",
        ]).prop_map(String::from),
    ]
}

fn vars() -> impl Strategy<Value = Value> {
    let group = comparison().prop_recursive(4, 24, 5, |inner| {
        let join = select(vec!["AND", "OR", "!AND", "!OR"]);
        (join, prop::collection::vec(inner, 2..6)).prop_map(|(join, of)| {
            let mut group = vec![json!(join)];
            group.extend(of);
            Value::Array(group)
        })
    });
    prop::collection::vec(group, 0..4).prop_map(Value::Array)
}

fn plugin() -> impl Strategy<Value = (&'static str, Value)> {
    let text = word;
    prop_oneof![
        (text(), text()).prop_map(|(uri, host)| ("proxy-rewrite", json!({"uri": format!("/{uri}"), "host": host}))),
        (text(), text()).prop_map(|(name, value)| (
            "proxy-rewrite",
            json!({"headers": {"set": {name.clone(): value}, "add": {"x-add": name}, "remove": ["x-gone"]}}),
        )),
        (regex(), text()).prop_map(|(regex, to)| ("proxy-rewrite", json!({"regex_uri": [regex, format!("/{to}$1")]}))),
        (text(), 100_u32..700).prop_map(|(uri, code)| ("redirect", json!({"uri": uri, "ret_code": code}))),
        any::<bool>().prop_map(|yes| ("redirect", json!({"http_to_https": yes}))),
        (regex(), text()).prop_map(|(regex, to)| ("redirect", json!({"regex_uri": [regex, to]}))),
        (text(), text(), 100_u32..700).prop_map(|(name, value, code)| (
            "response-rewrite",
            json!({"headers": {"set": {name: value}}, "status_code": code}),
        )),
        text().prop_map(|origin| ("cors", json!({"allow_origins": origin}))),
        regex().prop_map(|regex| ("cors", json!({"allow_origins_by_regex": [regex]}))),
        (any::<i32>(), any::<i32>()).prop_map(|(count, time)| (
            "limit-count",
            json!({"count": count, "time_window": time, "key": "remote_addr", "rejected_code": 503}),
        )),
        (0.0_f64..1e9, 0.0_f64..1e9).prop_map(|(rate, burst)| (
            "limit-req",
            json!({"rate": rate, "burst": burst, "key": "remote_addr"}),
        )),
        prop::collection::vec(select(vec!["10.0.0.0/8", "::1", "1.2.3.4", "x"]), 0..3)
            .prop_map(|list| ("ip-restriction", json!({"whitelist": list}))),
        (100_u32..700, text(), any::<u8>()).prop_map(|(code, body, percent)| (
            "fault-injection",
            json!({"abort": {"http_status": code, "body": body, "percentage": percent}, "delay": {"duration": percent}}),
        )),
        (text(), any::<bool>()).prop_map(|(name, yes)| ("request-id", json!({"header_name": name, "include_in_response": yes}))),
        text().prop_map(|header| ("key-auth", json!({"header": header}))),
        Just(("basic-auth", json!({}))),
        Just(("jwt-auth", json!({}))),
        (vars(), any::<u16>(), any::<u16>()).prop_map(|(vars, one, two)| (
            "traffic-split",
            json!({"rules": [{"match": [{"vars": vars}], "weighted_upstreams": [
                {"upstream_id": "a", "weight": one}, {"weight": two},
                {"upstream": {"type": "roundrobin", "nodes": {"127.0.0.1:1": 1}}, "weight": 1}]}]}),
        )),
        Just(("prometheus", json!({}))),
        Just(("no-such-plugin", json!({}))),
    ]
}

fn upstream() -> impl Strategy<Value = Value> {
    let node = (
        prop_oneof![
            3 => select(vec!["127.0.0.1", "localhost", "::1", "a.test", "[::1]", "b_c.test"]).prop_map(String::from),
            1 => host(),
        ],
        any::<u16>(),
        prop_oneof![Just(0_i64), Just(1), 0..1_000_i64, Just(i64::from(i32::MAX))],
        -3_i64..3,
    )
        .prop_map(|(host, port, weight, priority)| {
            json!({"host": host, "port": port, "weight": weight, "priority": priority})
        });
    let balancing = prop_oneof![
        3 => select(vec!["roundrobin", "least_conn", "ewma"]).prop_map(|kind| json!({"type": kind})),
        2 => (select(vec!["vars", "header", "cookie", "consumer", "vars_combinations"]), variable())
            .prop_map(|(on, key)| json!({"type": "chash", "hash_on": on, "key": key})),
    ];
    let more = (
        select(vec!["http", "https", "grpc", "grpcs"]),
        select(vec!["pass", "node", "rewrite"]),
        host(),
        prop::option::of(prop_oneof![0_u64..5, Just(u64::from(u32::MAX))]),
        prop::option::of((0.001_f64..1e7, 0.001_f64..1e7, 0.001_f64..1e7)),
        any::<bool>(),
        prop::option::of(0.0_f64..1e6),
    );
    (prop::collection::vec(node, 0..4), balancing, more).prop_map(
        |(nodes, balancing, (scheme, pass, host, retries, timeout, checks, retry_timeout))| {
            let mut upstream = balancing;
            upstream["nodes"] = json!(nodes);
            upstream["scheme"] = scheme.into();
            upstream["pass_host"] = pass.into();
            upstream["upstream_host"] = host.into();
            if let Some(retries) = retries {
                upstream["retries"] = retries.into();
            }
            if let Some((connect, send, read)) = timeout {
                upstream["timeout"] = json!({"connect": connect, "send": send, "read": read});
            }
            if let Some(seconds) = retry_timeout {
                upstream["retry_timeout"] = seconds.into();
            }
            if checks {
                upstream["checks"] = json!({
                    "active": {"type": "http", "http_path": "/h", "healthy": {"interval": 1, "successes": 1},
                        "unhealthy": {"interval": 1, "http_failures": 2}},
                    "passive": {"unhealthy": {"http_statuses": [500, 503], "http_failures": 3, "tcp_failures": 3}},
                });
            }
            upstream
        },
    )
}

fn route() -> impl Strategy<Value = Value> {
    (
        prop::collection::vec(uri(), 1..4),
        prop::option::of(prop::collection::vec(host(), 1..4)),
        prop::option::of(vars()),
        prop::collection::vec(plugin(), 0..4),
        prop::option::of(upstream()),
        prop::option::weighted(0.2, select(vec!["GET", "PURGE", "CONNECT", "TRACE"])),
        any::<i32>(),
        any::<bool>(),
        word(),
    )
        .prop_map(
            |(uris, hosts, vars, plugins, upstream, method, priority, websocket, name)| {
                let mut route = json!({"uris": uris, "priority": priority, "enable_websocket": websocket, "name": name});
                if let Some(hosts) = hosts {
                    route["hosts"] = json!(hosts);
                }
                if let Some(vars) = vars {
                    route["vars"] = vars;
                }
                if let Some(method) = method {
                    route["methods"] = json!([method]);
                }
                for (name, config) in plugins {
                    route["plugins"][name] = config;
                }
                match upstream {
                    Some(upstream) => route["upstream"] = upstream,
                    None => route["upstream_id"] = "a".into(),
                }
                route
            },
        )
}

/// A configuration, of which the catalog takes what is valid.
pub(crate) fn config() -> impl Strategy<Value = Config> {
    let consumer = (word(), word(), word()).prop_map(|(key, user, password)| {
        json!({"username": "jack", "plugins": {
            "key-auth": {"key": key},
            "basic-auth": {"username": user, "password": password},
            "jwt-auth": {"key": "k", "secret": "s"}}})
    });
    (
        prop::collection::vec(route(), 1..6),
        upstream(),
        consumer,
        prop::option::weighted(0.15, plugin()),
    )
        .prop_map(|(routes, upstream, consumer, rule)| {
            let mut config = vec![
                ("upstreams/u".to_owned(), upstream),
                ("consumers/jack".to_owned(), consumer),
            ];
            if let Some((name, plugin)) = rule {
                config.push((
                    "global_rules/1".to_owned(),
                    json!({"plugins": {name: plugin}}),
                ));
            }
            let routes = routes.into_iter().enumerate();
            config.extend(routes.map(|(index, route)| (format!("routes/{index}"), route)));
            config
        })
}
