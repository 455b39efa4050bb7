//! Owns the tests of bad keys: the last good value, and what is told. Must not know: merging.

use serde_json::json;

use super::*;

fn good(uri: &str) -> Value {
    json!({"uri": uri, "upstream": upstream("10.0.0.1:80")})
}

#[test]
fn a_bad_value_keeps_the_last_good_one_and_disturbs_nothing() {
    let mut world = World::with(&[("routes/1", good("/a")), ("routes/2", good("/b"))]);
    let bad = json!({"uri": "/c", "upstream": {"nodes": {"127.0.0.1:99999": 1}}});
    let batch = vec![
        world.written("routes/1", bad.to_string().as_bytes()),
        world.written("routes/3", good("/c").to_string().as_bytes()),
    ];
    let told = world.apply(batch);
    assert_eq!(
        told,
        [
            "+Cluster routes/3",
            "+Endpoints routes/3",
            "+Route routes/3"
        ]
    );
    assert_eq!(world.route("1").paths, ["/a"]);
    assert_eq!(
        world.problems(),
        [r#"/apisix/routes/1: upstream.nodes["127.0.0.1:99999"]: port is over 65535 (@3*)"#]
    );
    assert_eq!(world.put("routes/1", &good("/d")), ["+Route routes/1"]);
    assert!(world.problems().is_empty());
}

#[test]
fn a_key_that_was_never_good_serves_nothing_and_is_told() {
    let mut world = World::new();
    for (value, reason) in [
        (
            &b"{"[..],
            "is not JSON: EOF while parsing an object at line 1 column 1",
        ),
        (b"\xff", "is not JSON: expected value at line 1 column 1"),
        (b"[1]", "expected an object, found a list"),
        (
            b"{\"uri\":\"/\",\"priority\":1e999,\"plugins\":{}}",
            "is not JSON: number out of range at line 1 column 27",
        ),
        (
            b"{\"uri\":\"/\",\"priority\":\"1\",\"plugins\":{}}",
            "priority: expected a whole number, found a string",
        ),
        (
            b"{\"uri\":\"/\",\"vars\":[[\"a\",\"=\",1]],\"plugins\":{}}",
            "vars[0][1]: \"=\" is not an operator",
        ),
    ] {
        assert!(world.put_bytes("routes/1", value).is_empty());
        let expect = format!("/apisix/routes/1: {reason} (@{})", world.revision);
        assert_eq!(world.problems(), [expect]);
    }
    assert!(world.catalog.counts().is_empty());
    world.delete("routes/1");
    assert!(world.problems().is_empty());
}

#[test]
fn a_deleted_key_is_forgotten_with_its_last_good_value() {
    let mut world = World::with(&[("routes/1", good("/a"))]);
    world.put_bytes("routes/1", b"x");
    assert_eq!(world.problems().len(), 1);
    assert_eq!(world.delete("routes/1").len(), 3);
    assert!(world.problems().is_empty());
    assert!(world.put_bytes("routes/1", b"x").is_empty());
    assert!(world.resources.is_empty());
}

/// A watch that was broken may show a delete and a new, bad value as one write.
#[test]
fn a_key_that_was_made_anew_with_a_bad_value_has_no_last_good_one() {
    let mut world = World::with(&[("routes/1", good("/a"))]);
    world.deleted("routes/1");
    let change = world.written("routes/1", b"x");
    assert_eq!(world.apply(vec![change]).len(), 3);
    assert!(world.resources.is_empty());
    assert_eq!(world.problems().len(), 1);
}

#[test]
fn good_then_bad_in_one_batch_keeps_the_good_one() {
    let mut world = World::new();
    let batch = vec![
        world.written("routes/1", good("/a").to_string().as_bytes()),
        world.written("routes/1", b"x"),
    ];
    assert_eq!(world.apply(batch).len(), 3);
    assert_eq!(
        world.problems(),
        ["/apisix/routes/1: is not JSON: expected value at line 1 column 1 (@2*)"]
    );
}

#[test]
fn a_bad_upstream_keeps_its_routes_on_the_last_good_one() {
    let mut world = World::with(&[
        ("upstreams/1", upstream("a:1")),
        ("routes/1", json!({"uri": "/", "upstream_id": 1})),
    ]);
    assert!(
        world
            .put("upstreams/1", &json!({"nodes": "a:1"}))
            .is_empty()
    );
    assert_eq!(world.action("1"), "cluster upstreams/1");
    assert_eq!(world.endpoints("upstreams/1"), "a:1*1/0");
    assert_eq!(
        world.problems(),
        ["/apisix/upstreams/1: nodes: expected a list, found a string (@3*)"]
    );
}

#[test]
fn directories_and_their_placeholders_are_skipped() {
    let mut world = World::new();
    for kind in Kind::ALL {
        world.put_bytes(&format!("{}/", kind.directory()), INIT_DIR);
        world.put_bytes(&format!("{}/x", kind.directory()), INIT_DIR);
    }
    world.put("plugins", &json!([{"name": "a"}]));
    world.put_bytes("gen_id", b"1");
    world.put("services/1/graphql_cost_decorations/2", &json!({}));
    assert!(world.problems().is_empty() && world.catalog.counts().is_empty());
    world.put("routes/1", &good("/"));
    assert_eq!(world.put_bytes("routes/1", INIT_DIR).len(), 3);
    let foreign = Change::Delete {
        key: "/other/routes/1".into(),
    };
    assert!(world.apply(vec![foreign]).is_empty());
}

#[test]
fn kinds_without_a_resource_are_counted() {
    let mut world = World::with(&[
        ("stream_routes/1", json!({"server_port": 1})),
        ("proto/1", json!({"content": "x"})),
        ("secrets/vault/1", json!({"uri": "x"})),
        ("plugin_metadata/a", json!({"x": 1})),
        ("consumers/jack", json!({"username": "jack"})),
        (
            "consumers/jack/credentials/1",
            json!({"plugins": {"key-auth": {}}}),
        ),
    ]);
    let counts = world.catalog.counts();
    let counts: Vec<(&str, u64)> = counts.into_iter().collect();
    assert_eq!(
        counts,
        [
            ("consumers", 1),
            ("credentials", 1),
            ("plugin_metadata", 1),
            ("protos", 1),
            ("secrets", 1),
            ("stream_routes", 1)
        ]
    );
    assert_eq!(world.resources.len(), 1);
    world.put("secrets/vault/1", &json!("x"));
    assert_eq!(
        world.problems(),
        ["/apisix/secrets/vault/1: expected an object, found a string (@7*)"]
    );
}

#[test]
fn of_two_spellings_the_newer_layout_wins_when_it_is_good() {
    let ssl = |sni: &str| json!({"sni": sni, "cert": CERTIFICATE, "key": PRIVATE_KEY});
    let mut world = World::with(&[("ssl/1", ssl("old.com"))]);
    let sni = |world: &World| {
        let certificate: native::Certificate = world.get(TypeUrl::CERTIFICATE, "ssls/1").unwrap();
        certificate.snis[0].clone()
    };
    assert_eq!(sni(&world), "old.com");
    world.put("ssls/1", &ssl("new.com"));
    assert_eq!(sni(&world), "new.com");
    assert_eq!(
        world.warnings(),
        ["/apisix/ssl/1: is hidden by ssls/1, the same ssl in the 3.x layout (@1)"]
    );
    assert_eq!(world.catalog.counts()["ssls"], 1);
    world.delete("ssls/1");
    assert_eq!(sni(&world), "old.com");
    world.put_bytes("ssls/1", b"x");
    assert_eq!(sni(&world), "old.com");
    assert!(world.warnings().is_empty());
    assert_eq!(world.problems().len(), 1);
}

#[test]
fn secrets_are_never_told() {
    let mut world = World::new();
    let hush = "hush-hush";
    for (key, value) in [
        ("ssls/1", json!({"sni": "a", "cert": hush, "key": hush})),
        (
            "ssls/2",
            json!({"sni": "a", "cert": CERTIFICATE, "key": hush}),
        ),
        (
            "ssls/3",
            json!({"sni": "a", "cert": CERTIFICATE, "key": format!("-----BEGIN {hush}")}),
        ),
        (
            "ssls/4",
            json!({"sni": "a", "cert": CERTIFICATE, "key": [hush]}),
        ),
        (
            "consumers/a",
            json!({"username": "a", "plugins": {"key-auth": hush}}),
        ),
        ("consumers/b", json!({"username": "b", "plugins": [hush]})),
        (
            "consumers/c/credentials/1",
            json!({"plugins": {"key-auth": [hush]}}),
        ),
        (
            "upstreams/1",
            json!({"nodes": {}, "tls": {"client_cert": CERTIFICATE, "client_key": hush}}),
        ),
        (
            "routes/1",
            json!({"uri": "/", "plugins": {}, "vars": [["http_key", "~~", format!("({hush}")]]}),
        ),
        (
            "routes/2",
            json!({"uri": "/", "plugins": {}, "vars": [["http_key", ">", [hush]]]}),
        ),
    ] {
        world.put(key, &value);
    }
    world.put(
        "consumers/d",
        &json!({"username": "d", "plugins": {"key-auth": {"key": hush}}}),
    );
    let told = world.problems();
    assert_eq!(told.len(), 10, "{told:#?}");
    assert!(!told.concat().contains(hush), "{told:#?}");
    assert!(!format!("{:?}", world.catalog).contains(hush));
}

#[test]
fn check_says_before_storing_what_the_catalog_would_say() {
    let item = Item::new(Kind::Route, "1");
    assert_eq!(check(&item, &good("/")), Ok(()));
    let error = check(
        &item,
        &json!({"uri": "/", "upstream": {"nodes": {"a": "x"}}}),
    )
    .unwrap_err();
    assert_eq!(error.path(), r#"upstream.nodes["a"]"#);
    assert_eq!(error.reason(), "expected a whole number, found a string");
    assert!(check_credential(&json!({"plugins": {"a": {}, "b": {}}})).is_err());
    assert!(check(&Item::new(Kind::Consumer, "a"), &json!({"username": "b"})).is_err());
}
