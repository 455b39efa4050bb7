//! Envoys in a fleet that is staged: what they take, reject and die of is evidence too.

use serde_json::json;

use super::rig::{POLICY, Shop};
use crate::harness::ask::Asker;
use crate::harness::envoy::{Envoy, Variant, bootstrap};
use crate::harness::ports;
use crate::harness::programs::eventually;

/// An address that no host has (RFC 5737).
const NOWHERE: &str = "192.0.2.1";

/// A fleet of two Envoys on one port, the first of them a canary by its label.
struct Envoys {
    shop: Shop,
    canary: Envoy,
    control: Envoy,
    port: u16,
}

impl Envoys {
    async fn open(policy: &str, variant: Variant) -> Self {
        let shop = Shop::direct(2).await;
        let port = ports::free();
        settings(&shop, "127.0.0.1", port).await;
        let start = async |id: &str, canary: &str| {
            let mut config = bootstrap(&shop.servers[0].xds, id, "shop", variant);
            config["node"]["metadata"] = json!({"canary": canary});
            let envoy = Envoy::start(config).await;
            eventually("the first routes", || async {
                has(&envoy, "/a").await.then_some(())
            })
            .await;
            envoy
        };
        let canary = start("canary", "yes").await;
        let control = start("control", "no").await;
        shop.stage(policy).await;
        let envoys = Self {
            shop,
            canary,
            control,
            port,
        };
        envoys.both_have("shop@1").await;
        envoys
    }

    /// Waits until both were given this.
    async fn both_have(&self, release: &str) {
        eventually(release, || async {
            let given = self.shop.given().await;
            let ids = ["canary", "control"].map(|id| (id.to_owned(), release.to_owned()));
            (given == ids).then_some(())
        })
        .await;
    }

    /// Through either of them.
    async fn get(&self, path: &str) -> u16 {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        Asker::new().get(&url).await.status
    }

    /// Rolls out the draft.
    async fn roll_out(&self) {
        eventually("a release", || async {
            (self.shop.cut("more").await == "shop@2").then_some(())
        })
        .await;
        self.shop.run("rollout start shop@2 -m more").await.ends(0);
    }

    /// Nobody but the canary ever had anything new, and what was good is in force.
    async fn only_the_canary_was_exposed(&self) {
        assert!(!has(&self.control, "/b").await);
        let rejected = self.control.sum("update_rejected").await;
        assert_eq!(rejected, 0, "{}", self.control.log());
        println!("exposed at halt: 1 of 2");
    }
}

/// Where Envoys of the fleet listen.
async fn settings(shop: &Shop, address: &str, port: u16) {
    let settings = json!({"listeners": [{"name": "http", "address": address, "port": port}]});
    let file = shop.write("settings.json", &settings.to_string());
    let line = format!("settings --fleet shop -f {file}");
    shop.run(&line).await.ends(0);
}

/// Whether an Envoy has a route with this path.
async fn has(envoy: &Envoy, path: &str) -> bool {
    let routes = envoy.dump("dynamic_route_configs").await;
    routes.to_string().contains(&format!("\"{path}\""))
}

/// The canary by its label first, then all.
async fn in_stages(variant: Variant) {
    let manual = POLICY.replacen("bake", "manual = true\nbake", 1);
    let envoys = Envoys::open(&manual, variant).await;
    let shop = &envoys.shop;
    shop.put_route(2, "/b", json!({})).await;
    envoys.roll_out().await;
    eventually("the canary to have it", || async {
        has(&envoys.canary, "/b").await.then_some(())
    })
    .await;
    eventually("a person to be asked", || async {
        (shop.rollout().await["rollout"]["phase"] == "paused").then_some(())
    })
    .await;
    assert!(!has(&envoys.control, "/b").await);
    shop.run("rollout promote shop").await.ends(0);
    shop.history_tells("succeeded").await;
    envoys.both_have("shop@2").await;
    for envoy in [&envoys.canary, &envoys.control] {
        eventually("the release", || async {
            has(envoy, "/b").await.then_some(())
        })
        .await;
        envoy.rejected_nothing().await;
    }
    assert_eq!(envoys.get("/b").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_reaches_envoys_in_stages_by_delta() {
    in_stages(Variant::Delta).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_reaches_envoys_in_stages_by_state_of_the_world() {
    in_stages(Variant::StateOfTheWorld).await;
}

/// Envoys are to listen where they can't: the canary says no.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_an_envoy_rejects_goes_back_by_itself() {
    let envoys = Envoys::open(POLICY, Variant::Delta).await;
    let shop = &envoys.shop;
    settings(shop, NOWHERE, envoys.port).await;
    envoys.roll_out().await;
    let history = shop.history_tells("rolled back").await;
    assert!(history.contains("1 nodes rejected"), "{history}");
    assert_eq!(envoys.canary.sum("lds.update_rejected").await, 1);
    let listeners = envoys.control.dump("dynamic_listeners").await.to_string();
    assert!(!listeners.contains(NOWHERE), "{listeners}");
    envoys.only_the_canary_was_exposed().await;
    envoys.both_have("shop@1").await;
    assert_eq!(envoys.get("/a").await, 200);
}

/// An Envoy says nothing of itself; that it is gone says enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_an_envoy_dies_with_goes_back_by_itself() {
    let slow = POLICY.replacen("bake = \"1s\"", "bake = \"10m\"", 1);
    let mut envoys = Envoys::open(&slow, Variant::Delta).await;
    envoys.shop.put_route(2, "/b", json!({})).await;
    envoys.roll_out().await;
    eventually("the canary to have it", || async {
        has(&envoys.canary, "/b").await.then_some(())
    })
    .await;
    envoys.canary.kill();
    let history = envoys.shop.history_tells("rolled back").await;
    assert!(history.contains("1 nodes vanished"), "{history}");
    envoys.only_the_canary_was_exposed().await;
    envoys.canary.restart().await;
    envoys.both_have("shop@1").await;
    assert!(!has(&envoys.canary, "/b").await);
}
