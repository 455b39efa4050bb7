//! Owns the examples that each schema must take or refuse, from the field tables of the layout.
//! Must not know: how validation is done.

use serde_json::{Value, json};

use super::*;

const ROUTE: Subject = Subject::Item(Kind::Route);
const UPSTREAM: Subject = Subject::Item(Kind::Upstream);
const SSL: Subject = Subject::Item(Kind::Ssl);

fn good(subject: Subject, value: Value) {
    if let Err(violation) = validate(subject, &value) {
        panic!("{subject} {value} was refused: {violation}");
    }
}

fn bad(subject: Subject, value: Value, reason: &str) {
    match validate(subject, &value) {
        Ok(()) => panic!("{subject} {value} was taken"),
        Err(violation) => assert_eq!(violation.to_string(), reason, "{value}"),
    }
}

#[test]
fn every_schema_compiles() {
    assert_eq!(COMPILED.len(), Kind::ALL.len() + 1);
    assert!(schema(ROUTE)["$defs"]["upstream"].is_object());
}

/// A small good route with more.
fn route(more: Value) -> Value {
    let mut value = json!({"uri": "/a", "upstream_id": "1"});
    value
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    value
}

#[test]
fn good_routes() {
    for more in [
        json!({}),
        json!({"id": 7}),
        json!({"id": "a-b_c.d", "name": "n", "labels": {"a": "b"}, "desc": ""}),
        json!({"methods": []}),
        json!({"methods": ["GET", "PURGE"], "priority": -3, "status": 0}),
        json!({"hosts": ["*", "*.foo.com", "foo.com:80", "[::1]"]}),
        json!({"remote_addrs": ["1.2.3.4", "10.0.0.0/8", "::1", "fe80::/10"]}),
        json!({"vars": [["arg_a", "==", "1"]]}),
        json!({"filter_func": "function(vars) return true end"}),
        json!({"timeout": {"connect": 1, "send": 0.5, "read": 6}}),
        json!({"plugins": {"limit-count": {"count": 1, "_meta": {"disable": true}}}}),
        json!({"create_time": 1, "update_time": 2, "enable_websocket": true}),
    ] {
        good(ROUTE, route(more));
    }
    good(ROUTE, json!({"uris": ["/a", "/b"], "plugins": {}}));
}

#[test]
fn routes_that_lack_or_double_something() {
    bad(ROUTE, json!([]), "wrong type: expected object, got array");
    bad(
        ROUTE,
        json!({"upstream_id": 1}),
        r#"one of "uri", "uris" is required"#,
    );
    bad(
        ROUTE,
        route(json!({"uris": ["/b"]})),
        r#"only one of "uri", "uris" is allowed"#,
    );
    bad(
        ROUTE,
        json!({"uri": "/a", "plugin_config_id": "1"}),
        r#"at least one of "plugins", "upstream", "upstream_id", "service_id", "script" is required"#,
    );
}

#[test]
fn routes_with_a_bad_field() {
    for (more, reason) in [
        (
            json!({"uri": 1}),
            r#"property "uri" validation failed: wrong type: expected string, got number"#,
        ),
        (
            json!({"uri": ""}),
            r#"property "uri" validation failed: string too short, expected at least 1"#,
        ),
        (
            json!({"host": "a", "hosts": ["b"]}),
            r#""host" and "hosts" can not be used together"#,
        ),
        (
            json!({"script": "return 1 + 1", "plugins": {}}),
            r#""script" and "plugins" can not be used together"#,
        ),
        (
            json!({"foo": 1, "bar": 2}),
            "additional properties forbidden, found foo, bar",
        ),
        (
            json!({"methods": ["GET", "get"]}),
            r#"property "methods" validation failed: failed to validate item 2: matches none of the enum values ["GET","POST","PUT","DELETE","PATCH","HEAD","OPTIONS","CONNECT","TRACE","PURGE"]"#,
        ),
        (
            json!({"methods": ["GET", "GET"]}),
            r#"property "methods" validation failed: expected unique items but some are equal"#,
        ),
        (
            json!({"remote_addr": "1.2.3"}),
            r#"property "remote_addr" validation failed: is not an IP address or a network in CIDR notation"#,
        ),
        (
            json!({"status": 2}),
            r#"property "status" validation failed: matches none of the enum values [0,1]"#,
        ),
        (
            json!({"id": 0}),
            r#"property "id" validation failed: expected a number not less than 1"#,
        ),
        (
            json!({"id": "a/b"}),
            r#"property "id" validation failed: failed to match pattern "^[a-zA-Z0-9_.-]+$""#,
        ),
        (
            json!({"timeout": {"connect": 1, "send": 1}}),
            r#"property "timeout" validation failed: property "read" is required"#,
        ),
        (
            json!({"timeout": {"connect": 0, "send": 1, "read": 1}}),
            r#"property "timeout" validation failed: property "connect" validation failed: expected a number greater than 0"#,
        ),
        (
            json!({"labels": {"a": ""}}),
            r#"property "labels" validation failed: property "a" validation failed: string too short, expected at least 1"#,
        ),
        (
            json!({"plugins": {"x": 1}}),
            r#"property "plugins" validation failed: property "x" validation failed: wrong type: expected object, got number"#,
        ),
        (
            json!({"upstream": {"type": "roundrobin"}}),
            r#"property "upstream" validation failed: one of "nodes", "service_name" with "discovery_type" is required"#,
        ),
    ] {
        bad(ROUTE, route(more), reason);
    }
}

#[test]
fn upstreams() {
    let with = |more: Value| {
        let mut value = json!({"nodes": {"127.0.0.1:80": 1}});
        value
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        value
    };
    for more in [
        json!({}),
        json!({"nodes": {}}),
        json!({"nodes": []}),
        json!({"nodes": {"foo.com": 0, "[::1]:80": 1, "a_b.svc:8080": 2}}),
        json!({"nodes": [{"host": "a", "weight": 1}, {"host": "b", "port": 1, "weight": 0, "priority": -1, "metadata": {}}]}),
        json!({"type": "chash", "key": "remote_addr"}),
        json!({"type": "chash", "hash_on": "consumer"}),
        json!({"pass_host": "rewrite", "upstream_host": "a.com"}),
        json!({"checks": {"active": {"http_path": "/", "healthy": {"interval": 1}}, "passive": {"type": "tcp"}}}),
        json!({"keepalive_pool": {"size": 1}, "retries": 0, "retry_timeout": 0, "scheme": "grpcs"}),
        json!({"tls": {"client_cert_id": "1", "verify": true}}),
    ] {
        good(UPSTREAM, with(more));
    }
    good(
        UPSTREAM,
        json!({"service_name": "s", "discovery_type": "dns", "type": "ewma"}),
    );
    for (more, reason) in [
        (
            json!({"service_name": "s", "discovery_type": "dns"}),
            r#"only one of "nodes", "service_name" with "discovery_type" is allowed"#,
        ),
        (
            json!({"nodes": {"a:1": -1}}),
            r#"property "nodes" validation failed: property "a:1" validation failed: expected a number not less than 0"#,
        ),
        (
            json!({"nodes": {"a b": 1}}),
            r#"property "nodes" validation failed: property name is not valid: failed to match pattern "^(\\[[0-9a-fA-F:.]+\\]|[^\\s:/\\[\\]]+)(:[0-9]{1,5})?$""#,
        ),
        (
            json!({"nodes": [{"host": "a"}]}),
            r#"property "nodes" validation failed: failed to validate item 1: property "weight" is required"#,
        ),
        (
            json!({"nodes": [{"host": "a", "weight": 1, "port": 65536}]}),
            r#"property "nodes" validation failed: failed to validate item 1: property "port" validation failed: expected a number not greater than 65535"#,
        ),
        (json!({"type": "chash"}), r#"property "key" is required"#),
        (
            json!({"pass_host": "rewrite"}),
            r#"property "upstream_host" is required"#,
        ),
        (
            json!({"checks": {"passive": {}}}),
            r#"property "checks" validation failed: property "active" is required"#,
        ),
        (
            json!({"tls": {"client_cert": "c".repeat(128)}}),
            r#"property "tls" validation failed: property "client_key" is required"#,
        ),
    ] {
        bad(UPSTREAM, with(more), reason);
    }
}

#[test]
fn certificates() {
    let cert = "c".repeat(128);
    let key = "k".repeat(64);
    good(SSL, json!({"cert": cert, "key": key, "sni": "a.com"}));
    good(
        SSL,
        json!({"cert": cert, "key": key, "snis": ["*.a.com"], "certs": [cert], "keys": [key], "status": 1}),
    );
    good(SSL, json!({"cert": cert, "key": key, "type": "client"}));
    good(
        SSL,
        json!({"cert": "$env://CERT", "key": "$secret://vault/1/key", "sni": "a.com"}),
    );
    good(
        SSL,
        json!({"cert": cert, "key": key, "sni": "a.com", "client": {"ca": cert}, "ssl_protocols": ["TLSv1.3"]}),
    );
    bad(
        SSL,
        json!({"cert": cert, "key": key}),
        r#"one of "sni", "snis" is required"#,
    );
    bad(
        SSL,
        json!({"cert": cert, "sni": "a.com"}),
        r#"property "key" is required"#,
    );
    bad(
        SSL,
        json!({"cert": cert, "key": "topsecret", "sni": "a.com"}),
        r#"property "key" validation failed: string too short, expected at least 64"#,
    );
    bad(
        SSL,
        json!({"cert": cert, "key": key, "sni": "a", "certs": [cert]}),
        r#"property "keys" is required"#,
    );
}

#[test]
fn the_rest() {
    let plugins = json!({"key-auth": {"key": "hush"}});
    for (kind, value) in [
        (
            Kind::Service,
            json!({"hosts": ["a.com"], "upstream": {"nodes": []}, "enable_websocket": true}),
        ),
        (
            Kind::Consumer,
            json!({"username": "jack-1", "plugins": plugins, "group_id": "g"}),
        ),
        (Kind::ConsumerGroup, json!({"plugins": plugins})),
        (Kind::PluginConfig, json!({"plugins": {}, "name": "n"})),
        (Kind::GlobalRule, json!({"plugins": plugins})),
        (
            Kind::StreamRoute,
            json!({"server_port": 9100, "upstream_id": "1", "protocol": {"name": "redis"}}),
        ),
        (Kind::Proto, json!({"content": "syntax = \"proto3\";"})),
        (Kind::PluginMetadata, json!({"log_format": {}})),
        (
            Kind::Secret,
            json!({"uri": "http://v", "prefix": "kv", "token": "t"}),
        ),
    ] {
        good(Subject::Item(kind), value);
    }
    good(
        Subject::Credential,
        json!({"plugins": plugins, "name": "n"}),
    );
    for (kind, value, reason) in [
        (
            Kind::Service,
            json!({"uri": "/"}),
            "additional properties forbidden, found uri",
        ),
        (
            Kind::Consumer,
            json!({"plugins": {}}),
            r#"property "username" is required"#,
        ),
        (
            Kind::Consumer,
            json!({"username": "a b"}),
            r#"property "username" validation failed: failed to match pattern "^[a-zA-Z0-9_-]+$""#,
        ),
        (
            Kind::ConsumerGroup,
            json!({}),
            r#"property "plugins" is required"#,
        ),
        (
            Kind::PluginConfig,
            json!({"id": "1"}),
            r#"property "plugins" is required"#,
        ),
        (
            Kind::GlobalRule,
            json!({}),
            r#"property "plugins" is required"#,
        ),
        (Kind::Proto, json!({}), r#"property "content" is required"#),
    ] {
        bad(Subject::Item(kind), value, reason);
    }
    bad(
        Subject::Credential,
        json!({"plugins": {"key-auth": {}, "basic-auth": {}}}),
        r#"property "plugins" validation failed: expect object to have at most 1 properties"#,
    );
}

#[test]
fn a_violation_never_shows_a_value() {
    let hush = "hush";
    for (subject, value) in [
        (SSL, json!({"cert": hush, "key": hush, "sni": "a"})),
        (SSL, json!({"cert": [hush], "key": {"a": hush}, "sni": "a"})),
        (ROUTE, json!({"uri": "/", "plugins": {"key-auth": hush}})),
        (
            ROUTE,
            json!({"uri": "/", "plugins": {"key-auth": {"_meta": {"disable": hush}}}}),
        ),
        (
            ROUTE,
            json!({"uri": "/", "plugins": {}, "labels": {"a": "hush hush"}}),
        ),
        (
            Subject::Item(Kind::Consumer),
            json!({"username": "hush hush"}),
        ),
        (
            UPSTREAM,
            json!({"nodes": {"a:1": 1}, "tls": {"client_cert": "x", "client_key": hush}}),
        ),
    ] {
        let text = validate(subject, &value).unwrap_err().to_string();
        assert!(!text.contains(hush), "{text}");
    }
}
