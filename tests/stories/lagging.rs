//! Servers that know less than others: generation 10 has one release, 11 exposes a node to another, 12
//! takes it back. Whoever comes to a server that is behind is neither exposed anew nor taken back in time.

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::rig::{POLICY, Shop};
use crate::harness::ask::Asker;
use crate::harness::gate::Gate;
use crate::harness::programs::{Agent, Server, eventually};

/// Besides the shop's own server one that can be cut off from the store, and a canary that can be sent from
/// the one server to the other.
struct Rig {
    shop: Shop,
    lagging: Server,
    store: Gate,
    to_current: Gate,
    to_lagging: Gate,
    canary: Agent,
}

impl Rig {
    async fn open() -> Self {
        let slow = POLICY.replace("bake = \"1s\"", "bake = \"10m\"");
        let shop = Shop::open_with(1, 1, &slow, &[]).await;
        let store = Gate::before(shop.etcd.address()).await;
        let lagging = Server::over(&format!("etcd:http://{}", store.address()), &[]).await;
        let to_current = gate(&shop.servers[0]).await;
        let to_lagging = gate(&lagging).await;
        to_lagging.shut();
        let urls = [&to_current, &to_lagging].map(|gate| format!("http://{}", gate.address()));
        let options = [
            "--fleet",
            "shop",
            "--label",
            "canary=yes",
            "--probation",
            "1s",
        ];
        let canary = Agent::start("mover", &[&urls[0], &urls[1]], &options).await;
        canary.answers("/a", 200, "up").await;
        let rig = Self {
            shop,
            lagging,
            store,
            to_current,
            to_lagging,
            canary,
        };
        rig.lagging_knows("stable", "shop@1").await;
        rig
    }

    /// Until the other server serves by a state that says so.
    async fn lagging_knows(&self, field: &str, release: &str) {
        eventually("the other server to know", || async {
            let status = self.lagging.call("GET", "/v1/status", "").await.json();
            let fleets = status["list"].as_array()?.clone();
            let fleet = fleets.into_iter().find(|fleet| fleet["fleet"] == "shop")?;
            let at_hand = fleet["staged"]["at_hand"].as_array()?.clone();
            let knows = fleet["staged"][field] == release && at_hand.contains(&json!(release));
            knows.then_some(())
        })
        .await;
    }

    /// A second release reaches the canary.
    async fn expose(&self) {
        self.shop.put_route(2, "/b", json!({})).await;
        assert_eq!(self.shop.cut("second").await, "shop@2");
        self.shop.run("rollout start shop@2 -m more").await.ends(0);
        self.canary.answers("/b", 200, "up").await;
    }

    async fn take_back(&self) {
        self.shop.run("rollout abort shop -m back").await.ends(0);
        let gone = "404 Route Not Found";
        self.canary.answers("/b", 404, gone).await;
    }

    fn move_over(&self) {
        self.to_lagging.open();
        self.to_current.shut();
    }

    /// The canary as the other server sees it, once that is so.
    async fn seen_there(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || async {
            let nodes = self.lagging.nodes().await;
            nodes.into_iter().find(|node| is_so(node))
        })
        .await
    }

    /// Looks all the time whether the canary answers like this; how often it did.
    fn watch(&self, path: &str, status: u16) -> JoinHandle<()> {
        let url = format!("{}{path}", self.canary.http);
        let path = path.to_owned();
        tokio::spawn(async move {
            let ask = Asker::new();
            loop {
                let reply = ask.get(&url).await;
                assert_ne!(reply.status, status, "{path} at a server that lags");
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
    }
}

async fn gate(server: &Server) -> Gate {
    let address = server.xds.split_once("://").unwrap().1;
    Gate::before(address.parse().unwrap()).await
}

/// It has gone on for all the time.
fn never(watch: &JoinHandle<()>) {
    assert!(!watch.is_finished(), "it was seen");
    watch.abort();
}

fn is_held_back(node: &Value) -> bool {
    let why = node["held_back"].as_str().unwrap_or_default();
    why.contains("has seen")
}

/// It is at generation 11, and 12 was decided without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_cut_off_exposes_nobody_who_was_taken_back() {
    let rig = Rig::open().await;
    rig.expose().await;
    rig.lagging_knows("target", "shop@2").await;
    rig.store.shut();
    rig.take_back().await;
    let watch = rig.watch("/b", 200);
    rig.move_over();
    let node = rig.seen_there("it to be held back", is_held_back).await;
    assert_eq!(node["id"], "mover");
    assert_eq!(rig.canary.get("/a").await.body, "up");
    rig.store.open();
    let has_base = |node: &Value| !is_held_back(node) && node["release"] == "shop@1";
    rig.seen_there("it to be served again", has_base).await;
    assert_eq!(rig.canary.get("/b").await.status, 404);
    never(&watch);
}

/// It is at generation 10, and 11 was decided without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_cut_off_takes_nobody_back_in_time() {
    let rig = Rig::open().await;
    rig.store.shut();
    rig.expose().await;
    let watch = rig.watch("/b", 404);
    rig.move_over();
    rig.seen_there("it to be held back", is_held_back).await;
    assert_eq!(rig.canary.get("/b").await.body, "up");
    rig.store.open();
    let has_target = |node: &Value| !is_held_back(node) && node["release"] == "shop@2";
    rig.seen_there("it to be served again", has_target).await;
    never(&watch);
}

/// It stood still at generation 11 and wakes up after 12.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stood_still_exposes_nobody_by_what_it_knew() {
    let rig = Rig::open().await;
    rig.expose().await;
    rig.lagging_knows("target", "shop@2").await;
    rig.lagging.signal("STOP");
    rig.take_back().await;
    let watch = rig.watch("/b", 200);
    rig.move_over();
    rig.lagging.signal("CONT");
    let has_base = |node: &Value| !is_held_back(node) && node["release"] == "shop@1";
    let node = rig.seen_there("it to be served there", has_base).await;
    assert_eq!(node["id"], "mover");
    assert_eq!(rig.canary.get("/b").await.status, 404);
    never(&watch);
}
