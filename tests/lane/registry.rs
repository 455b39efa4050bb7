//! Registering over HTTP: what a program in any language relies on.

use std::time::Duration;

use bellwether_server::keys::Prefix;
use bellwether_server::lane::Instance;
use bellwether_server::lane::registry::{Registry, RegistryError, Which};
use bellwether_server::store::Store;
use serde_json::json;

use crate::harness::programs::{Server, eventually};
use crate::store::Subject;

const ONE: Which<'static> = Which {
    service: "users",
    id: "a:1",
};

const MINUTE: Duration = Duration::from_secs(60);

async fn revision(store: &dyn Store) -> u64 {
    store.get("/").await.unwrap().1.0
}

async fn keys(store: &dyn Store) -> Vec<String> {
    let prefix = "/bellwether/shop/instances/users/";
    let found = store.read(prefix).await.unwrap().entries.into_iter();
    found.map(|kv| kv.key.replace(prefix, "")).collect()
}

async fn renewing_writes_nothing(subject: Subject) {
    let store = subject.store();
    let prefix = Prefix::new("/gw").unwrap();
    let registry = Registry {
        store: &*store,
        fleet: "shop",
        prefix: &prefix,
    };
    let mut one = Instance::at("a:1").unwrap();
    let gone = registry
        .register(ONE, &one, MINUTE, true)
        .await
        .unwrap_err();
    assert!(matches!(gone, RegistryError::Ended(_)), "{gone}");
    let first = registry.register(ONE, &one, MINUTE, false).await.unwrap();
    assert!(first.new && !first.renewed);
    assert_eq!(keys(&*store).await, ["a:1", "a:1/known"]);
    let before = revision(&*store).await;
    let renewed = registry.register(ONE, &one, MINUTE, true).await.unwrap();
    assert!(renewed.renewed && renewed.lease == first.lease);
    assert_eq!(revision(&*store).await, before);
    // What it says of itself may change, and how long it holds.
    one.weight = 3;
    let changed = registry.register(ONE, &one, MINUTE, true).await.unwrap();
    assert!(!changed.renewed && changed.lease == first.lease);
    let longer = registry
        .register(ONE, &one, MINUTE * 2, true)
        .await
        .unwrap();
    assert!(longer.lease != first.lease);
    // Its end is the end of its lease, and then it is new again.
    store.revoke(longer.lease).await.unwrap();
    assert_eq!(keys(&*store).await, ["a:1/known"]);
    let ended = registry
        .register(ONE, &one, MINUTE, true)
        .await
        .unwrap_err();
    assert!(matches!(ended, RegistryError::Ended(_)), "{ended}");
    assert!(
        registry
            .register(ONE, &one, MINUTE, false)
            .await
            .unwrap()
            .new
    );
    registry.drain(ONE, false).await.unwrap();
    assert_eq!(keys(&*store).await, ["a:1/known"]);
    let drained = registry
        .register(ONE, &one, MINUTE, true)
        .await
        .unwrap_err();
    assert!(matches!(drained, RegistryError::Drained(_)), "{drained}");
    let unknown = registry.drain(ONE, false).await.unwrap_err();
    assert!(matches!(unknown, RegistryError::Unknown(_)), "{unknown}");
}

#[tokio::test]
async fn renewing_writes_nothing_in_an_embedded_store() {
    renewing_writes_nothing(Subject::embedded().await).await;
}

#[tokio::test]
async fn renewing_writes_nothing_in_etcd() {
    renewing_writes_nothing(Subject::etcd().await).await;
}

/// Those who were lost are forgotten when enough others are there, and not before.
#[tokio::test]
async fn the_lost_are_forgotten_when_they_are_few() {
    let subject = Subject::embedded().await;
    let store = subject.store();
    let prefix = Prefix::new("/gw").unwrap();
    let registry = Registry {
        store: &*store,
        fleet: "shop",
        prefix: &prefix,
    };
    let one = Instance::at("a:1").unwrap();
    let register = async |id: &str| {
        let which = Which { id, ..ONE };
        let registered = registry.register(which, &one, MINUTE, false).await.unwrap();
        registry.forget_the_lost("users").await.unwrap();
        registered.lease
    };
    let mut leases = Vec::new();
    for id in ["1", "2", "3", "4", "5", "6"] {
        leases.push(register(id).await);
    }
    for lease in leases {
        store.revoke(lease).await.unwrap();
    }
    registry.forget_the_lost("users").await.unwrap();
    assert_eq!(keys(&*store).await.len(), 6);
    register("7").await;
    assert_eq!(keys(&*store).await.len(), 8);
    register("8").await;
    assert_eq!(keys(&*store).await, ["7", "7/known", "8", "8/known"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_program_can_register_by_plain_http() {
    let server = Server::embedded(&[]).await;
    let path = "/v1/fleets/default/instances/users/10.0.0.1:80";
    let put = async |body: &str| server.call("PUT", path, body).await;
    let first = put(r#"{"ttl": 60}"#).await;
    assert_eq!(first.status, 201, "{first:?}");
    let expected = json!({
        "service": "users", "id": "10.0.0.1:80", "address": "10.0.0.1:80", "weight": 1,
        "health": "healthy", "alive": true, "ttl": 60, "renewed": false,
        "lease": first.json()["lease"],
    });
    assert_eq!(first.json(), expected);
    let again = put(r#"{"ttl": 60}"#).await;
    assert_eq!(
        (again.status, &again.json()["renewed"]),
        (200, &json!(true))
    );
    eventually("it to be read", || async {
        (server.call("GET", path, "").await.status == 200).then_some(())
    })
    .await;
    for (body, reason) in [
        (
            r#"{"ttl": 1}"#,
            "ttl must be a number of seconds from 2 to 3600",
        ),
        (r#"{"ttl": 3601}"#, "ttl must be"),
        (r#"{"ttl": "10"}"#, "ttl must be"),
        ("{}", "ttl must be"),
        ("[]", "expected an object"),
        (r#"{"ttl": 10, "retries": 3}"#, "unknown field `retries`"),
        (r#"{"ttl": 10, "address": "10.0.0.1"}"#, "is not HOST:PORT"),
        (r#"{"ttl": 10, "zone": 3}"#, "invalid type"),
    ] {
        let reply = put(body).await;
        assert_eq!(reply.status, 400, "{body}: {reply:?}");
        assert!(reply.body.contains(reason), "{body}: {reply:?}");
    }
    for (path, reason) in [
        (
            "/v1/fleets/default/instances/us%20ers/a:1",
            "is no service's name",
        ),
        (
            "/v1/fleets/default/instances/users/a%2Fb",
            "is no id of an instance",
        ),
    ] {
        let reply = server
            .call("PUT", path, r#"{"ttl": 10, "address": "a:1"}"#)
            .await;
        assert!(
            reply.status == 400 && reply.body.contains(reason),
            "{reply:?}"
        );
    }
    assert_eq!(server.call("DELETE", path, "").await.status, 200);
    eventually("it to be gone", || async {
        (server.call("GET", path, "").await.status == 404).then_some(())
    })
    .await;
    assert_eq!(server.call("DELETE", path, "").await.status, 404);
    assert_eq!(
        server
            .call("PUT", "/v1/fleets/x/instances/a/b:1", "{}")
            .await
            .status,
        404
    );
    assert_eq!(server.call("GET", path, "").await.status, 404);
}
