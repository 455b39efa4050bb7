//! What the README promises of a real etcd that others write to.

use std::time::Instant;

use crate::harness::ask::Named;
use crate::harness::etcd::{Etcd, EtcdOptions};
use crate::harness::programs::{Agent, Server, eventually};

use super::{put_route, route};

/// Keys as `etcdctl` writes them, in force at the agent; a change arrives, a delete is a 404.
#[tokio::test(flavor = "multi_thread")]
async fn keys_written_by_etcdctl_route_requests() {
    let (one, two) = (Named::start("one").await, Named::start("two").await);
    let etcd = Etcd::start(EtcdOptions::default()).await;
    etcd.etcdctl(&["put", "/apisix/routes/", "init_dir"]).await;
    let value = format!(
        r#"{{"uri":"/hello","upstream":{{"type":"roundrobin","nodes":{{"{}":1}}}}}}"#,
        one.node()
    );
    etcd.etcdctl(&["put", "/apisix/routes/1", &value]).await;
    let server = Server::over(&format!("etcd:{}", etcd.endpoint()), &[]).await;
    let agent = Agent::start("a", &[&server.xds], &[]).await;
    agent.answers("/hello", 200, "one").await;

    let mut times = Vec::new();
    for round in 0..5 {
        let (node, name) = if round % 2 == 0 {
            (two.node(), "two")
        } else {
            (one.node(), "one")
        };
        put_route(&etcd, "1", "/hello", &node).await;
        let written = Instant::now();
        agent.answers("/hello", 200, name).await;
        times.push(written.elapsed());
    }
    println!("from the end of etcdctl to the first request by the new route: {times:?}");

    etcd.etcdctl(&["del", "/apisix/routes/1"]).await;
    agent
        .answers("/hello", 404, r#"{"error_msg":"404 Route Not Found"}"#)
        .await;
}

/// A login costs etcd a bcrypt and a watch costs it memory; both are per server, not per proxy.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_agents_cost_etcd_one_login_and_four_watches() {
    let mut etcd = Etcd::start(EtcdOptions::default()).await;
    etcd.enable_auth("secret").await;
    let upstream = Named::start("up").await;
    let value = route("/", &upstream.node()).to_string();
    etcd.etcdctl(&["put", "/apisix/routes/1", &value]).await;
    let password = etcd.folder().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let logins = etcd.calls("Authenticate").await;
    let watchers = watchers(&etcd).await;

    let store = format!("etcd:{}", etcd.endpoint());
    let password = password.display().to_string();
    let args = ["--etcd-user", "root", "--etcd-password-file", &password];
    let server = Server::over(&store, &args).await;
    let mut agents = Vec::new();
    for n in 0..50 {
        agents.push(Agent::start(&format!("agent-{n}"), &[&server.xds], &[]).await);
    }
    server.nodes_in_sync(50).await;
    for agent in &agents {
        agent.answers("/", 200, "up").await;
    }
    let metrics = etcd.metrics().await;
    for name in [
        "etcd_debugging_mvcc_watcher_total",
        "grpc_server_started_total{grpc_method=\"Authenticate\"",
    ] {
        metrics
            .lines()
            .filter(|line| line.starts_with(name))
            .for_each(|line| println!("{line}"));
    }
    assert_eq!(etcd.calls("Authenticate").await - logins, 1);
    // The keys of the fleet, its instances, the definitions of all fleets, and their settings.
    assert_eq!(self::watchers(&etcd).await - watchers, 4);
}

async fn watchers(etcd: &Etcd) -> u64 {
    let metrics = etcd.metrics().await;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("etcd_debugging_mvcc_watcher_total "));
    line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .expect("etcd counts watchers") as u64
}

/// Nothing is wiped by an etcd that is away, and what changes afterwards arrives.
#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_is_killed_and_comes_back_loses_nobody_anything() {
    let (one, two) = (Named::start("one").await, Named::start("two").await);
    let mut etcd = Etcd::start(EtcdOptions::default()).await;
    put_route(&etcd, "1", "/a", &one.node()).await;
    put_route(&etcd, "2", "/b", &one.node()).await;
    let server = Server::over(&format!("etcd:{}", etcd.endpoint()), &[]).await;
    let agent = Agent::start("a", &[&server.xds], &[]).await;
    agent.answers("/a", 200, "one").await;

    etcd.kill();
    eventually("the server to notice", || async {
        (server.status().await["store"]["state"] == "disconnected").then_some(())
    })
    .await;
    agent.answers("/a", 200, "one").await;
    // New agents are served all the same.
    let late = Agent::start("late", &[&server.xds], &[]).await;
    late.answers("/a", 200, "one").await;

    etcd.restart().await;
    put_route(&etcd, "1", "/a", &two.node()).await;
    agent.answers("/a", 200, "two").await;
    late.answers("/a", 200, "two").await;
    assert_eq!(agent.get("/b").await.body, "one");
    assert_eq!(server.status().await["store"]["state"], "live");
}

/// A key that can't be read keeps its last good value, is named, and heals.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_key_is_reported_and_disturbs_nothing() {
    let (one, two) = (Named::start("one").await, Named::start("two").await);
    let etcd = Etcd::start(EtcdOptions::default()).await;
    put_route(&etcd, "1", "/a", &one.node()).await;
    let server = Server::over(&format!("etcd:{}", etcd.endpoint()), &[]).await;
    let agent = Agent::start("a", &[&server.xds], &[]).await;
    agent.answers("/a", 200, "one").await;

    etcd.etcdctl(&[
        "put",
        "/apisix/routes/1",
        r#"{"uri":"/a","upstream":{"nodes":{"127.0.0.1:99999":1}}}"#,
    ])
    .await;
    put_route(&etcd, "2", "/b", &two.node()).await;
    agent.answers("/b", 200, "two").await;
    assert_eq!(agent.get("/a").await.body, "one");
    let status = server.status().await;
    let problem = &status["problems"][0];
    assert_eq!(problem["key"], "/apisix/routes/1");
    assert_eq!(problem["last_good"], true);
    assert!(
        problem["reason"]
            .as_str()
            .unwrap()
            .contains("upstream.nodes"),
        "{problem}"
    );

    put_route(&etcd, "1", "/a", &two.node()).await;
    agent.answers("/a", 200, "two").await;
    assert_eq!(server.status().await["problems"], serde_json::json!([]));
}

/// No space left under etcd's quota: writes are refused as the store's fault, not the caller's, and what
/// is served stays.
#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_is_full_takes_no_writes_and_nothing_away() {
    let up = Named::start("up").await;
    let etcd = Etcd::start(EtcdOptions::args(["--quota-backend-bytes=1000000"])).await;
    let server = Server::over(&format!("etcd:{}", etcd.endpoint()), &[]).await;
    server.put("routes/1", route("/a", &up.node())).await;
    let agent = Agent::start("a", &[&server.xds], &[]).await;
    agent.answers("/a", 200, "up").await;

    let nodes: std::collections::BTreeMap<String, u32> = (1..1_000)
        .map(|port| (format!("127.0.0.1:{port}"), 1))
        .collect();
    let large = serde_json::json!({"nodes": nodes}).to_string();
    let mut refused = None;
    for n in 0..200 {
        let reply = server
            .call("PUT", &format!("/apisix/admin/upstreams/{n}"), &large)
            .await;
        if reply.status >= 300 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("the quota is used up before that");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.contains("space exceeded"), "{refused:?}");
    assert_eq!(agent.get("/a").await.body, "up");
    // What frees space is still taken.
    etcd.etcdctl(&["del", "/apisix/routes/1"]).await;
    agent.answers("/a", 404, "404 Route Not Found").await;
}
