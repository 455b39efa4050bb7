//! What is shown, followed through changes.

use bellwether::wire::native::health_check::Active;
use bellwether::wire::native::{Cluster, HealthCheck, KeyPair, Plugin, UpstreamTls};
use proptest::prelude::*;

use super::*;

const HUSH: &str = "hush-hush-hush";

/// What is in force of three clusters, each with a route to it, and a global rule.
#[derive(Clone, Debug, Default)]
struct World {
    clusters: [Option<Kept>; 3],
    routes: [Option<Kept>; 3],
    rule: Option<Kept>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kept {
    Plain,
    Changed,
    Secret,
    Probed,
}

fn plugin(kept: Kept) -> Plugin {
    let (name, config) = match kept {
        Kept::Plain | Kept::Probed => ("cors", "{}".to_owned()),
        Kept::Changed => ("cors", r#"{"max_age":1}"#.to_owned()),
        Kept::Secret => ("openid-connect", format!(r#"{{"client_secret":"{HUSH}"}}"#)),
    };
    Plugin {
        name: name.into(),
        config,
    }
}

fn cluster(name: &str, kept: Kept) -> Cluster {
    let tls = UpstreamTls {
        client_key_pair: Some(KeyPair {
            certificate: "c".into(),
            private_key: HUSH.into(),
        }),
        ..UpstreamTls::default()
    };
    let active = Active {
        request_headers: vec![format!("Authorization: {HUSH}")],
        ..Active::default()
    };
    Cluster {
        endpoints: name.into(),
        display_name: if kept == Kept::Changed { "x" } else { "" }.into(),
        tls: (kept == Kept::Secret).then_some(tls),
        health_check: (kept == Kept::Probed).then_some(HealthCheck {
            active: Some(active),
            passive: None,
        }),
        ..Cluster::default()
    }
}

impl World {
    fn resources(&self) -> Vec<Resource> {
        let mut all = Vec::new();
        for (n, kept) in self.clusters.iter().enumerate() {
            let name = format!("upstreams/{n}");
            let id = |of: TypeUrl| ResourceId::new(of, name.as_str());
            let Some(kept) = kept else { continue };
            let endpoints = id(TypeUrl::ENDPOINTS);
            all.push(Resource::new(
                endpoints.clone(),
                &native::Endpoints::default(),
                vec![],
            ));
            let message = cluster(&name, *kept);
            all.push(Resource::new(
                id(TypeUrl::CLUSTER),
                &message,
                vec![endpoints],
            ));
            if let Some(kept) = self.routes[n] {
                let route = native::Route {
                    id: n.to_string(),
                    plugins: vec![plugin(kept)],
                    action: Some(Action::Cluster(name.clone())),
                    ..native::Route::default()
                };
                let of = ResourceId::new(TypeUrl::ROUTE, format!("routes/{n}").as_str());
                all.push(Resource::new(of, &route, vec![id(TypeUrl::CLUSTER)]));
            }
        }
        if let Some(kept) = self.rule {
            let rule = native::GlobalRule {
                plugins: vec![plugin(kept)],
            };
            let of = ResourceId::new(TypeUrl::GLOBAL_RULE, "global_rules/1");
            all.push(Resource::new(of, &rule, vec![]));
        }
        all
    }
}

fn kept() -> impl Strategy<Value = Option<Kept>> {
    prop_oneof![
        Just(None),
        Just(Some(Kept::Plain)),
        Just(Some(Kept::Changed)),
        Just(Some(Kept::Secret)),
        Just(Some(Kept::Probed)),
    ]
}

fn world() -> impl Strategy<Value = World> {
    (
        prop::array::uniform3(kept()),
        prop::array::uniform3(kept()),
        kept(),
    )
        .prop_map(|(clusters, routes, rule)| World {
            clusters,
            routes,
            rule,
        })
}

proptest! {
    /// However the configuration got there, what is shown is the same, consistent, and holds no secret;
    /// what holds none is shown as it is.
    #[test]
    fn what_is_shown_follows_what_is_there(worlds in prop::collection::vec(world(), 1..8)) {
        let (mut curtain, mut native, mut shown) =
            (Curtain::default(), Snapshot::default(), Snapshot::default());
        for world in worlds {
            let changes = native.changes_to(world.resources());
            native = native.next("n", changes).unwrap();
            shown = shown.next("n", curtain.update(&native)).unwrap();
            let mut fresh = Curtain::default();
            let once = Snapshot::default().next("n", fresh.update(&native)).unwrap();
            for of in TypeUrl::NATIVE {
                let set = |snapshot: &Snapshot| {
                    let published = snapshot.published(&of)?;
                    Some(published.set().as_ref().clone()).filter(|set| !set.is_empty())
                };
                let (now, then) = (set(&shown), set(&once));
                prop_assert_eq!(
                    now.as_ref().map(ResourceSet::version),
                    then.as_ref().map(ResourceSet::version)
                );
                for resource in now.iter().flat_map(ResourceSet::iter) {
                    let body = resource.body();
                    prop_assert!(!String::from_utf8_lossy(&body).contains(HUSH), "{}", resource.id());
                }
                for resource in set(&native).iter().flat_map(ResourceSet::iter) {
                    let is_same = now.as_ref().and_then(|set| set.get(resource.name()))
                        .is_some_and(|shown| shown.body() == resource.body());
                    let is_noted = fresh.notes().any(|(id, _)| id == resource.id());
                    prop_assert_ne!(is_same, is_noted, "{}", resource.id());
                }
            }
            prop_assert_eq!(
                curtain.notes().collect::<Vec<_>>(),
                fresh.notes().collect::<Vec<_>>()
            );
        }
    }
}
