//! Subscriptions of state of the world: R37 to R46.

use bellwether::wire::discovery::DiscoveryRequest;

use super::rig::{CDS, EDS, LDS, RDS, Rig};
use super::script::{Heard, Sotw, types};

/// The list is all there is: a name that is missing is no longer subscribed.
#[tokio::test]
async fn r37_the_list_of_names_is_the_subscription() {
    let rig = Rig::with(&[(EDS, "a", "a1"), (EDS, "b", "b1")]).await;
    let mut script = rig.open::<Sotw>().await;
    script.start(&EDS, &["a", "b"]).await;
    script.unsubscribe(&EDS, &["a"]).await;
    script.silence().await;
    rig.publish(&[(EDS, "a", "a2"), (EDS, "b", "b2")]);
    assert_eq!(script.hear().await.bodies(), ["b2"]);
}

#[tokio::test]
async fn r38_names_that_are_new_on_the_list_are_sent_though_they_were_sent_before() {
    let rig = Rig::with(&[(EDS, "a", "a1"), (EDS, "b", "b1")]).await;
    let mut script = rig.open::<Sotw>().await;
    script.start(&EDS, &["a", "b"]).await;
    script.unsubscribe(&EDS, &["a"]).await;
    script.silence().await;
    script.subscribe(&EDS, &["a"]).await;
    let again = script.hear().await;
    assert_eq!(again.bodies(), ["a1"]);
    script.ack(&again).await;
    // The same list says nothing new.
    script.subscribe(&EDS, &["a"]).await;
    script.silence().await;
}

/// R39, R40: what is there is sent at once, the rest when it is there.
#[tokio::test]
async fn r39_r40_what_does_not_exist_is_sent_when_it_does() {
    let rig = Rig::with(&[(EDS, "a", "a1"), (LDS, "a", "a1")]).await;
    let mut script = rig.open::<Sotw>().await;
    assert_eq!(script.start(&EDS, &["a", "x"]).await.bodies(), ["a1"]);
    assert_eq!(script.start(&LDS, &["a", "x"]).await.bodies(), ["a1"]);
    script.silence().await;
    rig.publish(&[(EDS, "x", "x1"), (LDS, "x", "x1")]);
    let heard = script.settle().await;
    assert_eq!(types(&heard), [EDS, LDS]);
    assert_eq!(heard[0].bodies(), ["x1"]);
    assert_eq!(heard[1].bodies(), ["a1", "x1"]);
}

#[tokio::test]
async fn r41_nothing_is_sent_that_was_not_asked_for() {
    let rig = Rig::with(&[
        (EDS, "a", "a1"),
        (EDS, "b", "b1"),
        (LDS, "a", "a1"),
        (LDS, "b", "b1"),
    ])
    .await;
    let mut script = rig.open::<Sotw>().await;
    assert_eq!(script.start(&EDS, &["a"]).await.bodies(), ["a1"]);
    assert_eq!(script.start(&LDS, &["a"]).await.bodies(), ["a1"]);
    rig.publish(&[(EDS, "b", "b2"), (LDS, "b", "b2")]);
    script.silence().await;
}

/// R42, R44: all of it each time, and what is missing is gone.
#[tokio::test]
async fn r42_r44_every_response_of_listeners_and_clusters_is_the_full_set() {
    let rig = Rig::with(&[
        (CDS, "a", "a1"),
        (CDS, "b", "b1"),
        (LDS, "a", "a1"),
        (LDS, "b", "b1"),
    ])
    .await;
    let mut script = rig.open::<Sotw>().await;
    script.start(&CDS, &[]).await;
    script.start(&LDS, &[]).await;
    rig.publish(&[(CDS, "a", "a2"), (LDS, "a", "a2")]);
    let heard = script.settle().await;
    assert_eq!(types(&heard), [CDS, LDS]);
    assert!(
        heard.iter().all(|it| it.bodies() == ["a2", "b1"]),
        "{heard:?}"
    );
    rig.publish(&[(CDS, "b", ""), (LDS, "b", "")]);
    let heard = script.settle().await;
    assert_eq!(types(&heard), [LDS, CDS], "R84");
    assert!(heard.iter().all(|it| it.bodies() == ["a2"]), "{heard:?}");
    rig.publish(&[(CDS, "a", ""), (LDS, "a", "")]);
    let heard = script.settle().await;
    assert_eq!(heard.len(), 2);
    assert!(
        heard.iter().all(|it| it.bodies().is_empty()),
        "an empty response deletes all"
    );
}

/// R43, R45: of other types only what has changed, and what is gone is not said by an empty response.
#[tokio::test]
async fn r43_r45_other_types_are_sent_as_they_change() {
    let rig = Rig::with(&[
        (EDS, "a", "a1"),
        (EDS, "b", "b1"),
        (RDS, "r", "r1"),
        (RDS, "s", "s1"),
    ])
    .await;
    let mut script = rig.open::<Sotw>().await;
    script.start(&EDS, &["a", "b"]).await;
    script.start(&RDS, &["r", "s"]).await;
    rig.publish(&[(EDS, "b", "b2"), (RDS, "r", "r2")]);
    let heard = script.settle().await;
    assert_eq!(
        heard.iter().map(Heard::bodies).collect::<Vec<_>>(),
        [["b2"], ["r2"]]
    );
}

/// R44: a server whose store may have been wiped takes nothing from a client that has something.
#[tokio::test]
async fn r44_an_empty_server_deletes_nothing() {
    let rig = Rig::start().await;
    rig.set_blank();
    let mut script = rig.open::<Sotw>().await;
    script
        .say(DiscoveryRequest {
            type_url: CDS.to_string(),
            version_info: "something".to_owned(),
            ..DiscoveryRequest::default()
        })
        .await;
    let held_back = || async {
        let nodes = rig.nodes.list().await;
        nodes
            .iter()
            .any(|node| !node.held_back.is_empty())
            .then_some(())
    };
    crate::harness::programs::eventually("the server to hold back", held_back).await;
    rig.publish(&[(CDS, "a", "1")]);
    assert_eq!(
        script.hear().await.bodies(),
        ["1"],
        "the first thing that it says"
    );
}

/// R45: an error that newer clients know, and for older ones nothing.
#[tokio::test]
async fn r45_what_is_gone_of_other_types_is_no_response_without_it() {
    let rig = Rig::with(&[(EDS, "a", "a1"), (EDS, "b", "b1"), (LDS, "l", "1")]).await;
    let mut script = rig.open::<Sotw>().await;
    script.start(&EDS, &["a", "b"]).await;
    script.start(&LDS, &[]).await;
    rig.publish(&[(EDS, "a", "")]);
    let heard = script.hear().await;
    assert_eq!(heard.errors(), [("a", 5)]);
    assert!(heard.resources.is_empty());
}

/// R46: several names in one request, or a stream for each.
#[tokio::test]
async fn r46_one_request_with_many_names_or_many_streams_with_one() {
    let names: Vec<String> = (0..50).map(|n| format!("n{n:02}")).collect();
    let world: Vec<_> = names
        .iter()
        .map(|name| (EDS, name.as_str(), name.as_str()))
        .collect();
    let rig = Rig::with(&world).await;
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut script = rig.open::<Sotw>().await;
    assert_eq!(script.start(&EDS, &all).await.bodies(), names);
    for name in all {
        let path = "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints";
        let mut script = rig.open_at::<Sotw>(path).await;
        assert_eq!(script.start(&EDS, &[name]).await.bodies(), [name]);
    }
}

/// R94: it is told at once, by an empty list or an error, where it would wait for its timer.
#[tokio::test]
async fn r94_a_client_need_not_wait_for_what_does_not_exist() {
    let rig = Rig::with(&[(LDS, "a", "a1")]).await;
    let mut script = rig.open::<Sotw>().await;
    let answer = script.start(&LDS, &["x"]).await;
    assert!(answer.resources.is_empty());
    assert_eq!(script.start(&EDS, &["x"]).await.errors(), [("x", 5)]);
}
