//! What a route comes to in gRPC's clients: each call is made again and again, and who answers is counted.

use serde_json::{Value, json};

use super::backend::Backend;
use super::caller::{AUTHORITY, Caller};
use super::{TARGET, upstream};
use crate::harness::polyglot::{Language, in_every_language};
use crate::harness::programs::{Server, eventually};

in_every_language!(
    calls_go_where_routes_say,
    names_without_an_open_route_fail,
    a_host_that_is_gone_comes_back,
    federated_names_and_ports_are_dialled
);

/// How often each call is made: a share of a tenth is told from one of a half.
const TIMES: usize = 100;

/// A call, and what it is to be answered.
struct Case {
    call: &'static str,
    /// Of whom, and at least how many of a hundred.
    by: &'static [(&'static str, usize)],
}

const CASES: [Case; 12] = [
    case("/exact.S/M", &[("a", 100)]),
    case("/exact.S/Other", &[("error", 100)]),
    case("/prefix.S/M", &[("a", 100)]),
    case("/parameter.S/M", &[("a", 100)]),
    case("/vars.S/M", &[("a", 100)]),
    case("/vars.S/M x-version=2", &[("b", 100)]),
    case("/weights.S/M", &[("a", 70), ("b", 1)]),
    case("/split.S/M", &[("a", 55), ("b", 5)]),
    case("/split.S/M x-version=2", &[("b", 100)]),
    case("/nobody.S/M", &[("error", 100)]),
    case("/plugin.S/M", &[("error", 100)]),
    case("/unknown.S/M", &[("error", 100)]),
];

const fn case(call: &'static str, by: &'static [(&'static str, usize)]) -> Case {
    Case { call, by }
}

/// A route of the host that is dialled.
fn route(uri: &str, mut more: Value) -> Value {
    more["uri"] = json!(uri);
    more["host"] = json!("names.test");
    more
}

async fn write(server: &Server, a: &Backend, b: &Backend) {
    server.put("upstreams/a", upstream(&[a])).await;
    server.put("upstreams/b", upstream(&[b])).await;
    server.put("upstreams/nobody", upstream(&[])).await;
    let weights = json!({"scheme": "grpc", "nodes": {a.node(): 9, b.node(): 1}});
    server.put("upstreams/weights", weights).await;
    let to = |upstream: &str| json!({"upstream_id": upstream});
    let version = json!([["http_x_version", "==", "2"]]);
    let split = json!({"traffic-split": {"rules": [
        {"match": [{"vars": version}], "weighted_upstreams": [{"upstream_id": "b"}]},
        {"weighted_upstreams": [{"upstream_id": "b", "weight": 1}, {"weight": 3}]},
    ]}});
    for (id, route) in [
        ("exact", route("/exact.S/M", to("a"))),
        ("prefix", route("/prefix.S/*", to("a"))),
        ("parameter", route("/parameter.S/:method", to("a"))),
        ("vars", route("/vars.S/*", to("a"))),
        (
            "vars-2",
            route(
                "/vars.S/*",
                json!({"upstream_id": "b", "vars": version, "priority": 1}),
            ),
        ),
        ("weights", route("/weights.S/*", to("weights"))),
        (
            "split",
            route("/split.S/*", json!({"upstream_id": "a", "plugins": split})),
        ),
        ("nobody", route("/nobody.S/*", to("nobody"))),
        (
            "plugin",
            route(
                "/plugin.S/*",
                json!({"upstream_id": "a", "plugins": {"key-auth": {}}}),
            ),
        ),
    ] {
        server.put(&format!("routes/{id}"), route).await;
    }
}

/// Methods, metadata, weights and shares; and what can't be served fails at once, by itself.
async fn calls_go_where_routes_say(language: &Language) {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let server = Server::embedded(&[]).await;
    write(&server, &a, &b).await;
    let calls = CASES.map(|case| case.call);
    let caller = Caller::dial_to_call(language, TARGET, &[&server.xds], &calls).await;
    let Some(caller) = caller else {
        return;
    };
    let heard = caller.hears(CASES.len(), TIMES).await;
    for (case, answers) in CASES.iter().zip(&heard) {
        let mut rest = TIMES;
        for (who, least) in case.by {
            let count = answers[..TIMES]
                .iter()
                .filter(|answer| match *who {
                    "error" => answer.to_lowercase().starts_with("error unavailable "),
                    name => **answer == format!("answer {name}"),
                })
                .count();
            assert!(count >= *least, "{}: {who} {count}: {answers:?}", case.call);
            rest -= count;
        }
        assert_eq!(rest, 0, "{}: {answers:?}", case.call);
    }
    server.nodes_in_sync(1).await;
    assert_eq!(server.metric("bellwether_xds_nacks_total").await, 0);
    let unsupported = &server.status().await["translations"]["grpc"]["unsupported"];
    assert_eq!(
        unsupported.as_array().map(Vec::len),
        Some(1),
        "{unsupported}"
    );
}

/// Where there is nothing but what can't be served, calls fail at once too, and are served as soon as
/// there is something.
async fn names_without_an_open_route_fail(language: &Language) {
    let a = Backend::start("a").await;
    let server = Server::embedded(&[]).await;
    server.put("upstreams/a", upstream(&[&a])).await;
    let closed = json!({"upstream_id": "a", "plugins": {"key-auth": {}}});
    server.put("routes/r", route("/r.S/*", closed)).await;
    let calls = ["/r.S/M"];
    let caller = Caller::dial_to_call(language, TARGET, &[&server.xds], &calls).await;
    let Some(caller) = caller else {
        return;
    };
    let heard = caller.hears(1, 3).await;
    let failed = |answer: &String| answer.to_lowercase().starts_with("error unavailable ");
    assert!(heard[0].iter().all(failed), "{heard:?}");
    let open = json!({"upstream_id": "a"});
    server.put("routes/r", route("/r.S/*", open)).await;
    caller.hears_only(&["a"]).await;
}

/// The last route of a host is deleted, and written again as it was.
async fn a_host_that_is_gone_comes_back(language: &Language) {
    let a = Backend::start("a").await;
    let server = Server::embedded(&[]).await;
    server.put("upstreams/a", upstream(&[&a])).await;
    let open = || route("/r.S/*", json!({"upstream_id": "a"}));
    server.put("routes/r", open()).await;
    let calls = ["/r.S/M"];
    let caller = Caller::dial_to_call(language, TARGET, &[&server.xds], &calls).await;
    let Some(caller) = caller else {
        return;
    };
    caller.hears_only(&["a"]).await;
    let gone = server.call("DELETE", "/apisix/admin/routes/r", "").await;
    assert_eq!(gone.status, 200);
    eventually("calls to fail", || async {
        (!caller.errors().is_empty()).then_some(())
    })
    .await;
    let errors = caller.errors();
    let clear = |error: &String| error.to_lowercase().contains("unavailable");
    assert!(errors.iter().all(clear), "{errors:?}");
    server.put("routes/r", open()).await;
    caller.hears_only(&["a"]).await;
}

/// gRFC A47, and a name with a port: the settings say that somebody dials them.
async fn federated_names_and_ports_are_dialled(language: &Language) {
    let a = Backend::start("a").await;
    let server = Server::embedded(&[]).await;
    server.put("upstreams/a", upstream(&[&a])).await;
    server
        .put("routes/r", route("/r.S/*", json!({"upstream_id": "a"})))
        .await;
    let federated = format!("xdstp://{AUTHORITY}/envoy.config.listener.v3.Listener/names.test");
    let settings = json!({"grpc_listeners": [federated, "names.test:50051"]});
    let path = "/v1/fleets/default/settings";
    let reply = server.call("PUT", path, &settings.to_string()).await;
    assert!(reply.status < 300, "{reply:?}");
    for target in [
        format!("xds://{AUTHORITY}/names.test"),
        "xds:///names.test:50051".to_owned(),
    ] {
        let calls = ["/r.S/M"];
        let caller = Caller::dial_to_call(language, &target, &[&server.xds], &calls).await;
        let Some(caller) = caller else {
            return;
        };
        caller.hears_only(&["a"]).await;
        assert_eq!(caller.errors(), [""; 0]);
    }
}
