//! Owns one configuration in force in both proxies: the agent in process, and a real Envoy that follows
//! the translation over the discovery service. Must not know: what any one test wants to show.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bellwether::name::{ResourceId, TypeUrl};
use bellwether::snapshot::{Changes, Snapshot};
use bellwether_envoy::{Client, Settings, Translator};
use bellwether_server::catalog::Catalog;
use bellwether_server::keys::Prefix;
use bellwether_server::store::{Batch, Change, KeyValue, Revision};
use bellwether_xds::nodes::Nodes;
use bellwether_xds::{Discovery, Groups};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::harness::envoy::{Envoy, Variant, bootstrap};
use crate::harness::http::{Answer, Connection, Upstream, body};
use crate::harness::ports;
use crate::harness::programs::eventually;
use crate::proxy::rig::Rig as Agent;

/// The fleet.
const FLEET: &str = "default";

/// The host of a route that tells which configuration is in force, and its upstream. No other route may
/// lead there: what took any path before would answer for a configuration that is not in force yet.
pub(crate) const MARK_HOST: &str = "mark.test";
pub(crate) const MARK: &str = "mark";

/// Names of the upstreams, `upstreams/a` and so on.
pub(crate) const UPSTREAMS: [&str; 4] = ["a", "b", "c", "d"];

/// Both proxies.
pub(crate) struct Both {
    pub(crate) envoy: Envoy,
    envoy_http: SocketAddr,
    agent: Agent,
    catalog: Catalog,
    native: Snapshot,
    translator: Translator,
    translated: Snapshot,
    groups: Groups,
    revision: u64,
    upstreams: BTreeMap<&'static str, Upstream>,
    keys: Vec<String>,
    _down: watch::Sender<bool>,
}

/// A request, and nothing that only one of the proxies would see.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// What became of a request: the upstream that got it, or the status without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Upstream(String),
    Status(u16),
}

impl Both {
    pub(crate) async fn start(variant: Variant) -> Self {
        let groups = Groups::default();
        groups.set(FLEET, Snapshot::default().trusted());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let xds = listener.local_addr().unwrap();
        let (down, going_down) = watch::channel(false);
        tokio::spawn(bellwether_xds::serve(
            listener,
            Discovery {
                admission: Arc::new(groups.clone()),
                observer: Arc::new(()),
                nodes: Nodes::start(),
                going_down,
            },
        ));
        let mut upstreams = BTreeMap::new();
        for name in UPSTREAMS.into_iter().chain([MARK]) {
            upstreams.insert(name, Upstream::start(name).await);
        }
        let port = ports::free();
        let settings = json!({"listeners": [
            {"name": "http", "address": "127.0.0.1", "port": port},
        ]});
        let settings = Settings::parse(settings.to_string().as_bytes()).unwrap();
        let config = bootstrap(&xds.to_string(), "envoy", FLEET, variant);
        Self {
            envoy: Envoy::start(config).await,
            envoy_http: SocketAddr::from(([127, 0, 0, 1], port)),
            agent: Agent::start().await,
            catalog: Catalog::new(Prefix::new("/apisix").unwrap()),
            native: Snapshot::default(),
            translator: Translator::new(Client::Envoy, settings),
            translated: Snapshot::default().trusted(),
            groups,
            revision: 0,
            upstreams,
            keys: Vec::new(),
            _down: down,
        }
    }

    /// Puts a whole configuration in force in both, in place of what was.
    pub(crate) async fn configure(&mut self, config: &[(String, Value)]) {
        let mark = self.send(config);
        self.settle(&mark).await;
    }

    /// The same, where the configuration may well change what becomes of any request.
    pub(crate) async fn configure_anything(&mut self, config: &[(String, Value)]) {
        self.send(config);
        let routes = self.translated.published(&TypeUrl::ENVOY_ROUTES).unwrap();
        let routes = routes.set().get(&"routes".into()).unwrap();
        let want = routes.version().to_string();
        eventually("envoy to take the newest routes", || async {
            self.envoy.rejected_nothing().await;
            let dump = self.envoy.dump("dynamic_route_configs").await;
            (dump["configs"][0]["version_info"] == want.as_str()).then_some(())
        })
        .await;
    }

    /// The same, without waiting; a request for what is returned is answered once it is in force.
    pub(crate) fn send(&mut self, config: &[(String, Value)]) -> String {
        let mut changes: Vec<Change> = std::mem::take(&mut self.keys)
            .into_iter()
            .filter(|key| config.iter().all(|(other, _)| other != key))
            .map(|key| Change::Delete {
                key: format!("/apisix/{key}"),
            })
            .collect();
        self.revision += 1;
        let mut all: Vec<(String, Value)> = config.to_vec();
        for (name, upstream) in &self.upstreams {
            let node = upstream.address.to_string();
            all.push((
                format!("upstreams/{name}"),
                json!({"type": "roundrobin", "nodes": {node: 1}}),
            ));
        }
        all.push((
            "routes/mark".to_owned(),
            json!({"uri": format!("/mark-{}", self.revision + all.len() as u64 + 1),
                "host": MARK_HOST, "upstream_id": MARK}),
        ));
        for (key, value) in &all {
            self.revision += 1;
            let revision = Revision(self.revision);
            changes.push(Change::Put(KeyValue {
                key: format!("/apisix/{key}"),
                value: Bytes::from(value.to_string()),
                create_revision: revision,
                mod_revision: revision,
                lease: None,
            }));
        }
        self.keys = config.iter().map(|(key, _)| key.clone()).collect();
        let mark = format!("/mark-{}", self.revision);
        let changes = self.catalog.apply(&Batch {
            revision: Revision(self.revision),
            changes,
        });
        self.follow(changes);
        mark
    }

    /// How many routes there are, but for the one that marks the configuration.
    pub(crate) fn served(&self) -> usize {
        let routes = self.native.published(&TypeUrl::ROUTE);
        routes.map_or(0, |routes| routes.set().len() - 1)
    }

    /// What Envoy can't be told.
    pub(crate) fn unsupported(&self) -> Vec<String> {
        let all = self.translator.unsupported();
        all.map(|one| format!("{}: {}", one.resource, one.what))
            .collect()
    }

    fn follow(&mut self, changes: Changes) {
        let upserts = changes.upserts.clone();
        let removals = changes.removals.clone();
        self.native = self.native.next("native", changes).unwrap();
        self.agent.edit(|edit| {
            for type_url in TypeUrl::NATIVE {
                for resource in upserts.iter().filter(|one| *one.type_url() == type_url) {
                    // What the agent rejects it does not have, as in production.
                    let rejected = edit.upsert(&type_url, resource.name(), &resource.body());
                    if rejected.is_err() {
                        edit.remove(&type_url, resource.name());
                    }
                }
            }
            for ResourceId { type_url, name } in &removals {
                edit.remove(type_url, name);
            }
        });
        let changes = self.translator.update(&self.native);
        self.translated = self.translated.next("envoy", changes).unwrap();
        self.groups.set(FLEET, self.translated.clone());
    }

    /// Waits until Envoy serves what it was sent last.
    async fn settle(&self, mark: &str) {
        eventually("envoy to serve the newest routes", || async {
            self.envoy.rejected_nothing().await;
            // It does not listen before it has routes.
            tokio::net::TcpStream::connect(self.envoy_http).await.ok()?;
            self.serves(mark).await.then_some(())
        })
        .await;
    }

    /// Whether Envoy serves the configuration of this mark.
    pub(crate) async fn serves(&self, mark: &str) -> bool {
        marked(self.envoy_http, mark).await
    }

    /// What Envoy has, and what it should have.
    pub(crate) async fn state(&self) -> String {
        let routes = self.translated.published(&TypeUrl::ENVOY_ROUTES).unwrap();
        let routes = routes.set().get(&"routes".into()).unwrap();
        let want = routes.version().to_string();
        let dump = self.envoy.dump("dynamic_route_configs").await;
        let has = dump["configs"][0]["version_info"].clone();
        let counts = self.envoy.stats("update_success|update_rejected").await;
        format!("want routes {want}, has {has}, {counts:?}")
    }

    /// What Envoy answers.
    pub(crate) async fn ask_envoy(&self, ask: &Ask) -> Answer {
        to(self.envoy_http, ask).await
    }

    /// What each of the two answers.
    pub(crate) async fn ask(&self, ask: &Ask) -> [(Outcome, Answer); 2] {
        let agent = to(self.agent.address, ask).await;
        let envoy = to(self.envoy_http, ask).await;
        [(outcome(&agent), agent), (outcome(&envoy), envoy)]
    }
}

pub(crate) async fn to(address: SocketAddr, ask: &Ask) -> Answer {
    let mut connection = Connection::http1(address).await;
    let mut request = Request::builder()
        .method(ask.method.as_str())
        .uri(ask.target.as_str())
        .header("host", ask.host.as_str());
    for (name, value) in &ask.headers {
        request = request.header(name.as_str(), value.as_str());
    }
    connection.ask(request.body(body("")).unwrap()).await
}

/// Whether a proxy serves the configuration in which the route of this path leads to the mark.
pub(crate) async fn marked(address: SocketAddr, path: &str) -> bool {
    let ask = Ask {
        method: "GET".to_owned(),
        host: MARK_HOST.to_owned(),
        target: path.to_owned(),
        headers: Vec::new(),
    };
    outcome(&to(address, &ask).await) == Outcome::Upstream(MARK.to_owned())
}

pub(crate) fn outcome(answer: &Answer) -> Outcome {
    match answer.headers.get("x-answer") {
        Some(_) => Outcome::Upstream(answer.json()["name"].as_str().unwrap().to_owned()),
        None => Outcome::Status(answer.status),
    }
}
