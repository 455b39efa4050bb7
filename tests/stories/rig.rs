//! Owns a fleet in staged mode for the tests: servers, agents, and what is asked of them.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{Ran, bellwether_as};
use crate::harness::ask::Named;
use crate::harness::etcd::{Etcd, EtcdOptions};
use crate::harness::programs::{Agent, KEY, Server, eventually};

/// As fast as it can go and still be staged: one node that is called a canary, half of all, all.
pub(super) const POLICY: &str = r#"
name = "quick"
soak = "1s"
probation = "1s"

[[stages]]
name = "canary"
select = "canary=yes"
percent = 100
bake = "1s"
deadline = "10s"

[[stages]]
name = "half"
percent = 50
min_nodes = 1
bake = "1s"
deadline = "20s"

[[stages]]
name = "all"
percent = 100
bake = "1s"
deadline = "20s"
"#;

/// A fleet called shop, in staged mode, with one route that all of its nodes serve.
pub(super) struct Shop {
    pub(super) etcd: Etcd,
    pub(super) servers: Vec<Server>,
    pub(super) agents: Vec<Agent>,
    pub(super) up: Named,
    folder: TempDir,
}

impl Shop {
    /// So many servers, and so many agents of which the first is a canary. Its stable release is `shop@1`.
    pub(super) async fn open(servers: usize, agents: usize) -> Self {
        Self::open_with(servers, agents, POLICY, &[]).await
    }

    /// By this policy; agents get these options besides.
    pub(super) async fn open_with(
        servers: usize,
        agents: usize,
        policy: &str,
        more: &[&str],
    ) -> Self {
        let mut shop = Self::direct(servers).await;
        for at in 0..agents {
            shop.join(at, more).await;
        }
        for agent in &shop.agents {
            agent.answers("/a", 200, "up").await;
        }
        shop.stage(policy).await;
        shop.all_have("shop@1").await;
        shop
    }

    /// In direct mode, with its route, and without nodes.
    pub(super) async fn direct(servers: usize) -> Self {
        let etcd = Etcd::start(EtcdOptions::default()).await;
        let store = format!("etcd:{}", etcd.endpoint());
        let mut shop = Self {
            etcd,
            servers: Vec::new(),
            agents: Vec::new(),
            up: Named::start("up").await,
            folder: tempfile::tempdir().unwrap(),
        };
        for _ in 0..servers {
            shop.servers.push(Server::over(&store, &[]).await);
        }
        shop.run("fleet put shop --prefix /shop").await.ends(0);
        shop.all_serve("direct").await;
        shop.put_route(1, "/a", json!({})).await;
        shop
    }

    /// Staged from now on, by this policy.
    pub(super) async fn stage(&self, policy: &str) {
        let file = self.write("policy.toml", policy);
        let line = format!("fleet put shop --mode staged --policy {file}");
        self.run(&line).await.ends(0);
        self.all_serve("staged").await;
    }

    /// One more agent; the first is a canary.
    pub(super) async fn join(&mut self, at: usize, more: &[&str]) {
        self.join_faulty("", at, more).await;
    }

    /// The same; something goes wrong in it on purpose, as `agent/src/fault.rs` says.
    pub(super) async fn join_faulty(&mut self, fault: &str, at: usize, more: &[&str]) {
        let urls: Vec<&str> = self
            .servers
            .iter()
            .map(|server| server.xds.as_str())
            .collect();
        let label = if at == 0 { "canary=yes" } else { "canary=no" };
        let mut options = vec!["--fleet", "shop", "--label", label, "--probation", "1s"];
        options.extend(more);
        let agent = Agent::faulty(fault, &format!("n{at}"), &urls, &options).await;
        self.agents.push(agent);
    }

    /// A file for the command line.
    pub(super) fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// By the first server that is up.
    pub(super) async fn run(&self, line: &str) -> Ran {
        bellwether_as(KEY, &self.servers[0].admin, line, "").await
    }

    async fn all_serve(&self, mode: &str) {
        for server in &self.servers {
            eventually("every server to serve the fleet so", || async {
                let fleet = server.call("GET", "/v1/fleets/shop", "").await;
                let ready = server.call("GET", "/readyz", "").await;
                let is_so = fleet.status == 200 && fleet.json()["mode"] == mode;
                (is_so && ready.status == 200).then_some(())
            })
            .await;
        }
    }

    /// A route of the draft, with whatever else it says.
    pub(super) async fn put_route(&self, id: usize, uri: &str, more: Value) {
        let mut route = json!({
            "uri": uri,
            "upstream": {"type": "roundrobin", "nodes": {self.up.node(): 1}},
        });
        for (key, value) in more.as_object().unwrap() {
            route[key] = value.clone();
        }
        let path = format!("/fleets/shop/apisix/admin/routes/{id}");
        let server = &self.servers[0];
        let reply = server.call("PUT", &path, &route.to_string()).await;
        assert!(reply.status < 300, "{reply:?}");
        let revision = reply.json()["value"]["update_time"].clone();
        let routes = |fleet: &Value| fleet["resources"]["Route"].as_u64().unwrap_or(0);
        eventually("the draft to be in force", || async {
            let fleet = self.fleet(server).await;
            (routes(&fleet) >= id as u64).then_some(())
        })
        .await;
        let _ = revision;
    }

    /// The fleet, as a server's status has it.
    pub(super) async fn fleet(&self, server: &Server) -> Value {
        let status = server.call("GET", "/v1/status", "").await.json();
        let fleets = status["list"].as_array().unwrap().clone();
        let mut fleets = fleets.into_iter();
        fleets.find(|fleet| fleet["fleet"] == "shop").unwrap()
    }

    /// Cuts a release of the draft; its name.
    pub(super) async fn cut(&self, reason: &str) -> String {
        let line = format!("release create --fleet shop -m {reason}");
        self.run(&line).await.ends(0).out.trim().to_owned()
    }

    /// The rollout under way, as the API shows it.
    pub(super) async fn rollout(&self) -> Value {
        let server = &self.servers[0];
        let reply = server.call("GET", "/v1/fleets/shop/rollout", "").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    }

    /// Waits until the history tells of this; the whole of it.
    pub(super) async fn history_tells(&self, what: &str) -> String {
        eventually(what, || async {
            let history = self.run("rollout history shop").await;
            history.out.contains(what).then_some(history.out)
        })
        .await
    }

    /// Every connected node with the release that it was given.
    pub(super) async fn given(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for server in &self.servers {
            let reply = server.call("GET", "/v1/nodes?fleet=shop", "").await;
            let nodes = reply.json();
            for node in nodes["list"].as_array().unwrap() {
                let text = |field: &str| node[field].as_str().unwrap_or_default().to_owned();
                all.push((text("id"), text("release")));
            }
        }
        all.sort();
        all
    }

    /// Waits until every agent has this release.
    pub(super) async fn all_have(&self, release: &str) {
        eventually(release, || async {
            let given = self.given().await;
            let have = given.iter().filter(|(_, has)| has == release).count();
            (have == self.agents.len() && given.len() == have).then_some(())
        })
        .await;
    }

    /// Nobody but the canary was ever given this release.
    pub(super) fn only_the_canary_had(&self, release: &str) {
        for agent in &self.agents[1..] {
            assert!(!agent.log().contains(release), "exposed: {}", agent.log());
        }
        println!("exposed at halt: 1 of {}", self.agents.len());
    }
}
