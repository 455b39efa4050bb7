//! The views of a fleet, followed through changes.

use bellwether::name::{ResourceId, TypeUrl};
use bellwether::resource::Resource;
use bellwether::snapshot::{Changes, Position};
use bellwether::wire::native;

use super::*;
use crate::settings::InForce;

struct Bench {
    native: watch::Sender<Option<Arc<Snapshot>>>,
    settings: watch::Sender<Option<Arc<InForce>>>,
    views: Views,
    _tasks: JoinSet<()>,
}

impl Bench {
    fn new() -> Self {
        let (native, feed) = watch::channel(None);
        let (settings, in_force) = watch::channel(None);
        let mut tasks = JoinSet::new();
        Self {
            native,
            settings,
            views: Views::start("shop", feed, in_force, &mut tasks),
            _tasks: tasks,
        }
    }

    fn set(&self, settings: &str) {
        let settings = Settings::parse(settings.as_bytes()).unwrap();
        self.settings.send_replace(Some(Arc::new(InForce {
            settings,
            ..InForce::default()
        })));
    }

    fn put(&self, snapshot: Snapshot) {
        self.native.send_replace(Some(Arc::new(snapshot)));
    }
}

fn snapshot(revision: u64, hosts: &[&str], plugin: Option<&str>) -> Snapshot {
    let id = |type_url, name: &str| ResourceId::new(type_url, name);
    let route = native::Route {
        id: "1".into(),
        paths: vec!["/*".into()],
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        action: Some(native::route::Action::Cluster("upstreams/1".into())),
        plugins: plugin
            .into_iter()
            .map(|name| native::Plugin {
                name: name.into(),
                config: "{}".into(),
            })
            .collect(),
        ..native::Route::default()
    };
    let cluster = native::Cluster {
        endpoints: "upstreams/1".into(),
        ..native::Cluster::default()
    };
    let endpoints = id(TypeUrl::ENDPOINTS, "upstreams/1");
    let to = id(TypeUrl::CLUSTER, "upstreams/1");
    let upserts = vec![
        Resource::new(endpoints.clone(), &native::Endpoints::default(), vec![]),
        Resource::new(to.clone(), &cluster, vec![endpoints]),
        Resource::new(id(TypeUrl::ROUTE, "routes/1"), &route, vec![to]),
    ];
    let changes = Changes {
        upserts,
        removals: vec![],
    };
    Snapshot::default()
        .next(revision.to_string(), changes)
        .unwrap()
        .at(Position { store: 1, revision })
}

/// The first snapshot in the feed that is as wanted.
async fn wait(feed: &mut SnapshotFeed, mut wanted: impl FnMut(&Snapshot) -> bool) -> Arc<Snapshot> {
    let found = feed.wait_for(|snapshot| snapshot.as_deref().is_some_and(&mut wanted));
    found.await.unwrap().clone().unwrap()
}

fn names(snapshot: &Snapshot, type_url: &TypeUrl) -> Vec<String> {
    let published = snapshot.published(type_url);
    let set = published.map(|published| published.set());
    set.into_iter()
        .flat_map(|set| set.iter())
        .map(|resource| resource.name().to_string())
        .collect()
}

fn revision(snapshot: &Snapshot) -> u64 {
    snapshot.position().unwrap().revision
}

#[tokio::test]
async fn each_kind_of_client_has_a_view_of_its_own() {
    let bench = Bench::new();
    let mut native = bench.views.feed("bellwether-agent", Secrets::Given);
    assert!(bench.views.translations().is_empty());
    let mut envoy = bench.views.feed("envoy", Secrets::Given);
    let mut grpc = bench.views.feed("gRPC Go", Secrets::Given);
    bench.put(snapshot(7, &["a.com"], None));
    // Settings that nobody has read yet are not the defaults.
    let native = wait(&mut native, |_| true).await;
    assert_eq!(
        names(&native, &TypeUrl::ENVOY_LISTENER),
        Vec::<String>::new()
    );
    assert!(envoy.borrow().is_none());
    bench.set(r#"{"listeners":[{"name":"web","port":80}]}"#);
    let envoy = wait(&mut envoy, |_| true).await;
    assert_eq!(names(&envoy, &TypeUrl::ENVOY_LISTENER), ["web"]);
    assert_eq!(names(&envoy, &TypeUrl::ROUTE), ["routes/1"]);
    assert_eq!(revision(&envoy), 7);
    let grpc = wait(&mut grpc, |_| true).await;
    assert_eq!(names(&grpc, &TypeUrl::ENVOY_LISTENER), ["a.com"]);
    let said = bench.views.translations();
    assert_eq!(said["envoy"].resources["Listener"], 1);
    assert_eq!(said["envoy"].resources["Cluster"], 1);
}

#[tokio::test]
async fn views_follow_configuration_and_settings() {
    let bench = Bench::new();
    bench.set("{}");
    bench.put(snapshot(7, &["a.com"], None));
    let mut feed = bench.views.feed("envoy", Secrets::Given);
    wait(&mut feed, |snapshot| revision(snapshot) == 7).await;
    bench.put(snapshot(8, &[], Some("serverless-pre-function")));
    let at_8 = wait(&mut feed, |snapshot| revision(snapshot) == 8).await;
    assert_eq!(names(&at_8, &TypeUrl::ENVOY_LISTENER), ["http"]);
    let said = bench.views.translations();
    let unsupported = &said["envoy"].unsupported;
    assert_eq!(unsupported[0].resource, "routes/1");
    assert!(unsupported[0].reason.contains("serverless-pre-function"));
    bench.set(r#"{"listeners":[{"name":"web","port":80}]}"#);
    wait(&mut feed, |snapshot| {
        names(snapshot, &TypeUrl::ENVOY_LISTENER) == ["web"]
    })
    .await;
}

/// R44: a store that may have been wiped takes nothing from an Envoy either.
#[tokio::test]
async fn a_blank_fleet_has_no_listeners() {
    let bench = Bench::new();
    bench.set("{}");
    let mut feed = bench.views.feed("envoy", Secrets::Given);
    let blank = Snapshot::default().at(Position {
        store: 1,
        revision: 1,
    });
    bench.put(blank.clone());
    let seen = wait(&mut feed, |_| true).await;
    assert!(seen.is_blank());
    bench.put(blank.trusted());
    let seen = wait(&mut feed, |snapshot| !snapshot.is_blank()).await;
    assert_eq!(names(&seen, &TypeUrl::ENVOY_LISTENER), ["http"]);
}

#[tokio::test]
async fn settings_say_what_a_user_agent_reads() {
    let bench = Bench::new();
    bench.set(r#"{"user_agents":{"my-proxy":"native"}}"#);
    bench.put(snapshot(7, &[], None));
    let mut feed = bench.views.feed("my-proxy", Secrets::Given);
    let seen = wait(&mut feed, |_| true).await;
    assert_eq!(names(&seen, &TypeUrl::ENVOY_LISTENER), Vec::<String>::new());
    assert!(bench.views.translations().is_empty());
}

/// Credentials of consumers stand in Envoy's routes: they are not for those that nothing vouches for.
#[tokio::test]
async fn envoys_that_nothing_vouches_for_get_no_credentials() {
    let bench = Bench::new();
    bench.set("{}");
    let consumer = native::Consumer {
        username: "jack".into(),
        plugins: vec![native::Plugin {
            name: "key-auth".into(),
            config: r#"{"key":"hush-hush-hush"}"#.into(),
        }],
        ..native::Consumer::default()
    };
    let id = ResourceId::new(TypeUrl::CONSUMER, "consumers/jack");
    let changes = Changes {
        upserts: vec![Resource::new(id, &consumer, vec![])],
        removals: vec![],
    };
    let guarded = snapshot(7, &["a.com"], Some("key-auth"));
    let at = guarded.position().unwrap();
    bench.put(guarded.next("8", changes).unwrap().at(at));
    for (secrets, told) in [(Secrets::Given, true), (Secrets::Withheld, false)] {
        let mut feed = bench.views.feed("envoy", secrets);
        let seen = wait(&mut feed, |_| true).await;
        let routes = seen.published(&TypeUrl::ENVOY_ROUTES).unwrap();
        let body = routes.set().get(&"routes".into()).unwrap().body();
        let text = String::from_utf8_lossy(&body);
        assert_eq!(text.contains("hush-hush-hush"), told, "{secrets:?}");
        assert!(seen.published(&TypeUrl::CONSUMER).is_some());
    }
}
