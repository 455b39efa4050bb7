//! Owns the table of routing requests (`docs/apisix.md` §2): configurations, and what becomes of requests.
//! Must not know: who answers them.

use serde_json::{Value, json};

use crate::envoy::table_vars::{arguments, cookies, headers, joined, numbers, other_variables};

/// A configuration, and requests.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) config: Vec<(&'static str, Value)>,
    pub(crate) requests: Vec<Line>,
}

/// A request: method, host, target, headers; and its answer: the name of an upstream, or a status.
pub(crate) type Line = (
    &'static str,
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

pub(crate) fn get(host: &'static str, target: &'static str, answer: &'static str) -> Line {
    ("GET", host, target, &[], answer)
}

pub(crate) fn with(
    target: &'static str,
    headers: &'static [(&'static str, &'static str)],
    answer: &'static str,
) -> Line {
    ("GET", "h", target, headers, answer)
}

pub(crate) fn groups() -> Vec<Group> {
    vec![
        paths(),
        priorities(),
        parameters(),
        odd_paths(),
        hosts(),
        many_hosts(),
        methods(),
        addresses(),
        headers(),
        arguments(),
        cookies(),
        numbers(),
        joined(),
        other_variables(),
        merged(),
        closed(),
    ]
}

pub(crate) fn route(upstream: &str, fields: Value) -> Value {
    let mut route = fields;
    route["upstream_id"] = upstream.into();
    route
}

fn paths() -> Group {
    Group {
        name: "an exact path, then the longest prefix, whatever the priority",
        config: vec![
            (
                "routes/root",
                route("a", json!({"uri": "/*", "priority": 100})),
            ),
            (
                "routes/short",
                route("b", json!({"uri": "/a/*", "priority": 50})),
            ),
            ("routes/long", route("c", json!({"uri": "/a/b/*"}))),
            (
                "routes/exact",
                route("d", json!({"uri": "/a/b/c", "priority": -1})),
            ),
        ],
        requests: vec![
            get("h", "/a/b/c", "d"),
            get("h", "/a/b/d", "c"),
            get("h", "/a/b/", "c"),
            get("h", "/a/b", "b"),
            get("h", "/a/x", "b"),
            get("h", "/a", "a"),
            get("h", "/", "a"),
            get("h", "/%61/./b//d", "c"),
            get("h", "/a/b/c?x=/a/b/d", "d"),
            get("h", "/a/b/c/", "c"),
            get("h", "/a/b/x/../c", "d"),
            get("h", "/a%2Fb%2fc", "d"),
        ],
    }
}

fn priorities() -> Group {
    Group {
        name: "at one place: priority, length, age",
        config: vec![
            (
                "routes/1",
                route("a", json!({"uri": "/p/*", "priority": 1})),
            ),
            (
                "routes/2",
                route("b", json!({"uri": "/p/*", "priority": 2})),
            ),
            ("routes/3", route("a", json!({"uri": "/l/*"}))),
            ("routes/4", route("b", json!({"uri": "/l/:x/*"}))),
            ("routes/5", route("c", json!({"uri": "/o"}))),
            ("routes/6", route("d", json!({"uri": "/o"}))),
            (
                "routes/7",
                route("d", json!({"uris": ["/u", "/v/*"], "priority": 1})),
            ),
            (
                "routes/8",
                route("c", json!({"uris": ["/u", "/v/*", "/w"]})),
            ),
        ],
        requests: vec![
            get("h", "/p/x", "b"),
            get("h", "/l/1/2", "b"),
            get("h", "/l/1", "a"),
            get("h", "/o", "c"),
            get("h", "/u", "d"),
            get("h", "/v/x", "d"),
            get("h", "/w", "c"),
            get("h", "/nowhere", "404"),
        ],
    }
}

fn parameters() -> Group {
    Group {
        name: "parameters and rests",
        config: vec![
            ("routes/1", route("a", json!({"uri": "/user/:id"}))),
            ("routes/2", route("b", json!({"uri": "/user/:id/*rest"}))),
            ("routes/3", route("c", json!({"uri": "/user/me"}))),
            ("routes/4", route("d", json!({"uri": "/m/*/end"}))),
            ("routes/5", route("c", json!({"uri": "/glued*"}))),
            ("routes/6", route("a", json!({"uri": "/v1.0+/*/x"}))),
            ("routes/7", route("b", json!({"uri": "/mid*dle"}))),
        ],
        requests: vec![
            get("h", "/user/me", "c"),
            get("h", "/user/7", "a"),
            get("h", "/user/x.y%20z", "a"),
            get("h", "/user/7/", "b"),
            get("h", "/user/7/a/b", "b"),
            get("h", "/user/", "404"),
            get("h", "/user/:id", "a"),
            get("h", "/m/1/end", "d"),
            get("h", "/m/1/2/end", "d"),
            get("h", "/m/end", "404"),
            get("h", "/m/1/ends", "404"),
            get("h", "/glued", "c"),
            get("h", "/gluedtext/x", "c"),
            get("h", "/v1.0+/7/x", "a"),
            get("h", "/v1.0%2B/7/x", "a"),
            get("h", "/v100/7/x", "404"),
            get("h", "/mid/a/dle", "b"),
        ],
    }
}

fn odd_paths() -> Group {
    Group {
        name: "letters that may come escaped",
        config: vec![
            ("routes/1", route("a", json!({"uri": "/a b"}))),
            ("routes/2", route("b", json!({"uri": "/v1/users:batch"}))),
            ("routes/3", route("c", json!({"uri": "/你/*"}))),
            ("routes/4", route("d", json!({"uri": "/q?x"}))),
            ("routes/5", route("a", json!({"uri": "/100%"}))),
            ("routes/6", route("b", json!({"uri": "/(a|b)[c]{2}.*"}))),
            ("routes/7", route("d", json!({"uri": "/v1/*"}))),
        ],
        requests: vec![
            get("h", "/a%20b", "a"),
            get("h", "/a+b", "404"),
            get("h", "/v1/users:batch", "b"),
            get("h", "/v1/users%3Abatch", "b"),
            get("h", "/v1/users%3abatch", "b"),
            get("h", "/%E4%BD%A0/x", "c"),
            get("h", "/%e4%bd%a0/", "c"),
            get("h", "/q%3Fx", "d"),
            get("h", "/q?x", "404"),
            get("h", "/100%25", "a"),
            get("h", "/(a|b)[c]{2}.x", "b"),
            get("h", "/%28a%7Cb%29%5Bc%5D%7B2%7D.", "b"),
            get("h", "/a[c]{2}.x", "404"),
        ],
    }
}

fn hosts() -> Group {
    Group {
        name: "an exact host, the longest wildcard, no host; a miss falls through",
        config: vec![
            (
                "routes/exact",
                route("a", json!({"uri": "/e/*", "host": "a.b.com"})),
            ),
            (
                "routes/long",
                route("b", json!({"uri": "/l/*", "host": "*.b.com"})),
            ),
            (
                "routes/short",
                route("c", json!({"uri": "/*", "host": "*.com"})),
            ),
            (
                "routes/glued",
                route("d", json!({"uri": "/g", "host": "*b.com"})),
            ),
            (
                "routes/none",
                route("b", json!({"uris": ["/e/deep/*", "/n"]})),
            ),
            (
                "routes/any",
                route("d", json!({"uri": "/star", "host": "*"})),
            ),
            (
                "routes/upper",
                route("a", json!({"uri": "/n", "host": "UPPER.org"})),
            ),
        ],
        requests: vec![
            get("a.b.com", "/e/deep/x", "a"),
            get("A.B.com:8080", "/e/deep/x", "a"),
            get("a.b.com.", "/e/x", "a"),
            get("a.b.com", "/l/x", "b"),
            get("x.y.b.com", "/l/x", "b"),
            get("b.com", "/l/x", "c"),
            get("a.b.com", "/g", "d"),
            get("xb.com", "/g", "d"),
            get("b.com", "/g", "d"),
            get("b.com:80", "/g", "d"),
            get("a.b.com", "/other", "c"),
            get("com", "/other", "404"),
            get("a.org", "/e/deep/x", "b"),
            get("a.org", "/other", "404"),
            get("a.org", "/star", "d"),
            get("a.b.com", "/star", "c"),
            get("upper.org", "/n", "a"),
            get("Upper.Org:1", "/n", "a"),
            get("", "/n", "b"),
        ],
    }
}

fn many_hosts() -> Group {
    Group {
        name: "several hosts, hosts of the service, hosts with ports",
        config: vec![
            (
                "services/s",
                json!({"hosts": ["s1.test", "*.s2.test"], "upstream_id": "a"}),
            ),
            ("routes/1", json!({"uri": "/x", "service_id": "s"})),
            (
                "routes/2",
                route(
                    "b",
                    json!({"uri": "/x", "hosts": ["r1.test", "*.r2.test"], "service_id": "s"}),
                ),
            ),
            (
                "routes/3",
                route("c", json!({"uri": "/x", "host": "port.test:81"})),
            ),
            (
                "routes/4",
                route("d", json!({"uri": "/x", "host": "[::1]"})),
            ),
        ],
        requests: vec![
            get("s1.test", "/x", "a"),
            get("y.s2.test", "/x", "a"),
            get("s2.test", "/x", "404"),
            get("r1.test", "/x", "b"),
            get("y.r2.test", "/x", "b"),
            get("port.test:81", "/x", "404"),
            get("[::1]", "/x", "d"),
            get("[::1]:8080", "/x", "d"),
        ],
    }
}

fn methods() -> Group {
    Group {
        name: "methods",
        config: vec![
            (
                "routes/1",
                route("a", json!({"uri": "/m", "methods": ["GET"], "priority": 2})),
            ),
            (
                "routes/2",
                route(
                    "b",
                    json!({"uri": "/m", "methods": ["POST", "PUT"], "priority": 1}),
                ),
            ),
            (
                "routes/3",
                route(
                    "c",
                    json!({"uri": "/*", "methods": ["GET", "POST", "PUT", "DELETE"]}),
                ),
            ),
            ("routes/4", route("d", json!({"uri": "/any"}))),
        ],
        requests: vec![
            ("GET", "h", "/m", &[], "a"),
            ("PUT", "h", "/m", &[], "b"),
            ("DELETE", "h", "/m", &[], "c"),
            ("PATCH", "h", "/m", &[], "404"),
            ("BREW", "h", "/m", &[], "404"),
            ("BREW", "h", "/any", &[], "d"),
        ],
    }
}

fn addresses() -> Group {
    Group {
        name: "the client's address",
        config: vec![
            (
                "routes/1",
                route(
                    "a",
                    json!({"uri": "/r", "remote_addrs": ["10.0.0.0/8", "::2"], "priority": 9}),
                ),
            ),
            (
                "routes/2",
                route(
                    "b",
                    json!({"uri": "/r", "remote_addr": "127.0.0.0/8", "priority": 8}),
                ),
            ),
            (
                "routes/3",
                route(
                    "c",
                    json!({"uri": "/v", "vars": [["remote_addr", "ipmatch", ["10.0.0.0/8"]]], "priority": 1}),
                ),
            ),
            (
                "routes/4",
                route(
                    "d",
                    json!({"uri": "/v", "vars": [["remote_addr", "!", "ipmatch", "10.0.0.0/8"]]}),
                ),
            ),
            (
                "routes/5",
                route(
                    "a",
                    json!({"uri": "/t", "vars": [["remote_addr", "==", "127.0.0.1"]]}),
                ),
            ),
            (
                "routes/6",
                route(
                    "b",
                    json!({"uri": "/h", "vars": [["http_x_ip", "ipmatch", ["10.1.0.0/15", "192.168.1.7"]]]}),
                ),
            ),
        ],
        requests: vec![
            get("h", "/r", "b"),
            get("h", "/v", "d"),
            get("h", "/t", "a"),
            with("/h", &[("x-ip", "10.1.200.3")], "b"),
            with("/h", &[("x-ip", "10.2.200.3")], "404"),
            with("/h", &[("x-ip", "10.3.255.255")], "404"),
            with("/h", &[("x-ip", "192.168.1.7")], "b"),
            with("/h", &[("x-ip", "no address")], "404"),
            with("/h", &[], "404"),
        ],
    }
}

fn merged() -> Group {
    Group {
        name: "services, plugin configs, routes that are off, answers without an upstream",
        config: vec![
            ("services/1", json!({"upstream_id": "a"})),
            ("plugin_configs/1", json!({"plugins": {"prometheus": {}}})),
            ("routes/1", json!({"uri": "/s", "service_id": "1"})),
            (
                "routes/2",
                route("b", json!({"uri": "/o", "service_id": "1"})),
            ),
            (
                "routes/3",
                route("c", json!({"uri": "/p", "plugin_config_id": "1"})),
            ),
            ("routes/4", route("d", json!({"uri": "/off", "status": 0}))),
            (
                "routes/5",
                json!({"uri": "/none", "upstream_id": "no-such"}),
            ),
            ("routes/6", json!({"uri": "/nos", "service_id": "no-such"})),
            (
                "routes/7",
                json!({"uri": "/empty", "upstream": {"type": "roundrobin", "nodes": {}}}),
            ),
        ],
        requests: vec![
            get("h", "/s", "a"),
            get("h", "/o", "b"),
            get("h", "/p", "c"),
            get("h", "/off", "404"),
            get("h", "/none", "502"),
            get("h", "/nos", "404"),
            get("h", "/empty", "503"),
        ],
    }
}

fn closed() -> Group {
    Group {
        name: "a plugin that runs in neither: closed, and nothing falls through",
        config: vec![
            (
                "routes/1",
                route(
                    "a",
                    json!({"uri": "/a/*", "plugins": {"no-such-plugin": {}}}),
                ),
            ),
            (
                "routes/2",
                route(
                    "b",
                    json!({"uri": "/a/x", "methods": ["GET"], "plugins": {"no-such-plugin": {}}}),
                ),
            ),
            ("routes/3", route("c", json!({"uri": "/*"}))),
        ],
        requests: vec![
            get("h", "/a/y", "503"),
            get("h", "/a/x", "503"),
            get("h", "/a", "c"),
        ],
    }
}
