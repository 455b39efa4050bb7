//! Owns golden tests of how values are read: both spellings, defaults, precise errors (`docs/apisix.md`
//! §1.2 to §1.7, §3.5). Must not know: merging.

use serde_json::json;

use super::*;

/// Checks that a value is refused, and how.
fn refuse(kind: Kind, value: &Value, reason: &str) {
    match check(&Item::new(kind, "1"), value) {
        Ok(()) => panic!("{value} is taken, expected: {reason}"),
        Err(invalid) => assert_eq!(invalid.to_string(), reason, "{value}"),
    }
}

/// A route with these fields besides what makes it complete.
fn route(fields: &Value) -> native::Route {
    let mut value = json!({"uri": "/", "plugins": {}});
    let more = fields.as_object().unwrap().clone();
    if more.contains_key("uris") {
        value.as_object_mut().unwrap().remove("uri");
    }
    value.as_object_mut().unwrap().extend(more);
    World::with(&[("routes/1", value)]).route("1")
}

fn refuse_route(fields: &Value, reason: &str) {
    let mut value = json!({"uri": "/", "plugins": {}});
    value
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    refuse(Kind::Route, &value, reason);
}

/// An upstream with these fields, and `nodes` if there are none.
fn read_upstream(fields: &Value) -> World {
    let mut value = json!({"nodes": {"10.0.0.1:80": 1}});
    value
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    let world = World::with(&[("upstreams/1", value)]);
    assert_eq!(world.problems(), [""; 0]);
    world
}

fn refuse_upstream(fields: &Value, reason: &str) {
    let mut value = json!({"nodes": {"10.0.0.1:80": 1}});
    value
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    refuse(Kind::Upstream, &value, reason);
}

#[test]
fn a_route_has_one_path_or_several() {
    assert_eq!(route(&json!({"uri": "/a/*"})).paths, ["/a/*"]);
    assert_eq!(route(&json!({"uris": ["/a", "/b*"]})).paths, ["/a", "/b*"]);
    assert_eq!(route(&json!({"uri": "*"})).paths, ["/*"]);
    refuse_route(&json!({"uris": ["/a"]}), "uri: can't stand beside uris");
    refuse_route(
        &json!({"uri": "hello"}),
        "uri: \"hello\" does not start with a slash, so no request can match it",
    );
    refuse_route(&json!({"uri": ""}), "uri: must have 1 to 4096 bytes");
    refuse_route(&json!({"uri": null}), "needs uri or uris");
    refuse_route(&json!({"uri": null, "uris": []}), "uris: is an empty list");
    refuse_route(
        &json!({"uri": null, "uris": ["/", 1]}),
        "uris[1]: expected a string, found a number",
    );
}

#[test]
fn a_route_needs_more_than_a_path() {
    let reason = "needs at least one of upstream, upstream_id, service_id, plugins";
    refuse(Kind::Route, &json!({"uri": "/"}), reason);
    refuse(
        Kind::Route,
        &json!({"uri": "/", "plugin_config_id": 1}),
        reason,
    );
}

#[test]
fn predicates_are_normalised_and_checked() {
    let read = route(&json!({
        "hosts": ["A.Example.com", "*.B.com"], "methods": ["get", "PURGE"], "priority": -3.0,
        "remote_addrs": ["10.0.0.0/8", "::1"], "vars": [["arg_a", "==", "1"]]
    }));
    assert_eq!(read.hosts, ["a.example.com", "*.b.com"]);
    assert_eq!(read.methods, ["GET", "PURGE"]);
    assert_eq!(read.remote_addresses, ["10.0.0.0/8", "::1"]);
    assert_eq!((read.priority, read.condition.is_some()), (-3, true));
    assert!(
        route(&json!({"methods": [], "vars": []}))
            .condition
            .is_none()
    );
    refuse_route(
        &json!({"methods": ["GET", "FETCH"]}),
        "methods[1]: \"FETCH\" is none of GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS, CONNECT, TRACE, PURGE",
    );
    refuse_route(
        &json!({"host": "a b"}),
        "host: \"a b\" is not a host, or \"*\" and the end of one",
    );
    refuse_route(
        &json!({"host": "a", "hosts": ["b"]}),
        "host: can't stand beside hosts",
    );
    refuse_route(
        &json!({"remote_addr": "10.0.0.0/40"}),
        "remote_addr: \"10.0.0.0/40\" is not an IP address or CIDR block",
    );
    refuse_route(
        &json!({"priority": 1e30}),
        "priority: is over 9223372036854775807",
    );
    refuse_route(&json!({"status": 2}), "status: is over 1");
    refuse_route(
        &json!({"upstream_id": "a/b"}),
        "upstream_id: \"a/b\" is not an id: 1 to 64 letters, digits, '-', '_' and '.'",
    );
    refuse_route(
        &json!({"timeout": {"connect": 1, "send": 1}}),
        "timeout.read: is missing",
    );
    refuse_route(
        &json!({"plugins": {"a": 1}}),
        "plugins[\"a\"]: the configuration of a plugin must be an object",
    );
}

#[test]
fn nodes_are_a_map_or_a_list() {
    let nodes = |fields: Value| read_upstream(&fields).endpoints("upstreams/1");
    assert_eq!(
        nodes(json!({"nodes": {"b:2": 3, "a:1": 0}})),
        "a:1*0/0 b:2*3/0"
    );
    assert_eq!(
        nodes(
            json!({"nodes": [{"host": "b", "port": 2, "weight": 1, "priority": -1, "metadata": {"x": 1}},
                               {"host": "a", "weight": 2}]})
        ),
        "b:2*1/-1 a:80*2/0"
    );
    assert_eq!(nodes(json!({"nodes": []})), "");
    assert_eq!(nodes(json!({"nodes": {}})), "");
}

#[test]
fn a_missing_port_is_the_schemes() {
    for (scheme, port) in [("http", 80), ("https", 443), ("grpc", 80), ("grpcs", 443)] {
        let world = read_upstream(&json!({"scheme": scheme, "nodes": {"a": 1}}));
        assert_eq!(world.endpoints("upstreams/1"), format!("a:{port}*1/0"));
        assert_eq!(
            world
                .cluster("upstreams/1")
                .scheme()
                .as_str_name()
                .to_lowercase(),
            scheme
        );
    }
}

#[test]
fn brackets_of_ipv6_are_taken_off() {
    let world = read_upstream(&json!({"nodes": {"[::1]:1980": 1, "[2001:DB8::1]": 1}}));
    assert_eq!(
        world.endpoints("upstreams/1"),
        "2001:db8::1:80*1/0 ::1:1980*1/0"
    );
    let world = read_upstream(&json!({"nodes": [{"host": "[::1]", "port": 1, "weight": 1}]}));
    assert_eq!(world.endpoints("upstreams/1"), "::1:1*1/0");
}

#[test]
fn bad_nodes_are_named() {
    refuse_upstream(
        &json!({"nodes": {"127.0.0.1:99999": 1}}),
        r#"nodes["127.0.0.1:99999"]: port is over 65535"#,
    );
    refuse_upstream(
        &json!({"nodes": {"a:1": -1}}),
        r#"nodes["a:1"]: is under 0"#,
    );
    refuse_upstream(
        &json!({"nodes": {"a:1": 1e10}}),
        r#"nodes["a:1"]: is over 4294967295"#,
    );
    refuse_upstream(
        &json!({"nodes": [{"host": "a", "port": 0, "weight": 1}]}),
        "nodes[0].port: is under 1",
    );
    refuse_upstream(
        &json!({"nodes": [{"host": "a"}]}),
        "nodes[0].weight: is missing",
    );
    refuse_upstream(
        &json!({"nodes": [{"weight": 1}]}),
        "nodes[0].host: is missing",
    );
    refuse_upstream(
        &json!({"nodes": [1]}),
        "nodes[0]: expected an object, found a number",
    );
    refuse(
        Kind::Upstream,
        &json!({}),
        "needs nodes, or service_name and discovery_type",
    );
    refuse(
        Kind::Upstream,
        &json!({"service_name": "a"}),
        "needs nodes, or service_name and discovery_type",
    );
}

#[test]
fn an_upstream_without_a_type_is_round_robin() {
    let cluster = read_upstream(&json!({})).cluster("upstreams/1");
    let balancing = cluster.balancing.unwrap();
    assert_eq!(balancing.policy(), native::balancing::Policy::RoundRobin);
    assert_eq!(cluster.pass_host, 0);
    assert_eq!(
        (cluster.retries, cluster.timeouts, cluster.keepalive_pool),
        (None, None, None)
    );
    let world = read_upstream(&json!({"type": "my_own"}));
    assert_eq!(
        world.warnings(),
        [
            "/apisix/upstreams/1: balancing algorithm \"my_own\" is not known; round robin is used (@1)"
        ]
    );
}

#[test]
fn consistent_hashing_needs_a_key_that_fits() {
    use native::balancing::{HashOn, Policy};
    let balancing = |fields: Value| {
        read_upstream(&fields)
            .cluster("upstreams/1")
            .balancing
            .unwrap()
    };
    let read = balancing(json!({"type": "chash", "key": "arg_user"}));
    assert_eq!(
        (read.policy(), read.hash_on(), &*read.hash_key),
        (Policy::ConsistentHash, HashOn::Variable, "arg_user")
    );
    let read = balancing(json!({"type": "chash", "hash_on": "header", "key": "X-User"}));
    assert_eq!(read.hash_on(), HashOn::Header);
    let read = balancing(json!({"type": "chash", "hash_on": "consumer"}));
    assert_eq!((read.hash_on(), &*read.hash_key), (HashOn::Consumer, ""));
    refuse_upstream(&json!({"type": "chash"}), "key: is missing");
    refuse_upstream(
        &json!({"type": "chash", "key": "cookie"}),
        "key: \"cookie\" can't be hashed on",
    );
    refuse_upstream(
        &json!({"type": "chash", "hash_on": "x", "key": "uri"}),
        "hash_on: \"x\" is none of vars, header, cookie, consumer, vars_combinations",
    );
}

#[test]
fn how_to_talk_to_endpoints_is_read() {
    let cluster = read_upstream(&json!({
        "name": "n", "scheme": "https", "pass_host": "rewrite", "upstream_host": "Up.com", "retries": 0,
        "retry_timeout": 1.5, "timeout": {"connect": 6, "send": 6, "read": 0.25},
        "keepalive_pool": {"size": 1}, "tls": {"verify": true}, "type": "least_conn"
    }))
    .cluster("upstreams/1");
    assert_eq!(cluster.pass_host(), native::cluster::PassHost::Rewrite);
    assert_eq!(
        (&*cluster.display_name, &*cluster.upstream_host),
        ("n", "Up.com")
    );
    assert_eq!((cluster.retries, cluster.retry_timeout_ms), (Some(0), 1500));
    assert_eq!(cluster.timeouts.unwrap().read_ms, 250);
    let pool = cluster.keepalive_pool.unwrap();
    assert_eq!(
        (pool.size, pool.idle_timeout_ms, pool.requests),
        (1, 60_000, 1000)
    );
    assert!(cluster.tls.unwrap().verify);
    refuse_upstream(
        &json!({"pass_host": "rewrite"}),
        "upstream_host: is missing",
    );
    refuse_upstream(
        &json!({"scheme": "ftp"}),
        "scheme: \"ftp\" is none of http, https, grpc, grpcs, tcp, tls, udp, kafka",
    );
    refuse_upstream(&json!({"retries": -1}), "retries: is under 0");
    refuse_upstream(
        &json!({"timeout": {"connect": 0, "send": 1, "read": 1}}),
        "timeout.connect: must be more than 0 seconds",
    );
    refuse_upstream(
        &json!({"tls": {"client_cert": CERTIFICATE}}),
        "tls: client_cert and client_key need each other",
    );
    refuse_upstream(
        &json!({"tls": {"client_cert": CERTIFICATE, "client_key": PRIVATE_KEY, "client_cert_id": 1}}),
        "tls.client_cert_id: can't stand beside client_cert and client_key",
    );
}

#[test]
fn an_old_route_says_grpc_with_service_protocol() {
    let world = World::with(&[
        ("upstreams/1", upstream("a:1")),
        (
            "routes/1",
            json!({"uri": "/", "service_protocol": "grpc", "upstream": upstream("a:1")}),
        ),
        (
            "routes/2",
            json!({"uri": "/", "service_protocol": "grpc", "upstream_id": 1}),
        ),
    ]);
    assert_eq!(
        world.cluster("routes/1").scheme(),
        native::cluster::Scheme::Grpc
    );
    assert_eq!(
        world.warnings(),
        [
            "/apisix/routes/2: service_protocol can't change a shared upstream; set the upstream's scheme (@3)"
        ]
    );
}

#[test]
fn instances_from_discovery_are_empty_for_now_and_told() {
    let world = World::with(&[(
        "upstreams/1",
        json!({"discovery_type": "consul", "service_name": "web"}),
    )]);
    assert_eq!(world.endpoints("upstreams/1"), "");
    assert_eq!(
        world.warnings(),
        [
            "/apisix/upstreams/1: instances from \"consul\" are not looked up yet, so there are no endpoints (@1)"
        ]
    );
}

#[test]
fn health_checks_have_the_defaults_of_apisix() {
    let cluster =
        read_upstream(&json!({"checks": {"active": {}, "passive": {}}})).cluster("upstreams/1");
    let checks = cluster.health_check.unwrap();
    let (active, passive) = (checks.active.unwrap(), checks.passive.unwrap());
    assert_eq!((active.timeout_ms, active.concurrency), (1000, 10));
    assert_eq!(
        (&*active.method, &*active.path, active.verify_certificate),
        ("GET", "/", true)
    );
    assert_eq!(
        (active.healthy_interval_ms, active.unhealthy_interval_ms),
        (1000, 1000)
    );
    let thresholds = active.thresholds.unwrap();
    assert_eq!(thresholds.successes, 2);
    assert_eq!(
        (
            thresholds.http_failures,
            thresholds.tcp_failures,
            thresholds.timeouts
        ),
        (5, 2, 3)
    );
    assert_eq!(thresholds.healthy_statuses, [200, 302]);
    assert_eq!(
        thresholds.unhealthy_statuses,
        [429, 404, 500, 501, 502, 503, 504, 505]
    );
    let thresholds = passive.thresholds.unwrap();
    assert_eq!((thresholds.successes, thresholds.timeouts), (5, 7));
    assert_eq!(thresholds.unhealthy_statuses, [429, 500, 503]);

    let given = json!({"checks": {"active": {
        "type": "tcp", "port": 1, "healthy": {"interval": 3, "successes": 0}, "unhealthy": {"http_statuses": [500]}
    }}});
    let active = read_upstream(&given)
        .cluster("upstreams/1")
        .health_check
        .unwrap()
        .active
        .unwrap();
    assert_eq!((active.port, active.healthy_interval_ms), (1, 3000));
    let thresholds = active.thresholds.unwrap();
    assert_eq!(
        (thresholds.successes, &*thresholds.unhealthy_statuses),
        (0, &[500][..])
    );
    refuse_upstream(
        &json!({"checks": {"passive": {}}}),
        "checks.active: is missing",
    );
    refuse_upstream(
        &json!({"checks": {"active": {"healthy": {"successes": 255}}}}),
        "checks.active.healthy.successes: is over 254",
    );
}

#[test]
fn certificates_are_read_in_both_spellings() {
    let world = World::with(&[(
        "ssl/1",
        json!({"sni": "*.Example.com", "cert": CERTIFICATE, "key": PRIVATE_KEY, "certs": [CERTIFICATE],
               "keys": [PRIVATE_KEY], "exptime": 1, "client": {"ca": CERTIFICATE},
               "ssl_protocols": ["TLSv1.1", "TLSv1.3"]}),
    )]);
    let read: native::Certificate = world.get(TypeUrl::CERTIFICATE, "ssls/1").unwrap();
    assert_eq!(read.usage(), native::certificate::Usage::Server);
    assert_eq!(read.snis, ["*.example.com"]);
    assert_eq!(
        (read.key_pairs.len(), &*read.protocols),
        (2, &["TLSv1.3".to_owned()][..])
    );
    assert_eq!(read.client_validation.unwrap().depth, 1);
    assert_eq!(
        world.warnings(),
        ["/apisix/ssl/1: the agent does not speak TLSv1.1 (@1)"]
    );
}

#[test]
fn bad_certificates_are_told_without_their_content() {
    let ssl = |fields: Value| {
        let mut value = json!({"sni": "a", "cert": CERTIFICATE, "key": PRIVATE_KEY});
        value
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        value
    };
    for (fields, reason) in [
        (json!({"sni": null}), "needs sni or snis"),
        (json!({"snis": ["b"]}), "sni: can't stand beside snis"),
        (
            json!({"key": "U2FsdGVk"}),
            "key: is not a private key in PEM; keys that APISIX has encrypted at rest can't be read yet",
        ),
        (
            json!({"key": "$secret://vault/1/k"}),
            "key: refers to a secret manager, from which a private key can't be fetched yet",
        ),
        (
            json!({"key": CERTIFICATE}),
            "key: is not a private key in PEM",
        ),
        (
            json!({"cert": PRIVATE_KEY}),
            "cert: certificate 0 can't be read",
        ),
        (
            json!({"cert": "-----BEGIN CERTIFICATE-----\n"}),
            "cert: is not a certificate in PEM",
        ),
        (
            json!({"certs": [CERTIFICATE]}),
            "certs has 1 elements and keys has 0",
        ),
        (
            json!({"type": "x"}),
            "type: \"x\" is none of server, client",
        ),
        (json!({"client": {}}), "client.ca: is missing"),
        (
            json!({"ssl_protocols": ["TLSv1.1"]}),
            "ssl_protocols: names no version that the agent speaks",
        ),
        (
            json!({"ssl_protocols": ["SSLv3"]}),
            "ssl_protocols[0]: \"SSLv3\" is none of TLSv1.1, TLSv1.2, TLSv1.3",
        ),
    ] {
        refuse(Kind::Ssl, &ssl(fields), reason);
    }
}

#[test]
fn secrets_by_reference_stay_as_text_in_plugins() {
    let world = World::with(&[(
        "consumers/a",
        json!({"username": "a", "plugins": {"key-auth": {"key": "$secret://vault/1/k"}, "jwt-auth": {"secret": "$env://S"}}}),
    )]);
    let consumer: native::Consumer = world.get(TypeUrl::CONSUMER, "consumers/a").unwrap();
    assert_eq!(
        show_plugins(&consumer.plugins),
        r#"jwt-auth={"secret":"$env://S"} key-auth={"key":"$secret://vault/1/k"}"#
    );
}

#[test]
fn consumers_and_credentials_are_checked() {
    refuse(
        Kind::Consumer,
        &json!({"plugins": {}}),
        "username: is missing",
    );
    refuse(
        Kind::Consumer,
        &json!({"username": "b"}),
        "username: is \"b\", but the key is of \"1\"",
    );
    refuse(
        Kind::Consumer,
        &json!({"username": "1", "labels": {"a": 1}}),
        "labels[\"a\"]: expected a string, found a number",
    );
    refuse(Kind::PluginConfig, &json!({}), "plugins: is missing");
    let invalid = check_credential(&json!({"plugins": {}})).unwrap_err();
    assert_eq!(
        invalid.to_string(),
        "plugins: a credential has one plugin, not 0"
    );
}
