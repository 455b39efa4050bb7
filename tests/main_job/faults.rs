//! What keeps going when a part is gone.

use serde_json::json;

use crate::harness::ask::Named;
use crate::harness::programs::{Agent, Server, eventually};
use crate::harness::stream::Stream;

use super::{put_route, route};

/// The server goes: traffic flows. The agent goes and comes back without a server: traffic flows from
/// disk. The server comes back: changes arrive.
#[tokio::test(flavor = "multi_thread")]
async fn traffic_outlives_the_server_and_the_agent_too() {
    let (one, two) = (Named::start("one").await, Named::start("two").await);
    let mut server = Server::embedded(&[]).await;
    server.put("routes/1", route("/a", &one.node())).await;
    let mut agent = Agent::start("a", &[&server.xds], &[]).await;
    agent.answers("/a", 200, "one").await;
    let kept = agent.state_dir().join("candidate");
    eventually("the configuration to be on disk", || async {
        let content = std::fs::read(&kept).unwrap_or_default();
        content.windows(8).any(|at| at == b"routes/1").then_some(())
    })
    .await;

    server.kill();
    agent.answers("/a", 200, "one").await;
    agent.kill();
    agent.restart().await;
    assert_eq!(agent.get("/a").await.body, "one", "with the first request");
    assert_eq!(agent.page("/ready").await.status, 200);

    server.restart().await;
    server.put("routes/1", route("/a", &two.node())).await;
    agent.answers("/a", 200, "two").await;
    server.nodes_in_sync(1).await;
}

/// What was deleted while the agent was away is gone when it is back (R78).
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_away_misses_nothing() {
    let up = Named::start("up").await;
    let server = Server::embedded(&[]).await;
    for n in 1..=3 {
        server
            .put(&format!("routes/{n}"), route(&format!("/{n}"), &up.node()))
            .await;
    }
    let mut agent = Agent::start("a", &[&server.xds], &[]).await;
    agent.answers("/3", 200, "up").await;
    agent.kill();
    server.call("DELETE", "/apisix/admin/routes/2", "").await;
    server.put("routes/4", route("/4", &up.node())).await;
    agent.restart().await;
    agent.answers("/4", 200, "up").await;
    agent.answers("/2", 404, "404 Route Not Found").await;
    assert_eq!(agent.get("/1").await.status, 200);
}

/// A damaged file is said, not served and not fatal.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_disk_is_no_reason_not_to_start() {
    let up = Named::start("up").await;
    let server = Server::embedded(&[]).await;
    server.put("routes/1", route("/a", &up.node())).await;
    let mut agent = Agent::start("a", &[&server.xds], &[]).await;
    agent.answers("/a", 200, "up").await;
    agent.kill();
    std::fs::write(agent.state_dir().join("candidate"), "garbage").unwrap();
    agent.restart().await;
    agent.answers("/a", 200, "up").await;
    assert!(agent.log().contains("is damaged"), "{}", agent.log());
}

/// The agent's server dies for good: it goes to the next one by itself, and is told only what changed.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_fails_over_to_another_server() {
    use crate::harness::etcd::{Etcd, EtcdOptions};
    let (one, two) = (Named::start("one").await, Named::start("two").await);
    let etcd = Etcd::start(EtcdOptions::default()).await;
    put_route(&etcd, "1", "/a", &one.node()).await;
    let store = format!("etcd:{}", etcd.endpoint());
    let mut first = Server::over(&store, &[]).await;
    let mut second = Server::over(&store, &[]).await;
    let agent = Agent::start("a", &[&first.xds, &second.xds], &[]).await;
    agent.answers("/a", 200, "one").await;

    let (gone, stays) = match first.nodes().await.len() {
        1 => (&mut first, &second),
        _ => (&mut second, &first),
    };
    gone.kill();
    eventually("the agent to find the other server", || async {
        (stays.nodes().await.len() == 1).then_some(())
    })
    .await;
    stays.nodes_in_sync(1).await;
    assert_eq!(
        stays
            .metric("bellwether_xds_rejected_resources_total")
            .await,
        0
    );
    put_route(&etcd, "1", "/a", &two.node()).await;
    agent.answers("/a", 200, "two").await;
}

/// SIGTERM: every stream is ended with a status that sends its node elsewhere, and the process ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_says_goodbye() {
    let server = Server::embedded(&[]).await;
    let mut stream = Stream::open(&server.xds).await;
    stream
        .follow("n", "", "type.googleapis.com/bellwether.v1.Route")
        .await;
    stream.hear().await;
    server.signal("TERM");
    let status = stream.end().await;
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.message().contains("going down"), "{status:?}");
}

/// An embedded store is durable: what the Admin API has confirmed is there after a kill.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_survives_a_kill_of_the_server() {
    let mut server = Server::embedded(&[]).await;
    for n in 0..20 {
        server
            .put(&format!("routes/{n}"), route("/a", "127.0.0.1:1"))
            .await;
    }
    server.kill();
    server.restart().await;
    let list = server.call("GET", "/apisix/admin/routes", "").await.json();
    assert_eq!(list["total"], json!(20));
}
