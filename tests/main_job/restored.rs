//! A store that is not what it was: wiped, restored, another one. Absence and the past are never an
//! instruction; an operator's word is.

use crate::harness::ask::Named;
use crate::harness::etcd::{Etcd, EtcdOptions};
use crate::harness::programs::{Agent, Server, eventually};

use super::{put_route, route};

/// The server runs while its etcd is wiped: it freezes, says so, serves on, and takes the new store
/// when it is told to.
#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_etcd_freezes_a_running_server_until_an_operator_decides() {
    let (one, two) = (Named::start("one").await, Named::start("two").await);
    let mut etcd = Etcd::start(EtcdOptions::default()).await;
    for n in 0..5 {
        let key = format!("/apisix/routes/{n}");
        etcd.etcdctl(&["put", &key, &route("/a", &one.node()).to_string()])
            .await;
    }
    let server = Server::over(&format!("etcd:{}", etcd.endpoint()), &[]).await;
    let agent = Agent::start("a", &[&server.xds], &[]).await;
    agent.answers("/a", 200, "one").await;

    etcd.kill();
    etcd.wipe();
    etcd.restart().await;
    eventually("the server to freeze", || async {
        (server.status().await["store"]["state"] == "frozen").then_some(())
    })
    .await;
    assert_eq!(agent.get("/a").await.body, "one");
    assert_eq!(server.metric("bellwether_fleet_store_frozen").await, 1);
    assert!(server.log().contains("ERROR"), "{}", server.log());

    put_route(&etcd, "new", "/new", &two.node()).await;
    let accepted = server
        .call("POST", "/v1/fleets/default/accept-store", "")
        .await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
    agent.answers("/new", 200, "two").await;
    agent.answers("/a", 404, "404 Route Not Found").await;
    assert_eq!(server.status().await["store"]["state"], "live");
}

/// The server was away while its etcd was wiped, so it knows no better; the nodes do.
#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_wiped_behind_the_servers_back_takes_nothing_from_the_nodes() {
    let one = Named::start("one").await;
    let mut etcd = Etcd::start(EtcdOptions::default()).await;
    put_route(&etcd, "1", "/a", &one.node()).await;
    let mut server = Server::over(&format!("etcd:{}", etcd.endpoint()), &[]).await;
    let agent = Agent::start("a", &[&server.xds], &[]).await;
    agent.answers("/a", 200, "one").await;
    server.kill();
    etcd.kill();
    etcd.wipe();
    etcd.restart().await;
    server.restart().await;
    let held_back = eventually("the node to be held back", || async {
        let nodes = server.nodes().await;
        let why = nodes.first()?["held_back"].as_str()?.to_owned();
        (!why.is_empty()).then_some(why)
    })
    .await;
    println!("held back: {held_back}");
    assert_eq!(server.nodes().await[0]["in_sync"], false);
    assert_eq!(agent.get("/a").await.body, "one");

    server
        .call("POST", "/v1/fleets/default/accept-store", "")
        .await;
    agent.answers("/a", 404, "404 Route Not Found").await;
    server.nodes_in_sync(1).await;
}

/// Two servers on one etcd; the one that a node moves to is behind. It waits, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lags_takes_no_node_back_in_time() {
    let (one, two) = (Named::start("one").await, Named::start("two").await);
    let etcd = Etcd::start(EtcdOptions::default()).await;
    put_route(&etcd, "1", "/a", &one.node()).await;
    let gate = crate::harness::gate::Gate::before(etcd.address()).await;
    let lagging = Server::over(&format!("etcd:http://{}", gate.address()), &[]).await;
    let mut current = Server::over(&format!("etcd:{}", etcd.endpoint()), &[]).await;
    eventually("both servers to have read the store", || async {
        let (a, b) = (lagging.status().await, current.status().await);
        (a["resources"]["Route"] == 1 && b["resources"]["Route"] == 1).then_some(())
    })
    .await;
    gate.shut();
    put_route(&etcd, "1", "/a", &two.node()).await;
    let mut agent = Agent::start("a", &[&current.xds], &[]).await;
    agent.answers("/a", 200, "two").await;
    current.nodes_in_sync(1).await;
    let kept = agent.state_dir().join("candidate");
    eventually("the new route to be on disk", || async {
        let text = String::from_utf8_lossy(&std::fs::read(&kept).unwrap_or_default()).into_owned();
        text.contains("routes/1").then_some(())
    })
    .await;
    agent.terminate().await;
    current.kill();
    agent.follow(&[&lagging.xds]);
    agent.restart().await;
    eventually("the lagging server to hold back", || async {
        let nodes = lagging.nodes().await;
        nodes.first()?["held_back"]
            .as_str()?
            .contains("has seen")
            .then_some(())
    })
    .await;
    assert_eq!(agent.get("/a").await.body, "two", "not the route of before");
    gate.open();
    lagging.nodes_in_sync(1).await;
    assert_eq!(agent.get("/a").await.body, "two");
}
