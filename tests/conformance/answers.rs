//! ACK, NACK and staleness: R21 to R36.

use bellwether::wire::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use bellwether::wire::google::rpc::Status;

use super::delta::{names, rejected};
use super::rig::{CDS, EDS, LDS, Rig};
use super::script::{Delta, Heard, Sotw, Variant};

/// R21, R33, R34: it is taken as one, and nothing follows from it.
#[tokio::test]
async fn r21_r33_r34_an_ack_is_taken_and_not_answered() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(CDS, "a", "1"), (CDS, "b", "1"), (EDS, "a", "1")]).await;
        let mut script = rig.open::<V>().await;
        script.start(&CDS, &[]).await;
        script.start(&EDS, &["a"]).await;
        script.silence().await;
        let lines = rig.seen.lines();
        assert!(lines.contains(&"acked Cluster 2".to_owned()), "{lines:?}");
        assert!(lines.contains(&"acked ClusterLoadAssignment 1".to_owned()));
        // R34: a snapshot in which nothing that is subscribed has changed.
        rig.publish(&[(CDS, "a", "1"), (LDS, "l", "1"), (EDS, "b", "1")]);
        script.silence().await;
        assert_eq!(rig.seen.count("nacked"), 0);
    }
}

/// R22, R23: with the version before, the one that it rejects, or none: it is the error that says it. And
/// without one it is an ACK, whatever the version.
#[tokio::test]
async fn r22_r23_a_nack_is_known_by_its_error_whatever_version_it_says() {
    for version in ["", "before", "same"] {
        let rig = Rig::with(&[(CDS, "a", "1")]).await;
        let mut script = rig.open::<Sotw>().await;
        let first = script.start(&CDS, &[]).await;
        rig.publish(&[(CDS, "a", "bad")]);
        let second = script.hear().await;
        let version = match version {
            "before" => first.version.clone(),
            "same" => second.version.clone(),
            other => other.to_owned(),
        };
        let answer = DiscoveryRequest {
            type_url: CDS.to_string(),
            response_nonce: second.nonce.clone(),
            version_info: version,
            error_detail: Some(Status::default()),
            ..DiscoveryRequest::default()
        };
        script.say(answer.clone()).await;
        script.silence().await;
        assert_eq!(
            rejected(&rig, &CDS).await,
            ["a"],
            "an error is one even if it says nothing"
        );
        rig.publish(&[(CDS, "a", "2")]);
        let third = script.hear().await;
        let answer = DiscoveryRequest {
            response_nonce: third.nonce,
            error_detail: None,
            ..answer
        };
        script.say(answer).await;
        script.silence().await;
        assert_eq!(rejected(&rig, &CDS).await, Vec::<String>::new());
        assert_eq!(
            (rig.seen.count("acked Cluster"), rig.seen.count("nacked")),
            (2, 1)
        );
    }
}

#[tokio::test]
async fn r24_rejected_content_is_not_sent_again_until_it_changes() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(EDS, "a", "1"), (EDS, "b", "1")]).await;
        let mut script = rig.open::<V>().await;
        script.start(&EDS, &["a", "b"]).await;
        rig.publish(&[(EDS, "a", "bad")]);
        let second = script.hear().await;
        script.nack(&second, "nonsense").await;
        script.silence().await;
        rig.publish(&[(EDS, "b", "2")]);
        let third = script.hear().await;
        assert_eq!(third.bodies(), ["2"], "without what was rejected");
        script.ack(&third).await;
        script.silence().await;
        rig.publish(&[(EDS, "a", "3")]);
        let fourth = script.hear().await;
        assert_eq!(fourth.bodies(), ["3"]);
        script.ack(&fourth).await;
        script.silence().await;
        assert_eq!(rejected(&rig, &EDS).await, Vec::<String>::new());
    }
}

/// R24 where every response repeats everything (R42): what was rejected is repeated as it was before,
/// because leaving it out would remove it.
#[tokio::test]
async fn r24_r42_a_rejected_cluster_is_repeated_as_it_was() {
    let rig = Rig::with(&[(CDS, "a", "a1"), (CDS, "b", "b1")]).await;
    let mut script = rig.open::<Sotw>().await;
    script.start(&CDS, &[]).await;
    rig.publish(&[(CDS, "a", "bad"), (CDS, "b", "b2"), (CDS, "new", "bad")]);
    let second = script.hear().await;
    let text = "Error adding/updating cluster(s) a: no such thing, new: neither";
    script.nack(&second, text).await;
    script.silence().await;
    assert_eq!(rejected(&rig, &CDS).await, ["a", "new"], "R26: b was taken");
    rig.publish(&[(CDS, "b", "b3")]);
    let third = script.hear().await;
    assert_eq!(third.bodies(), ["a1", "b3"]);
    script.ack(&third).await;
    rig.publish(&[(CDS, "a", "a3"), (CDS, "new", "n3")]);
    assert_eq!(script.hear().await.bodies(), ["a3", "b3", "n3"]);
}

/// The names in a NACK are subscribed all the same, and what it does not name stays as it was.
#[tokio::test]
async fn r25_a_nack_rejects_the_response_and_not_the_subscription() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(EDS, "a", "1"), (EDS, "b", "1")]).await;
        let mut script = rig.open::<V>().await;
        script.subscribe(&EDS, &["a"]).await;
        let first = script.hear().await;
        script.answer(&first, Some("no"), &["b"], &[]).await;
        let second = script.hear().await;
        assert_eq!(second.bodies(), ["1"]);
        script.ack(&second).await;
        rig.publish(&[(EDS, "a", "2"), (EDS, "b", "2")]);
        assert_eq!(script.hear().await.bodies(), ["2", "2"]);
    }
}

/// R26: what a NACK names is rejected and the rest is taken; one that names nothing that was offered
/// rejects all of it.
#[tokio::test]
async fn r26_a_nack_may_be_of_a_part() {
    on::<Delta>(true).await;
    on::<Sotw>(false).await;
    /// In delta what the text does not name is offered once more: who knows whether it was taken.
    async fn on<V: Variant>(again: bool) {
        for (text, expected, rest) in [
            ("Error adding/updating cluster(s) b: broken", &["b"][..], 2),
            ("what is this", &["a", "b", "c"][..], 0),
        ] {
            let rig = Rig::with(&[(CDS, "a", "1"), (CDS, "b", "1"), (CDS, "c", "1")]).await;
            let mut script = rig.open::<V>().await;
            script.subscribe(&CDS, &[]).await;
            let first = script.hear().await;
            script.nack(&first, text).await;
            if again && rest > 0 {
                let offered = script.hear().await;
                assert_eq!(names(&offered), ["a", "c"]);
                script.ack(&offered).await;
            }
            script.silence().await;
            assert_eq!(rejected(&rig, &CDS).await, expected);
        }
    }
}

/// R27, R28, R35: an old nonce is not answered and rejects nothing newer; what it names is named again
/// with the answer to the newest, and heard then.
#[tokio::test]
async fn r27_r28_r35_a_stale_request_is_not_answered_and_its_names_are_not_lost() {
    let rig = Rig::with(&[(EDS, "a", "a1"), (EDS, "b", "b1")]).await;
    let mut script = rig.open::<Sotw>().await;
    let first = script.start(&EDS, &["a"]).await;
    rig.publish(&[(EDS, "a", "a2")]);
    let second = script.hear().await;
    script.answer(&first, Some("late"), &["b"], &[]).await;
    script.silence().await;
    assert_eq!(rejected(&rig, &EDS).await, Vec::<String>::new(), "R35");
    script.ack(&second).await;
    assert_eq!(script.hear().await.bodies(), ["b1"], "R28");
}

/// R35 on delta streams.
#[tokio::test]
async fn r35_an_old_ack_says_nothing_of_a_newer_response() {
    let rig = Rig::with(&[(EDS, "a", "1")]).await;
    let mut script = rig.open::<Delta>().await;
    let first = script.start(&EDS, &["a"]).await;
    rig.publish(&[(EDS, "a", "2")]);
    let second = script.hear().await;
    script.ack(&first).await;
    rig.publish(&[(EDS, "a", "3")]);
    script.silence().await;
    assert_eq!(rig.seen.count("acked ClusterLoadAssignment"), 1);
    script.ack(&second).await;
    assert_eq!(script.hear().await.bodies(), ["3"]);
}

/// R28, where the list grows before the first response is there: the client has no nonce to say then.
#[tokio::test]
async fn r28_names_may_grow_before_the_first_response() {
    let rig = Rig::with(&[(EDS, "a", "a1"), (EDS, "b", "b1")]).await;
    let mut script = rig.open::<Sotw>().await;
    script.subscribe(&EDS, &["a"]).await;
    script.subscribe(&EDS, &["b"]).await;
    let mut came = Vec::new();
    for heard in script.settle().await {
        came.extend(heard.bodies());
    }
    assert_eq!(came, ["a1", "b1"]);
}

#[tokio::test]
async fn r29_delta_subscriptions_count_whatever_the_nonce_says() {
    let rig = Rig::with(&[(EDS, "a", "a1"), (EDS, "b", "b1"), (EDS, "c", "c1")]).await;
    let mut script = rig.open::<Delta>().await;
    let first = script.start(&EDS, &["a", "b"]).await;
    rig.publish(&[(EDS, "a", "a2")]);
    let second = script.hear().await;
    script.answer(&first, None, &["c"], &["b"]).await;
    script.silence().await;
    script.ack(&second).await;
    let third = script.hear().await;
    assert_eq!(third.bodies(), ["c1"]);
    script.ack(&third).await;
    rig.publish(&[(EDS, "b", "b2"), (EDS, "c", "c2")]);
    assert_eq!(script.hear().await.bodies(), ["c2"]);
}

#[tokio::test]
async fn r30_subscriptions_ride_on_acks_and_nacks() {
    let rig = Rig::with(&[(EDS, "a", "a1"), (EDS, "b", "b1"), (EDS, "c", "c1")]).await;
    let mut script = rig.open::<Delta>().await;
    script.subscribe(&EDS, &["a"]).await;
    let first = script.hear().await;
    script.answer(&first, None, &["b"], &[]).await;
    let second = script.hear().await;
    assert_eq!(second.bodies(), ["b1"]);
    script.answer(&second, Some("no"), &["c"], &["a"]).await;
    let third = script.hear().await;
    assert_eq!(third.bodies(), ["c1"]);
    script.ack(&third).await;
    assert_eq!(rig.seen.count("nacked ClusterLoadAssignment b"), 1);
    rig.publish(&[(EDS, "a", "a2"), (EDS, "b", "b2"), (EDS, "c", "c2")]);
    assert_eq!(names(&script.hear().await), ["b", "c"]);
}

#[tokio::test]
async fn r31_a_spontaneous_request_is_neither_ack_nor_nack() {
    let rig = Rig::with(&[(EDS, "a", "a1"), (EDS, "b", "b1")]).await;
    let mut script = rig.open::<Delta>().await;
    script.subscribe(&EDS, &["a"]).await;
    let first = script.hear().await;
    script.subscribe(&EDS, &["b"]).await;
    // Not even one that says an error: there is nothing it could be about.
    script
        .say(DeltaDiscoveryRequest {
            type_url: EDS.to_string(),
            error_detail: Some(Status::default()),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    script.silence().await;
    let of_endpoints = |start: &str| rig.seen.count(&format!("{start} ClusterLoadAssignment"));
    assert_eq!((of_endpoints("acked"), of_endpoints("nacked")), (0, 0));
    script.ack(&first).await;
    assert_eq!(script.hear().await.bodies(), ["b1"]);
    assert_eq!(of_endpoints("acked"), 1);
}

/// Only the newest state that requests ask for needs an answer.
#[tokio::test]
async fn r32_later_requests_supersede_earlier_ones() {
    let world = [(EDS, "a", "a1"), (EDS, "b", "b1"), (EDS, "c", "c1")];
    let rig = Rig::with(&world).await;
    let mut script = rig.open::<Sotw>().await;
    let first = script.start(&EDS, &["a"]).await;
    script.silence().await;
    rig.publish(&[(EDS, "a", "a2")]);
    let second = script.hear().await;
    let say = |nonce: &str, names: &[&str]| DiscoveryRequest {
        type_url: EDS.to_string(),
        response_nonce: nonce.to_owned(),
        version_info: first.version.clone(),
        resource_names: names.iter().map(ToString::to_string).collect(),
        ..DiscoveryRequest::default()
    };
    script.say(say(&first.nonce, &["a", "b"])).await;
    script.say(say(&first.nonce, &["a", "b", "c"])).await;
    script.say(say(&second.nonce, &["c"])).await;
    let heard = script.so_far().await;
    assert_eq!(
        heard.iter().map(Heard::bodies).collect::<Vec<_>>(),
        [["c1"]]
    );
}

/// R36: never sent, empty, huge, or of another type: it disturbs nothing.
#[tokio::test]
async fn r36_unknown_nonces_disturb_nothing() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(EDS, "a", "1"), (LDS, "a", "1")]).await;
        let mut script = rig.open::<V>().await;
        let of_listeners = script.start(&LDS, &[]).await;
        let first = script.start(&EDS, &["a"]).await;
        rig.publish(&[(EDS, "a", "2")]);
        let second = script.hear().await;
        let huge = "f".repeat(1 << 20);
        let strange = ["never", "-1", "0", "00", "ffffffffffffffff", "\u{0}", &huge];
        for nonce in strange.into_iter().chain([of_listeners.nonce.as_str()]) {
            let forged = Heard {
                nonce: nonce.to_owned(),
                ..first.clone()
            };
            script.nack(&forged, "no").await;
            script.ack(&forged).await;
        }
        script.silence().await;
        assert_eq!(rig.seen.count("nacked"), 0);
        script.ack(&second).await;
        rig.publish(&[(EDS, "a", "3")]);
        assert_eq!(script.hear().await.bodies(), ["3"]);
    }
}
