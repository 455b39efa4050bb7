//! Responses for clients that accept gzip, as another implementation unpacks them.

use std::time::Duration;

use bellwether::name::TypeUrl;

use super::rig::{Rig, resource, snapshot};
use crate::harness::stream::Stream;

const ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// Resources in the first snapshot: enough that a response is worth it.
const ROUTES: usize = 500;

/// The same arrives whether it is compressed or not, and it is much less on the wire.
#[tokio::test(flavor = "multi_thread")]
async fn who_accepts_gzip_gets_the_same_in_less() {
    let rig = Rig::start().await;
    let all = |body: &str| {
        let routes = (0..ROUTES).map(|n| resource(&TypeUrl::ROUTE, &format!("routes/{n}"), body));
        routes.collect::<Vec<_>>()
    };
    let first = snapshot("1", all("one"));
    rig.groups.set("g", first.clone());
    let mut plain = Stream::open(&rig.url).await;
    plain.follow("plain", "g", TypeUrl::ROUTE.as_str()).await;
    let expected = plain.hear().await;
    plain.ack(&expected).await;
    let whole = rig.sent.bytes();

    let mut packed = Vec::new();
    for n in 0..3 {
        let before = rig.sent.bytes();
        let mut stream = Stream::compressed(rig.endpoint(), ADS).await.unwrap();
        stream
            .follow(&format!("packed-{n}"), "g", TypeUrl::ROUTE.as_str())
            .await;
        let heard = stream.hear().await;
        assert_eq!(heard, expected);
        let less = rig.sent.bytes() - before;
        assert!(less < whole / 2, "{less} of {whole}");
        stream.ack(&heard).await;
        packed.push(stream);
    }

    // A change that is large, and one that is too small to be worth it; nonces differ in length.
    let mut last = first;
    for turn in 2..14 {
        let mut routes = all(if turn % 2 == 0 { "two" } else { "three" });
        routes.truncate(ROUTES - turn);
        last = last.replace(turn.to_string(), routes).unwrap();
        rig.groups.set("g", last.clone());
        let expected = plain.hear().await;
        plain.ack(&expected).await;
        for stream in &mut packed {
            let heard = stream.hear().await;
            assert_eq!(heard.resources, expected.resources);
            assert_eq!(heard.removed_resources, expected.removed_resources);
            stream.ack(&heard).await;
        }
    }
    let one = last.changes_to(Vec::new()).removals.pop().unwrap();
    let small = bellwether::snapshot::Changes {
        upserts: Vec::new(),
        removals: vec![one],
    };
    rig.groups.set("g", last.next("small", small).unwrap());
    for stream in &mut packed {
        assert_eq!(stream.hear().await.removed_resources.len(), 1);
        stream.silence(Duration::from_millis(1)).await;
    }
}
