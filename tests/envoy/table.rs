//! Owns the table of routing requests (`docs/apisix.md` §2): configurations, and what becomes of requests.
//! Must not know: who answers them.

use serde_json::{Value, json};

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

fn get(host: &'static str, target: &'static str, answer: &'static str) -> Line {
    ("GET", host, target, &[], answer)
}

fn with(
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

fn route(upstream: &str, fields: Value) -> Value {
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

fn headers() -> Group {
    let vars = |vars: Value| json!({"uri": "/h", "vars": vars});
    Group {
        name: "vars of headers",
        config: vec![
            (
                "routes/1",
                route(
                    "a",
                    json!({"uri": "/eq", "vars": [["http_x_a", "==", "1"]]}),
                ),
            ),
            (
                "routes/2",
                route(
                    "b",
                    json!({"uri": "/ne", "vars": [["http_x_a", "~=", "1"]]}),
                ),
            ),
            (
                "routes/3",
                route(
                    "c",
                    json!({"uri": "/re", "vars": [["http_user_agent", "~~", "curl/[78]\\."]]}),
                ),
            ),
            (
                "routes/4",
                route(
                    "d",
                    json!({"uri": "/ci", "vars": [["http_user_agent", "~*", "^CURL"]]}),
                ),
            ),
            (
                "routes/5",
                route(
                    "a",
                    json!({"uri": "/in", "vars": [["http_x_a", "in", ["1", "two words", "a.b"]]]}),
                ),
            ),
            (
                "routes/6",
                route(
                    "b",
                    json!({"uri": "/not", "vars": [["http_x_a", "!", "in", ["1", "2"]]]}),
                ),
            ),
            (
                "routes/7",
                route(
                    "c",
                    json!({"uri": "/absent", "vars": [["http_x_a", "==", null]]}),
                ),
            ),
            (
                "routes/8",
                route(
                    "d",
                    json!({"uri": "/present", "vars": [["http_x_a", "~=", null]]}),
                ),
            ),
            (
                "routes/9",
                route(
                    "a",
                    json!({"uri": "/nre", "vars": [["http_x_a", "!", "~~", "^a+$"]]}),
                ),
            ),
            (
                "routes/10",
                route("b", vars(json!([["http_host", "==", "raw.test:99"]]))),
            ),
            (
                "routes/11",
                route(
                    "c",
                    json!({"uri": "/never", "vars": [["http_x_a", "has", "1"]]}),
                ),
            ),
            (
                "routes/12",
                route(
                    "d",
                    json!({"uri": "/nothing", "vars": [["http_x_a", "==", ""]]}),
                ),
            ),
        ],
        requests: vec![
            with("/eq", &[("x-a", "1")], "a"),
            with("/eq", &[("x-a", "11")], "404"),
            with("/eq", &[], "404"),
            with("/ne", &[("x-a", "1")], "404"),
            with("/ne", &[("x-a", "2")], "b"),
            with("/ne", &[], "b"),
            with("/re", &[("user-agent", "x curl/7.1")], "c"),
            with("/re", &[("user-agent", "curl/9.1")], "404"),
            with("/re", &[], "404"),
            with("/ci", &[("user-agent", "Curl/7")], "d"),
            with("/ci", &[("user-agent", "xcurl")], "404"),
            with("/in", &[("x-a", "two words")], "a"),
            with("/in", &[("x-a", "a.b")], "a"),
            with("/in", &[("x-a", "axb")], "404"),
            with("/not", &[("x-a", "2")], "404"),
            with("/not", &[("x-a", "3")], "b"),
            with("/not", &[], "b"),
            with("/absent", &[], "c"),
            with("/absent", &[("x-a", "")], "404"),
            with("/present", &[("x-a", "")], "d"),
            with("/present", &[], "404"),
            with("/nre", &[("x-a", "aaa")], "404"),
            with("/nre", &[("x-a", "aab")], "a"),
            with("/nre", &[], "a"),
            get("raw.test:99", "/h", "b"),
            get("raw.test", "/h", "404"),
            with("/never", &[("x-a", "1")], "404"),
            with("/nothing", &[("x-a", "")], "d"),
            with("/nothing", &[], "404"),
        ],
    }
}

fn arguments() -> Group {
    Group {
        name: "vars of the query",
        config: vec![
            (
                "routes/1",
                route("a", json!({"uri": "/eq", "vars": [["arg_n", "==", "a b"]]})),
            ),
            (
                "routes/2",
                route("b", json!({"uri": "/ne", "vars": [["arg_n", "~=", "x"]]})),
            ),
            (
                "routes/3",
                route(
                    "c",
                    json!({"uri": "/re", "vars": [["arg_n", "~~", "^v[0-9]+$"]]}),
                ),
            ),
            (
                "routes/4",
                route(
                    "d",
                    json!({"uri": "/absent", "vars": [["arg_n", "==", null]]}),
                ),
            ),
            (
                "routes/5",
                route(
                    "a",
                    json!({"uri": "/present", "vars": [["arg_n", "~=", null]]}),
                ),
            ),
            (
                "routes/6",
                route(
                    "b",
                    json!({"uri": "/in", "vars": [["arg_n", "in", ["é", "a&b", ""]]]}),
                ),
            ),
            (
                "routes/7",
                route(
                    "c",
                    json!({"uri": "/nre", "vars": [["arg_n", "!", "~~", "^v"]]}),
                ),
            ),
            (
                "routes/8",
                route(
                    "d",
                    json!({"uri": "/query", "vars": [["query_string", "==", "a=1&b=2"]]}),
                ),
            ),
            (
                "routes/9",
                route("a", json!({"uri": "/is", "vars": [["is_args", "==", "?"]]})),
            ),
        ],
        requests: vec![
            get("h", "/eq?n=a%20b", "a"),
            get("h", "/eq?n=a+b", "a"),
            get("h", "/eq?x=1&n=a+b&n=c", "a"),
            get("h", "/eq?n=c&n=a+b", "404"),
            get("h", "/eq?n=a", "404"),
            get("h", "/eq", "404"),
            get("h", "/ne?n=x", "404"),
            get("h", "/ne?n=y", "b"),
            get("h", "/ne?n=xx", "b"),
            get("h", "/ne?n", "b"),
            get("h", "/ne", "b"),
            get("h", "/ne?nn=x", "b"),
            get("h", "/re?n=v12", "c"),
            get("h", "/re?n=v", "404"),
            get("h", "/absent", "d"),
            get("h", "/absent?n", "404"),
            get("h", "/absent?m=1", "d"),
            get("h", "/present?n", "a"),
            get("h", "/present?m", "404"),
            get("h", "/in?n=%C3%A9", "b"),
            get("h", "/in?n=a%26b", "b"),
            get("h", "/in?n=", "b"),
            get("h", "/in?n=a", "404"),
            get("h", "/nre?n=v1", "404"),
            get("h", "/nre?n=w1", "c"),
            get("h", "/nre?n=xv", "c"),
            get("h", "/nre?m=v1", "c"),
            get("h", "/query?a=1&b=2", "d"),
            get("h", "/query?a=1", "404"),
            get("h", "/is?x", "a"),
            get("h", "/is", "404"),
        ],
    }
}

fn cookies() -> Group {
    Group {
        name: "vars of cookies",
        config: vec![
            (
                "routes/1",
                route(
                    "a",
                    json!({"uri": "/eq", "vars": [["cookie_s", "==", "v"]]}),
                ),
            ),
            (
                "routes/2",
                route(
                    "b",
                    json!({"uri": "/ne", "vars": [["cookie_s", "~=", "v"]]}),
                ),
            ),
            (
                "routes/3",
                route(
                    "c",
                    json!({"uri": "/absent", "vars": [["cookie_s", "==", null]]}),
                ),
            ),
            (
                "routes/4",
                route(
                    "d",
                    json!({"uri": "/re", "vars": [["cookie_s", "~~", "^a"]]}),
                ),
            ),
            (
                "routes/5",
                route(
                    "a",
                    json!({"uri": "/there", "vars": [["cookie_s", "~=", null]]}),
                ),
            ),
        ],
        requests: vec![
            with("/eq", &[("cookie", "a=1; s=v; b=2")], "a"),
            with("/eq", &[("cookie", "xs=v")], "404"),
            with("/ne", &[("cookie", "s=v")], "404"),
            with("/ne", &[("cookie", "s=w")], "b"),
            with("/ne", &[], "b"),
            with("/absent", &[("cookie", "t=1")], "c"),
            with("/absent", &[("cookie", "s=")], "404"),
            with("/re", &[("cookie", "s=abc")], "d"),
            with("/re", &[("cookie", "s=bac")], "404"),
            with("/there", &[("cookie", "s=")], "a"),
            with("/there", &[], "404"),
        ],
    }
}

fn numbers() -> Group {
    Group {
        name: "numbers",
        config: vec![
            (
                "routes/1",
                route("a", json!({"uri": "/gt", "vars": [["arg_n", ">", 9]]})),
            ),
            (
                "routes/2",
                route(
                    "b",
                    json!({"uri": "/le", "vars": [["http_n", "<=", "250"]]}),
                ),
            ),
            (
                "routes/3",
                route("c", json!({"uri": "/eq", "vars": [["arg_n", "==", 10]]})),
            ),
            (
                "routes/4",
                route("d", json!({"uri": "/ne", "vars": [["http_n", "~=", 10]]})),
            ),
            (
                "routes/5",
                route("a", json!({"uri": "/lt", "vars": [["http_n", "<", -3]]})),
            ),
            (
                "routes/6",
                route(
                    "b",
                    json!({"uri": "/half", "vars": [["cookie_n", ">=", 2.5]]}),
                ),
            ),
        ],
        requests: vec![
            get("h", "/gt?n=10", "a"),
            get("h", "/gt?n=9", "404"),
            get("h", "/gt?n=1000000", "a"),
            get("h", "/gt?n=0010", "a"),
            get("h", "/gt?n=-10", "404"),
            get("h", "/gt?n=ten", "404"),
            get("h", "/gt?n=", "404"),
            get("h", "/gt", "404"),
            with("/le", &[("n", "250")], "b"),
            with("/le", &[("n", "251")], "404"),
            with("/le", &[("n", "-7")], "b"),
            with("/le", &[("n", "0")], "b"),
            with("/le", &[], "404"),
            get("h", "/eq?n=10", "c"),
            get("h", "/eq?n=11", "404"),
            with("/ne", &[("n", "10")], "404"),
            with("/ne", &[("n", "x")], "d"),
            with("/ne", &[], "d"),
            with("/lt", &[("n", "-4")], "a"),
            with("/lt", &[("n", "-3")], "404"),
            with("/lt", &[("n", "3")], "404"),
            with("/half", &[("cookie", "n=3")], "b"),
            with("/half", &[("cookie", "n=2")], "404"),
        ],
    }
}

fn joined() -> Group {
    Group {
        name: "conditions that are joined, and requests that fall through",
        config: vec![
            (
                "routes/and",
                route(
                    "a",
                    json!({"uri": "/x", "priority": 9, "vars": [["http_a", "==", "1"], ["arg_b", "==", "2"]]}),
                ),
            ),
            (
                "routes/or",
                route(
                    "b",
                    json!({"uri": "/x", "priority": 8, "vars": ["OR", ["http_a", "==", "3"], ["AND", ["http_c", "==", "4"], ["arg_b", "==", "5"]]]}),
                ),
            ),
            (
                "routes/nor",
                route(
                    "c",
                    json!({"uri": "/x", "priority": 7, "vars": ["!OR", ["http_a", "~~", "."], ["http_c", "~~", "."]]}),
                ),
            ),
            (
                "routes/nand",
                route(
                    "d",
                    json!({"uri": "/*", "vars": ["!AND", ["http_a", "==", "6"], ["http_c", "==", "6"]]}),
                ),
            ),
        ],
        requests: vec![
            with("/x?b=2", &[("a", "1")], "a"),
            with("/x?b=3", &[("a", "1")], "d"),
            with("/x", &[("a", "3")], "b"),
            with("/x?b=5", &[("c", "4")], "b"),
            with("/x?b=6", &[("c", "4")], "d"),
            with("/x", &[], "c"),
            with("/x", &[("a", "6"), ("c", "6")], "404"),
            with("/x", &[("a", "6"), ("c", "7")], "d"),
        ],
    }
}

fn other_variables() -> Group {
    Group {
        name: "other variables",
        config: vec![
            (
                "routes/1",
                route(
                    "a",
                    json!({"uri": "/m", "vars": [["request_method", "in", ["PUT", "GET"]]]}),
                ),
            ),
            (
                "routes/2",
                route(
                    "b",
                    json!({"uri": "/s", "vars": [["scheme", "==", "http"]]}),
                ),
            ),
            (
                "routes/3",
                route("c", json!({"uri": "/t", "vars": [["https", "==", "on"]]})),
            ),
            (
                "routes/4",
                route(
                    "d",
                    json!({"uri": "/u/*", "vars": [["uri", "~~", "/[0-9]+$"]]}),
                ),
            ),
            (
                "routes/5",
                route(
                    "a",
                    json!({"uri": "/u/*", "vars": [["uri", "==", "/u/a b"]]}),
                ),
            ),
            (
                "routes/6",
                route(
                    "b",
                    json!({"uri": "/o", "vars": [["host", "==", "o.test"]]}),
                ),
            ),
            (
                "routes/7",
                route(
                    "c",
                    json!({"uri": "/o", "vars": [["host", "~~", "^[a-z]\\.org$"]]}),
                ),
            ),
            (
                "routes/8",
                route("d", json!({"uri": "/i", "vars": [["route_id", "==", "8"]]})),
            ),
            (
                "routes/9",
                route(
                    "a",
                    json!({"uri": "/i/2", "vars": [["route_id", "==", "8"]]}),
                ),
            ),
            (
                "routes/10",
                route(
                    "b",
                    json!({"uri": "/made-up", "vars": [["made_up", "==", null]]}),
                ),
            ),
        ],
        requests: vec![
            ("PUT", "h", "/m", &[], "a"),
            ("POST", "h", "/m", &[], "404"),
            get("h", "/s", "b"),
            get("h", "/t", "404"),
            get("h", "/u/12?x=y", "d"),
            get("h", "/u/12x?x=/1", "404"),
            get("h", "/u/x?a=/1", "404"),
            get("o.test:99", "/o", "b"),
            get("O.test", "/o", "b"),
            get("x.org:8080", "/o", "c"),
            get("x.orgs", "/o", "404"),
            get("h", "/i", "d"),
            get("h", "/i/2", "404"),
            get("h", "/made-up", "b"),
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
