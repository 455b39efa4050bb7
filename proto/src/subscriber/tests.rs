//! Owns the table of dialogues with a subscriber.

use super::*;
use crate::rejection::named_in;
use crate::wire::google::protobuf::Any;

const ROUTE: TypeUrl = TypeUrl::ROUTE;

fn offer(name: &str, body: &str) -> Resource {
    Resource {
        name: name.to_owned(),
        version: format!("v-{body}"),
        resource: Some(Any {
            type_url: ROUTE.to_string(),
            value: body.to_owned().into(),
        }),
        ..Resource::default()
    }
}

fn response(nonce: &str, resources: Vec<Resource>, removed: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        system_version_info: "7@1".into(),
        type_url: ROUTE.to_string(),
        nonce: nonce.to_owned(),
        resources,
        removed_resources: removed.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

fn connected() -> Subscriber {
    let mut subscriber = Subscriber::new(Node::default(), &[ROUTE, TypeUrl::CLUSTER]);
    subscriber.connect();
    subscriber
}

fn apply(
    subscriber: &mut Subscriber,
    response: DeltaDiscoveryResponse,
    bad: &[(&str, &str)],
) -> Option<DeltaDiscoveryRequest> {
    let update = subscriber.on_response(response).unwrap();
    let bad = bad
        .iter()
        .map(|(name, why)| (Name::from(*name), (*why).to_owned()))
        .collect();
    subscriber.applied(&update, bad)
}

fn claims(subscriber: &mut Subscriber) -> Vec<(String, String)> {
    let requests = subscriber.connect();
    let of_routes = requests
        .into_iter()
        .find(|r| r.type_url == ROUTE.as_str())
        .unwrap();
    of_routes.initial_resource_versions.into_iter().collect()
}

#[test]
fn r7_only_the_first_request_names_the_node_and_types_come_in_order() {
    let mut subscriber = Subscriber::new(
        Node {
            id: "n".into(),
            ..Node::default()
        },
        &[ROUTE, TypeUrl::CLUSTER],
    );
    let requests = subscriber.connect();
    let types: Vec<_> = requests.iter().map(|r| r.type_url.as_str()).collect();
    assert_eq!(types, [TypeUrl::CLUSTER.as_str(), ROUTE.as_str()]);
    assert_eq!(requests[0].node.as_ref().unwrap().id, "n");
    assert!(requests[1].node.is_none());
}

#[test]
fn r21_an_ack_has_the_nonce_and_no_error() {
    let mut subscriber = connected();
    let ack = apply(
        &mut subscriber,
        response("1", vec![offer("a", "1")], &[]),
        &[],
    )
    .unwrap();
    assert_eq!((ack.response_nonce.as_str(), ack.error_detail), ("1", None));
    assert_eq!(claims(&mut subscriber), [("a".into(), "v-1".into())]);
}

#[test]
fn what_is_rejected_is_named_not_held_and_restated_after_a_reconnect() {
    let mut subscriber = connected();
    apply(
        &mut subscriber,
        response("1", vec![offer("a", "1"), offer("b", "1")], &[]),
        &[],
    );
    let nack = apply(
        &mut subscriber,
        response("2", vec![offer("a", "2"), offer("b", "2")], &[]),
        &[("a", "bad")],
    );
    let named = named_in(&nack.unwrap().error_detail.unwrap());
    assert_eq!(
        (
            named.len(),
            named[0].name.as_str(),
            named[0].version.as_str()
        ),
        (1, "a", "v-2")
    );
    let requests = subscriber.connect();
    assert_eq!(
        requests[1].initial_resource_versions["a"], "v-1",
        "the last good one"
    );
    assert_eq!(requests[1].initial_resource_versions["b"], "v-2");
    assert_eq!(
        named_in(requests[1].error_detail.as_ref().unwrap())[0].reason,
        "bad"
    );
    apply(
        &mut subscriber,
        response("1", vec![offer("a", "3")], &[]),
        &[],
    );
    assert_eq!(subscriber.rejected().count(), 0);
}

#[test]
fn r61_r62_a_name_twice_is_rejected_whole() {
    let mut subscriber = connected();
    for twice in [
        response("1", vec![offer("a", "1"), offer("a", "2")], &[]),
        response("1", vec![offer("a", "1")], &["a"]),
    ] {
        let nack = subscriber.on_response(twice).unwrap_err();
        assert!(
            nack.error_detail
                .unwrap()
                .message
                .contains("a is named twice")
        );
        assert_eq!(nack.response_nonce, "1");
    }
    assert!(claims(&mut subscriber).is_empty());
}

#[test]
fn an_unknown_type_is_rejected_not_acknowledged() {
    let mut subscriber = connected();
    let strange = DeltaDiscoveryResponse {
        type_url: "x".into(),
        ..response("1", vec![], &[])
    };
    let nack = subscriber.on_response(strange).unwrap_err();
    assert!(
        nack.error_detail
            .unwrap()
            .message
            .contains("was not subscribed")
    );
}

#[test]
fn a_body_of_another_type_or_none_is_rejected_alone() {
    let mut subscriber = connected();
    let mut wrong = offer("wrong", "1");
    wrong.resource.as_mut().unwrap().type_url = "other".into();
    let empty = Resource {
        resource: None,
        ..offer("empty", "1")
    };
    let nack = apply(
        &mut subscriber,
        response("1", vec![offer("a", "1"), wrong, empty], &[]),
        &[],
    );
    let named: Vec<_> = named_in(&nack.unwrap().error_detail.unwrap())
        .into_iter()
        .map(|r| r.name)
        .collect();
    assert_eq!(named, ["empty", "wrong"]);
    assert_eq!(claims(&mut subscriber).len(), 1);
}

#[test]
fn r63_r64_removals_are_forgotten_even_if_unknown() {
    let mut subscriber = connected();
    apply(
        &mut subscriber,
        response("1", vec![offer("a", "1")], &[]),
        &[],
    );
    let ack = apply(
        &mut subscriber,
        response("2", vec![], &["a", "stranger"]),
        &[],
    );
    assert_eq!(ack.unwrap().error_detail, None);
    assert!(claims(&mut subscriber).is_empty());
}

/// R9, R14.
#[test]
fn an_update_that_outlives_its_stream_counts_but_is_not_answered() {
    let mut subscriber = connected();
    let update = subscriber
        .on_response(response("1", vec![offer("a", "1")], &[]))
        .unwrap();
    subscriber.connect();
    assert_eq!(subscriber.applied(&update, BTreeMap::new()), None);
    assert_eq!(claims(&mut subscriber).len(), 1);
}

#[test]
fn the_newest_position_is_told_to_the_next_server() {
    let mut subscriber = connected();
    apply(&mut subscriber, response("1", vec![], &[]), &[]);
    let older = DeltaDiscoveryResponse {
        system_version_info: "5@1".into(),
        ..response("2", vec![], &[])
    };
    apply(&mut subscriber, older, &[]);
    let node = subscriber.connect().remove(0).node.unwrap();
    let said = &node.metadata.unwrap().fields[POSITION_KEY];
    assert_eq!(said.kind, Some(Kind::StringValue("7@1".into())));
}

#[test]
fn it_is_synced_once_every_type_was_answered() {
    let mut subscriber = connected();
    apply(&mut subscriber, response("1", vec![], &[]), &[]);
    assert!(!subscriber.is_synced());
    let clusters = DeltaDiscoveryResponse {
        type_url: TypeUrl::CLUSTER.to_string(),
        ..response("1", vec![], &[])
    };
    apply(&mut subscriber, clusters, &[]);
    assert!(subscriber.is_synced());
}

/// What a node has in force is said anew on each stream, and a removal that it refused is held.
#[test]
fn a_new_stream_says_what_is_in_force() {
    let mut subscriber = connected();
    apply(
        &mut subscriber,
        response("n1", vec![offer("a", "1")], &[]),
        &[],
    );
    let answer = apply(
        &mut subscriber,
        response("n2", Vec::new(), &["a"]),
        &[("a", "not without it")],
    );
    assert_eq!(answer.unwrap().error_detail, None);
    assert_eq!(subscriber.rejected().count(), 0);
    subscriber.set_content(Some(Content::default()));
    let node = subscriber.connect().remove(0).node.unwrap();
    let said = &node.metadata.unwrap().fields[CONTENT_KEY];
    let zeros = Kind::StringValue("0".repeat(32));
    assert_eq!(said.kind, Some(zeros));
    assert_eq!(claims(&mut subscriber), [("a".into(), "v-1".into())]);
}

#[test]
fn a_position_that_is_told_elsewhere_counts_unless_it_is_older() {
    let mut subscriber = connected();
    let at = |revision| Some(Position { store: 1, revision });
    subscriber.see_position(at(9));
    apply(&mut subscriber, response("n1", Vec::new(), &[]), &[]);
    assert_eq!(subscriber.position(), at(9), "the response was of 7");
    subscriber.see_position(None);
    assert_eq!(subscriber.position(), at(9));
}
