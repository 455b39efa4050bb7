//! Owns the whole in force: a real server that is written to by its Admin API, an agent and an Envoy that
//! follow it; and the table of requests asked of that. Must not know: how the translation is done.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::envoy::rig::{Ask, MARK, MARK_HOST, Outcome, UPSTREAMS, marked, outcome, to};
use crate::envoy::routing::{ask, expected};
use crate::envoy::table::groups;
use crate::harness::envoy::{Envoy, Variant, bootstrap};
use crate::harness::http::Upstream;
use crate::harness::ports;
use crate::harness::programs::{Agent, Server, eventually};

/// A server, an agent, an Envoy, and upstreams.
pub(crate) struct Whole {
    pub(crate) server: Server,
    pub(crate) agent: Agent,
    pub(crate) envoy: Envoy,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) upstreams: BTreeMap<&'static str, Upstream>,
    marks: u64,
}

impl Whole {
    pub(crate) async fn start(variant: Variant) -> Self {
        let server = Server::embedded(&[]).await;
        let (http, https) = (ports::free(), ports::free());
        let settings = json!({"listeners": [
            {"name": "http", "address": "127.0.0.1", "port": http},
            {"name": "https", "address": "127.0.0.1", "port": https, "tls": true},
        ]});
        let path = "/v1/fleets/default/settings";
        let reply = server.call("PUT", path, &settings.to_string()).await;
        assert!(reply.status < 300, "{reply:?}");
        let mut upstreams = BTreeMap::new();
        for name in UPSTREAMS.into_iter().chain([MARK]) {
            let upstream = Upstream::start(name).await;
            let nodes = json!({"type": "roundrobin", "nodes": {upstream.address.to_string(): 1}});
            server.put(&format!("upstreams/{name}"), nodes).await;
            upstreams.insert(name, upstream);
        }
        let config = bootstrap(&server.xds, "envoy-1", "default", variant);
        let agent = Agent::start("agent-1", &[&server.xds], &[]).await;
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut whole = Self {
            envoy: Envoy::start(config).await,
            agent,
            server,
            http: loopback(http),
            https: loopback(https),
            upstreams,
            marks: 0,
        };
        whole.settle().await;
        whole
    }

    /// Waits until both proxies serve what was written last.
    pub(crate) async fn settle(&mut self) {
        self.marks += 1;
        let uri = format!("/mark-{}", self.marks);
        let route = json!({"uri": uri, "host": MARK_HOST, "upstream_id": MARK});
        self.server.put("routes/mark", route).await;
        for address in [self.http, self.agent_address()] {
            eventually("both proxies to serve what was written", || async {
                tokio::net::TcpStream::connect(address).await.ok()?;
                marked(address, &uri).await.then_some(())
            })
            .await;
        }
    }

    pub(crate) fn agent_address(&self) -> SocketAddr {
        self.agent.http["http://".len()..].parse().unwrap()
    }

    /// What Envoy answers a GET.
    pub(crate) async fn get(&self, target: &str) -> Outcome {
        let ask = Ask {
            method: "GET".to_owned(),
            host: "h".to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
        };
        outcome(&to(self.http, &ask).await)
    }

    /// Waits until Envoy answers a GET like this.
    pub(crate) async fn answers(&self, target: &str, want: &Outcome) {
        eventually(&format!("envoy to answer {target} by {want:?}"), || async {
            (self.get(target).await == *want).then_some(())
        })
        .await;
    }

    pub(crate) async fn delete(&self, key: &str) {
        let path = format!("/apisix/admin/{key}");
        let reply = self.server.call("DELETE", &path, "").await;
        assert!(reply.status < 300, "{path}: {reply:?}");
    }
}

/// Keys in the order in which what refers to others goes first.
const REMOVAL: [&str; 3] = ["routes/", "services/", "plugin_configs/"];

async fn table(variant: Variant) {
    let mut whole = Whole::start(variant).await;
    let (mut asked, mut wrong) = (0, Vec::new());
    for group in groups() {
        let mut written: Vec<&str> = Vec::new();
        let mut order = group.config.clone();
        order.sort_by_key(|(key, _)| key.starts_with("routes/"));
        for (key, value) in &order {
            let path = format!("/apisix/admin/{key}");
            let reply = whole.server.call("PUT", &path, &value.to_string()).await;
            // What refers to something that is not there is for stores that others write.
            let refused = reply.status == 400 && reply.body.contains("no-such");
            assert!(reply.status < 300 || refused, "{key}: {reply:?}");
            if !refused {
                written.push(key);
            }
        }
        whole.settle().await;
        let all = written.len() == group.config.len();
        for line in group.requests.iter().filter(|line| all || line.4 == "404") {
            asked += 1;
            let (ask, want) = (ask(line), expected(line.4));
            let agent = outcome(&to(whole.agent_address(), &ask).await);
            let envoy = outcome(&to(whole.http, &ask).await);
            if agent != want || envoy != want {
                let name = group.name;
                wrong.push(format!(
                    "{name}: {line:?}: agent {agent:?}, envoy {envoy:?}"
                ));
            }
        }
        for kind in REMOVAL {
            for key in written.iter().filter(|key| key.starts_with(kind)) {
                whole.delete(key).await;
            }
        }
    }
    whole.envoy.rejected_nothing().await;
    assert!(wrong.is_empty(), "{asked} asked:\n{}", wrong.join("\n"));
    assert!(asked >= 200, "{asked}");
}

/// The same table with everything between: Admin API, store, discovery service, both proxies.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_answers_the_table_by_state_of_the_world() {
    table(Variant::StateOfTheWorld).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_answers_the_table_by_delta() {
    table(Variant::Delta).await;
}

/// What Envoy can't do is closed, and said.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_can_not_be_expressed_is_closed_and_named_in_the_status() {
    let mut whole = Whole::start(Variant::Delta).await;
    let fine: Value = json!({"uri": "/*", "upstream_id": "a"});
    whole.server.put("routes/fine", fine).await;
    let needs = json!({"uri": "/closed/*", "upstream_id": "b", "plugins": {"openid-connect": {
        "client_id": "c", "client_secret": "s", "discovery": "http://127.0.0.1:1/d"}}});
    whole.server.put("routes/needs", needs).await;
    whole.settle().await;
    assert_eq!(whole.get("/x").await, Outcome::Upstream("a".to_owned()));
    assert_eq!(whole.get("/closed/x").await, Outcome::Status(503));
    let status = whole.server.status().await.to_string();
    assert!(status.contains("routes/needs"), "{status}");
    assert!(status.contains("openid-connect"), "{status}");
    whole.delete("routes/needs").await;
    whole.settle().await;
    assert_eq!(
        whole.get("/closed/x").await,
        Outcome::Upstream("a".to_owned())
    );
    whole.envoy.rejected_nothing().await;
}
