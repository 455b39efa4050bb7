//! The order of `docs/apisix.md` §2.3 and the predicates of §2.4 as tables; edits; hostile bytes.

use bellwether::name::TypeUrl;
use bellwether::wire::native::{self, route::Action as WireAction};
use bytes::Bytes;
use http::Request;
use proptest::prelude::*;
use prost::Message;

use super::*;

mod model;

pub(super) fn route(paths: &[&str]) -> native::Route {
    native::Route {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        action: Some(WireAction::Cluster("upstreams/1".into())),
        ..native::Route::default()
    }
}

pub(super) fn bytes(message: &impl Message) -> Bytes {
    Bytes::from(message.encode_to_vec())
}

pub(super) fn put(edit: &mut Edit, name: &str, route: &native::Route) {
    edit.upsert(&TypeUrl::ROUTE, &Name::from(name), &bytes(route))
        .unwrap();
}

/// The name of the route that takes a request.
pub(super) fn found(table: &Table, method: &str, host: &str, target: &str) -> Option<String> {
    let request = Request::builder().method(method).uri(target);
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let path = normalize::normalize(parts.uri.path()).unwrap();
    let lower = host::host_of(host);
    let view = View {
        parts: &parts,
        path: &path,
        host: &lower,
        raw_host: host,
        client: "10.1.2.3:4567".parse().unwrap(),
        local: "10.0.0.1:80".parse().unwrap(),
        secure: false,
        matched: None,
    };
    table.find(&view).map(|found| found.route.name.to_string())
}

fn table_of(matching: Matching, routes: &[(&str, native::Route)]) -> Arc<Table> {
    let mut edit = Table::empty(Limits::default(), matching).edit();
    for (name, route) in routes {
        put(&mut edit, name, route);
    }
    edit.finish()
}

fn check(routes: &[(&str, native::Route)], requests: &[(&str, &str, Option<&str>)]) {
    check_in(Matching::default(), routes, requests);
}

fn check_in(
    matching: Matching,
    routes: &[(&str, native::Route)],
    requests: &[(&str, &str, Option<&str>)],
) {
    let table = table_of(matching, routes);
    for (host, target, want) in requests {
        let got = found(&table, "GET", host, target);
        assert_eq!(got.as_deref(), *want, "{matching:?} {host} {target}");
    }
}

fn with(mut route: native::Route, change: impl FnOnce(&mut native::Route)) -> native::Route {
    change(&mut route);
    route
}

fn hosts(route: native::Route, hosts: &[&str]) -> native::Route {
    with(route, |r| {
        r.hosts = hosts.iter().map(|h| (*h).into()).collect()
    })
}

/// §2.3: an exact path first, then the longest prefix; priority changes neither.
#[test]
fn the_longest_path_wins_whatever_its_priority() {
    check(
        &[
            ("root", with(route(&["/*"]), |r| r.priority = 100)),
            ("a", with(route(&["/a/*"]), |r| r.priority = 50)),
            ("ab", route(&["/a/b/*"])),
            ("exact", with(route(&["/a/b/c"]), |r| r.priority = -1)),
        ],
        &[
            ("h", "/a/b/c", Some("exact")),
            ("h", "/a/b/d", Some("ab")),
            ("h", "/a/x", Some("a")),
            ("h", "/a", Some("root")),
            ("h", "/%61/./b//d", Some("ab")),
            ("h", "/a/b/c?x=/a/b/d", Some("exact")),
        ],
    );
}

/// §2.3 made total: priority, path length, age, name.
#[test]
fn equal_places_are_ordered_by_priority_length_age_and_name() {
    let aged = |paths: &[&str], priority, created| {
        with(route(paths), |r| {
            r.priority = priority;
            r.created = created;
        })
    };
    for (routes, want) in [
        (
            vec![
                ("low", aged(&["/a/*"], 1, 1)),
                ("high", aged(&["/a/*"], 2, 2)),
            ],
            "high",
        ),
        (
            vec![
                ("short", aged(&["/a/*"], 0, 1)),
                ("long", aged(&["/a/:x/*"], 0, 2)),
            ],
            "long",
        ),
        (
            vec![
                ("young", aged(&["/a/*"], 0, 2)),
                ("old", aged(&["/a/*"], 0, 1)),
            ],
            "old",
        ),
        (
            vec![("b", aged(&["/a/*"], 0, 1)), ("a", aged(&["/a/*"], 0, 1))],
            "a",
        ),
    ] {
        check(&routes, &[("h", "/a/1/2", Some(want))]);
        let reversed: Vec<_> = routes.into_iter().rev().collect();
        check(&reversed, &[("h", "/a/1/2", Some(want))]);
    }
}

/// §2.4: exact host, then the longest wildcard, then no host; a miss falls through to the next.
#[test]
fn hosts_come_before_paths_by_default() {
    check(
        &[
            ("exact", hosts(route(&["/e/*"]), &["a.b.com"])),
            ("long", hosts(route(&["/l/*"]), &["*.b.com"])),
            ("short", hosts(route(&["/*"]), &["*.com"])),
            ("glued", hosts(route(&["/g"]), &["*b.com"])),
            ("none", route(&["/e/deep/*", "/n"])),
            ("any", hosts(route(&["/star"]), &["*"])),
        ],
        &[
            ("a.b.com", "/e/deep/x", Some("exact")),
            ("A.B.com:8080", "/e/deep/x", Some("exact")),
            ("a.b.com", "/l/x", Some("long")),
            ("x.y.b.com", "/l/x", Some("long")),
            ("b.com", "/l/x", Some("short")),
            ("a.b.com", "/g", Some("glued")),
            ("xb.com", "/g", Some("glued")),
            ("a.b.com", "/other", Some("short")),
            ("a.org", "/e/deep/x", Some("none")),
            ("a.org", "/other", None),
            ("a.org", "/star", Some("any")),
            ("", "/star", Some("any")),
            ("", "/n", Some("none")),
        ],
    );
}

/// §2.4: the other modes look at the path first, and there a host may name a port.
#[test]
fn paths_come_before_hosts_in_the_uri_modes() {
    let matching = Matching {
        mode: Mode::Uri,
        colon: Colon::default(),
    };
    check_in(
        matching,
        &[
            ("host", hosts(route(&["/a/*"]), &["a.com"])),
            ("path", route(&["/a/b"])),
            ("port", hosts(route(&["/p"]), &["a.com:81"])),
        ],
        &[
            ("a.com", "/a/b", Some("path")),
            ("a.com", "/a/c", Some("host")),
            ("b.com", "/a/c", None),
            ("a.com:81", "/p", Some("port")),
            ("a.com", "/p", None),
        ],
    );
}

/// §2.2: parameters work in every mode by default; APISIX has them in one mode only.
#[test]
fn a_colon_is_what_the_setting_says() {
    let routes = [
        ("user", route(&["/user/:id"])),
        ("rest", route(&["/user/:id/*rest"])),
        ("me", route(&["/user/me"])),
    ];
    let parameters = [
        ("h", "/user/me", Some("me")),
        ("h", "/user/7", Some("user")),
        ("h", "/user/7/a/b", Some("rest")),
        ("h", "/user/", None),
        ("h", "/user/:id", Some("user")),
    ];
    for mode in [Mode::HostUri, Mode::Uri, Mode::UriWithParameter] {
        let colon = Colon::Parameter;
        check_in(Matching { mode, colon }, &routes, &parameters);
    }
    let colon = Colon::AsInApisix;
    let mode = Mode::UriWithParameter;
    check_in(Matching { mode, colon }, &routes, &parameters);
    let mode = Mode::HostUri;
    let literal = [("h", "/user/7", None), ("h", "/user/:id", Some("user"))];
    check_in(Matching { mode, colon }, &routes, &literal);
}

/// §2.4: a route whose predicates fail gives way to the next, also to a shorter prefix.
#[test]
fn predicates_that_fail_fall_through() {
    let table = table_of(
        Matching::default(),
        &[
            (
                "get",
                with(route(&["/a"]), |r| r.methods = vec!["GET".into()]),
            ),
            (
                "far",
                with(route(&["/a"]), |r| {
                    r.priority = 9;
                    r.remote_addresses = vec!["192.168.0.0/16".into()];
                }),
            ),
            (
                "near",
                with(route(&["/n"]), |r| {
                    r.remote_addresses = vec!["10.0.0.0/8".into()]
                }),
            ),
            ("any", route(&["/*"])),
        ],
    );
    for (method, target, want) in [
        ("GET", "/a", "get"),
        ("POST", "/a", "any"),
        ("BREW", "/a", "any"),
        ("GET", "/n", "near"),
    ] {
        assert_eq!(
            found(&table, method, "h", target).as_deref(),
            Some(want),
            "{method} {target}"
        );
    }
}

/// A condition may ask what the path's parameter took.
#[test]
fn conditions_see_parameters_and_the_route() {
    let is = |variable: &str, value: &str| native::Expression {
        kind: Some(native::expression::Kind::Comparison(native::Comparison {
            variable: variable.into(),
            value: Some(bellwether::wire::google::protobuf::Value {
                kind: Some(
                    bellwether::wire::google::protobuf::value::Kind::StringValue(value.into()),
                ),
            }),
            ..native::Comparison::default()
        })),
    };
    check(
        &[
            (
                "seven",
                with(route(&["/u/:id"]), |r| {
                    r.condition = Some(is("uri_param_id", "7"))
                }),
            ),
            (
                "named",
                with(route(&["/u/*"]), |r| {
                    r.id = "x".into();
                    r.condition = Some(is("route_id", "x"));
                }),
            ),
        ],
        &[("h", "/u/7", Some("seven")), ("h", "/u/8", Some("named"))],
    );
}

#[test]
fn a_bad_resource_names_its_field_and_the_last_good_one_stays() {
    let mut edit = Table::empty(Limits::default(), Matching::default()).edit();
    put(&mut edit, "routes/1", &route(&["/a"]));
    let table = edit.finish();
    let bad = [
        (
            native::Route {
                paths: vec![],
                ..route(&["/a"])
            },
            "paths: is empty",
        ),
        (
            native::Route {
                action: None,
                ..route(&["/a"])
            },
            "action: is missing",
        ),
        (route(&["a"]), "paths[0] \"a\": does not begin with a slash"),
        (
            hosts(route(&["/a"]), &["a", "a.*.b"]),
            "hosts[1] \"a.*.b\": has a star",
        ),
        (
            with(route(&["/a"]), |r| r.remote_addresses = vec!["x".into()]),
            "remote_addresses[0] \"x\"",
        ),
        (
            with(route(&["/a"]), |r| r.methods = vec!["G T".into()]),
            "methods[0] \"G T\"",
        ),
        (route(&vec!["/a"; 1_001]), "limit of 1000"),
    ];
    for (message, want) in bad {
        let mut edit = table.edit();
        let name = Name::from("routes/1");
        let reason = edit
            .upsert(&TypeUrl::ROUTE, &name, &bytes(&message))
            .unwrap_err();
        assert!(reason.contains(want), "{reason}");
        let next = edit.finish();
        assert_eq!(found(&next, "GET", "h", "/a").as_deref(), Some("routes/1"));
    }
}

#[test]
fn a_cluster_and_its_endpoints_may_come_in_any_order_and_leave() {
    let (cluster, endpoints) = (Name::from("upstreams/1"), Name::from("endpoints/1"));
    let empty = Table::empty(Limits::default(), Matching::default());
    let cluster_body = bytes(&native::Cluster {
        endpoints: endpoints.to_string(),
        ..native::Cluster::default()
    });
    let endpoint = native::Endpoint {
        host: "127.0.0.1".into(),
        port: 80,
        weight: 1,
        priority: 0,
        ..native::Endpoint::default()
    };
    let endpoints_body = bytes(&native::Endpoints {
        endpoints: vec![endpoint],
        ..native::Endpoints::default()
    });
    let mut edit = empty.edit();
    edit.upsert(&TypeUrl::CLUSTER, &cluster, &cluster_body)
        .unwrap();
    let without = edit.finish();
    assert!(without.upstream(&cluster).unwrap().is_empty());
    let mut edit = without.edit();
    edit.upsert(&TypeUrl::ENDPOINTS, &endpoints, &endpoints_body)
        .unwrap();
    let with = edit.finish();
    assert!(!with.upstream(&cluster).unwrap().is_empty());
    assert!(
        without.upstream(&cluster).unwrap().is_empty(),
        "a table never changes"
    );
    let mut edit = with.edit();
    edit.remove(&TypeUrl::ENDPOINTS, &endpoints);
    assert!(edit.finish().upstream(&cluster).unwrap().is_empty());
    let mut edit = with.edit();
    edit.remove(&TypeUrl::CLUSTER, &cluster);
    let gone = edit.finish();
    assert!(gone.upstream(&cluster).is_none());
    assert!(gone.users.is_empty());
}

#[test]
fn plugins_that_do_not_run_here_are_known_by_route_and_rule() {
    let plugin = |name: &str| native::Plugin {
        name: name.into(),
        config: "{}".into(),
    };
    let mut edit = Table::empty(Limits::default(), Matching::default()).edit();
    let asks = with(route(&["/a"]), |r| {
        r.plugins = vec![plugin("prometheus"), plugin("no-such")]
    });
    put(&mut edit, "routes/1", &asks);
    let rule = native::GlobalRule {
        plugins: vec![plugin("no-such")],
    };
    let rule_name = Name::from("global_rules/1");
    edit.upsert(&TypeUrl::GLOBAL_RULE, &rule_name, &bytes(&rule))
        .unwrap();
    let table = edit.finish();
    let routes: Vec<_> = table.unsupported_routes().collect();
    assert_eq!(routes, [(&Name::from("routes/1"), &["no-such".into()][..])]);
    assert!(table.is_closed());
    let mut edit = table.edit();
    put(&mut edit, "routes/1", &route(&["/a"]));
    edit.remove(&TypeUrl::GLOBAL_RULE, &rule_name);
    let table = edit.finish();
    assert_eq!(table.unsupported_route_count(), 0);
    assert!(!table.is_closed());
}

/// Whatever bytes come as a resource of whichever type: the outcome is a table or a reason, never a
/// panic, and after a reason the resource of that name is the one from before. A fuzzer may call it.
pub(crate) fn survives(type_index: usize, body: &[u8]) {
    let name = Name::from("routes/1");
    let mut edit = Table::empty(Limits::default(), Matching::default()).edit();
    put(&mut edit, "routes/1", &route(&["/kept"]));
    let type_url = &TypeUrl::NATIVE[type_index % TypeUrl::NATIVE.len()];
    let accepted = edit
        .upsert(type_url, &name, &Bytes::copy_from_slice(body))
        .is_ok();
    let table = edit.finish();
    let replaced = accepted && *type_url == TypeUrl::ROUTE;
    if !replaced {
        assert_eq!(
            found(&table, "GET", "h", "/kept").as_deref(),
            Some("routes/1")
        );
    }
    let _ = found(&table, "GET", "a.com", "/a/b/c");
}

/// A valid message with bytes of it changed comes further than bytes alone.
fn nearly_valid() -> impl Strategy<Value = (usize, Vec<u8>)> {
    let samples = [
        bytes(&native::Endpoints {
            endpoints: vec![native::Endpoint {
                host: "a.example.com".into(),
                port: 80,
                weight: 3,
                priority: -1,
                ..native::Endpoint::default()
            }],
            ..native::Endpoints::default()
        }),
        bytes(&native::Cluster {
            endpoints: "e".into(),
            balancing: Some(native::Balancing {
                policy: 1,
                hash_on: 4,
                hash_key: "$a${b ?? c}$".into(),
            }),
            scheme: 3,
            tls: Some(native::UpstreamTls::default()),
            ..native::Cluster::default()
        }),
        bytes(&native::Certificate {
            snis: vec!["*.a.com".into()],
            key_pairs: vec![native::KeyPair {
                certificate: "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----".into(),
                private_key: "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----".into(),
            }],
            ..native::Certificate::default()
        }),
        bytes(&native::Consumer {
            username: "a".into(),
            ..native::Consumer::default()
        }),
        bytes(&native::GlobalRule { plugins: vec![] }),
        bytes(&with(
            hosts(route(&["/a/:x/*/b", "/c*d"]), &["*.a.com"]),
            |r| {
                r.condition = Some(native::Expression {
                    kind: Some(native::expression::Kind::Comparison(native::Comparison {
                        variable: "arg_a".into(),
                        operator: 6,
                        ..native::Comparison::default()
                    })),
                });
            },
        )),
    ];
    (0..samples.len(), any::<Vec<(prop::sample::Index, u8)>>()).prop_map(move |(index, changes)| {
        let mut body = samples[index].to_vec();
        for (at, byte) in changes {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        (index, body)
    })
}

proptest! {
    #[test]
    fn any_bytes_are_survived(index in 0..6_usize, body: Vec<u8>) {
        survives(index, &body);
    }

    #[test]
    fn nearly_valid_bytes_are_survived((index, body) in nearly_valid()) {
        survives(index, &body);
    }
}
