//! Versions and nonces: R13 to R20.

use std::collections::BTreeSet;

use bellwether::name::TypeUrl;
use bellwether::wire::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};

use super::rig::{CDS, EDS, LDS, RDS, Rig};
use super::script::{Delta, Sotw, Variant};

#[tokio::test]
async fn r13_every_response_has_a_nonce_of_its_own_on_the_stream() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(CDS, "a", "1"), (EDS, "a", "1"), (LDS, "a", "1")]).await;
        let mut script = rig.open::<V>().await;
        let mut nonces = vec![
            script.start(&CDS, &[]).await.nonce,
            script.start(&EDS, &["a"]).await.nonce,
            script.start(&LDS, &[]).await.nonce,
        ];
        for body in ["2", "3", "4"] {
            rig.publish(&[(CDS, "a", body), (EDS, "a", body), (LDS, "a", body)]);
            nonces.extend(script.settle().await.into_iter().map(|heard| heard.nonce));
        }
        assert_eq!(nonces.len(), 12);
        assert!(nonces.iter().all(|nonce| !nonce.is_empty()));
        let different: BTreeSet<_> = nonces.iter().collect();
        assert_eq!(different.len(), nonces.len(), "{nonces:?}");
    }
}

/// What an old stream said is no answer to anything on this one.
#[tokio::test]
async fn r14_a_first_request_with_the_nonce_of_another_stream_is_a_first_request() {
    let rig = Rig::with(&[(CDS, "a", "1")]).await;
    let mut old = rig.open::<Delta>().await;
    let nonce = old.start(&CDS, &[]).await.nonce;
    let mut script = rig.open::<Delta>().await;
    script
        .say(DeltaDiscoveryRequest {
            type_url: CDS.to_string(),
            response_nonce: nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    assert_eq!(script.hear().await.bodies(), ["1"]);

    let mut script = rig.open::<Sotw>().await;
    script
        .say(DiscoveryRequest {
            type_url: CDS.to_string(),
            response_nonce: nonce,
            ..DiscoveryRequest::default()
        })
        .await;
    assert_eq!(script.hear().await.bodies(), ["1"]);
    assert_eq!(rig.seen.count("acked"), 1, "the old stream's only");
}

#[tokio::test]
async fn r15_the_version_of_a_type_is_the_same_on_every_stream_and_its_own() {
    let rig = Rig::with(&[(CDS, "a", "1"), (LDS, "a", "1")]).await;
    let mut one = rig.open::<Sotw>().await;
    let mut two = rig.open::<Sotw>().await;
    let (first, other) = (one.start(&CDS, &[]).await, two.start(&CDS, &[]).await);
    assert_eq!(first.version, other.version);
    one.start(&LDS, &[]).await;
    rig.publish(&[(LDS, "a", "2")]);
    let heard = one.settle().await;
    assert_eq!(heard.len(), 1, "clusters have no new version: {heard:?}");
    let mut late = rig.open::<Sotw>().await;
    assert_eq!(late.start(&CDS, &[]).await.version, first.version);
}

/// R16: nobody orders versions or guesses from them, neither those of the server nor those of clients.
#[tokio::test]
async fn r16_a_version_is_a_word_and_no_number() {
    let rig = Rig::with(&[(CDS, "a", "1")]).await;
    let mut script = rig.open::<Sotw>().await;
    let say = |version: &str, nonce: &str| DiscoveryRequest {
        type_url: CDS.to_string(),
        version_info: version.to_owned(),
        response_nonce: nonce.to_owned(),
        ..DiscoveryRequest::default()
    };
    script
        .say(say("ffffffffffffffffffffffffffffffffff", ""))
        .await;
    let first = script.hear().await;
    assert_eq!(
        first.bodies(),
        ["1"],
        "a version that nobody gave means nothing"
    );
    script.say(say("something else", &first.nonce)).await;
    script.silence().await;
    assert_eq!(rig.seen.count("acked Cluster"), 1);
    rig.publish(&[(CDS, "a", "2")]);
    let second = script.hear().await;
    script.say(say(&second.version, &second.nonce)).await;
    rig.publish(&[(CDS, "a", "1")]);
    let third = script.hear().await;
    assert_eq!(third.version, first.version, "back to what it was");
}

#[tokio::test]
async fn r17_a_client_that_follows_everything_is_not_sent_the_version_it_says_it_has() {
    let rig = Rig::with(&[(CDS, "a", "1"), (EDS, "a", "1")]).await;
    let mut old = rig.open::<Sotw>().await;
    let version = old.start(&CDS, &[]).await.version;
    let of_endpoints = old.start(&EDS, &["a"]).await.version;
    drop(old);
    let say = |type_url: &TypeUrl, names: &[&str], version: &str| DiscoveryRequest {
        type_url: type_url.to_string(),
        version_info: version.to_owned(),
        resource_names: names.iter().map(ToString::to_string).collect(),
        ..DiscoveryRequest::default()
    };
    let mut script = rig.open::<Sotw>().await;
    script.say(say(&CDS, &[], &version)).await;
    script.silence().await;
    rig.publish(&[(CDS, "a", "2")]);
    assert_eq!(script.hear().await.bodies(), ["2"]);

    // Names may be new ones, so they are answered.
    let mut script = rig.open::<Sotw>().await;
    script.say(say(&EDS, &["a"], &of_endpoints)).await;
    assert_eq!(script.hear().await.bodies(), ["1"]);
    let mut script = rig.open::<Sotw>().await;
    script.say(say(&CDS, &["a"], &version)).await;
    assert_eq!(script.hear().await.bodies(), ["2"]);
}

/// R18: two servers that came to the same content by different ways.
#[tokio::test]
async fn r18_servers_with_the_same_content_have_the_same_versions() {
    let one = Rig::with(&[(CDS, "a", "1"), (CDS, "b", "1"), (EDS, "a", "1")]).await;
    let other = Rig::start().await;
    other.publish(&[(CDS, "b", "0"), (CDS, "c", "1")]);
    other.publish(&[(CDS, "b", "1"), (CDS, "c", "")]);
    other.publish(&[(CDS, "a", "1"), (EDS, "a", "1")]);
    for (type_url, names) in [(&CDS, &[][..]), (&EDS, &["a"][..])] {
        let mut here = one.open::<Sotw>().await;
        let mut there = other.open::<Sotw>().await;
        let (here, there) = (
            here.start(type_url, names).await,
            there.start(type_url, names).await,
        );
        assert_eq!(here.version, there.version, "{type_url}");
    }
    let versions = |heard: &super::script::Heard| -> Vec<_> {
        let all = heard.resources.iter();
        all.map(|it| (it.name.clone(), it.version.clone()))
            .collect()
    };
    let (mut here, mut there) = (one.open::<Delta>().await, other.open::<Delta>().await);
    let (here, there) = (here.start(&CDS, &[]).await, there.start(&CDS, &[]).await);
    assert_eq!(versions(&here), versions(&there));
}

/// R19: for people, and not compared.
#[tokio::test]
async fn r19_the_system_version_of_delta_is_a_label() {
    let rig = Rig::with(&[(RDS, "a", "1")]).await;
    let mut script = rig.open::<Delta>().await;
    assert_eq!(
        script.start(&RDS, &["a"]).await.version,
        "2",
        "second snapshot"
    );
    rig.publish(&[(RDS, "a", "2")]);
    assert_eq!(script.hear().await.version, "3");
}

/// R20: equal content, equal version; it is what makes resuming work on another server.
#[tokio::test]
async fn r20_a_resources_version_lets_a_client_resume_on_another_server() {
    let one = Rig::with(&[(CDS, "a", "1"), (CDS, "b", "1")]).await;
    let mut script = one.open::<Delta>().await;
    let first = script.start(&CDS, &[]).await;
    let held = first.resources.into_iter();
    let held = held.map(|it| (it.name, it.version)).collect();
    let other = Rig::start().await;
    other.publish(&[(CDS, "b", "2")]);
    other.publish(&[(CDS, "a", "1")]);
    let mut script = other.open::<Delta>().await;
    script
        .say(DeltaDiscoveryRequest {
            type_url: CDS.to_string(),
            initial_resource_versions: held,
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    assert_eq!(script.hear().await.bodies(), ["2"]);
}
