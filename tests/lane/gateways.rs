//! The keys of hand-written Go gateways, written into etcd under real leases.

use serde_json::json;

use super::follows;
use crate::harness::ask::Named;
use crate::harness::etcd::{Etcd, EtcdOptions};
use crate::harness::programs::{Agent, Server, eventually};

/// A gateway that registers what it serves.
struct Gateway<'a> {
    etcd: &'a Etcd,
    /// As etcd's command line has it, in hexadecimal.
    lease: String,
    /// As it is written in keys.
    decimal: i64,
}

impl<'a> Gateway<'a> {
    async fn start(etcd: &'a Etcd, ttl: &str) -> Self {
        let granted = etcd.etcdctl(&["lease", "grant", ttl]).await;
        let lease = granted.split_whitespace().nth(1).unwrap().to_owned();
        let decimal = i64::from_str_radix(&lease, 16).unwrap();
        Self {
            etcd,
            lease,
            decimal,
        }
    }

    async fn put(&self, what: &str, rest: &str, value: &str) {
        let key = format!("/gw/{what}@{}@{rest}", self.decimal);
        let lease = format!("--lease={}", self.lease);
        self.etcd.etcdctl(&["put", &lease, &key, value]).await;
    }

    async fn stop(self) {
        self.etcd.etcdctl(&["lease", "revoke", &self.lease]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_of_a_service_are_one_upstream() {
    let etcd = Etcd::start(EtcdOptions::default()).await;
    let store = format!("etcd:{}", etcd.endpoint());
    let options = ["--fleet", "gw=/gw", "--go-gateway", "gw"];
    let server = Server::over(&store, &options).await;
    let agent = Agent::start("a", &[&server.xds], &["--fleet", "gw"]).await;
    let (one, two) = (Named::start("one").await, Named::start("two").await);

    let first = Gateway::start(&etcd, "60").await;
    first.put("service", "users", &one.node()).await;
    first.put("route", "GET@/users/*", "users").await;
    agent.answers("/users/7", 200, "one").await;
    assert_eq!(agent.get("/other").await.status, 404);

    let second = Gateway::start(&etcd, "60").await;
    second.put("service", "users", &two.node()).await;
    second.put("route", "GET@/users/*", "users").await;
    second.put("route", "GET@/people", "users").await;
    second.put("route", "GET@/people/:id", "users").await;
    agent.answers("/people", 200, "two").await;
    let (before_one, before_two) = (one.served(), two.served());
    for _ in 0..10 {
        assert_eq!(agent.get("/users/7").await.status, 200);
    }
    assert_eq!(
        (one.served() - before_one, two.served() - before_two),
        (5, 5)
    );
    let status = server.status().await;
    assert_eq!(status["keys"]["routes"], 2);
    assert_eq!(status["instances"]["instances"], 2);
    let problems = status["problems"].as_array().unwrap();
    let reason = problems[0]["reason"].as_str().unwrap();
    assert!(
        problems.len() == 1 && reason.contains("is neither exact"),
        "{problems:?}"
    );

    // Its routes are what the other one serves too, but for one.
    second.stop().await;
    agent.answers("/people", 404, "").await;
    for _ in 0..4 {
        assert_eq!(agent.get("/users/7").await.body, "one");
    }
    first.stop().await;
    agent.answers("/users/7", 404, "").await;
}

/// Programs that write instances to the store themselves, with a lease of their own.
#[tokio::test(flavor = "multi_thread")]
async fn programs_may_register_in_the_store_itself() {
    let etcd = Etcd::start(EtcdOptions::default()).await;
    let server = Server::over(&format!("etcd:{}", etcd.endpoint()), &[]).await;
    let one = Named::start("one").await;
    server.put("upstreams/1", follows("users")).await;
    server
        .put("routes/1", json!({"uri": "/*", "upstream_id": "1"}))
        .await;
    let agent = Agent::start("a", &[&server.xds], &[]).await;
    let lease = Gateway::start(&etcd, "60").await.lease;
    let lease = format!("--lease={lease}");
    let write = async |id: &str, value: serde_json::Value| {
        let key = format!("/bellwether/default/instances/users/{id}");
        etcd.etcdctl(&["put", &lease, &key, &value.to_string()])
            .await;
    };
    write("one", json!({"address": one.node()})).await;
    write("two", json!({"address": one.node(), "timeout": 3})).await;
    agent.answers("/", 200, "one").await;
    let problem = eventually("the bad key to be told", || async {
        server.status().await["problems"].get(0).cloned()
    })
    .await;
    assert_eq!(problem["key"], "/bellwether/default/instances/users/two");
    let reason = problem["reason"].as_str().unwrap();
    assert!(reason.contains("unknown field `timeout`"), "{reason}");
    // Its end is not said to be meant, until somebody says so.
    etcd.etcdctl(&["del", "/bellwether/default/instances/users/one"])
        .await;
    eventually("the instance to be kept", || async {
        (server.status().await["instances"]["kept"] == json!(["users"])).then_some(())
    })
    .await;
    assert_eq!(agent.get("/").await.body, "one");
    let path = "/v1/fleets/default/instances/users/one";
    assert_eq!(server.call("DELETE", path, "").await.status, 200);
    agent.answers("/", 503, "").await;
}
