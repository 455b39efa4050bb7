//! Real programs: a registrar, a server, an agent. What an operator sees of instances that come and go.

use serde_json::json;

use super::{Registrar, follows};
use crate::cli::bellwether_as;
use crate::harness::ask::Named;
use crate::harness::etcd::{Etcd, EtcdOptions};
use crate::harness::programs::{Agent, KEY, Server, eventually};

/// A server with a route to the service `users`, and an agent that follows it.
async fn shop(server: &Server) -> Agent {
    server.put("upstreams/1", follows("users")).await;
    let route = json!({"uri": "/*", "upstream_id": "1"});
    server.put("routes/1", route).await;
    let agent = Agent::start("a", &[&server.xds], &[]).await;
    agent.is_ready().await;
    agent
}

/// How many instances `/v1/status` counts, and whose are kept.
async fn counts(server: &Server, alive: u64, kept: &[&str]) {
    eventually(&format!("{alive} instances, kept {kept:?}"), || async {
        let counted = server.status().await["instances"].clone();
        (counted["instances"] == alive && counted["kept"] == json!(kept)).then_some(())
    })
    .await;
}

async fn an_agent_follows(mut server: Server) {
    let (one, two) = (Named::start("one").await, Named::start("two").await);
    let agent = shop(&server).await;
    agent.answers("/", 503, "").await;
    let warnings = server.status().await["warnings"].clone();
    assert!(
        warnings[0]["reason"]
            .as_str()
            .unwrap()
            .contains("has no instance")
    );

    let first = Registrar::start(&server, "users", &one.node(), &[]).await;
    agent.answers("/", 200, "one").await;
    let meta = ["--weight", "2", "--zone", "north", "--meta", "v=7"];
    let second = Registrar::start(&server, "users", &two.node(), &meta).await;
    agent.answers("/", 200, "two").await;
    let listed = bellwether_as(KEY, &server.admin, "instance list users --output json", "").await;
    let listed = listed.ends(0).json();
    let list = listed["list"].as_array().unwrap();
    let found = list
        .iter()
        .find(|one| one["address"] == two.node())
        .unwrap();
    let expected = json!({
        "service": "users", "id": two.node(), "address": two.node(), "weight": 2, "zone": "north",
        "health": "healthy", "meta": {"v": "7"}, "alive": true,
    });
    assert_eq!((list.len(), found), (2, &expected));

    // The other one is there, so the dead one goes as soon as its time is over.
    second.process.signal("KILL");
    counts(&server, 1, &[]).await;
    eventually("the dead one to be forgotten", || async {
        (server.status().await["instances"]["lost"] == 0).then_some(())
    })
    .await;
    agent.answers("/", 200, "one").await;
    let before = two.served();
    for _ in 0..10 {
        assert_eq!(agent.get("/").await.body, "one");
    }
    assert_eq!(two.served(), before);

    // A server that is away for longer than a registration holds comes back to it.
    server.kill();
    first.says("can't be registered", 1).await;
    server.restart().await;
    counts(&server, 1, &[]).await;
    agent.answers("/", 200, "one").await;

    // The last one stays, whatever became of it.
    first.process.signal("KILL");
    counts(&server, 0, &["users"]).await;
    assert_eq!(agent.get("/").await.body, "one");
    let warnings = server.status().await["warnings"].clone();
    let kept = warnings.as_array().unwrap().iter().any(|one| {
        one["reason"]
            .as_str()
            .unwrap()
            .contains("have gone without being drained")
    });
    assert!(kept, "{warnings}");
    // Even a server that has only just begun knows it.
    server.kill();
    server.restart().await;
    counts(&server, 0, &["users"]).await;
    agent.answers("/", 200, "one").await;

    let drain = format!("instance drain users {}", one.node());
    let drained = bellwether_as(KEY, &server.admin, &drain, "").await.ends(0);
    assert_eq!(drained.out, format!("drained users {}\n", one.node()));
    agent.answers("/", 503, "").await;
    counts(&server, 0, &[]).await;
    bellwether_as(KEY, &server.admin, &drain, "").await.ends(1);
}

/// Who is told to stop takes its instance along at once, and so does an operator.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_at_once_and_for_good() {
    let server = Server::embedded(&[]).await;
    let (one, two) = (Named::start("one").await, Named::start("two").await);
    let agent = shop(&server).await;
    let first = Registrar::start(&server, "users", &one.node(), &[]).await;
    let second = Registrar::start(&server, "users", &two.node(), &[]).await;
    agent.answers("/", 200, "two").await;
    first.stops().await;
    counts(&server, 1, &[]).await;
    // It is registered by a program that lives: that one is told, and does not come back.
    let drain = format!("instance drain users {}", two.node());
    bellwether_as(KEY, &server.admin, &drain, "").await.ends(0);
    agent.answers("/", 503, "").await;
    second.ends("was drained").await;
    counts(&server, 0, &[]).await;
    // Whoever starts anew means it.
    let again = Registrar::start(&server, "users", &two.node(), &[]).await;
    agent.answers("/", 200, "two").await;
    again.stops().await;
    agent.answers("/", 503, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_follows_instances_in_an_embedded_store() {
    an_agent_follows(Server::embedded(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_follows_instances_in_etcd() {
    let etcd = Etcd::start(EtcdOptions::default()).await;
    let store = format!("etcd:{}", etcd.endpoint());
    an_agent_follows(Server::over(&store, &[]).await).await;
}
