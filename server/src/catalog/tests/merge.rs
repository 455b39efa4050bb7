//! Owns one test for each rule of merging (`docs/apisix.md` §1.8). Must not know: how values are read.

use serde_json::json;

use super::*;

/// A plugin that no list of ours will ever hold, so that tests don't depend on what the agent runs.
const P: &str = "serverless-pre-function";

#[test]
fn the_example_of_the_readme_routes_to_its_node() {
    let mut world = World::new();
    let told = world.put_bytes(
        "routes/1",
        br#"{"uri":"/hello","upstream":{"type":"roundrobin","nodes":{"127.0.0.1:1980":1}}}"#,
    );
    assert_eq!(
        told,
        [
            "+Cluster routes/1",
            "+Endpoints routes/1",
            "+Route routes/1"
        ]
    );
    assert_eq!(world.action("1"), "cluster routes/1");
    assert_eq!(world.endpoints("routes/1"), "127.0.0.1:1980*1/0");
    assert_eq!(world.cluster("routes/1").endpoints, "routes/1");
    assert_eq!(world.route("1").paths, ["/hello"]);
    assert!(world.problems().is_empty());
    assert!(world.warnings().is_empty());
    assert_eq!(world.delete("routes/1").len(), 3);
    assert!(world.resources.is_empty());
}

#[test]
fn a_plugin_config_fills_only_missing_plugins() {
    let world = World::with(&[
        (
            "plugin_configs/1",
            json!({"plugins": {"a": {"from": "config"}, "b": {"from": "config"}}}),
        ),
        (
            "routes/1",
            json!({"uri": "/", "plugin_config_id": 1, "plugins": {"a": {"from": "route"}}}),
        ),
    ]);
    assert_eq!(
        world.plugins("1"),
        r#"a={"from":"route"} b={"from":"config"}"#
    );
}

#[test]
fn a_route_overrides_its_services_plugins_by_name_and_whole() {
    let world = World::with(&[
        (
            "services/1",
            json!({"plugins": {"a": {"x": 1, "y": 1}, "b": {}, "c": {"s": 1}}}),
        ),
        ("plugin_configs/1", json!({"plugins": {"c": {"c": 1}}})),
        (
            "routes/1",
            json!({"uri": "/", "service_id": "1", "plugin_config_id": "1", "plugins": {"a": {"x": 2}}}),
        ),
    ]);
    assert_eq!(world.plugins("1"), r#"a={"x":2} b={} c={"c":1}"#);
}

#[test]
fn a_disabled_plugin_is_left_out_and_still_hides_its_namesake_beneath() {
    let world = World::with(&[
        (
            "services/1",
            json!({"plugins": {"a": {}, "b": {}, "c": {}}}),
        ),
        (
            "routes/1",
            json!({"uri": "/", "service_id": "1", "plugins": {
                "a": {"_meta": {"disable": true}}, "b": {"disable": true}, "c": {"disable": false}
            }}),
        ),
    ]);
    assert_eq!(world.plugins("1"), r#"c={"disable":false}"#);
}

#[test]
fn an_inline_upstream_on_the_route_clears_the_services_upstream_id() {
    let world = World::with(&[
        ("upstreams/1", upstream("10.0.0.1:80")),
        ("services/1", json!({"upstream_id": 1})),
        (
            "routes/1",
            json!({"uri": "/", "service_id": 1, "upstream": upstream("10.0.0.2:80")}),
        ),
    ]);
    assert_eq!(world.action("1"), "cluster routes/1");
    assert_eq!(world.endpoints("routes/1"), "10.0.0.2:80*1/0");
}

#[test]
fn a_routes_upstream_id_overrides_whatever_its_service_has() {
    let world = World::with(&[
        ("upstreams/1", upstream("10.0.0.1:80")),
        ("upstreams/2", upstream("10.0.0.2:80")),
        ("services/1", json!({"upstream_id": 1})),
        ("services/2", json!({"upstream": upstream("10.0.0.3:80")})),
        (
            "routes/1",
            json!({"uri": "/", "service_id": 1, "upstream_id": 2}),
        ),
        (
            "routes/2",
            json!({"uri": "/", "service_id": 2, "upstream_id": 2}),
        ),
        ("routes/3", json!({"uri": "/", "service_id": 1})),
        ("routes/4", json!({"uri": "/", "service_id": 2})),
    ]);
    assert_eq!(world.action("1"), "cluster upstreams/2");
    assert_eq!(world.action("2"), "cluster upstreams/2");
    assert_eq!(world.action("3"), "cluster upstreams/1");
    assert_eq!(world.action("4"), "cluster services/2");
}

#[test]
fn upstream_id_wins_over_upstream_beside_it_and_that_is_a_warning() {
    let world = World::with(&[
        ("upstreams/1", upstream("10.0.0.1:80")),
        (
            "routes/1",
            json!({"uri": "/", "upstream_id": 1, "upstream": upstream("10.0.0.2:80")}),
        ),
    ]);
    assert_eq!(world.action("1"), "cluster upstreams/1");
    assert_eq!(
        world.warnings(),
        ["/apisix/routes/1: upstream_id is used, and upstream beside it is not (@2)"]
    );
}

#[test]
fn a_services_hosts_count_only_when_the_route_has_neither_host_nor_hosts() {
    let world = World::with(&[
        ("services/1", json!({"hosts": ["A.com", "*.b.com"]})),
        ("routes/1", json!({"uri": "/", "service_id": 1})),
        (
            "routes/2",
            json!({"uri": "/", "service_id": 1, "host": "C.com"}),
        ),
        (
            "routes/3",
            json!({"uri": "/", "service_id": 1, "hosts": ["d.com"]}),
        ),
        (
            "routes/4",
            json!({"uri": "/", "service_id": 1, "host": "*"}),
        ),
    ]);
    assert_eq!(world.route("1").hosts, ["a.com", "*.b.com"]);
    assert_eq!(world.route("2").hosts, ["c.com"]);
    assert_eq!(world.route("3").hosts, ["d.com"]);
    assert!(world.route("4").hosts.is_empty());
}

#[test]
fn websockets_are_the_routes_choice_and_else_its_services() {
    let world = World::with(&[
        ("services/1", json!({"enable_websocket": true})),
        ("routes/1", json!({"uri": "/", "service_id": 1})),
        (
            "routes/2",
            json!({"uri": "/", "service_id": 1, "enable_websocket": false}),
        ),
        (
            "routes/3",
            json!({"uri": "/", "plugins": {}, "enable_websocket": true}),
        ),
        ("routes/4", json!({"uri": "/", "plugins": {}})),
    ]);
    let on = |id| world.route(id).websocket;
    assert_eq!(
        [on("1"), on("2"), on("3"), on("4")],
        [true, false, true, false]
    );
}

#[test]
fn a_routes_timeout_is_given_whole_and_a_services_name_too() {
    let world = World::with(&[
        ("services/1", json!({"name": "shop"})),
        (
            "routes/1",
            json!({"uri": "/", "name": "r", "service_id": 1,
                   "timeout": {"connect": 1, "send": 0.5, "read": 6}}),
        ),
    ]);
    let route = world.route("1");
    let timeouts = route.timeouts.unwrap();
    assert_eq!(
        (timeouts.connect_ms, timeouts.send_ms, timeouts.read_ms),
        (1000, 500, 6000)
    );
    assert_eq!(
        (
            &*route.id,
            &*route.display_name,
            &*route.service_id,
            &*route.service_name
        ),
        ("1", "r", "1", "shop")
    );
    assert_eq!(route.created, 2);
}

#[test]
fn a_missing_service_answers_404_and_heals() {
    let mut world = World::with(&[(
        "routes/1",
        json!({"uri": "/", "host": "a.com", "service_id": "s", "plugins": {"a": {}},
                            "upstream": upstream("10.0.0.1:80")}),
    )]);
    assert_eq!(world.action("1"), "404 service services/s does not exist");
    assert_eq!(world.plugins("1"), "");
    assert_eq!(world.route("1").hosts, ["a.com"]);
    assert!(world.warnings().contains(
        &"/apisix/routes/1: answers 404: service services/s does not exist (@1)".to_owned()
    ));
    assert_eq!(world.put("services/s", &json!({})), ["+Route routes/1"]);
    assert_eq!(world.action("1"), "cluster routes/1");
    assert_eq!(world.delete("services/s"), ["+Route routes/1"]);
    assert_eq!(world.action("1"), "404 service services/s does not exist");
}

#[test]
fn a_missing_plugin_config_answers_503_and_heals() {
    let mut world = World::with(&[(
        "routes/1",
        json!({"uri": "/", "plugin_config_id": 9, "upstream": upstream("10.0.0.1:80")}),
    )]);
    assert_eq!(
        world.action("1"),
        "503 plugin config plugin_configs/9 does not exist"
    );
    assert_eq!(
        world.warnings(),
        ["/apisix/routes/1: answers 503: plugin config plugin_configs/9 does not exist (@1)"]
    );
    world.put("plugin_configs/9", &json!({"plugins": {}}));
    assert_eq!(world.action("1"), "cluster routes/1");
    assert!(world.warnings().is_empty());
}

/// The promise that a snapshot relies on: removing an upstream in use turns its routes in one step.
#[test]
fn a_missing_upstream_answers_502_in_the_same_step_and_heals() {
    let mut world = World::with(&[
        ("upstreams/1", upstream("10.0.0.1:80")),
        ("services/1", json!({"upstream_id": 1})),
        (
            "routes/1",
            json!({"uri": "/1", "upstream_id": 1, "plugins": {}}),
        ),
        ("routes/2", json!({"uri": "/2", "service_id": 1})),
    ]);
    assert_eq!(
        world.delete("upstreams/1"),
        [
            "+Route routes/1",
            "+Route routes/2",
            "-Cluster upstreams/1",
            "-Endpoints upstreams/1"
        ]
    );
    assert_eq!(world.action("1"), "502 upstream upstreams/1 does not exist");
    assert_eq!(world.action("2"), "502 upstream upstreams/1 does not exist");
    assert_eq!(
        world.warnings(),
        [
            "/apisix/routes/1: requests are answered with 502: upstream upstreams/1 does not exist (@3)",
            "/apisix/services/1: requests are answered with 502: upstream upstreams/1 does not exist (@2)",
        ]
    );
    world.put("upstreams/1", &upstream("10.0.0.2:80"));
    assert_eq!(world.action("2"), "cluster upstreams/1");
    assert!(world.warnings().is_empty());
}

#[test]
fn a_route_with_only_plugins_runs_them_and_then_answers_503() {
    let world = World::with(&[(
        "routes/1",
        json!({"uri": "/", "plugins": {"redirect": {"uri": "/b"}}}),
    )]);
    assert_eq!(
        world.action("1"),
        "503 neither the route nor its service has an upstream"
    );
    assert_eq!(world.plugins("1"), r#"redirect={"uri":"/b"}"#);
}

#[test]
fn code_is_never_run_and_answers_503() {
    let world = World::with(&[
        (
            "routes/1",
            json!({"uri": "/", "filter_func": "function() return true end", "upstream": upstream("a:1")}),
        ),
        (
            "routes/2",
            json!({"uri": "/", "script": "return {}", "upstream": upstream("a:1")}),
        ),
        (
            "services/1",
            json!({"script": "return {}", "upstream": upstream("a:1")}),
        ),
        ("routes/3", json!({"uri": "/", "service_id": 1})),
        (
            "routes/4",
            json!({"uri": "/", "script_id": "x", "upstream": upstream("a:1")}),
        ),
    ]);
    assert_eq!(world.action("1"), "503 filter_func is never run");
    for id in ["2", "3", "4"] {
        assert_eq!(world.action(id), "503 script is never run");
    }
    assert_eq!(
        world.warnings(),
        [
            "/apisix/routes/1: filter_func is never run; requests are answered with 503 (@1)",
            "/apisix/routes/2: script is never run; requests are answered with 503 (@2)",
            "/apisix/routes/4: script is never run; requests are answered with 503 (@5)",
            "/apisix/services/1: script is never run; requests are answered with 503 (@3)",
        ]
    );
}

#[test]
fn a_scheme_that_is_not_proxied_answers_503() {
    let mut world = World::with(&[
        (
            "upstreams/1",
            json!({"scheme": "kafka", "nodes": {"a:9092": 1}}),
        ),
        ("routes/1", json!({"uri": "/", "upstream_id": 1})),
        (
            "services/1",
            json!({"upstream": {"scheme": "tcp", "nodes": {"a:1": 1}}}),
        ),
        ("routes/2", json!({"uri": "/", "service_id": 1})),
    ]);
    assert_eq!(
        world.action("1"),
        "503 upstream of upstreams/1 speaks kafka, which is not proxied"
    );
    assert_eq!(
        world.action("2"),
        "503 upstream of services/1 speaks tcp, which is not proxied"
    );
    assert!(
        world
            .get::<native::Cluster>(TypeUrl::CLUSTER, "upstreams/1")
            .is_none()
    );
    world.put("upstreams/1", &upstream("a:9092"));
    assert_eq!(world.action("1"), "cluster upstreams/1");
}

#[test]
fn a_client_certificate_must_exist_and_be_of_type_client() {
    let ssl = |usage: &str| json!({"type": usage, "sni": "a.com", "cert": CERTIFICATE, "key": PRIVATE_KEY});
    let mut world = World::with(&[
        (
            "upstreams/1",
            json!({"scheme": "https", "nodes": {"a": 1}, "tls": {"client_cert_id": "c"}}),
        ),
        ("routes/1", json!({"uri": "/", "upstream_id": 1})),
    ]);
    let missing = "503 client certificate ssls/c of the upstream of upstreams/1 does not exist";
    assert_eq!(world.action("1"), missing);
    assert_eq!(
        world.put("ssls/c", &ssl("client")),
        [
            "+Certificate ssls/c",
            "+Cluster upstreams/1",
            "+Endpoints upstreams/1",
            "+Route routes/1"
        ]
    );
    let cluster = world.cluster("upstreams/1");
    assert_eq!(cluster.tls.unwrap().client_certificate, "ssls/c");
    world.put("ssls/c", &ssl("server"));
    assert!(
        world
            .action("1")
            .ends_with("upstreams/1 is not of type client")
    );
    let mut off = ssl("client");
    off["status"] = json!(0);
    world.put("ssls/c", &off);
    assert!(world.action("1").ends_with("upstreams/1 is switched off"));
    world.delete("ssls/c");
    assert_eq!(world.action("1"), missing);
}

#[test]
fn a_consumer_groups_plugins_lie_beneath_the_consumers_own() {
    let mut world = World::with(&[
        (
            "consumers/jack",
            json!({"username": "jack", "group_id": "g", "plugins": {"a": {"own": 1}},
                                  "labels": {"team": "x"}}),
        ),
        (
            "consumers/jack/credentials/c2",
            json!({"plugins": {"key-auth": {"key": "k2"}}}),
        ),
        (
            "consumers/jack/credentials/c1",
            json!({"plugins": {"basic-auth": {"username": "j"}}}),
        ),
    ]);
    assert!(
        world
            .warnings()
            .iter()
            .any(|w| w.contains("consumer group consumer_groups/g does not exist"))
    );
    world.put(
        "consumer_groups/g",
        &json!({"plugins": {"a": {"group": 1}, "b": {}}}),
    );
    let jack: native::Consumer = world.get(TypeUrl::CONSUMER, "consumers/jack").unwrap();
    assert_eq!(show_plugins(&jack.plugins), r#"a={"own":1} b={}"#);
    let ids: Vec<&str> = jack.credentials.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, ["c1", "c2"]);
    assert_eq!((&*jack.group_id, &*jack.labels["team"]), ("g", "x"));
    assert_eq!(
        world.delete("consumers/jack/credentials/c1"),
        ["+Consumer consumers/jack"]
    );
    assert_eq!(world.delete("consumers/jack"), ["-Consumer consumers/jack"]);
    assert!(
        world
            .warnings()
            .iter()
            .any(|w| w.contains("its consumer does not exist"))
    );
}

#[test]
fn a_global_rule_keeps_what_is_not_disabled() {
    let world = World::with(&[(
        "global_rules/1",
        json!({"plugins": {"b": {}, "a": {"x": [1]}, "c": {"_meta": {"disable": true}}}}),
    )]);
    let rule: native::GlobalRule = world.get(TypeUrl::GLOBAL_RULE, "global_rules/1").unwrap();
    assert_eq!(show_plugins(&rule.plugins), r#"a={"x":[1]} b={}"#);
}

#[test]
fn what_is_switched_off_is_not_served() {
    let mut world = World::with(&[
        (
            "routes/1",
            json!({"uri": "/", "status": 0, "upstream": upstream("a:1")}),
        ),
        (
            "ssls/1",
            json!({"sni": "a.com", "cert": CERTIFICATE, "key": PRIVATE_KEY, "status": 0}),
        ),
    ]);
    assert!(world.resources.is_empty());
    assert_eq!(world.catalog.counts()["routes"], 1);
    let told = world.put(
        "routes/1",
        &json!({"uri": "/", "status": 1, "upstream": upstream("a:1")}),
    );
    assert_eq!(told.len(), 3);
}

#[test]
fn a_plugin_that_the_agent_does_not_run_is_a_warning_where_it_is_declared() {
    let world = World::with(&[
        ("services/1", json!({"plugins": {P: {}}})),
        ("routes/1", json!({"uri": "/", "service_id": 1})),
        (
            "routes/2",
            json!({"uri": "/", "plugins": {P: {"_meta": {"disable": true}}}}),
        ),
    ]);
    assert_eq!(
        world.warnings(),
        [format!(
            "/apisix/services/1: the agent does not run \"{P}\" and answers 503 where it should (@1)"
        )]
    );
}

#[test]
fn upstreams_named_by_traffic_split_are_references() {
    let split = json!({"rules": [{"weighted_upstreams": [{"upstream_id": 7, "weight": 1}, {"weight": 1}]}]});
    let mut world = World::with(&[(
        "routes/1",
        json!({"uri": "/", "plugins": {"traffic-split": split}}),
    )]);
    let named = "traffic-split names upstreams/7, which can't be used";
    assert!(world.warnings().iter().any(|w| w.contains(named)));
    world.put("upstreams/7", &upstream("a:1"));
    assert!(!world.warnings().iter().any(|w| w.contains(named)));
}

/// The Admin API asks before anything is stored what the catalog will follow afterwards.
#[test]
fn references_of_a_value_are_those_the_catalog_follows() {
    let split =
        json!({"rules": [{"weighted_upstreams": [{"upstream_id": "7"}, {"upstream_id": 8}]}]});
    for (kind, id, value) in [
        (
            Kind::Route,
            "1",
            json!({"uri": "/", "service_id": 3, "plugin_config_id": "p", "upstream_id": 5,
                                  "plugins": {"traffic-split": split}}),
        ),
        (
            Kind::Route,
            "2",
            json!({"uri": "/", "upstream": {"nodes": [], "tls": {"client_cert_id": 4}}}),
        ),
        (
            Kind::Service,
            "1",
            json!({"upstream_id": 5, "plugins": {"traffic-split": split}}),
        ),
        (
            Kind::Upstream,
            "1",
            json!({"nodes": [], "tls": {"client_cert_id": 4}}),
        ),
        (
            Kind::Consumer,
            "1",
            json!({"username": "1", "group_id": "g"}),
        ),
        (
            Kind::PluginConfig,
            "1",
            json!({"plugins": {"traffic-split": split}}),
        ),
        (
            Kind::Ssl,
            "1",
            json!({"sni": "a", "cert": CERTIFICATE, "key": PRIVATE_KEY}),
        ),
    ] {
        let spec = parse::value(Shape::Item(kind, id), &value).unwrap();
        assert_eq!(references(kind, &value), spec.references(), "{value}");
        assert_eq!(
            references(kind, &value).is_empty(),
            kind == Kind::Ssl,
            "{value}"
        );
    }
    assert!(references(Kind::Route, &json!([1])).is_empty());
    assert!(
        references(
            Kind::Route,
            &json!({"plugins": {"traffic-split": {"rules": {"a": 1}}}})
        )
        .is_empty()
    );
}
