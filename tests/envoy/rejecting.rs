//! Owns what becomes of a resource that Envoy rejects: known by name and reason, never sent again, without
//! harm to the rest, and healed by the next change. Must not know: how resources are translated.

use bellwether::name::{ResourceId, TypeUrl};
use bellwether::resource::Resource;
use bellwether::snapshot::Changes;
use bellwether_envoy::wire::Duration;
use bellwether_envoy::wire::cluster::Cluster;

use crate::harness::envoy::{Envoy, Variant, bootstrap};
use crate::harness::programs::eventually;
use crate::harness::publisher::Publisher;

/// A cluster of no endpoints with a connect timeout of so many seconds, which Envoy wants to be more than 0.
fn cluster(name: &str, seconds: i64) -> Resource {
    let cluster = Cluster {
        name: name.to_owned(),
        connect_timeout: Some(Duration { seconds, nanos: 0 }),
        ..Cluster::default()
    };
    let id = ResourceId::new(TypeUrl::ENVOY_CLUSTER, name);
    Resource::new(id, &cluster, Vec::new())
}

fn changed(upserts: Vec<Resource>) -> Changes {
    Changes {
        upserts,
        ..Changes::default()
    }
}

/// The connect timeout that Envoy has of a cluster.
async fn timeout_of(envoy: &Envoy, name: &str) -> Option<String> {
    let dump = envoy.dump("dynamic_active_clusters").await;
    let all = dump["configs"].as_array()?.clone();
    let mut clusters = all.into_iter().map(|one| one["cluster"].clone());
    let found = clusters.find(|cluster| cluster["name"] == name)?;
    Some(found["connect_timeout"].as_str()?.to_owned())
}

async fn comes_to_have(envoy: &Envoy, name: &str, timeout: &str) {
    eventually(&format!("{name} with {timeout}"), || async {
        (timeout_of(envoy, name).await.as_deref() == Some(timeout)).then_some(())
    })
    .await;
}

async fn what_is_rejected_is_known_and_heals(variant: Variant) {
    let first = vec![cluster("good", 1), cluster("faulty", 1)];
    let server = Publisher::start(changed(first)).await;
    let envoy = Envoy::start(bootstrap(&server.xds, "me", "default", variant)).await;
    comes_to_have(&envoy, "faulty", "1s").await;

    server.publish("2", changed(vec![cluster("faulty", 0)]));
    let rejected = || async {
        let rejected = server.rejected_by("me").await?;
        (!rejected.is_empty()).then_some(rejected)
    };
    let rejected_at_first = eventually("the server to know", rejected).await;
    assert_eq!(rejected_at_first.len(), 1, "{rejected_at_first:?}");
    let (name, reason) = &rejected_at_first[0];
    assert_eq!(name, "faulty");
    assert!(reason.contains("ConnectTimeout"), "{reason}");
    assert!(server.log().contains("node rejected resources"));

    // The rest goes on, and what was rejected is not tried again with it.
    server.publish("3", changed(vec![cluster("good", 3)]));
    comes_to_have(&envoy, "good", "3s").await;
    assert_eq!(timeout_of(&envoy, "faulty").await.as_deref(), Some("1s"));
    assert_eq!(envoy.sum("cds.update_rejected").await, 1);
    assert_eq!(server.metric("bellwether_xds_nacks_total").await, 1);

    server.publish("4", changed(vec![cluster("faulty", 4)]));
    comes_to_have(&envoy, "faulty", "4s").await;
    eventually("the rejection to be gone", || async {
        server.rejected_by("me").await?.is_empty().then_some(())
    })
    .await;

    // A fault in one of two that are sent together: the other arrives all the same.
    server.publish("5", changed(vec![cluster("good", 5), cluster("faulty", 0)]));
    eventually("the server to know", rejected).await;
    if variant == Variant::StateOfTheWorld {
        server.publish("6", changed(vec![cluster("third", 6)]));
    }
    comes_to_have(&envoy, "good", "5s").await;
    assert_eq!(timeout_of(&envoy, "faulty").await.as_deref(), Some("4s"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_is_known_and_heals_by_delta() {
    what_is_rejected_is_known_and_heals(Variant::Delta).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_is_known_and_heals_by_state_of_the_world() {
    what_is_rejected_is_known_and_heals(Variant::StateOfTheWorld).await;
}
