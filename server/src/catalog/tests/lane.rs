//! Owns the tests of upstreams that follow services, and of the routes of Go gateways. Must not know: how
//! instances are found.

use serde_json::json;

use super::*;
use crate::lane::{Event, Instance, Instances, Overlay};
use crate::views::render;
use bellwether::snapshot::Snapshot;
use bellwether_envoy::{Client, Settings, Translator};
use prost::Message;

impl World {
    fn reading(layout: Layout) -> Self {
        let mut world = Self::new();
        world.catalog = world.catalog.reading(layout);
        world
    }

    /// What changed when these instances are there.
    fn lane(&mut self, instances: &Instances) -> Vec<String> {
        let changes = self.catalog.set_instances(instances);
        assert!(changes.removals.is_empty());
        let mut told: Vec<_> = changes
            .upserts
            .iter()
            .map(|one| format!("+{}", one.id()))
            .collect();
        for resource in changes.upserts {
            self.resources.insert(resource.id().clone(), resource);
        }
        told.sort();
        told
    }

    fn hosts(&self, name: &str) -> Vec<String> {
        let id = ResourceId::new(TypeUrl::ENDPOINTS, name);
        let message = native::Endpoints::decode(self.resources[&id].body()).unwrap();
        message.endpoints.into_iter().map(|one| one.host).collect()
    }

    fn warned(&self) -> Vec<String> {
        let warnings = self.catalog.warnings();
        warnings
            .map(|one| format!("{} {}", one.key, one.reason))
            .collect()
    }
}

fn instances(of: &[(&str, &str)]) -> Instances {
    let mut instances = Instances::default();
    for (service, address) in of {
        instances.on(
            service,
            address,
            Event::Up(Instance::at(address).unwrap()),
            std::time::Instant::now(),
        );
    }
    instances
}

fn follows(service: &str) -> Value {
    json!({"discovery_type": "bellwether", "service_name": service})
}

#[test]
fn an_upstream_that_names_a_service_gets_its_instances() {
    let mut world = World::with(&[
        ("upstreams/1", follows("users")),
        (
            "routes/1",
            json!({"uri": "/a", "upstream": follows("users")}),
        ),
        ("services/1", json!({"upstream": follows("others")})),
        ("routes/2", json!({"uri": "/b", "upstream_id": 1})),
    ]);
    assert!(world.hosts("upstreams/1").is_empty());
    assert_eq!(world.catalog.problems().count(), 0);
    let said = "service \"users\" has no instance, so requests are answered with 503";
    assert_eq!(world.warned()[0], format!("/apisix/routes/1 {said}"));
    assert_eq!(world.warned().len(), 3);
    let two = instances(&[("users", "a:1"), ("users", "b:1"), ("unused", "c:1")]);
    // Endpoints alone, and only of those that follow it.
    assert_eq!(
        world.lane(&two),
        ["+Endpoints routes/1", "+Endpoints upstreams/1"]
    );
    assert_eq!(world.hosts("upstreams/1"), ["a", "b"]);
    assert_eq!(world.warned().len(), 1);
    assert!(world.lane(&two).is_empty());
    assert!(
        world
            .lane(&instances(&[("users", "a:1"), ("users", "b:1")]))
            .is_empty()
    );
    // Another upstream finds them; one that names nodes after all follows nobody.
    world.put("upstreams/2", &follows("users"));
    assert_eq!(world.hosts("upstreams/2"), ["a", "b"]);
    world.put("upstreams/1", &json!({"nodes": {"c:1": 1}}));
    world.delete("routes/1");
    assert_eq!(
        world.lane(&instances(&[("users", "d:1")])),
        ["+Endpoints upstreams/2"]
    );
    assert_eq!(world.hosts("upstreams/1"), ["c"]);
}

#[test]
fn a_service_needs_a_name_that_can_be_a_key() {
    let mut world = World::new();
    world.put("upstreams/1", &follows("a/b"));
    let problem = world.catalog.problems().next().unwrap();
    assert!(
        problem
            .reason
            .starts_with("service_name: \"a/b\" is no service's name")
    );
    // Others have names of their own.
    world.put(
        "upstreams/1",
        &json!({"discovery_type": "dns", "service_name": "a/b"}),
    );
    assert_eq!(world.catalog.problems().count(), 0);
}

#[test]
fn a_route_of_go_gateways_is_there_while_one_of_its_keys_is() {
    let mut world = World::reading(Layout::GoGateway);
    world.lane(&instances(&[("users", "a:1"), ("users", "b:1")]));
    let made = world.put_bytes("route@7@GET@/users/*", b"users");
    let (route, upstream) = ("routes/GET@/users/*", "upstreams/service@users");
    assert_eq!(made.len(), 3, "{made:?}");
    assert_eq!(world.hosts(upstream), ["a", "b"]);
    let id = ResourceId::new(TypeUrl::ROUTE, route);
    let message = native::Route::decode(world.resources[&id].body()).unwrap();
    assert_eq!(message.paths, ["/users/*"]);
    assert_eq!(message.methods, ["GET"]);
    assert_eq!(
        message.action,
        Some(native::route::Action::Cluster(upstream.into()))
    );
    // The same from another one is nothing new, and both must go.
    assert!(world.put_bytes("route@8@GET@/users/*", b"users").is_empty());
    assert!(world.delete("route@7@GET@/users/*").is_empty());
    // What was named last counts.
    let moved = world.put_bytes("route@9@GET@/users/*", b"people");
    assert!(
        moved.contains(&format!("-Endpoints {upstream}")),
        "{moved:?}"
    );
    assert!(world.hosts("upstreams/service@people").is_empty());
    world.delete("route@9@GET@/users/*");
    assert_eq!(world.hosts(upstream), ["a", "b"]);
    world.delete("route@8@GET@/users/*");
    assert!(world.resources.is_empty(), "{:?}", world.resources.keys());
    assert!(world.catalog.followers.is_empty());
}

#[test]
fn what_go_gateways_mean_is_not_guessed() {
    let mut world = World::reading(Layout::GoGateway);
    world.put_bytes("route@7@ANY@/a", b"users");
    for (key, value, reason) in [
        (
            "route@7@GET@/a/:id",
            "users",
            "is neither exact nor ends in /*",
        ),
        (
            "route@7@GET@/a/{id}",
            "users",
            "is neither exact nor ends in /*",
        ),
        (
            "route@7@GET@/a*",
            "users",
            "is neither exact nor ends in /*",
        ),
        ("route@7@GET@a", "users", "does not start with a slash"),
        ("route@7@FETCH@/a", "users", "\"FETCH\" is none of"),
        ("route@7@GET@/b", "a b", "is no service's name"),
        ("route@7@GET", "users", "has a method or a path, not both"),
        ("route@x@GET@/a", "users", "names no lease in decimal"),
        ("route@7@ANY@/a", "", "is no service's name"),
    ] {
        world.put_bytes(key, value.as_bytes());
        let problems: Vec<_> = world.catalog.problems().collect();
        assert_eq!(problems.len(), 1, "{key}: {problems:?}");
        assert!(
            problems[0].reason.contains(reason),
            "{key}: {}",
            problems[0].reason
        );
        assert_eq!(problems[0].last_good, key == "route@7@ANY@/a");
        world.delete(key);
        assert_eq!(world.catalog.problems().count(), 0, "{key}");
    }
    assert!(world.resources.is_empty());
    // Where nobody said so, they are nobody's.
    let mut world = World::new();
    world.put_bytes("route@7@GET@/a", b"users");
    world.put_bytes("route@x", b"users");
    assert!(world.resources.is_empty());
    assert_eq!(world.catalog.problems().count(), 0);
}

/// A release is rendered when it is cut. What is laid over it later is what would be compiled now.
#[test]
fn an_overlay_is_what_the_catalog_makes() {
    let mut world = World::with(&[
        ("upstreams/1", follows("users")),
        (
            "routes/1",
            json!({"uri": "/a", "upstream": follows("others")}),
        ),
        ("upstreams/2", json!({"nodes": {"x:1": 1}})),
    ]);
    world.lane(&instances(&[("users", "a:1")]));
    let release = Snapshot::default()
        .replace("cut", world.resources.values().cloned().collect())
        .unwrap();
    let overlay = Overlay::of(&release);
    assert_eq!(overlay.services().collect::<Vec<_>>(), ["others", "users"]);
    let now = instances(&[("users", "b:1"), ("others", "c:1"), ("unused", "d:1")]);
    let changes = overlay.native(["users", "unused"], &now);
    assert_eq!(changes.upserts.len(), 1);
    let changes = overlay.native(overlay.services(), &now);
    let overlaid = release.next("now", changes).unwrap();
    world.lane(&now);
    let compiled = release
        .replace("now", world.resources.values().cloned().collect())
        .unwrap();
    for published in compiled.types() {
        let other = overlaid.published(published.type_url()).unwrap();
        assert_eq!(other.set().version(), published.set().version());
    }
}

/// A release is the same whoever is registered when it is cut.
#[test]
fn a_release_holds_no_instances() {
    let mut world = World::with(&[
        ("upstreams/1", follows("users")),
        ("upstreams/2", json!({"nodes": {"x:1": 1}})),
        ("routes/1", json!({"uri": "/a", "upstream_id": 1})),
    ]);
    let mut cut = |instances: &Instances| {
        world.lane(instances);
        let all = world.resources.values().cloned().collect();
        let native = Snapshot::default().replace("", all).unwrap();
        render(&native, &Settings::default()).unwrap()
    };
    let nobody = cut(&Instances::default());
    assert_eq!(
        cut(&instances(&[("users", "10.0.0.1:80"), ("users", "a:1")])),
        nobody
    );
}

/// The same for other kinds of clients: what is laid over what was translated when the release was cut.
#[test]
fn an_overlay_is_what_a_translation_makes() {
    let mut world = World::with(&[
        ("upstreams/1", follows("users")),
        (
            "routes/1",
            json!({"uri": "/a", "upstream": follows("users")}),
        ),
        ("routes/2", json!({"uri": "/b", "upstream_id": 1})),
    ]);
    let native = |world: &World, before: &Snapshot| {
        let all = world.resources.values().cloned().collect();
        before.replace("", all).unwrap()
    };
    world.lane(&instances(&[("users", "10.0.0.1:80")]));
    let release = native(&world, &Snapshot::default());
    let now = instances(&[("users", "10.0.0.2:80"), ("users", "10.0.0.3:80")]);
    world.lane(&now);
    let later = native(&world, &release);
    for client in [Client::Envoy, Client::Grpc] {
        let mut translator = Translator::new(client, Settings::default());
        let cut = Snapshot::default()
            .next("", translator.update(&release))
            .unwrap();
        let changes = Overlay::of(&release).translated(client, &cut, ["users"], &now);
        assert_eq!(changes.upserts.len(), 2);
        let overlaid = cut.next("", changes).unwrap();
        let translated = cut.next("", translator.update(&later)).unwrap();
        for published in translated.types() {
            let other = overlaid.published(published.type_url()).unwrap();
            assert_eq!(
                other.set().version(),
                published.set().version(),
                "{client:?}"
            );
        }
    }
}
