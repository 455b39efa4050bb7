//! Times to live: R89 to R93.

use std::time::Duration;

use bellwether::wire::core::Node;

use super::rig::{EDS, LDS, Rig, resource};
use super::script::{Delta, Heard, Script, Sotw, Variant};

/// Short, because these tests wait for heartbeats.
const TTL: Duration = Duration::from_secs(3);

const TTL_FEATURE: &str = "xds.config.supports-resource-ttl";
const WRAPPED_FEATURE: &str = "xds.config.supports-resource-in-sotw";

fn node(features: &[&str]) -> Option<Node> {
    let features = features.iter().map(|feature| (*feature).to_owned());
    Some(Node {
        client_features: features.collect(),
        ..Node::default()
    })
}

async fn rig() -> Rig {
    let rig = Rig::with(&[(EDS, "b", "eb"), (LDS, "b", "lb")]).await;
    let mortal = |type_url, body| resource(&type_url, "a", body).with_ttl(TTL);
    rig.upsert(vec![mortal(EDS, "ea"), mortal(LDS, "la")]);
    rig
}

async fn open<V: Variant>(rig: &Rig, features: &[&str]) -> Script<V> {
    let mut script = rig.open::<V>().await;
    script.node = node(features);
    script
}

fn with_ttl(heard: &Heard) -> usize {
    let all = heard.resources.iter();
    all.filter(|resource| resource.ttl.is_some()).count()
}

/// R89, R90: in delta to those who say that they know it; in state of the world, where it must be
/// wrapped, to those who say that they know both.
#[tokio::test]
async fn r89_r90_times_to_live_go_to_clients_that_know_them() {
    let rig = rig().await;
    let both = [TTL_FEATURE, WRAPPED_FEATURE];
    for (features, in_delta, in_sotw) in [
        (&[][..], 0, 0),
        (&[TTL_FEATURE], 1, 0),
        (&[WRAPPED_FEATURE], 0, 0),
        (&both, 1, 1),
    ] {
        let mut script = open::<Delta>(&rig, features).await;
        let heard = script.start(&EDS, &["a", "b"]).await;
        assert_eq!(with_ttl(&heard), in_delta, "{features:?}");
        assert_eq!(heard.bodies(), ["ea", "eb"]);
        let mut script = open::<Sotw>(&rig, features).await;
        for (type_url, bodies) in [(EDS, ["ea", "eb"]), (LDS, ["la", "lb"])] {
            let heard = script.start(&type_url, &["a", "b"]).await;
            assert_eq!(with_ttl(&heard), in_sotw, "{features:?}");
            assert_eq!(heard.bodies(), bodies);
            let mut named = heard.resources.iter().filter(|it| !it.name.is_empty());
            // R90: what is wrapped has a name, and nothing is wrapped that needs not be.
            assert!(named.all(|it| it.ttl.is_some()));
        }
    }
}

/// R91, R93: again and again, while nothing changes, with the same version and without a body.
#[tokio::test]
async fn r91_r93_heartbeats_keep_alive_what_has_not_changed() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = rig().await;
        let mut script = open::<V>(&rig, &[TTL_FEATURE, WRAPPED_FEATURE]).await;
        let first = script.start(&EDS, &["a", "b"]).await;
        let version = |heard: &Heard| {
            let mut all = heard.resources.iter();
            all.find(|it| it.name == "a").unwrap().version.clone()
        };
        let mut silent = open::<V>(&rig, &[]).await;
        silent.start(&EDS, &["a", "b"]).await;
        for _ in 0..2 {
            let beat = script.hear().await;
            assert_eq!(beat.resources.len(), 1, "{beat:?}");
            let resource = &beat.resources[0];
            assert_eq!(resource.name, "a");
            assert!(resource.resource.is_none() && resource.ttl.is_some());
            assert_eq!(version(&beat), version(&first));
            script.ack(&beat).await;
        }
        // Meanwhile those who did not ask for it heard nothing (R89).
        silent.silence().await;
        // It is no update: the next change is, and has the body.
        rig.publish(&[(EDS, "b", "eb2")]);
        let mut changed = script.hear().await;
        while changed.bodies().is_empty() {
            script.ack(&changed).await;
            changed = script.hear().await;
        }
        assert_eq!(changed.bodies(), ["eb2"]);
    }
}

/// Where every response repeats everything (R42) a heartbeat does, too.
#[tokio::test]
async fn r91_r42_a_heartbeat_of_listeners_deletes_none() {
    let rig = rig().await;
    let mut script = open::<Sotw>(&rig, &[TTL_FEATURE, WRAPPED_FEATURE]).await;
    assert_eq!(script.start(&LDS, &[]).await.bodies(), ["la", "lb"]);
    let beat = script.hear().await;
    assert_eq!(beat.resources.len(), 2);
    assert_eq!(beat.bodies(), ["lb"], "a is there, without a body");
    assert_eq!(with_ttl(&beat), 1);
}

/// R92: one that has another time to live is sent, and one that has none any more.
#[tokio::test]
async fn r92_a_time_to_live_is_replaced_and_taken_away() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = rig().await;
        let mut script = open::<V>(&rig, &[TTL_FEATURE, WRAPPED_FEATURE]).await;
        script.start(&EDS, &["a", "b"]).await;
        rig.upsert(vec![resource(&EDS, "a", "ea").with_ttl(TTL * 100)]);
        let longer = script.hear().await;
        assert_eq!(longer.bodies(), ["ea"]);
        let ttl = longer.resources[0].ttl.as_ref().unwrap();
        assert_eq!(ttl.seconds, 300);
        script.ack(&longer).await;
        rig.publish(&[(EDS, "a", "ea")]);
        let forever = script.hear().await;
        assert_eq!(
            (forever.bodies(), with_ttl(&forever)),
            (vec!["ea".to_owned()], 0)
        );
    }
}
