//! Owns the part of the table that is about `vars` (`docs/apisix.md` §2.5). Must not know: who answers.

use serde_json::{Value, json};

use crate::envoy::table::{Group, Line, get, route, with};

pub(crate) fn headers() -> Group {
    Group {
        name: "vars of headers",
        config: headers_config(),
        requests: headers_requests(),
    }
}

pub(crate) fn arguments() -> Group {
    Group {
        name: "vars of the query",
        config: arguments_config(),
        requests: arguments_requests(),
    }
}

pub(crate) fn cookies() -> Group {
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

pub(crate) fn numbers() -> Group {
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
        requests: numbers_requests(),
    }
}

pub(crate) fn joined() -> Group {
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

pub(crate) fn other_variables() -> Group {
    Group {
        name: "other variables",
        config: other_variables_config(),
        requests: other_variables_requests(),
    }
}

fn headers_config() -> Vec<(&'static str, Value)> {
    vec![
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
            route(
                "b",
                json!({"uri": "/h", "vars": [["http_host", "==", "raw.test:99"]]}),
            ),
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
    ]
}

fn headers_requests() -> Vec<Line> {
    vec![
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
    ]
}

fn arguments_config() -> Vec<(&'static str, Value)> {
    vec![
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
    ]
}

fn arguments_requests() -> Vec<Line> {
    vec![
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
    ]
}

fn other_variables_config() -> Vec<(&'static str, Value)> {
    vec![
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
    ]
}

fn other_variables_requests() -> Vec<Line> {
    vec![
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
    ]
}

fn numbers_requests() -> Vec<Line> {
    vec![
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
    ]
}
