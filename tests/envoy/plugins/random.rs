//! Owns random configurations of plugins: whatever is valid is taken by Envoy or said to be unsupported.
//! Must not know: what a plugin does.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::envoy;

/// Configurations, and routes in each.
const CONFIGURATIONS: usize = 25;
const ROUTES: usize = 16;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,12}",
        "[a-zA-Z-]{1,8}",
        select(vec![
            "$remote_addr",
            "%REQ(a)%",
            "a%b",
            "é",
            "$http_x",
            "${uri}",
            "$$1",
            "\\1",
            "\n",
            "Bearer x",
            "$env://A"
        ])
        .prop_map(String::from),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[A-Za-z][A-Za-z0-9_-]{0,8}",
        1 => select(vec!["host", "Host", ":path", "content-length", "transfer-encoding", "connection", "x y", "", "x-envoy-foo"]).prop_map(String::from),
    ]
}

fn headers() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(name(), text(), 1..3).prop_map(|map| json!(map))
}

fn regex() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c.*+?()|^$\\[\\]/0-9]{1,10}",
        select(vec![
            "^/a/(.*)",
            "(?i)a",
            "(?<n>a)b",
            "a{2,5}",
            "(a|b)+c",
            "a(?=b)",
            "(a)\\1",
            "\\d+\\w*\\s?",
            "[^/]+",
            "x{1001}",
            "(a{30}){30}",
            "\\p{L}",
            "a++",
            "^$",
            "(?:)"
        ])
        .prop_map(String::from),
    ]
}

fn option<T: Into<Value> + std::fmt::Debug + Clone + 'static>(
    strategy: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<Value>> {
    prop::option::of(strategy.prop_map(Into::into)).boxed()
}

fn object(options: Vec<(&'static str, BoxedStrategy<Option<Value>>)>) -> BoxedStrategy<Value> {
    let (names, values): (Vec<_>, Vec<_>) = options.into_iter().unzip();
    values
        .prop_map(move |values| {
            let pairs = names.iter().zip(values);
            let map = pairs.filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
            Value::Object(map.collect())
        })
        .boxed()
}

fn uri() -> impl Strategy<Value = String> {
    prop_oneof![
        "/[a-z/]{0,8}",
        "https?://[a-z.]{1,8}(:[0-9]{1,5})?/[a-z]{0,4}",
        select(vec![
            "https://$host$request_uri",
            "$uri/x",
            "/a?b=c",
            "/a\\0",
            "$scheme://$http_host/x",
            "https://",
            "//x",
            "/%zz",
            "/é",
            "/a b",
            "https://$host:8443$uri"
        ])
        .prop_map(String::from),
    ]
}

fn plugins() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    [filters(), auth(), limits(), rewrites()]
        .into_iter()
        .flatten()
        .collect()
}

fn filters() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let flag = any::<bool>;
    let abort = object(vec![
        ("http_status", option(199..601_i64)),
        ("body", option(text())),
        ("percentage", option(0..101_i64)),
        ("headers", option(headers())),
    ]);
    let delay = object(vec![
        ("duration", option(0.0..100.0_f64)),
        ("percentage", option(0..101_i64)),
    ]);
    let addresses = || {
        prop::collection::vec(
            select(vec![
                "127.0.0.1",
                "10.0.0.0/8",
                "::1",
                "2001:db8::/32",
                "0.0.0.0/0",
                "1.2.3.4/33",
                "::ffff:1.2.3.4",
                "x",
            ]),
            0..3,
        )
    };
    let list = || {
        prop_oneof![
            select(vec!["*".to_owned(), "**".to_owned()]),
            text(),
            "http://[a-z]{1,5},https://[a-z]{1,5}"
        ]
    };
    vec![
        (
            "request-id",
            object(vec![
                ("header_name", option(name())),
                ("include_in_response", option(flag())),
            ]),
        ),
        (
            "fault-injection",
            object(vec![("abort", option(abort)), ("delay", option(delay))]),
        ),
        (
            "cors",
            object(vec![
                ("allow_origins", option(list())),
                ("allow_methods", option(list())),
                ("allow_headers", option(list())),
                ("expose_headers", option(list())),
                ("max_age", option(-1..100_i64)),
                ("allow_credential", option(flag())),
                (
                    "allow_origins_by_regex",
                    option(prop::collection::vec(regex(), 1..3)),
                ),
            ]),
        ),
        (
            "ip-restriction",
            object(vec![
                ("whitelist", option(addresses())),
                ("blacklist", option(addresses())),
            ]),
        ),
    ]
}

fn auth() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let flag = any::<bool>;
    vec![
        (
            "key-auth",
            object(vec![
                ("header", option(name())),
                ("query", option(text())),
                ("hide_credentials", option(flag())),
            ]),
        ),
        (
            "basic-auth",
            object(vec![("hide_credentials", option(flag()))]),
        ),
        (
            "jwt-auth",
            object(vec![
                ("header", option(name())),
                ("query", option(text())),
                ("cookie", option(name())),
                ("key_claim_name", option(text())),
            ]),
        ),
    ]
}

fn limits() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let flag = any::<bool>;
    let limits = || {
        vec![
            ("rejected_code", option(200..600_i64)),
            (
                "key",
                option(select(vec![
                    "remote_addr",
                    "http_x",
                    "consumer_name",
                    "$remote_addr $http_a",
                    "uri",
                    "",
                ])),
            ),
            (
                "key_type",
                option(select(vec!["var", "var_combination", "constant"])),
            ),
            ("rejected_msg", option(text())),
        ]
    };
    let mut count = limits();
    count.extend([
        ("count", option(0..1_000_000_i64)),
        ("time_window", option(0..1_000_000_i64)),
        ("show_limit_quota_header", option(flag())),
    ]);
    let mut rate = limits();
    rate.extend([
        ("rate", option(0.0..100_000.0_f64)),
        ("burst", option(0.0..100_000.0_f64)),
        ("nodelay", option(flag())),
    ]);
    let share = object(vec![
        ("upstream_id", option(select(vec!["a", "b", "none"]))),
        ("weight", option(0..5_i64)),
    ]);
    let vars = json!([{"vars": [["arg_a", "==", "1"]]}]);
    let rule = object(vec![
        (
            "weighted_upstreams",
            option(prop::collection::vec(share, 0..4).prop_map(Value::Array)),
        ),
        ("match", option(Just(vars))),
    ]);
    vec![
        ("limit-count", object(count)),
        ("limit-req", object(rate)),
        (
            "traffic-split",
            object(vec![(
                "rules",
                option(prop::collection::vec(rule, 0..3).prop_map(Value::Array)),
            )]),
        ),
    ]
}

fn rewrites() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let flag = any::<bool>;
    let change = || {
        prop_oneof![
            headers(),
            object(vec![
                ("set", option(headers())),
                ("add", option(headers())),
                ("remove", option(prop::collection::vec(name(), 0..2)))
            ]),
        ]
    };
    vec![
        (
            "proxy-rewrite",
            object(vec![
                ("uri", option(uri())),
                (
                    "regex_uri",
                    option((regex(), text()).prop_map(|(a, b)| vec![a, b])),
                ),
                ("host", option(prop_oneof!["[a-z.]{1,8}", text()])),
                ("headers", option(change())),
            ]),
        ),
        (
            "redirect",
            object(vec![
                ("uri", option(uri())),
                ("http_to_https", option(flag())),
                (
                    "ret_code",
                    option(select(vec![200, 301, 302, 303, 307, 308])),
                ),
                ("append_query_string", option(flag())),
                ("ret_port", option(0..70_000_i64)),
            ]),
        ),
        (
            "response-rewrite",
            object(vec![("headers", option(change()))]),
        ),
    ]
}

/// What any consumer may have for a secret.
fn consumers() -> impl Strategy<Value = Vec<(String, Value)>> {
    let credential = prop_oneof![
        text().prop_map(|key| json!({"key-auth": {"key": key}})),
        (text(), text()).prop_map(|(name, password)| json!({"basic-auth": {"username": name, "password": password}})),
        (text(), text(), select(vec!["HS256", "HS512", "RS256", "ES256", "EdDSA"]))
            .prop_map(|(key, secret, algorithm)| json!({"jwt-auth": {"key": key, "secret": secret, "public_key": secret, "algorithm": algorithm}})),
    ];
    prop::collection::btree_map("[a-z]{1,4}", credential, 0..3).prop_map(|all| {
        let all = all.into_iter();
        all.map(|(name, plugins)| {
            (
                format!("consumers/{name}"),
                json!({"username": name, "plugins": plugins}),
            )
        })
        .collect()
    })
}

fn routes() -> impl Strategy<Value = Vec<Value>> {
    let all = plugins();
    let count = all.len();
    let (names, values): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let one = (values, subsequence((0..count).collect::<Vec<_>>(), 1..3)).prop_map(
        move |(values, chosen)| {
            let plugins = chosen
                .into_iter()
                .map(|at| (names[at].to_owned(), values[at].clone()));
            Value::Object(plugins.collect())
        },
    );
    prop::collection::vec(one, ROUTES)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_plugin_is_taken_or_said_to_be_unsupported() {
    let mut runner = TestRunner::default();
    let strategy = (routes(), consumers());
    let mut both = envoy(&[]).await;
    let (mut asked, mut closed) = (0, 0);
    for _ in 0..CONFIGURATIONS {
        let (routes, consumers) = strategy.new_tree(&mut runner).unwrap().current();
        let mut config = consumers;
        for (at, plugins) in routes.iter().enumerate() {
            let route = json!({"uri": format!("/{at}"), "upstream_id": "a", "plugins": plugins});
            config.push((format!("routes/{at}"), route));
        }
        // Waits until it is in force, and fails if anything was rejected.
        both.configure(&config).await;
        let told = both.unsupported();
        for at in 0..ROUTES {
            let name = format!("routes/{at}: ");
            let is_closed = told
                .iter()
                .any(|line| line.contains(&name) && line.ends_with("answered 503"));
            asked += 1;
            closed += usize::from(is_closed);
            if is_closed {
                let answer = both.get(&format!("/{at}"), &[]).await;
                assert_eq!(answer.status, 503, "{told:?}");
                assert!(answer.all("x-answer").is_empty());
            }
        }
    }
    both.envoy.rejected_nothing().await;
    assert!(
        closed * 4 < asked * 3,
        "{closed} of {asked} closed: too few are shown to Envoy"
    );
}
