//! Owns the releases of a running server, by its command line. Must not know: how they are kept.

use serde_json::json;

use crate::cli::{Ran, bellwether_as};
use crate::harness::programs::{KEY, Server, eventually};

struct Shop {
    server: Server,
}

impl Shop {
    async fn start() -> Self {
        let server = Server::embedded(&[]).await;
        let upstream = json!({"type": "roundrobin", "nodes": {"127.0.0.1:1": 1}});
        server.put("upstreams/u", upstream).await;
        Self { server }
    }

    async fn run(&self, line: &str) -> Ran {
        bellwether_as(KEY, &self.server.admin, line, "").await
    }

    /// Waits until it is in force: a release is of what is.
    async fn put(&self, id: usize, uri: &str) {
        let route = json!({"uri": uri, "upstream_id": "u"});
        self.server.put(&format!("routes/{id}"), route).await;
        eventually("the route to be in force", || async {
            let fleet = self.server.status().await;
            (fleet["resources"]["Route"].as_u64() == Some(id as u64)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_are_cut_listed_shown_and_compared() {
    let shop = Shop::start().await;
    shop.put(1, "/one").await;
    let cut = shop
        .run("release create -m first --author ann")
        .await
        .ends(0);
    assert_eq!(cut.out, "default@1\n");
    let again = shop.run("release create -m again").await.ends(0);
    assert_eq!(again.out, "default@1 (nothing has changed since)\n");
    shop.put(2, "/two").await;
    let cut = shop
        .run("release create -m second --output json")
        .await
        .ends(0)
        .json();
    assert_eq!(
        (&cut["name"], &cut["new"]),
        (&json!("default@2"), &json!(true))
    );
    let list = shop.run("release list").await.ends(0);
    assert!(
        list.out.contains("default@1") && list.out.contains("ann"),
        "{}",
        list.out
    );
    let shown = shop
        .run("release show default@2 --output json")
        .await
        .ends(0)
        .json();
    assert_eq!(shown["clients"]["native"]["Route"], 2);
    assert_eq!(shown["clients"]["envoy"]["RouteConfiguration"], 1);
    assert_eq!(shown["clients"]["native_without_secrets"]["Route"], 2);
    let same = shop.run("release diff 1 1").await.ends(0);
    assert_eq!(same.out.lines().count(), 1, "{}", same.out);
    let diff = shop.run("release diff default@1 default@2").await.ends(1);
    let added = diff
        .out
        .lines()
        .find(|line| line.contains("native ") && line.contains("added"));
    assert!(
        added.is_some_and(|line| line.contains("routes/2")),
        "{}",
        diff.out
    );
    assert!(!diff.out.contains("routes/1"), "{}", diff.out);
    let unknown = shop.run("release show 7").await.ends(1);
    assert!(
        unknown.err.contains("default has no release 7"),
        "{}",
        unknown.err
    );
    let wrong = shop.run("release show seven").await.ends(2);
    assert!(wrong.err.contains("is not a release"), "{}", wrong.err);
    let empty = shop
        .server
        .call("POST", "/v1/fleets/default/releases", r#"{"reason": " "}"#)
        .await;
    assert_eq!(empty.status, 400, "{empty:?}");
}

/// There is nothing to cut, and it is said so.
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_without_keys_has_no_release() {
    let server = Server::embedded(&[]).await;
    let none = bellwether_as(KEY, &server.admin, "release create -m x", "").await;
    let text =
        "nothing is in force in fleet \"default\": it has not been read yet, or it has no keys";
    assert!(none.ends(1).err.contains(text));
}

/// A release stays what it was when the server that cut it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn releases_outlive_the_server() {
    let mut shop = Shop::start().await;
    shop.put(1, "/one").await;
    let before = shop
        .run("release create -m first --output json")
        .await
        .ends(0)
        .json();
    shop.server.kill();
    shop.server.restart().await;
    eventually("the release to be there", || async {
        let shown = shop.run("release show 1 --output json").await;
        (shown.code == 0 && shown.json()["digest"] == before["digest"]).then_some(())
    })
    .await;
    eventually("the same to be the same release", || async {
        let again = shop.run("release create -m again").await;
        (again.out == "default@1 (nothing has changed since)\n").then_some(())
    })
    .await;
}
