//! Owns random configurations and requests: valid ones, of few words, so that routes meet each other.
//! Must not know: who is asked.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::envoy::rig::{Ask, UPSTREAMS};

/// A configuration: keys below the prefix, and values.
pub(crate) type Config = Vec<(String, Value)>;

fn path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        6 => "[ab]{1,2}",
        1 => Just(":p".to_owned()),
        1 => Just("*".to_owned()),
        1 => Just("*rest".to_owned()),
        1 => Just("a*".to_owned()),
        1 => Just("b*a".to_owned()),
        1 => select(vec!["é", "a b", "a:b", "a+b", "(a)", "a.b", "a%", "a;b", "a?b", "~a"]).prop_map(String::from),
    ];
    prop_oneof![
        12 => prop::collection::vec(segment, 0..4).prop_map(|all| format!("/{}", all.join("/"))),
        1 => Just("*".to_owned()),
        1 => Just("/a/".to_owned()),
    ]
}

const HOSTS: [&str; 9] = [
    "a.b", "b", "*.b", "*b", "*", "*.a.b", "A.c", "x_y.b", "a.b:8080",
];

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "OPTIONS"];

const ADDRESSES: [&str; 6] = [
    "127.0.0.1",
    "127.0.0.0/8",
    "10.0.0.0/8",
    "::1",
    "0.0.0.0/0",
    "128.0.0.0/1",
];

fn text() -> impl Strategy<Value = &'static str> {
    select(vec![
        "1",
        "10",
        "a",
        "ab",
        "",
        "a b",
        "a&b",
        "é",
        "50%",
        "a+b",
        "10.0.0.1",
        "a.b",
        "GET",
        "/a",
        "/a/b",
        "127.0.0.1",
        "http",
        "q=1",
    ])
}

fn regex() -> impl Strategy<Value = &'static str> {
    select(vec![
        "a",
        "^a",
        "b$",
        "^a+$",
        "^[0-9]+$",
        "a|b",
        "^(a|b)+$",
        "^$",
        "[^a]",
        "a.b",
        "\\d\\.",
        "^(?:1|10)$",
        "\\bab\\b",
        "(?i)A",
        "a{1,3}b?",
        "^/a/",
        "\\w \\w",
        "(?=a)b",
        "(a)\\1",
        "^a|b$",
        "[[:alpha:]]",
        "\\.",
        "^.{2}$",
        "é",
    ])
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-20_i64..200).prop_map(Value::from),
        Just(json!(2.5)),
        Just(json!("10")),
        Just(json!(1_000_000)),
        Just(json!("x")),
    ]
}

fn comparison() -> impl Strategy<Value = Value> {
    let variable = select(vec![
        "http_x",
        "http_x",
        "http_x",
        "arg_q",
        "arg_q",
        "arg_q",
        "cookie_s",
        "cookie_s",
        "uri",
        "host",
        "request_method",
        "remote_addr",
        "scheme",
        "query_string",
        "made_up",
        "http_user_agent",
        "route_id",
        "uri_param_p",
        "http_host",
        "is_args",
        "request_uri",
        "server_port",
    ]);
    let right = prop_oneof![
        3 => text().prop_map(|text| ("==", json!(text))),
        3 => text().prop_map(|text| ("~=", json!(text))),
        1 => Just(("==", Value::Null)),
        1 => Just(("~=", Value::Null)),
        4 => (select(vec!["==", "~=", ">", ">=", "<", "<="]), number()),
        3 => regex().prop_map(|text| ("~~", json!(text))),
        1 => regex().prop_map(|text| ("~*", json!(text))),
        2 => prop::collection::vec(text(), 0..4).prop_map(|texts| ("in", json!(texts))),
        2 => prop::collection::vec(select(ADDRESSES.to_vec()), 1..3).prop_map(|all| ("ipmatch", json!(all))),
        1 => text().prop_map(|text| ("has", json!(text))),
    ];
    (variable, prop::bool::weighted(0.25), right).prop_map(|(variable, not, (operator, value))| {
        match not {
            true => json!([variable, "!", operator, value]),
            false => json!([variable, operator, value]),
        }
    })
}

fn vars() -> impl Strategy<Value = Value> {
    let group = comparison().prop_recursive(2, 8, 3, |inner| {
        (
            select(vec!["AND", "OR", "!AND", "!OR"]),
            prop::collection::vec(inner, 2..4),
        )
            .prop_map(|(join, of)| {
                let mut group = vec![json!(join)];
                group.extend(of);
                Value::Array(group)
            })
    });
    prop::collection::vec(group, 1..3).prop_map(Value::Array)
}

fn route() -> impl Strategy<Value = Value> {
    let matching = (
        prop::collection::vec(path(), 1..3),
        prop::option::weighted(0.4, prop::collection::vec(select(HOSTS.to_vec()), 1..3)),
        prop::option::weighted(0.2, prop::sample::subsequence(METHODS.to_vec(), 1..4)),
        prop::option::weighted(
            0.15,
            prop::collection::vec(select(ADDRESSES.to_vec()), 1..3),
        ),
        prop::option::weighted(0.5, vars()),
        prop::option::weighted(0.3, -2_i64..3),
    );
    let action = (
        select(UPSTREAMS.to_vec()),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.05),
        prop::bool::weighted(0.05),
        prop::option::weighted(0.1, (1_u32..60, 1_u32..60)),
    );
    (matching, action).prop_map(
        |((uris, hosts, methods, addresses, vars, priority), action)| {
            let (upstream, service, off, plugin, timeout) = action;
            let mut route = json!({"upstream_id": upstream});
            let fields = route.as_object_mut().unwrap();
            let mut uris = uris;
            uris.sort();
            uris.dedup();
            fields.insert("uris".into(), json!(uris));
            let mut put = |name: &str, value: Option<Value>| {
                if let Some(value) = value {
                    fields.insert(name.to_owned(), value);
                }
            };
            let unique = |mut all: Vec<&'static str>| {
                all.sort_unstable();
                all.dedup();
                json!(all)
            };
            put("hosts", hosts.map(unique));
            put("methods", methods.map(unique));
            put("remote_addrs", addresses.map(unique));
            put("vars", vars);
            put("priority", priority.map(Value::from));
            put("service_id", service.then(|| json!("s")));
            put("status", off.then(|| json!(0)));
            put("plugins", plugin.then(|| json!({"no-such-plugin": {}})));
            put(
                "timeout",
                timeout.map(|(send, read)| json!({"connect": 5, "send": send, "read": read})),
            );
            route
        },
    )
}

/// A valid configuration.
pub(crate) fn config() -> impl Strategy<Value = Config> {
    prop::collection::vec(route(), 1..9).prop_map(|routes| {
        let service = json!({"hosts": ["s.test", "*.b"], "upstream_id": "d"});
        let mut config = vec![("services/s".to_owned(), service)];
        let routes = routes.into_iter().enumerate();
        config.extend(routes.map(|(index, route)| (format!("routes/{index}"), route)));
        config
    })
}

fn header() -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(select(vec![
        "1",
        "10",
        "a",
        "ab",
        "",
        "a b",
        "10.0.0.1",
        "127.0.0.1",
        "::1",
        "2.5",
        "0x10",
        "-7",
        "b ab b",
        "aab",
        "128.1.2.3",
        "007",
    ]))
}

fn cookie() -> impl Strategy<Value = Option<&'static str>> {
    prop::option::weighted(
        0.4,
        select(vec![
            "s=1",
            "s=a; t=1",
            "t=1; s=10",
            "t=1",
            "s=",
            "xs=a",
            "s=ab;s=1",
        ]),
    )
}

/// A request.
pub(crate) fn ask() -> impl Strategy<Value = Ask> {
    let segment = prop_oneof![
        8 => "[ab]{1,2}",
        1 => select(vec!["%C3%A9", "a%20b", "a:b", "a%3Ab", "a+b", "%28a)", "a.b", "a%25", "a;b", "a%3fb", "~a",
            "%61", "x", "..", ".", ""]).prop_map(String::from),
    ];
    let path = prop::collection::vec(segment, 0..4)
        .prop_map(|all| format!("/{}", all.join("/")))
        .prop_filter("both leave the root in their own way", |path| {
            path.split('/').take(2).all(|segment| segment != "..")
                && !path.contains("//")
                && !path.contains("/..")
        });
    let query = select(vec![
        "",
        "",
        "",
        "?q=1",
        "?q=10",
        "?q=a",
        "?q=ab",
        "?q=a%20b",
        "?q=a+b",
        "?q",
        "?q=",
        "?q=10&q=a",
        "?r=1",
        "?r=1&q=a%26b",
        "?q=%C3%A9",
        "?q=50%25",
        "?%71=1",
        "?q=%61",
        "?q=-7",
        "?q=2.5",
        "?q=0x10",
        "?q=+10",
        "?qq=1",
        "?q=a.b&q=1",
    ]);
    let (x, cookie) = (header(), cookie());
    let host = select(vec![
        "a.b", "b", "x.b", "xb", "x.a.b", "c", "a.c", "A.B", "a.b:8080", "b.", "s.test", "x_y.b",
    ]);
    (select(METHODS.to_vec()), host, path, query, x, cookie).prop_map(
        |(method, host, path, query, x, cookie)| Ask {
            method: method.to_owned(),
            host: host.to_owned(),
            target: format!("{path}{query}"),
            headers: [("x", x), ("cookie", cookie)]
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
                .collect(),
        },
    )
}
