//! Owns the table of dialogues in state of the world, and those about Envoy's types, where order and
//! warming matter.

use super::super::*;
use crate::name::{ResourceId, Version};
use crate::snapshot::Changes;
use crate::wire::core::Node;
use crate::wire::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest as Request,
    DiscoveryResponse as Response,
};
use crate::wire::google::rpc::Status;
use prost::Message;

const CDS: TypeUrl = TypeUrl::ENVOY_CLUSTER;
const EDS: TypeUrl = TypeUrl::ENVOY_ENDPOINTS;
const LDS: TypeUrl = TypeUrl::ENVOY_LISTENER;
const RDS: TypeUrl = TypeUrl::ENVOY_ROUTES;

/// Snapshots of Envoy's types, one after the other.
#[derive(Default)]
struct World {
    snapshot: Snapshot,
    revision: u64,
}

impl World {
    /// `(type, name, body)`; a body of `""` removes. What follows an arrow is what it refers to.
    fn publish(&mut self, changes: &[(TypeUrl, &str, &str)]) -> Arc<Snapshot> {
        let mut next = Changes::default();
        for (type_url, name, body) in changes {
            let id = ResourceId::new(type_url.clone(), *name);
            if body.is_empty() {
                next.removals.push(id);
                continue;
            }
            let child = match type_url {
                t if *t == CDS => EDS,
                t if *t == LDS => RDS,
                _ => CDS,
            };
            let to = body.split_once("->").map(|(_, to)| to).unwrap_or_default();
            let names = to.split(',').filter(|name| !name.is_empty());
            let refers = names.map(|name| ResourceId::new(child.clone(), name));
            let resource = Resource::from_encoded(id, body.as_bytes(), refers.collect());
            next.upserts.push(resource);
        }
        self.revision += 1;
        let label = self.revision.to_string();
        self.snapshot = self.snapshot.next(label, next).unwrap();
        Arc::new(self.snapshot.clone())
    }
}

/// A state-of-the-world stream and what is behind it.
struct Dialogue {
    session: Session,
    world: World,
    now: Instant,
}

impl Dialogue {
    fn new() -> Self {
        Self {
            session: Session::new(Transport::Sotw),
            world: World::default(),
            now: Instant::now(),
        }
    }

    fn publish(&mut self, changes: &[(TypeUrl, &str, &str)]) -> &mut Self {
        let snapshot = self.world.publish(changes);
        self.session.on_snapshot(snapshot);
        self
    }

    fn say(&mut self, request: Request) -> Option<Event> {
        self.session.on_sotw_request(request).unwrap()
    }

    fn hear(&mut self) -> Vec<Response> {
        std::iter::from_fn(|| self.session.poll(self.now))
            .map(|out| Response::decode([out.payload, out.nonce].concat().as_slice()).unwrap())
            .collect()
    }

    fn hear_one(&mut self) -> Response {
        let mut heard = self.hear();
        assert_eq!(heard.len(), 1, "{heard:#?}");
        heard.remove(0)
    }

    fn silence(&mut self) {
        assert_eq!(self.hear(), []);
    }

    /// Asks for names of a type for the first time, and acknowledges what comes.
    fn start(&mut self, type_url: &TypeUrl, names: &[&str]) -> Response {
        self.say(ask(type_url, names));
        let response = self.hear_one();
        self.say(ack(&response, names));
        response
    }
}

fn ask(type_url: &TypeUrl, names: &[&str]) -> Request {
    Request {
        type_url: type_url.to_string(),
        resource_names: names.iter().map(ToString::to_string).collect(),
        ..Request::default()
    }
}

fn ack(response: &Response, names: &[&str]) -> Request {
    Request {
        version_info: response.version_info.clone(),
        response_nonce: response.nonce.clone(),
        ..ask(&response.type_url.as_str().into(), names)
    }
}

fn nack(response: &Response, names: &[&str], message: &str) -> Request {
    Request {
        // R23: the version may be any, the rejected one's too.
        error_detail: Some(Status {
            code: 13,
            message: message.to_owned(),
            details: Vec::new(),
        }),
        ..ack(response, names)
    }
}

fn bodies(response: &Response) -> Vec<String> {
    let bodies = response.resources.iter().map(|any| any.value.to_vec());
    let mut bodies: Vec<_> = bodies.map(|b| String::from_utf8(b).unwrap()).collect();
    bodies.sort();
    bodies
}

fn types(responses: &[Response]) -> Vec<TypeUrl> {
    responses
        .iter()
        .map(|r| r.type_url.as_str().into())
        .collect()
}

/// R42, R44: everything each time, and gone is what is missing.
#[test]
fn r42_r44_every_response_of_clusters_is_the_full_set() {
    let mut d = Dialogue::new();
    d.publish(&[(CDS, "a", "a1"), (CDS, "b", "b1")]);
    let first = d.start(&CDS, &[]);
    assert_eq!(bodies(&first), ["a1", "b1"]);
    assert!(!first.nonce.is_empty() && !first.version_info.is_empty());
    d.publish(&[(CDS, "a", "a2")]);
    let second = d.hear_one();
    assert_eq!(bodies(&second), ["a2", "b1"]);
    assert_ne!(second.version_info, first.version_info);
    d.say(ack(&second, &[]));
    d.silence();
    d.publish(&[(CDS, "b", "")]);
    let kept = d.hear();
    assert!(kept.is_empty(), "listeners may still come: {kept:?}");
    d.now += ACK_PATIENCE;
    assert_eq!(bodies(&d.hear_one()), ["a2"]);
}

/// R43, R45, R38: only what changed of endpoints, and what is named anew.
#[test]
fn r38_r43_endpoints_are_sent_as_they_change_and_as_they_are_named() {
    let mut d = Dialogue::new();
    d.publish(&[(EDS, "a", "a1"), (EDS, "b", "b1"), (EDS, "c", "c1")]);
    let first = d.start(&EDS, &["a", "b"]);
    assert_eq!(bodies(&first), ["a1", "b1"]);
    d.publish(&[(EDS, "b", "b2"), (EDS, "c", "c2")]);
    let second = d.hear_one();
    assert_eq!(bodies(&second), ["b2"]);
    d.say(ack(&second, &["a", "b"]));
    d.silence();
    d.say(ack(&second, &["b"]));
    d.silence();
    d.say(ack(&second, &["a", "b", "c"]));
    assert_eq!(bodies(&d.hear_one()), ["a1", "c2"], "a was sent before");
}

/// R39, R40, R96: what is not there is remembered, and named in an error that newer clients know.
#[test]
fn r40_r96_what_does_not_exist_is_said_and_remembered() {
    let mut d = Dialogue::new();
    d.publish(&[(EDS, "a", "a1")]);
    let first = d.start(&EDS, &["a", "x"]);
    assert_eq!(bodies(&first), ["a1"]);
    let error = &first.resource_errors[0];
    assert_eq!(error.resource_name.as_ref().unwrap().name, "x");
    assert_eq!(error.error_detail.as_ref().unwrap().code, 5, "R97");
    d.silence();
    d.publish(&[(EDS, "x", "x1")]);
    let second = d.hear_one();
    assert_eq!(bodies(&second), ["x1"]);
    assert!(second.resource_errors.is_empty());
}

/// R21, R27, R28, R35: an old nonce answers nothing, and what it names is said again with the newest.
#[test]
fn r27_r28_a_request_with_an_old_nonce_is_not_answered() {
    let mut d = Dialogue::new();
    d.publish(&[(EDS, "a", "a1"), (EDS, "b", "b1")]);
    d.say(ask(&EDS, &["a"]));
    let first = d.hear_one();
    d.say(ack(&first, &["a"]));
    d.publish(&[(EDS, "a", "a2")]);
    let second = d.hear_one();
    d.say(ack(&first, &["a", "b"]));
    d.silence();
    d.say(ack(&second, &["a", "b"]));
    assert_eq!(bodies(&d.hear_one()), ["b1"]);
    // R36: one that was never given changes nothing.
    d.say(Request {
        response_nonce: "never".to_owned(),
        ..ask(&EDS, &[])
    });
    d.silence();
}

/// A client may name more before the first response has come; it has no nonce to say then.
#[test]
fn names_may_grow_before_the_first_response() {
    let mut d = Dialogue::new();
    d.publish(&[(EDS, "a", "a1"), (EDS, "b", "b1")]);
    d.say(ask(&EDS, &["a"]));
    let first = d.hear_one();
    d.say(ask(&EDS, &["a", "b"]));
    d.silence();
    d.say(ack(&first, &["a", "b"]));
    assert_eq!(bodies(&d.hear_one()), ["b1"]);
}

/// R22, R24, R26, R42: what Envoy's text names is rejected, the rest is taken. The next response
/// repeats the good version of what was rejected, because leaving it out would remove it.
#[test]
fn r24_a_rejected_cluster_is_repeated_as_it_was() {
    let mut d = Dialogue::new();
    d.publish(&[(CDS, "a", "a1"), (CDS, "b", "b1")]);
    d.start(&CDS, &[]);
    d.publish(&[(CDS, "a", "bad"), (CDS, "b", "b2"), (CDS, "new", "bad")]);
    let second = d.hear_one();
    let text = "Error adding/updating cluster(s) a: no such thing, new: neither";
    let event = d.say(nack(&second, &[], text));
    let Some(Event::Nacked { rejected, .. }) = event else {
        panic!("{event:?}");
    };
    let names: Vec<_> = rejected.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "new"]);
    d.silence();
    d.publish(&[(CDS, "b", "b3")]);
    let third = d.hear_one();
    assert_eq!(bodies(&third), ["a1", "b3"]);
    assert_ne!(third.version_info, second.version_info);
    d.say(ack(&third, &[]));
    d.publish(&[(CDS, "a", "a3")]);
    assert_eq!(bodies(&d.hear_one()), ["a3", "b3"], "recovered");
}

/// R24: of endpoints only what changed is sent, so what was rejected is not.
#[test]
fn r24_rejected_endpoints_are_not_sent_again_until_they_change() {
    let mut d = Dialogue::new();
    d.publish(&[(EDS, "a", "a1"), (EDS, "b", "b1")]);
    d.start(&EDS, &["a", "b"]);
    d.publish(&[(EDS, "a", "bad")]);
    let second = d.hear_one();
    d.say(nack(&second, &["a", "b"], "nonsense"));
    d.silence();
    d.publish(&[(EDS, "b", "b2")]);
    let third = d.hear_one();
    assert_eq!(bodies(&third), ["b2"]);
    d.say(ack(&third, &["a", "b"]));
    d.publish(&[(EDS, "a", "a3")]);
    assert_eq!(bodies(&d.hear_one()), ["a3"]);
}

/// R17: the version says that the client has all of it.
#[test]
fn r17_a_client_that_has_the_version_is_not_sent_it_again() {
    let mut d = Dialogue::new();
    d.publish(&[(CDS, "a", "a1")]);
    let version = d.start(&CDS, &[]).version_info;
    let mut again = Dialogue::new();
    again.publish(&[(CDS, "a", "a1")]);
    again.say(Request {
        version_info: version.clone(),
        response_nonce: "7f".to_owned(),
        ..ask(&CDS, &[])
    });
    again.silence();
    assert!(again.session.in_sync());
    again.publish(&[(CDS, "a", "a2")]);
    assert_eq!(bodies(&again.hear_one()), ["a2"]);
    let mut named = Dialogue::new();
    named.publish(&[(CDS, "a", "a1")]);
    named.say(Request {
        version_info: version,
        ..ask(&CDS, &["a"])
    });
    assert_eq!(bodies(&named.hear_one()), ["a1"], "it may be a new name");
}

/// R44: a server that has never seen anything takes nothing from one who has something.
#[test]
fn an_empty_fleet_takes_nothing_from_a_client_that_says_a_version() {
    let mut d = Dialogue::new();
    let position = Position {
        store: 1,
        revision: 1,
    };
    let blank = Snapshot::default().at(position);
    d.session.on_snapshot(Arc::new(blank));
    d.say(Request {
        version_info: "something".to_owned(),
        ..ask(&CDS, &[])
    });
    d.silence();
    assert_eq!(d.session.holds_back(), Some(HoldBack::Blank));
}

/// R56: gRPC names one listener and one cluster after the other.
#[test]
fn r56_named_listeners_are_sent_whole_and_no_others() {
    let mut d = Dialogue::new();
    d.publish(&[(LDS, "a", "a1"), (LDS, "b", "b1"), (LDS, "c", "c1")]);
    let first = d.start(&LDS, &["a"]);
    assert_eq!(bodies(&first), ["a1"]);
    d.say(ack(&first, &["a", "b"]));
    let second = d.hear_one();
    assert_eq!(bodies(&second), ["a1", "b1"]);
    d.say(ack(&second, &["a", "b"]));
    d.publish(&[(LDS, "c", "c2")]);
    d.silence();
    d.publish(&[(LDS, "b", "")]);
    assert_eq!(bodies(&d.hear_one()), ["a1"]);
}

/// R57: nothing is an answer, for those who follow everything.
#[test]
fn r57_an_empty_set_is_answered() {
    let mut d = Dialogue::new();
    d.publish(&[(EDS, "x", "x1")]);
    assert_eq!(bodies(&d.start(&CDS, &[])), Vec::<String>::new());
    d.say(ask(&EDS, &[]));
    d.silence();
}

/// R4: the type may be left out on the stream of its own service.
#[test]
fn r4_a_stream_of_one_type_knows_its_type() {
    let mut session = Session::of_type(Transport::Sotw, CDS);
    let mut world = World::default();
    session.on_snapshot(world.publish(&[(CDS, "a", "a1")]));
    session.on_sotw_request(Request::default()).unwrap();
    let out = session.poll(Instant::now()).unwrap();
    let response = Response::decode([out.payload, out.nonce].concat().as_slice()).unwrap();
    assert_eq!(
        (response.type_url.as_str(), response.resources.len()),
        (CDS.as_str(), 1)
    );
    let refused = session.on_sotw_request(ask(&EDS, &[])).unwrap_err();
    assert!(matches!(refused, Refusal::OtherType { .. }), "{refused}");
}

/// R108.
#[test]
fn r108_resource_locators_are_refused() {
    let mut session = Session::new(Transport::Sotw);
    let request = Request {
        resource_locators: vec![Default::default()],
        ..ask(&CDS, &[])
    };
    assert_eq!(session.on_sotw_request(request), Err(Refusal::Locators));
}

/// An Envoy that follows all clusters and listeners, and names what they refer to.
fn envoy(world: &[(TypeUrl, &str, &str)]) -> Dialogue {
    let mut d = Dialogue::new();
    d.publish(world);
    d.start(&CDS, &[]);
    d.start(&EDS, &["x", "y"]);
    d.start(&LDS, &[]);
    d.start(&RDS, &["r"]);
    d.silence();
    d
}

const WORLD: [(TypeUrl, &str, &str); 4] = [
    (CDS, "x", "x1->x"),
    (EDS, "x", "ex1"),
    (LDS, "l", "l1->r"),
    (RDS, "r", "r1->x"),
];

/// R83, R84: clusters, endpoints, listeners, routes; and endpoints again after their cluster, routes
/// after their listener, though they have not changed.
#[test]
fn r83_r84_children_follow_their_changed_parents_in_order() {
    let mut d = envoy(&WORLD);
    d.publish(&[(CDS, "x", "x2->x"), (LDS, "l", "l2->r")]);
    let heard = d.hear();
    assert_eq!(types(&heard)[..2], [CDS, EDS]);
    for response in &heard {
        let names: &[&str] = match &TypeUrl::from(response.type_url.as_str()) {
            t if *t == EDS => &["x", "y"],
            t if *t == RDS => &["r"],
            _ => &[],
        };
        d.say(ack(response, names));
    }
    let mut all = heard;
    all.extend(d.hear());
    assert_eq!(types(&all), [CDS, EDS, LDS, RDS]);
    assert_eq!(bodies(&all[1]), ["ex1"]);
    assert_eq!(bodies(&all[3]), ["r1->x"]);
}

/// R85, R86: a route to a new cluster waits until Envoy says that it is warm, which it does only after
/// it has the endpoints: they wait for nothing. Other types go on.
#[test]
fn r85_r86_routes_wait_for_a_warm_cluster_and_endpoints_for_nothing() {
    let mut d = envoy(&WORLD);
    d.publish(&[
        (CDS, "y", "y1->y"),
        (EDS, "y", "ey1"),
        (EDS, "x", "ex2"),
        (RDS, "r", "r2->x,y"),
    ]);
    let heard = d.hear();
    assert_eq!(types(&heard), [CDS, EDS]);
    assert_eq!(bodies(&heard[1]), ["ex2", "ey1"]);
    d.say(ack(&heard[1], &["x", "y"]));
    d.silence();
    d.say(ack(&heard[0], &[]));
    assert_eq!(bodies(&d.hear_one()), ["r2->x,y"]);
}

/// R87: what is waited for is waited for a bounded time, and by those only that need it.
#[test]
fn r87_a_route_waits_for_its_own_clusters_only_and_not_for_ever() {
    let mut d = Dialogue::new();
    d.publish(&[(CDS, "x", "x1"), (RDS, "r", "r1->x"), (RDS, "s", "s1->x")]);
    d.start(&CDS, &[]);
    d.start(&RDS, &["r", "s"]);
    d.publish(&[(CDS, "y", "y1"), (RDS, "r", "r2->y"), (RDS, "s", "s2->x")]);
    let heard = d.hear();
    assert_eq!(types(&heard), [CDS, RDS]);
    assert_eq!(bodies(&heard[1]), ["s2->x"], "r waits for y");
    d.say(ack(&heard[1], &["r", "s"]));
    d.silence();
    d.now = d.session.next_deadline().unwrap();
    assert_eq!(bodies(&d.hear_one()), ["r2->y"]);
}

/// R86: a client that never answers is not waited for.
#[test]
fn r86_nothing_waits_for_one_who_has_never_answered() {
    let mut d = Dialogue::new();
    d.publish(&WORLD);
    for (type_url, names) in [(&CDS, &[][..]), (&EDS, &["x"]), (&LDS, &[]), (&RDS, &["r"])] {
        d.say(ask(type_url, names));
    }
    assert_eq!(types(&d.hear()), [CDS, EDS, LDS, RDS]);
}

/// R85: even if the answer to older clusters is missing: first the cluster, then the route.
#[test]
fn r85_no_route_overtakes_its_cluster() {
    let mut d = envoy(&WORLD);
    d.publish(&[(CDS, "x", "x2->x")]);
    let unanswered = d.hear();
    assert_eq!(types(&unanswered), [CDS, EDS]);
    d.say(ack(&unanswered[1], &["x", "y"]));
    d.publish(&[(CDS, "y", "y1->y"), (EDS, "y", "ey1"), (RDS, "r", "r2->y")]);
    let heard = d.hear();
    assert_eq!(types(&heard), [EDS], "endpoints wait for nothing");
    d.say(ack(&heard[0], &["x", "y"]));
    d.say(ack(&unanswered[0], &[]));
    let heard = d.hear();
    assert_eq!(
        types(&heard),
        [CDS, EDS],
        "R83: y's endpoints were too early"
    );
    d.say(ack(&heard[1], &["x", "y"]));
    d.say(ack(&heard[0], &[]));
    assert_eq!(types(&d.hear()), [RDS]);
}

/// gRPC asks for a cluster only when a route has named it: the route must not wait for the cluster.
#[test]
fn a_route_does_not_wait_for_a_cluster_that_nobody_asked_for() {
    let mut d = Dialogue::new();
    d.publish(&WORLD);
    d.start(&LDS, &["l"]);
    d.start(&RDS, &["r"]);
    d.start(&CDS, &["x"]);
    d.start(&EDS, &["x"]);
    d.publish(&[(CDS, "x", "x2->x"), (CDS, "y", "y1"), (RDS, "r", "r2->y")]);
    let heard = d.hear();
    assert_eq!(types(&heard), [CDS, EDS, RDS]);
}

/// R84: a cluster goes when the routes that named it are gone, listeners first.
#[test]
fn r84_clusters_go_after_routes() {
    let mut d = envoy(&WORLD);
    d.publish(&[
        (CDS, "y", "y1->y"),
        (EDS, "y", "ey1"),
        (RDS, "r", "r2->y"),
        (CDS, "x", ""),
        (EDS, "x", ""),
    ]);
    let heard = d.hear();
    assert_eq!(types(&heard), [CDS, EDS]);
    assert_eq!(bodies(&heard[0]), ["x1->x", "y1->y"], "x is still needed");
    d.say(ack(&heard[0], &[]));
    d.say(ack(&heard[1], &["x", "y"]));
    let heard = d.hear_one();
    assert_eq!(types(std::slice::from_ref(&heard)), [RDS]);
    d.say(ack(&heard, &["r"]));
    let heard = d.hear();
    assert_eq!(bodies(&heard[0]), ["y1->y"]);
}

/// R89, R91, R93: heartbeats, well within the time to live, and only to those who understand them.
#[test]
fn r91_what_has_a_time_to_live_is_kept_alive() {
    let ttl = Duration::from_secs(30);
    let resource = |name: &str| {
        let id = ResourceId::new(EDS, name);
        Resource::from_encoded(id, name.as_bytes(), Vec::new())
    };
    let changes = Changes {
        upserts: vec![resource("a").with_ttl(ttl), resource("b")],
        removals: Vec::new(),
    };
    let snapshot = Arc::new(Snapshot::default().next("1", changes).unwrap());
    for features in [&["xds.config.supports-resource-ttl"][..], &[]] {
        let mut session = Session::new(Transport::Delta);
        session.on_snapshot(snapshot.clone());
        let node = Node {
            client_features: features.iter().map(|f| (*f).to_owned()).collect(),
            ..Node::default()
        };
        let request = DeltaDiscoveryRequest {
            node: Some(node),
            type_url: EDS.to_string(),
            resource_names_subscribe: vec!["a".into(), "b".into()],
            ..DeltaDiscoveryRequest::default()
        };
        session.on_request(request).unwrap();
        let now = Instant::now();
        let read = |out: Outgoing| {
            let bytes = [out.payload, out.nonce].concat();
            DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap()
        };
        let first = read(session.poll(now).unwrap());
        let answer = |response: &DeltaDiscoveryResponse| DeltaDiscoveryRequest {
            type_url: EDS.to_string(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        session.on_request(answer(&first)).unwrap();
        assert!(session.poll(now).is_none());
        if features.is_empty() {
            assert!(
                first
                    .resources
                    .iter()
                    .all(|resource| resource.ttl.is_none())
            );
            assert_eq!(session.next_deadline(), None);
            continue;
        }
        for _ in 0..3 {
            let at = session.next_deadline().unwrap();
            assert!(at > now && at <= now + ttl, "{:?}", at - now);
            let beat = read(session.poll(at).unwrap());
            assert_eq!(beat.resources.len(), 1);
            assert_eq!(beat.resources[0].name, "a");
            assert_eq!(beat.resources[0].version, first.resources[0].version);
            assert!(beat.resources[0].resource.is_none() && beat.resources[0].ttl.is_some());
            session.on_request(answer(&beat)).unwrap();
            assert!(session.poll(at).is_none());
        }
    }
}

/// R111: what is known of each resource.
#[test]
fn r111_the_state_of_every_resource_is_known() {
    let mut d = Dialogue::new();
    d.publish(&[(EDS, "a", "a1"), (EDS, "b", "b1")]);
    d.say(ask(&EDS, &["a", "b", "x"]));
    let states = |d: &Dialogue| -> Vec<(String, ResourceState)> {
        let all = d.session.resources();
        all.map(|it| (it.name.to_string(), it.state)).collect()
    };
    assert!(
        states(&d)
            .iter()
            .all(|(_, state)| *state == ResourceState::Requested)
    );
    let first = d.hear_one();
    d.say(nack(&first, &["a", "b", "x"], "resource b: broken"));
    let states = states(&d);
    assert_eq!(states[0], ("a".into(), ResourceState::Acked));
    let ResourceState::Nacked(why) = &states[1].1 else {
        panic!("{states:?}");
    };
    assert_eq!(why.version, Version::of(b"b1"));
    assert_eq!(states[2], ("x".into(), ResourceState::DoesNotExist));
    d.silence();
    let answered = d.session.resources().map(|it| it.answered);
    assert!(answered.into_iter().all(|at| at == Some(d.now)));
}

/// R14, R28: before there is a response nothing is older than it, so names count beside any nonce.
#[test]
fn names_beside_an_old_streams_nonce_count_until_there_is_a_response() {
    let mut d = Dialogue::new();
    for names in [&["a"][..], &["a", "b"]] {
        d.say(Request {
            type_url: EDS.to_string(),
            version_info: "7".into(),
            response_nonce: "of-an-old-stream".into(),
            resource_names: names.iter().map(ToString::to_string).collect(),
            ..Request::default()
        });
    }
    d.publish(&[(EDS, "a", "1"), (EDS, "b", "2")]);
    assert_eq!(d.hear_one().resources.len(), 2);
}

/// R24, R42: what was never accepted is not what a node had before, however often it is rejected.
#[test]
fn what_is_rejected_twice_is_not_repeated_as_it_was_first() {
    let mut d = Dialogue::new();
    d.publish(&[(CDS, "good", "g")]);
    d.say(Request {
        type_url: CDS.to_string(),
        ..Request::default()
    });
    let first = d.hear_one();
    let answer = |to: &Response, message: &str| Request {
        type_url: CDS.to_string(),
        response_nonce: to.nonce.clone(),
        error_detail: (!message.is_empty()).then(|| Status {
            message: message.to_owned(),
            ..Status::default()
        }),
        ..Request::default()
    };
    d.say(answer(&first, ""));
    for body in ["b1", "b2"] {
        d.publish(&[(CDS, "bad", body)]);
        let offered = d.hear_one();
        d.say(answer(&offered, "bad is no good"));
    }
    d.publish(&[(CDS, "good", "g2")]);
    let bodies: Vec<_> = d
        .hear_one()
        .resources
        .into_iter()
        .map(|any| any.value)
        .collect();
    assert_eq!(bodies, [&b"g2"[..]]);
}
