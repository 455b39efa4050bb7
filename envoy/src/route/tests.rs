//! Owns the tests of route configurations as they are made: their order, what they hold for whom, and
//! that the way to them leaves no trace. A real Envoy is asked in the tests of the whole.

use std::collections::{BTreeMap, BTreeSet};

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::resource::Resource;
use bellwether::snapshot::{Changes, Snapshot};
use bellwether::wire::native::{self, Plugin, route::Action as NativeAction};
use proptest::prelude::*;
use prost::Message;

use crate::settings::{Router, Settings};
use crate::wire::route::route::Action;
use crate::wire::route::route_match::PathSpecifier;
use crate::wire::route::{Route, RouteConfiguration};
use crate::{Client, Translator};

/// A fleet's native resources, and what is made of them for one kind of client.
struct World {
    native: Snapshot,
    translator: Translator,
    made: BTreeMap<ResourceId, Resource>,
}

impl World {
    fn new(client: Client, settings: Settings) -> Self {
        let mut world = Self {
            native: Snapshot::default(),
            translator: Translator::new(client, settings),
            made: BTreeMap::new(),
        };
        world.change(vec![cluster()], Vec::new());
        world
    }

    fn change(&mut self, upserts: Vec<Resource>, removals: Vec<ResourceId>) {
        let changes = Changes { upserts, removals };
        self.native = self.native.next("test", changes).unwrap();
        let changes = self.translator.update(&self.native);
        for id in changes.removals {
            self.made.remove(&id);
        }
        let upserts = changes.upserts.into_iter();
        self.made
            .extend(upserts.map(|resource| (resource.id().clone(), resource)));
    }

    fn put(&mut self, name: &str, route: &native::Route) {
        self.change(vec![resource(name, route)], Vec::new());
    }

    fn configuration(&self, name: &str) -> RouteConfiguration {
        let id = ResourceId::new(TypeUrl::ENVOY_ROUTES, name);
        RouteConfiguration::decode(self.made[&id].body()).unwrap()
    }

    /// The routes of a virtual host, but for the first and the last, which are no one's.
    fn routes(&self, host: &str) -> Vec<Route> {
        let configuration = self.configuration("routes");
        let mut hosts = configuration.virtual_hosts.into_iter();
        let host = hosts.find(|one| one.name == host).unwrap();
        let count = host.routes.len();
        host.routes[1..count - 1].to_vec()
    }

    fn names(&self, host: &str) -> Vec<String> {
        self.routes(host).into_iter().map(|one| one.name).collect()
    }

    fn told(&self) -> Vec<String> {
        let all = self.translator.unsupported();
        all.map(|one| format!("{} {}", one.resource.name, one.what))
            .collect()
    }
}

fn envoy() -> World {
    World::new(Client::Envoy, Settings::default())
}

fn cluster() -> Resource {
    let id = ResourceId::new(TypeUrl::CLUSTER, "upstreams/1");
    Resource::new(
        id,
        &native::Cluster {
            endpoints: "upstreams/1".into(),
            ..native::Cluster::default()
        },
        Vec::new(),
    )
}

fn resource(name: &str, route: &native::Route) -> Resource {
    let id = ResourceId::new(TypeUrl::ROUTE, name);
    let refers = vec![ResourceId::new(TypeUrl::CLUSTER, "upstreams/1")];
    Resource::new(id, route, refers)
}

fn route(paths: &[&str]) -> native::Route {
    native::Route {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        action: Some(NativeAction::Cluster("upstreams/1".into())),
        ..native::Route::default()
    }
}

fn with(mut route: native::Route, change: impl FnOnce(&mut native::Route)) -> native::Route {
    change(&mut route);
    route
}

fn hosts(route: native::Route, hosts: &[&str]) -> native::Route {
    with(route, |route| {
        route.hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    })
}

/// `docs/apisix.md` §2.3 under Envoy's first match.
#[test]
fn routes_stand_in_the_order_in_which_apisix_tries_them() {
    let mut world = envoy();
    let ranked = |paths: &[&str], priority, created| {
        with(route(paths), |route| {
            route.priority = priority;
            route.created = created;
        })
    };
    for (name, route) in [
        ("root", ranked(&["/*"], 100, 0)),
        ("exact", ranked(&["/a/b/c"], -1, 0)),
        ("short", ranked(&["/a/*"], 50, 0)),
        ("long", ranked(&["/a/b/*"], 0, 2)),
        ("parameter", ranked(&["/a/b/:c/*"], 0, 3)),
        ("older", ranked(&["/a/b/*"], 0, 1)),
        ("better", ranked(&["/a/b/*"], 1, 9)),
    ] {
        world.put(name, &route);
    }
    assert_eq!(
        world.names("*"),
        [
            "exact",
            "better",
            "parameter",
            "older",
            "long",
            "short",
            "root"
        ]
    );
}

/// §2.4: Envoy never leaves a virtual host, so what a host falls back to stands in it.
#[test]
fn a_virtual_host_has_all_that_its_hosts_fall_back_to() {
    let mut world = envoy();
    world.put("none", &route(&["/n"]));
    world.put("exact", &hosts(route(&["/e"]), &["A.b.com"]));
    world.put("long", &hosts(route(&["/l"]), &["*.b.com"]));
    world.put("short", &hosts(route(&["/s"]), &["*com"]));
    world.put("star", &hosts(route(&["/x"]), &["*"]));
    assert_eq!(
        world.names("a.b.com"),
        ["exact", "long", "short", "star", "none"]
    );
    assert_eq!(world.names("*.b.com"), ["long", "short", "star", "none"]);
    assert_eq!(world.names("*com"), ["short", "star", "none"]);
    assert_eq!(world.names("*"), ["star", "none"]);
    // `*com` takes com, too; there Envoy's wildcard would not.
    let configuration = world.configuration("routes");
    let of = |name: &str| {
        let mut all = configuration.virtual_hosts.iter();
        all.find(|host| host.name == name).unwrap().domains.clone()
    };
    assert_eq!(of("*com"), ["*com", "*com.", "com", "com."]);
    // Hosts that no request can have are no domains.
    world.put(
        "never",
        &hosts(route(&["/"]), &["a:80", "a b", "a/b", "é", "b."]),
    );
    assert_eq!(world.configuration("routes").virtual_hosts.len(), 4);
}

#[test]
fn what_can_not_be_said_is_closed_and_told() {
    let mut world = envoy();
    let plugin = |name: &str| Plugin {
        name: name.into(),
        config: "{}".into(),
    };
    world.put("fine", &route(&["/fine"]));
    let needs = with(route(&["/p"]), |route| {
        route.plugins = vec![plugin("prometheus"), plugin("no-such-plugin")];
    });
    world.put("plugin", &needs);
    let asks = with(route(&["/c"]), |route| {
        route.condition = Some(comparison("server_port", 0, "80"));
    });
    world.put("condition", &asks);
    for route in world.routes("*") {
        let closed = matches!(route.action, Some(Action::DirectResponse(_)));
        assert_eq!(closed, route.name != "fine", "{}", route.name);
    }
    let told = world.told().join("\n");
    assert!(told.contains("plugin needs no-such-plugin"), "{told}");
    assert!(
        told.contains("condition its condition asks for \"server_port\""),
        "{told}"
    );
    assert!(!told.contains("fine "), "{told}");
    // A global rule closes all.
    let rule = native::GlobalRule {
        plugins: vec![plugin("no-such-plugin")],
    };
    let id = ResourceId::new(TypeUrl::GLOBAL_RULE, "global_rules/1");
    world.change(
        vec![Resource::new(id.clone(), &rule, Vec::new())],
        Vec::new(),
    );
    let configuration = world.configuration("routes");
    assert_eq!(configuration.virtual_hosts.len(), 1);
    assert_eq!(configuration.virtual_hosts[0].routes.len(), 2);
    world.change(Vec::new(), vec![id]);
    assert_eq!(world.routes("*").len(), 3);
}

fn comparison(variable: &str, operator: i32, text: &str) -> native::Expression {
    use bellwether::wire::google::protobuf::{Value, value::Kind};
    native::Expression {
        kind: Some(native::expression::Kind::Comparison(native::Comparison {
            variable: variable.into(),
            operator,
            value: Some(Value {
                kind: Some(Kind::StringValue(text.into())),
            }),
            ..native::Comparison::default()
        })),
    }
}

/// A27, A28: what a gRPC client is sent is what it accepts.
#[test]
fn a_grpc_client_gets_only_what_it_accepts() {
    let settings = Settings {
        grpc_listeners: BTreeSet::from(["greeter".to_owned(), "x.b.com:8080".to_owned()]),
        ..Settings::default()
    };
    let mut world = World::new(Client::Grpc, settings);
    world.put("call", &route(&["/pkg.Greeter/*"]));
    let get = with(route(&["/pkg.Greeter/Get"]), |route| {
        route.methods = vec!["GET".into()]
    });
    world.put("get", &get);
    world.put("host", &hosts(route(&["/pkg.B/*"]), &["*.b.com"]));
    world.put("exact", &hosts(route(&["/pkg.C/*"]), &["c.com"]));
    let asks = with(route(&["/pkg.Greeter/Asks"]), |route| {
        route.condition = Some(comparison("http_x", 0, "1"));
        route.websocket = true;
    });
    world.put("asks", &asks);
    let unknown = with(route(&["/pkg.Greeter/Unknown"]), |route| {
        route.remote_addresses = vec!["10.0.0.0/8".into()];
        route.condition = Some(comparison("uri", 6, "a"));
    });
    world.put("unknown", &unknown);
    let names = |name: &str| {
        let configuration = world.configuration(name);
        assert_eq!(configuration.name, name);
        let hosts = &configuration.virtual_hosts;
        assert_eq!(hosts.len(), 1);
        assert_eq!(hosts[0].domains, ["*"]);
        let all = hosts[0].routes.iter().map(|route| route.name.clone());
        all.collect::<Vec<_>>()
    };
    assert_eq!(names("greeter"), ["asks", "unknown", "call"]);
    assert_eq!(names("x.b.com:8080"), ["host", "asks", "unknown", "call"]);
    assert_eq!(names("c.com"), ["exact", "asks", "unknown", "call"]);
    for route in &world.configuration("c.com").virtual_hosts[0].routes {
        match route.action.as_ref().unwrap() {
            Action::Route(action) => {
                assert!(action.retry_policy.is_none() && action.upgrade_configs.is_empty());
                assert_eq!(super::action::leads_nowhere(route), route.name == "unknown");
            }
            other => panic!("{other:?}"),
        }
        let matching = route.r#match.as_ref().unwrap();
        assert!(matching.query_parameters.is_empty() && matching.filter_state.is_empty());
        assert!(
            matching
                .headers
                .iter()
                .all(|header| !header.name.starts_with(':'))
        );
    }
}

/// Where hosts times routes is too much, the host is a condition of each route.
#[test]
fn too_many_hosts_make_one_virtual_host() {
    let mut world = envoy();
    let names: Vec<String> = (0..300).map(|n| format!("h{n}.test")).collect();
    let many = (0..200)
        .map(|n| resource(&format!("any{n}"), &route(&[&format!("/r{n}")])))
        .chain([resource("wild", &hosts(route(&["/*"]), &["*.test"]))])
        .chain(
            names
                .iter()
                .map(|host| resource(host, &hosts(route(&["/h"]), &[host]))),
        )
        .collect();
    world.change(many, Vec::new());
    let configuration = world.configuration("routes");
    assert_eq!(configuration.virtual_hosts.len(), 1);
    assert_eq!(configuration.virtual_hosts[0].domains, ["*"]);
    let routes = world.routes("*");
    assert_eq!(routes.len(), 501);
    let position = |name: &str| routes.iter().position(|route| route.name == name).unwrap();
    assert!(position("h7.test") < position("wild"));
    assert!(position("wild") < position("any7"));
    let first = routes[0].r#match.as_ref().unwrap();
    assert_eq!(first.headers.len(), 1);
    assert_eq!(first.path_specifier, Some(PathSpecifier::Path("/h".into())));
    // And back, when there are fewer.
    let gone = (0..190).map(|n| ResourceId::new(TypeUrl::ROUTE, format!("any{n}")));
    world.change(Vec::new(), gone.collect());
    assert_eq!(world.configuration("routes").virtual_hosts.len(), 302);
}

#[test]
fn the_other_routers_look_at_the_path_first() {
    let settings = Settings {
        router: Router::Uri,
        literal_colon: true,
        ..Settings::default()
    };
    let mut world = World::new(Client::Envoy, settings);
    world.put(
        "host",
        &hosts(route(&["/a/:id"]), &["a.com", "*.b.com", "c.com:81"]),
    );
    world.put("none", &route(&["/a/*"]));
    assert_eq!(world.configuration("routes").virtual_hosts.len(), 1);
    assert_eq!(world.names("*"), ["host", "none"]);
    let first = world.routes("*").remove(0).r#match.unwrap();
    assert_eq!(first.headers.len(), 1);
    assert_eq!(first.headers[0].name, ":authority");
    // A colon is a letter that may come escaped.
    assert!(matches!(
        first.path_specifier,
        Some(PathSpecifier::SafeRegex(_))
    ));
}

fn any_route() -> impl Strategy<Value = native::Route> {
    let paths = prop::collection::vec(
        prop::sample::select(vec!["/a", "/a/*", "/*", "/a/:b", "/a b", "*", "/b*c"]),
        1..3,
    );
    let named = prop::sample::select(vec!["a.b", "b", "*.b", "*b", "*", "*.a.b", "a:1"]);
    let hosts = prop::collection::vec(named, 0..3);
    (paths, hosts, 0..3_i64, 0..3_u64, any::<bool>()).prop_map(
        |(paths, of, priority, created, asks)| {
            let mut route = hosts_of(route(&paths), &of);
            route.priority = priority;
            route.created = created;
            if asks {
                route.condition = Some(comparison("arg_a", 1, "x"));
            }
            route
        },
    )
}

fn hosts_of(route: native::Route, names: &[&str]) -> native::Route {
    hosts(route, names)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The way to a configuration leaves no trace, no domain stands twice, and no cluster is named
    /// that is not referred to.
    #[test]
    fn step_by_step_is_the_same_as_from_scratch(
        steps in prop::collection::vec((0..8_u8, prop::option::weighted(0.7, any_route())), 1..30),
    ) {
        let mut world = envoy();
        let mut held = BTreeMap::new();
        for (name, route) in steps {
            let name = format!("routes/{name}");
            match route {
                Some(route) => {
                    world.put(&name, &route);
                    held.insert(name, route);
                }
                None if held.remove(&name).is_some() => {
                    world.change(Vec::new(), vec![ResourceId::new(TypeUrl::ROUTE, name.as_str())]);
                }
                None => {}
            }
        }
        let mut fresh = envoy();
        let all = held.iter().map(|(name, route)| resource(name, route));
        fresh.change(all.collect(), Vec::new());
        let id = ResourceId::new(TypeUrl::ENVOY_ROUTES, "routes");
        prop_assert_eq!(world.made[&id].version(), fresh.made[&id].version());
        let configuration = world.configuration("routes");
        let mut domains = BTreeSet::new();
        for host in &configuration.virtual_hosts {
            prop_assert!(!host.domains.is_empty());
            for domain in &host.domains {
                prop_assert!(domains.insert(domain.clone()), "{} stands twice", domain);
            }
        }
        prop_assert!(domains.contains("*"));
        let refers: Vec<&Name> = world.made[&id].refers().iter().map(|id| &id.name).collect();
        let met = |route: &native::Route| {
            route.hosts.is_empty() || route.hosts.iter().any(|host| host != "a:1")
        };
        prop_assert_eq!(refers.len(), usize::from(held.values().any(met)));
    }
}
