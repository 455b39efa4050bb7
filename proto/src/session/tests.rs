//! Owns the table of dialogues with a session, one for each rule of the protocol it implements.

mod sotw;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;

use super::*;
use crate::name::{ResourceId, Version};
use crate::rejection::to_status;
use crate::resource::Resource;
use crate::snapshot::Changes;
use crate::wire::discovery::{
    DeltaDiscoveryRequest as Request, DeltaDiscoveryResponse as Response,
};
use crate::wire::google::rpc::Status;

const ROUTE: TypeUrl = TypeUrl::ROUTE;
const CLUSTER: TypeUrl = TypeUrl::CLUSTER;

/// A stream and the fleet behind it.
struct Dialogue {
    session: Session,
    snapshot: Snapshot,
    revision: u64,
    now: Instant,
}

impl Dialogue {
    fn new() -> Self {
        Self {
            session: Session::new(Transport::Delta),
            snapshot: Snapshot::default(),
            revision: 0,
            now: Instant::now(),
        }
    }

    /// `(type, name, body)`; a body of `""` removes. A route refers to the cluster its body names
    /// after an arrow.
    fn publish(&mut self, changes: &[(TypeUrl, &str, &str)]) -> &mut Self {
        let mut next = Changes::default();
        for (type_url, name, body) in changes {
            let id = ResourceId::new(type_url.clone(), *name);
            if body.is_empty() {
                next.removals.push(id);
            } else {
                let refers = body
                    .split_once("->")
                    .map(|(_, to)| ResourceId::new(CLUSTER, to));
                let refers = refers.into_iter().collect();
                next.upserts
                    .push(Resource::from_encoded(id, body.as_bytes(), refers));
            }
        }
        self.revision += 1;
        let position = Position {
            store: 1,
            revision: self.revision,
        };
        self.snapshot = self
            .snapshot
            .next(self.revision.to_string(), next)
            .unwrap()
            .at(position);
        self.session.on_snapshot(Arc::new(self.snapshot.clone()));
        self
    }

    fn say(&mut self, request: Request) -> Option<Event> {
        self.session.on_request(request).unwrap()
    }

    fn hear(&mut self) -> Vec<Response> {
        std::iter::from_fn(|| self.session.poll(self.now))
            .map(|out| Response::decode([out.payload, out.nonce].concat().as_slice()).unwrap())
            .collect()
    }

    /// The only response there is.
    fn hear_one(&mut self) -> Response {
        let mut heard = self.hear();
        assert_eq!(heard.len(), 1, "{heard:#?}");
        heard.remove(0)
    }

    fn silence(&mut self) {
        assert_eq!(self.hear(), []);
    }

    /// Acknowledges everything until nothing comes any more; what came.
    fn settle(&mut self) -> Vec<Response> {
        let mut all = Vec::new();
        loop {
            let heard = self.hear();
            if heard.is_empty() {
                return all;
            }
            for response in &heard {
                self.say(ack(response));
            }
            all.extend(heard);
        }
    }

    fn rejected(&self, type_url: &TypeUrl) -> Vec<(String, String)> {
        let status = self
            .session
            .status()
            .find(|status| status.type_url == *type_url)
            .unwrap();
        let text = |(name, why): &(Name, Rejected)| (name.to_string(), why.reason.to_string());
        status.rejected.iter().map(text).collect()
    }
}

fn subscribe(type_url: TypeUrl, names: &[&str]) -> Request {
    Request {
        type_url: type_url.to_string(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..Request::default()
    }
}

fn unsubscribe(type_url: TypeUrl, names: &[&str]) -> Request {
    Request {
        type_url: type_url.to_string(),
        resource_names_unsubscribe: names.iter().map(ToString::to_string).collect(),
        ..Request::default()
    }
}

fn resume(type_url: TypeUrl, names: &[&str], held: &[(&str, &str)]) -> Request {
    let versions = held
        .iter()
        .map(|(name, body)| ((*name).to_owned(), Version::of(body.as_bytes()).to_string()));
    Request {
        initial_resource_versions: versions.collect(),
        ..subscribe(type_url, names)
    }
}

fn ack(response: &Response) -> Request {
    Request {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..Request::default()
    }
}

fn nack(response: &Response, message: &str) -> Request {
    Request {
        error_detail: Some(Status {
            code: 3,
            message: message.to_owned(),
            details: Vec::new(),
        }),
        ..ack(response)
    }
}

fn nack_named(response: &Response, names: &[(&str, &str)]) -> Request {
    let rejected: BTreeMap<_, _> = names
        .iter()
        .map(|(name, reason)| {
            let offered = response.resources.iter().find(|r| r.name == *name);
            let version = offered.map(|r| r.version.clone()).unwrap_or_default();
            (Name::from(*name), (version, (*reason).to_owned()))
        })
        .collect();
    Request {
        error_detail: Some(to_status(&rejected)),
        ..ack(response)
    }
}

fn sent(response: &Response) -> Vec<&str> {
    response.resources.iter().map(|r| r.name.as_str()).collect()
}

fn removed(response: &Response) -> Vec<&str> {
    response
        .removed_resources
        .iter()
        .map(String::as_str)
        .collect()
}

/// A stream that follows all routes and clusters and has everything.
fn following(changes: &[(TypeUrl, &str, &str)]) -> Dialogue {
    let mut d = Dialogue::new();
    d.publish(changes);
    d.say(subscribe(CLUSTER, &[]));
    d.say(subscribe(ROUTE, &[]));
    d.settle();
    assert!(d.session.in_sync());
    d
}

#[test]
fn r4_an_empty_type_is_refused() {
    assert_eq!(
        Session::new(Transport::Delta).on_request(Request::default()),
        Err(Refusal::NoType)
    );
}

#[test]
fn limits_are_refused_with_their_names() {
    let mut session = Session::new(Transport::Delta);
    for n in 0..MAX_TYPES {
        session
            .on_request(subscribe(
                format!("type.googleapis.com/t{n}").as_str().into(),
                &[],
            ))
            .unwrap();
    }
    assert_eq!(
        session.on_request(subscribe(ROUTE, &[])),
        Err(Refusal::TooManyTypes)
    );

    let names: Vec<String> = (0..=MAX_NAMES).map(|n| n.to_string()).collect();
    let request = Request {
        resource_names_subscribe: names,
        ..subscribe(ROUTE, &[])
    };
    assert_eq!(
        Session::new(Transport::Delta).on_request(request),
        Err(Refusal::TooManyNames)
    );
}

#[test]
fn nothing_is_sent_before_there_is_a_snapshot() {
    let mut d = Dialogue::new();
    d.say(subscribe(ROUTE, &[]));
    d.silence();
    d.publish(&[(ROUTE, "a", "1")]);
    assert_eq!(sent(&d.hear_one()), ["a"]);
}

#[test]
fn r5_r13_r58_r59_a_response_is_whole_and_says_only_what_differs() {
    let mut d = following(&[(ROUTE, "a", "1"), (ROUTE, "b", "1")]);
    d.publish(&[(ROUTE, "b", "2"), (ROUTE, "a", "")]);
    let response = d.hear_one();
    assert_eq!(
        (sent(&response), removed(&response)),
        (vec!["b"], vec!["a"]),
        "R58, R63"
    );
    assert_eq!(response.system_version_info, "2", "R19");
    let resource = &response.resources[0];
    assert_eq!(resource.version, Version::of(b"2").to_string(), "R59");
    assert_eq!(
        resource.resource.as_ref().unwrap().type_url,
        response.type_url,
        "R5"
    );
    d.say(ack(&response));
    d.publish(&[(ROUTE, "b", "3")]);
    assert_ne!(d.hear_one().nonce, response.nonce, "R13");
}

#[test]
fn r33_r34_an_ack_is_not_answered_and_nothing_is_sent_without_a_change() {
    let mut d = following(&[(ROUTE, "a", "1")]);
    d.publish(&[(CLUSTER, "c", "1")]);
    let response = d.hear_one();
    assert_eq!(response.type_url, CLUSTER.as_str());
    let Some(Event::Acked {
        type_url,
        version,
        resources,
    }) = d.say(ack(&response))
    else {
        panic!("it is an ACK");
    };
    assert_eq!((type_url, &*version.label, resources), (CLUSTER, "2", 1));
    d.silence();
    d.publish(&[(ROUTE, "a", "1")]);
    d.silence();
}

#[test]
fn at_most_one_response_of_a_type_is_outstanding_and_newer_snapshots_coalesce() {
    let mut d = following(&[(ROUTE, "a", "1")]);
    d.publish(&[(ROUTE, "a", "2")]);
    let first = d.hear_one();
    d.publish(&[(ROUTE, "a", "3"), (ROUTE, "b", "1")]);
    d.publish(&[(ROUTE, "a", "4"), (ROUTE, "b", "")]);
    d.silence();
    d.say(ack(&first));
    let second = d.hear_one();
    assert_eq!((sent(&second), removed(&second)), (vec!["a"], vec![]));
    assert_eq!(second.resources[0].version, Version::of(b"4").to_string());
}

/// R26: Envoy's text names what is wrong, and leaves open what became of the rest.
#[test]
fn what_the_text_of_a_nack_does_not_name_is_offered_once_more() {
    let mut d = following(&[(ROUTE, "a", "1"), (ROUTE, "b", "1")]);
    d.publish(&[(ROUTE, "a", "bad"), (ROUTE, "b", "2")]);
    let response = d.hear_one();
    d.say(nack(&response, "a: no such thing"));
    let rest = d.hear_one();
    assert_eq!(sent(&rest), ["b"]);
    d.say(nack(&rest, "still nothing"));
    d.silence();
    assert_eq!(d.rejected(&ROUTE).len(), 2);
}

#[test]
fn r24_rejected_content_is_never_sent_again_until_it_changes() {
    let mut d = following(&[(ROUTE, "a", "1"), (ROUTE, "b", "1")]);
    d.publish(&[(ROUTE, "a", "bad"), (ROUTE, "b", "2")]);
    let response = d.hear_one();
    let event = d.say(nack_named(&response, &[("a", "no such thing")]));
    let expected = Rejected {
        version: Version::of(b"bad"),
        reason: "no such thing".into(),
    };
    let rejected = vec![(Name::from("a"), expected)];
    let of_routes = |status: &TypeStatus| status.type_url == ROUTE;
    let newest = d.session.status().find(of_routes).unwrap().sent;
    assert_eq!(
        event,
        Some(Event::Nacked {
            type_url: ROUTE,
            version: newest.unwrap(),
            reason: "a: no such thing".into(),
            rejected
        })
    );
    assert_eq!(d.rejected(&ROUTE), [("a".into(), "no such thing".into())]);
    assert!(!d.session.in_sync());
    d.silence();

    d.publish(&[(ROUTE, "b", "3")]);
    let response = d.hear_one();
    assert_eq!(sent(&response), ["b"]);
    d.say(ack(&response));

    d.publish(&[(ROUTE, "a", "2")]);
    let response = d.hear_one();
    assert_eq!(sent(&response), ["a"]);
    d.say(ack(&response));
    assert!(d.rejected(&ROUTE).is_empty() && d.session.in_sync());
}

#[test]
fn a_rejection_is_forgotten_with_the_resource() {
    let mut d = following(&[(ROUTE, "a", "1")]);
    d.publish(&[(ROUTE, "a", "bad"), (ROUTE, "b", "bad")]);
    let response = d.hear_one();
    d.say(nack(&response, "no"));
    d.publish(&[(ROUTE, "a", ""), (ROUTE, "b", "")]);
    let gone = d.hear_one();
    assert_eq!(removed(&gone), ["a", "b"]);
    assert!(!d.session.in_sync(), "not before it is answered");
    d.say(ack(&gone));
    assert!(d.session.in_sync());
}

#[test]
fn r26_a_nack_that_names_nothing_rejects_the_whole_response() {
    let mut d = following(&[]);
    d.publish(&[(ROUTE, "a", "1"), (ROUTE, "b", "1")]);
    let response = d.hear_one();
    d.say(nack(&response, "what\nis this"));
    let why = "what is this".to_owned();
    assert_eq!(
        d.rejected(&ROUTE),
        [("a".into(), why.clone()), ("b".into(), why)]
    );
    d.publish(&[(ROUTE, "c", "1")]);
    assert_eq!(sent(&d.hear_one()), ["c"]);
}

#[test]
fn a_nack_that_names_what_was_not_offered_rejects_the_whole_response() {
    let mut d = following(&[]);
    d.publish(&[(ROUTE, "a", "1")]);
    let response = d.hear_one();
    d.say(nack_named(&response, &[("stranger", "x")]));
    assert_eq!(d.rejected(&ROUTE).len(), 1);
}

#[test]
fn going_back_to_the_last_good_content_after_a_nack_is_sent() {
    let mut d = following(&[(ROUTE, "a", "1")]);
    d.publish(&[(ROUTE, "a", "bad")]);
    let response = d.hear_one();
    d.say(nack(&response, "no"));
    d.publish(&[(ROUTE, "a", "1")]);
    d.settle();
    assert!(d.session.in_sync());
}

#[test]
fn r25_r30_subscriptions_ride_on_acks_and_nacks() {
    let mut d = Dialogue::new();
    d.publish(&[(ROUTE, "a", "1"), (ROUTE, "b", "1"), (ROUTE, "c", "1")]);
    d.say(subscribe(ROUTE, &["a"]));
    let response = d.hear_one();
    d.say(Request {
        resource_names_subscribe: vec!["b".into()],
        ..ack(&response)
    });
    let response = d.hear_one();
    assert_eq!(sent(&response), ["b"]);
    d.say(Request {
        resource_names_subscribe: vec!["c".into()],
        ..nack(&response, "no")
    });
    assert_eq!(sent(&d.hear_one()), ["c"]);
}

#[test]
fn r29_r36_a_stale_or_unknown_nonce_answers_nothing_but_subscribes() {
    let mut d = following(&[(ROUTE, "a", "1")]);
    d.publish(&[(ROUTE, "a", "2")]);
    let first = d.hear_one();
    d.say(ack(&first));
    d.publish(&[(ROUTE, "a", "3")]);
    let second = d.hear_one();
    assert_eq!(d.say(nack(&first, "late")), None, "R35");
    let unknown = Response {
        nonce: "never sent".into(),
        ..second.clone()
    };
    assert_eq!(d.say(ack(&unknown)), None, "R36");
    d.publish(&[(ROUTE, "a", "4")]);
    d.silence();
    d.say(Request {
        resource_names_subscribe: vec!["x".into()],
        ..ack(&first)
    });
    d.say(ack(&second));
    let third = d.hear_one();
    assert_eq!(
        (sent(&third), removed(&third)),
        (vec!["a"], vec!["x"]),
        "R29, R72"
    );
}

#[test]
fn r31_a_spontaneous_request_answers_nothing() {
    let mut d = following(&[(ROUTE, "a", "1")]);
    d.publish(&[(ROUTE, "a", "2")]);
    d.hear_one();
    assert_eq!(d.say(subscribe(ROUTE, &[])), None);
    d.publish(&[(ROUTE, "a", "3")]);
    d.silence();
}

#[test]
fn r6_types_do_not_wait_for_each_others_answers() {
    let mut d = following(&[(CLUSTER, "c", "1"), (ROUTE, "a", "1")]);
    d.publish(&[(CLUSTER, "c", "2"), (ROUTE, "a", "2")]);
    let types: Vec<_> = d.hear().into_iter().map(|r| r.type_url).collect();
    assert_eq!(
        types,
        [CLUSTER.as_str(), ROUTE.as_str()],
        "R84, R86: in order, and neither waits for an ACK"
    );
}

#[test]
fn r57_r80_everything_of_nothing_gets_one_empty_answer() {
    let mut d = Dialogue::new();
    d.publish(&[]);
    d.say(subscribe(ROUTE, &[]));
    let response = d.hear_one();
    assert!(response.resources.is_empty() && response.removed_resources.is_empty());
    d.say(ack(&response));
    d.silence();

    let mut d = Dialogue::new();
    d.publish(&[(ROUTE, "a", "1")]);
    d.say(resume(ROUTE, &["*"], &[("a", "1")]));
    assert!(d.hear_one().resources.is_empty(), "R77, R80");
}

#[test]
fn r67_r70_r82_an_explicit_subscribe_is_always_answered() {
    let mut d = following(&[(ROUTE, "a", "1")]);
    d.say(subscribe(ROUTE, &["a"]));
    assert_eq!(sent(&d.hear_one()), ["a"]);

    let mut d = Dialogue::new();
    d.publish(&[(ROUTE, "a", "1")]);
    d.say(subscribe(ROUTE, &["a"]));
    d.settle();
    d.say(unsubscribe(ROUTE, &["a"]));
    d.silence();
    d.say(subscribe(ROUTE, &["a"]));
    assert_eq!(sent(&d.hear_one()), ["a"], "R70");
}

#[test]
fn r71_r72_absent_names_are_reported_and_remembered() {
    let mut d = Dialogue::new();
    d.publish(&[(CLUSTER, "b", "1")]);
    d.say(subscribe(CLUSTER, &["a"]));
    let response = d.hear_one();
    assert_eq!(
        (sent(&response), removed(&response)),
        (vec![], vec!["a"]),
        "R72"
    );
    d.say(ack(&response));
    d.publish(&[(CLUSTER, "b", "2")]);
    d.silence();
    d.publish(&[(CLUSTER, "a", "1")]);
    assert_eq!(sent(&d.hear_one()), ["a"], "R71");
}

#[test]
fn r69_unsubscribing_a_name_under_a_wildcard_is_answered() {
    let mut d = Dialogue::new();
    d.publish(&[(ROUTE, "a", "1"), (ROUTE, "b", "1")]);
    d.say(subscribe(ROUTE, &["*", "a", "gone"]));
    d.settle();
    d.say(unsubscribe(ROUTE, &["a", "gone"]));
    let response = d.hear_one();
    assert_eq!(
        (sent(&response), removed(&response)),
        (vec!["a"], vec!["gone"])
    );
}

#[test]
fn r51_after_the_wildcard_only_names_are_followed() {
    let mut d = Dialogue::new();
    d.publish(&[(ROUTE, "a", "1"), (ROUTE, "b", "1")]);
    d.say(subscribe(ROUTE, &[]));
    d.settle();
    d.say(subscribe(ROUTE, &["a"]));
    d.settle();
    d.say(unsubscribe(ROUTE, &["*"]));
    d.publish(&[(ROUTE, "a", "2"), (ROUTE, "b", "2")]);
    let response = d.hear_one();
    assert_eq!(sent(&response), ["a"]);
    d.say(ack(&response));
    d.say(unsubscribe(ROUTE, &["a"]));
    d.publish(&[(ROUTE, "a", "3")]);
    d.silence();
    d.say(subscribe(ROUTE, &["*"]));
    assert_eq!(sent(&d.hear_one()), ["a", "b"], "R55");
}

/// Found by the property test.
#[test]
fn r55_a_new_wildcard_counts_although_an_older_response_is_in_flight() {
    let mut d = Dialogue::new();
    d.publish(&[(ROUTE, "a", "1")]);
    d.say(subscribe(ROUTE, &["*"]));
    let first = d.hear_one();
    d.say(unsubscribe(ROUTE, &["*"]));
    d.say(subscribe(ROUTE, &["*"]));
    d.silence();
    d.say(ack(&first));
    assert_eq!(sent(&d.hear_one()), ["a"]);
}

#[test]
fn r75_to_r79_a_resume_sends_only_what_differs() {
    let mut d = Dialogue::new();
    d.publish(&[
        (ROUTE, "same", "1"),
        (ROUTE, "changed", "2"),
        (ROUTE, "new", "1"),
    ]);
    d.say(resume(
        ROUTE,
        &["*"],
        &[("same", "1"), ("changed", "1"), ("gone", "1")],
    ));
    let response = d.hear_one();
    assert_eq!(sent(&response), ["changed", "new"], "R77, R79");
    assert_eq!(removed(&response), ["gone"], "R78");
    d.say(ack(&response));
    d.say(Request {
        initial_resource_versions: BTreeMap::from([("new".into(), "x".into())]),
        ..subscribe(ROUTE, &[])
    });
    d.silence();
}

#[test]
fn r76_claims_are_no_subscription() {
    let mut d = Dialogue::new();
    d.publish(&[(ROUTE, "a", "1"), (ROUTE, "b", "2")]);
    d.say(resume(
        ROUTE,
        &["a"],
        &[("a", "0"), ("b", "1"), ("gone", "1")],
    ));
    let response = d.hear_one();
    assert_eq!((sent(&response), removed(&response)), (vec!["a"], vec![]));
}

#[test]
fn r14_an_old_streams_nonce_in_a_first_request_is_ignored() {
    let mut d = Dialogue::new();
    d.publish(&[(ROUTE, "a", "1")]);
    d.say(Request {
        response_nonce: "1".into(),
        ..subscribe(ROUTE, &[])
    });
    assert_eq!(sent(&d.hear_one()), ["a"]);
}

#[test]
fn what_an_earlier_stream_rejected_can_be_restated() {
    let mut d = Dialogue::new();
    d.publish(&[(ROUTE, "a", "bad"), (ROUTE, "b", "1")]);
    let bad = (Version::of(b"bad").to_string(), "no".to_owned());
    let restated = to_status(&BTreeMap::from([(Name::from("a"), bad)]));
    d.say(Request {
        error_detail: Some(restated),
        ..resume(ROUTE, &[], &[("a", "1"), ("b", "1")])
    });
    let response = d.hear_one();
    assert!(
        response.resources.is_empty(),
        "the last good one stays, the bad one does not come back"
    );
    d.say(ack(&response));
    assert_eq!(d.rejected(&ROUTE), [("a".into(), "no".into())]);
    d.publish(&[(ROUTE, "a", "2")]);
    assert_eq!(sent(&d.hear_one()), ["a"]);
}

#[test]
fn a_restated_rejection_of_what_is_gone_is_answered_with_its_removal() {
    let mut d = Dialogue::new();
    d.publish(&[(ROUTE, "b", "1")]);
    let bad = (Version::of(b"bad").to_string(), "no".to_owned());
    let restated = to_status(&BTreeMap::from([(Name::from("a"), bad)]));
    d.say(Request {
        error_detail: Some(restated),
        ..resume(ROUTE, &["*"], &[("b", "1")])
    });
    let response = d.hear_one();
    assert_eq!(removed(&response), ["a"]);
    d.say(ack(&response));
    assert!(d.session.in_sync());
}

#[test]
fn r84_clusters_come_before_and_go_after_the_routes_that_use_them() {
    let mut d = following(&[(CLUSTER, "old", "1"), (ROUTE, "r", "->old")]);
    d.publish(&[
        (CLUSTER, "new", "1"),
        (CLUSTER, "old", ""),
        (ROUTE, "r", "->new"),
    ]);
    let said: Vec<_> = d
        .settle()
        .iter()
        .map(|r| (r.type_url.clone(), sent(r).join(","), removed(r).join(",")))
        .collect();
    let expected = [(CLUSTER, "new", ""), (ROUTE, "r", ""), (CLUSTER, "", "old")]
        .map(|(t, s, r)| (t.to_string(), s.to_owned(), r.to_owned()));
    assert_eq!(said, expected);
}

#[test]
fn r85_a_route_waits_for_its_cluster_while_an_older_cluster_response_is_unanswered() {
    let mut d = following(&[(CLUSTER, "a", "1"), (ROUTE, "r", "->a")]);
    d.publish(&[(CLUSTER, "a", "2")]);
    let unanswered = d.hear_one();
    d.publish(&[(CLUSTER, "b", "1"), (ROUTE, "r", "->b")]);
    d.silence();
    d.say(ack(&unanswered));
    let types: Vec<_> = d.hear().into_iter().map(|r| r.type_url).collect();
    assert_eq!(types, [CLUSTER.as_str(), ROUTE.as_str()]);
}

#[test]
fn r87_waiting_for_an_answer_ends_by_the_clock() {
    let mut d = following(&[(CLUSTER, "a", "1"), (ROUTE, "r", "->a")]);
    d.publish(&[(CLUSTER, "a", "2")]);
    let unanswered = d.hear_one();
    d.publish(&[(CLUSTER, "b", "1"), (ROUTE, "r", "->b")]);
    d.silence();
    assert_eq!(d.session.next_deadline(), Some(d.now + ACK_PATIENCE));
    d.now += ACK_PATIENCE;
    let heard = d.hear();
    assert_eq!(
        heard.iter().map(sent).collect::<Vec<_>>(),
        [vec!["b"], vec!["r"]]
    );
    // The answer comes after all, and it is a rejection: it counts for what it answers, and only that.
    let event = d.say(nack(&unanswered, "late"));
    assert!(matches!(event, Some(Event::Nacked { .. })));
    assert_eq!(d.rejected(&CLUSTER), [("a".into(), "late".into())]);
    assert!(d.session.next_deadline().is_some());
}

/// R87 for a program that never answers: what it asks for next is not held back for ever.
#[test]
fn a_name_is_answered_although_the_response_before_never_was() {
    let mut d = Dialogue::new();
    d.publish(&[(ROUTE, "a", "1"), (ROUTE, "b", "1")]);
    d.say(subscribe(ROUTE, &["a"]));
    d.hear_one();
    d.say(subscribe(ROUTE, &["b"]));
    d.silence();
    d.now = d.session.next_deadline().unwrap();
    assert_eq!(sent(&d.hear_one()), ["b"]);
}

#[test]
fn a_deadline_that_is_over_does_not_come_back() {
    let mut d = following(&[(ROUTE, "a", "1")]);
    d.publish(&[(ROUTE, "a", "2")]);
    d.hear_one();
    d.now += ACK_PATIENCE + Duration::from_secs(1);
    d.silence();
    assert_eq!(d.session.next_deadline(), None);
}

#[test]
fn removals_go_out_even_if_the_answers_never_come() {
    let mut d = following(&[(CLUSTER, "a", "1"), (ROUTE, "r", "->a")]);
    d.publish(&[(CLUSTER, "a", ""), (CLUSTER, "b", "1"), (ROUTE, "r", "->b")]);
    assert_eq!(d.hear().len(), 2);
    d.silence();
    d.now += ACK_PATIENCE;
    assert_eq!(removed(&d.hear_one()), ["a"]);
}

#[test]
fn a_cluster_that_comes_back_before_it_was_removed_is_not_removed() {
    let mut d = following(&[(CLUSTER, "a", "1"), (ROUTE, "r", "->a")]);
    d.publish(&[(CLUSTER, "a", ""), (ROUTE, "r", "")]);
    let route = d.hear_one();
    assert_eq!(removed(&route), ["r"]);
    d.publish(&[(CLUSTER, "a", "1"), (ROUTE, "r", "->a")]);
    d.say(ack(&route));
    let all = d.settle();
    assert!(
        all.iter()
            .filter(|r| r.type_url == CLUSTER.as_str())
            .all(|r| removed(r).is_empty())
    );
    assert!(d.session.in_sync());
}

/// It subscribes type by type, and its old routes still use the old cluster.
#[test]
fn a_node_that_reconnects_loses_no_cluster_before_its_routes_are_known() {
    let resumed = || {
        let mut d = Dialogue::new();
        d.publish(&[(CLUSTER, "new", "1"), (ROUTE, "r", "->new")]);
        d.say(resume(CLUSTER, &["*"], &[("old", "1")]));
        let first = d.hear_one();
        assert_eq!((sent(&first), removed(&first)), (vec!["new"], vec![]));
        d.say(ack(&first));
        d.silence();
        d
    };
    let mut d = resumed();
    d.say(resume(ROUTE, &["*"], &[("r", "->old")]));
    let all = d.settle();
    let said: Vec<_> = all.iter().map(|r| (sent(r), removed(r))).collect();
    assert_eq!(said, [(vec!["r"], vec![]), (vec![], vec!["old"])]);

    // One that never asks for routes is not made to wait for ever (R87).
    let mut d = resumed();
    d.now = d.session.next_deadline().unwrap();
    assert_eq!(removed(&d.hear_one()), ["old"]);
}

/// The node keeps the last good route, and with it the cluster that route goes to.
#[test]
fn nothing_is_taken_away_from_a_node_that_rejected_what_would_let_go_of_it() {
    let mut d = following(&[(CLUSTER, "a", "1"), (ROUTE, "r", "->a")]);
    d.publish(&[
        (CLUSTER, "a", ""),
        (CLUSTER, "b", "1"),
        (ROUTE, "r", "bad->b"),
    ]);
    let heard = d.hear();
    d.say(ack(&heard[0]));
    d.say(nack(&heard[1], "no"));
    d.silence();
    d.publish(&[(ROUTE, "r", "good->b")]);
    let all = d.settle();
    assert_eq!(all.iter().flat_map(removed).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn a_node_is_never_taken_back_in_time() {
    use crate::wire::google::protobuf::{Struct, Value, value::Kind};
    let mut d = Dialogue::new();
    d.publish(&[(ROUTE, "a", "1")]);
    let seen = Position {
        store: 1,
        revision: 3,
    }
    .to_string();
    let value = Value {
        kind: Some(Kind::StringValue(seen)),
    };
    let metadata = Struct {
        fields: BTreeMap::from([(POSITION_KEY.to_owned(), value)]),
    };
    let node = Node {
        metadata: Some(metadata),
        ..Node::default()
    };
    d.say(Request {
        node: Some(node),
        ..subscribe(ROUTE, &[])
    });
    // R8: a later node without metadata does not reset it.
    d.say(Request {
        node: Some(Node::default()),
        ..subscribe(CLUSTER, &[])
    });
    d.silence();
    d.publish(&[(ROUTE, "a", "2")]);
    d.silence();
    assert!(matches!(
        d.session.holds_back(),
        Some(HoldBack::Behind { .. })
    ));
    d.publish(&[]);
    assert_eq!(d.hear().len(), 2);
}

/// R44: a store that was emptied while the server was down is no instruction.
#[test]
fn an_empty_fleet_takes_nothing_from_a_node_that_holds_something() {
    let mut d = Dialogue::new();
    d.publish(&[]);
    d.say(resume(ROUTE, &["*"], &[("a", "1")]));
    d.silence();
    assert_eq!(d.session.holds_back(), Some(HoldBack::Blank));
    d.publish(&[(ROUTE, "b", "1")]);
    let response = d.hear_one();
    assert_eq!(
        (sent(&response), removed(&response)),
        (vec!["b"], vec!["a"])
    );
    // What is deleted before our eyes is deleted.
    d.say(ack(&response));
    d.publish(&[(ROUTE, "b", "")]);
    assert_eq!(removed(&d.hear_one()), ["b"]);
}

#[test]
fn a_first_response_in_several_parts_is_sent_part_by_part() {
    let mut d = Dialogue::new();
    let body = "x".repeat(crate::step::MAX_RESPONSE_BYTES / 2);
    let names = ["a", "b", "c", "d"];
    let all: Vec<_> = names
        .iter()
        .map(|name| (ROUTE, *name, body.as_str()))
        .collect();
    d.publish(&all);
    d.say(subscribe(ROUTE, &[]));
    let first = d.hear_one();
    d.publish(&[(ROUTE, "a", "2")]);
    d.say(nack(&first, "no"));
    let rest = d.settle();
    let sent: Vec<_> = rest.iter().flat_map(sent).collect();
    assert_eq!(
        sent,
        ["b", "c", "d", "a"],
        "what is under way is finished, then the newest"
    );
    assert!(d.session.in_sync());
}

#[test]
fn two_streams_send_the_same_bytes() {
    let mut d = following(&[(ROUTE, "a", "1")]);
    let mut other = Session::new(Transport::Delta);
    other.on_snapshot(Arc::new(d.snapshot.clone()));
    other.on_request(subscribe(ROUTE, &[])).unwrap();
    let out = other.poll(d.now).unwrap();
    let first = Response::decode([out.payload, out.nonce].concat().as_slice()).unwrap();
    other.on_request(ack(&first)).unwrap();
    d.publish(&[(ROUTE, "a", "2")]);
    other.on_snapshot(d.session.snapshot.clone().unwrap());
    let (one, two) = (d.session.poll(d.now).unwrap(), other.poll(d.now).unwrap());
    assert_eq!(one.payload.as_ptr(), two.payload.as_ptr());
}

/// Were each rejected name compared with each that was offered, this would take hours.
#[test]
fn a_rejection_of_very_much_costs_what_it_is_long() {
    let names: Vec<String> = (0..20_000).map(|n| format!("routes/{n}")).collect();
    let all: Vec<_> = names
        .iter()
        .map(|name| (ROUTE, name.as_str(), "1"))
        .collect();
    let text = "routes/1: no; ".repeat(2_000);
    let many = (0..90_000).map(|n| (Name::from(format!("{n}")), Default::default()));
    let mut named: BTreeMap<Name, (String, String)> = many.collect();
    named.insert(Name::from("routes/2"), Default::default());
    for (error, rejected) in [
        (None, 20_000),
        (Some((text, Vec::new())), 1),
        (Some((String::new(), to_status(&named).details)), 1),
    ] {
        let mut d = Dialogue::new();
        d.publish(&all);
        d.say(subscribe(ROUTE, &[]));
        let response = d.hear_one();
        let mut answer = nack(&response, "no");
        if let Some((message, details)) = error {
            answer.error_detail = Some(Status {
                code: 3,
                message,
                details,
            });
        }
        d.say(answer);
        assert_eq!(d.rejected(&ROUTE).len(), rejected);
        assert_eq!(d.session.resources().count(), 20_000);
    }
}

/// More than can be in a response, and each far larger in memory than it is on the wire: it names nothing.
#[test]
fn details_that_name_too_much_name_nothing() {
    let mut d = following(&[(ROUTE, "a", "1"), (ROUTE, "b", "1")]);
    d.publish(&[(ROUTE, "a", "2"), (ROUTE, "b", "2")]);
    let response = d.hear_one();
    let mut answer = nack_named(&response, &[("a", "no")]);
    answer.error_detail.as_mut().unwrap().message = "no".to_owned();
    let details = &mut answer.error_detail.as_mut().unwrap().details[0];
    let one = details.value.clone();
    details.value = one.repeat(100_001).into();
    d.say(answer);
    assert_eq!(d.rejected(&ROUTE).len(), 2);
}

/// R25, R30: one request rejects a name and lets go of it. Nothing of it is left to wait for.
#[test]
fn what_is_rejected_and_let_go_of_at_once_holds_nothing_back() {
    let mut d = Dialogue::new();
    d.publish(&[
        (CLUSTER, "x", "1"),
        (CLUSTER, "y", "1"),
        (ROUTE, "a", "1->x"),
    ]);
    d.say(subscribe(CLUSTER, &[]));
    d.say(subscribe(ROUTE, &["a"]));
    d.settle();
    d.publish(&[(ROUTE, "a", "2->y")]);
    let offered = d.hear_one();
    d.say(Request {
        resource_names_unsubscribe: vec!["a".to_owned()],
        ..nack(&offered, "no")
    });
    assert!(d.session.in_sync(), "{:?}", d.rejected(&ROUTE));
    d.publish(&[(CLUSTER, "x", "")]);
    assert_eq!(removed(&d.hear_one()), ["x"]);
}

/// R54, R69: what was a member of everything is nothing to a node that wants everything no more.
#[test]
fn what_a_wildcard_rejected_is_forgotten_with_it() {
    let mut d = following(&[(ROUTE, "a", "1"), (ROUTE, "b", "1")]);
    d.publish(&[(ROUTE, "a", "2")]);
    let offered = d.hear_one();
    d.say(nack(&offered, "no"));
    d.say(subscribe(ROUTE, &["b"]));
    d.settle();
    d.say(unsubscribe(ROUTE, &["b", "*"]));
    assert_eq!(d.rejected(&ROUTE), []);
    d.silence();
    assert!(d.session.in_sync());
}
