//! Owns what an operator does: makes the fleet staged, cuts releases, rolls one out and reads the history.
//! Must not know: nodes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::server::Server;

/// The fleet's name.
pub(crate) const FLEET: &str = "shop";

/// The route that nodes with a fault reject in the second release.
pub(crate) const BAD: &str = "routes/0";

/// Routes that the second release changes.
const CHANGED: usize = 10;

/// How long anything may take that is to happen by itself.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// The stages of the rollout: how many percent of the nodes, and at least how many nodes.
pub(crate) const STAGES: [(f64, f64); 4] = [(1.0, 5.0), (10.0, 0.0), (50.0, 0.0), (100.0, 0.0)];

/// A step of a rollout, as the history has it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: u64,
    pub(crate) name: String,
    pub(crate) stage: String,
}

/// See the module.
pub(crate) struct Operator<'a> {
    server: &'a Server,
    paths: usize,
}

/// What there is in the store before anything begins.
pub(crate) fn keys(routes: usize, paths: usize) -> Vec<(String, String)> {
    let upstream = r#"{"type":"roundrobin","nodes":{"127.0.0.1:1980":1}}"#;
    let upstream = (format!("/{FLEET}/upstreams/1"), upstream.to_owned());
    let each = (0..routes).map(|n| (format!("/{FLEET}/routes/{n}"), route(n, 0, paths)));
    std::iter::once(upstream).chain(each).collect()
}

/// A route's value; `change` makes it another, `paths` makes it larger by some 100 bytes each.
fn route(n: usize, change: usize, paths: usize) -> String {
    let uris = (0..paths).map(|path| format!("/bench/{n}/{path}/{:080}", n));
    let uris: Vec<String> = uris.collect();
    json!({"uris": uris, "priority": change, "upstream_id": "1"}).to_string()
}

/// The name of a stage.
pub(crate) fn stage_name(at: usize) -> String {
    format!("{}%", STAGES[at].0)
}

/// Quick, and with a pace in nodes a second.
fn policy(pace: u32) -> Value {
    let stages = (0..STAGES.len()).map(|at| {
        json!({
            "name": stage_name(at),
            "percent": STAGES[at].0,
            "min_nodes": STAGES[at].1 as u64,
            "pace": pace,
            "bake": "1s",
        })
    });
    json!({
        "name": "quick",
        "probation": "1s",
        "soak": "1s",
        "stages": stages.collect::<Vec<_>>(),
    })
}

impl<'a> Operator<'a> {
    /// Defines a fleet whose keys are there already, and makes what it has its stable release.
    pub(crate) async fn open(server: &'a Server, routes: usize, paths: usize) -> Self {
        let operator = Self { server, paths };
        let fleet = format!("/v1/fleets/{FLEET}");
        let define = |mode| json!({"prefix": format!("/{FLEET}"), "mode": mode}).to_string();
        server.call("PUT", &fleet, define("direct")).await;
        operator
            .until("the keys to be read", async || {
                let status = server.call("GET", "/v1/status", String::new()).await;
                let fleets = status["list"].as_array().cloned().unwrap_or_default();
                let shop = fleets.iter().find(|one| one["fleet"] == FLEET)?;
                (shop["resources"]["Route"].as_u64() == Some(routes as u64)).then_some(())
            })
            .await;
        server.call("PUT", &fleet, define("staged")).await;
        operator
            .until("a stable release and a leader", async || {
                let fleet = server.call("GET", &fleet, String::new()).await;
                if fleet["mode"] != "staged" {
                    return None;
                }
                let path = format!("/v1/fleets/{FLEET}/rollout");
                let (status, rollout) = server.ask("GET", &path, String::new()).await;
                (status.is_success()
                    && rollout["stable"]["seq"] == 1
                    && !rollout["leader"].is_null())
                .then_some(())
            })
            .await;
        operator
    }

    /// Changes some routes and cuts a release of them; its number.
    pub(crate) async fn cut(&self) -> u64 {
        for n in 0..CHANGED {
            let path = format!("/fleets/{FLEET}/apisix/admin/routes/{n}");
            self.server
                .call("PUT", &path, route(n, 1, self.paths))
                .await;
        }
        let path = format!("/v1/fleets/{FLEET}/releases");
        let cut = async || {
            let body = json!({"reason": "the benchmark"}).to_string();
            let release = self.server.call("POST", &path, body).await;
            release["seq"].as_u64().expect("a release has a number")
        };
        // What was written may not be in force yet.
        self.until("a release with every change", async || {
            let seq = cut().await;
            let path = format!("{path}/1/diff/{seq}");
            let diff = self.server.call("GET", &path, String::new()).await;
            let changed = diff["list"].as_array().expect("a list").iter();
            let native = changed.filter(|one| one["client"] == "native").count();
            (native == CHANGED).then_some(seq)
        })
        .await
    }

    /// Begins to roll out a release.
    pub(crate) async fn start(&self, release: u64, pace: u32) {
        let body = json!({"release": release, "reason": "the benchmark", "policy": policy(pace)});
        let path = format!("/v1/fleets/{FLEET}/rollout");
        self.server.call("POST", &path, body.to_string()).await;
    }

    /// Waits until the server has a release at hand.
    pub(crate) async fn at_hand(&self, release: u64) {
        let name = format!("{FLEET}@{release}");
        self.until("a release at hand", async || {
            let status = self.server.call("GET", "/v1/status", String::new()).await;
            let fleets = status["list"].as_array().cloned().unwrap_or_default();
            let shop = fleets.iter().find(|one| one["fleet"] == FLEET)?;
            let at_hand = shop["staged"]["at_hand"].as_array()?;
            at_hand.iter().any(|one| *one == name).then_some(())
        })
        .await;
    }

    /// Whether the rollout is over.
    ///
    /// # Panics
    /// It waits for a person, which is none of what is promised here.
    pub(crate) async fn is_over(&self) -> bool {
        let path = format!("/v1/fleets/{FLEET}/rollout");
        let shown = self.server.call("GET", &path, String::new()).await;
        let rollout = &shown["rollout"];
        assert_ne!(rollout["phase"], "paused", "it waits: {shown:#}");
        rollout.is_null()
    }

    /// The number of the stable release.
    pub(crate) async fn stable(&self) -> u64 {
        let path = format!("/v1/fleets/{FLEET}/rollout");
        let shown = self.server.call("GET", &path, String::new()).await;
        shown["stable"]["seq"].as_u64().expect("a number")
    }

    /// All that happened, oldest first.
    pub(crate) async fn history(&self) -> Vec<Event> {
        let path = format!("/v1/fleets/{FLEET}/history");
        let history = self.server.call("GET", &path, String::new()).await;
        let records = history["list"].as_array().expect("a list").iter();
        let events = records.flat_map(|record| {
            let at = record["time"].as_u64().expect("a time");
            let events = record["events"].as_array().expect("a list").iter();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            events.map(move |event| Event {
                at,
                name: text(&event["event"]),
                stage: text(&event["stage"]),
            })
        });
        events.collect()
    }

    async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < end, "waited in vain for {what}");
            sleep(LOOK).await;
        }
    }
}
