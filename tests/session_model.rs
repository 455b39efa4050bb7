//! A property test of sessions that follow by name: whatever is subscribed, unsubscribed, rejected and
//! published in whatever order, a client that does what it is told ends up with exactly what it wants
//! of the snapshot, or its last good version of what it rejects.
//!
//! The client is the model: it knows nothing of versions or steps, it only keeps what it was given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bellwether::encoding::Transport;
use bellwether::name::{ResourceId, TypeUrl, Version};
use bellwether::resource::Resource;
use bellwether::session::{ACK_PATIENCE, Session};
use bellwether::snapshot::{Changes, Snapshot};
use bellwether::wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use bellwether::wire::google::rpc::Status;
use proptest::prelude::*;
use prost::Message;

const ROUTE: TypeUrl = TypeUrl::ROUTE;

/// What may happen.
#[derive(Clone, Debug)]
enum Act {
    /// `None` deletes.
    Publish(u8, Option<u8>),
    Subscribe(Vec<u8>),
    Unsubscribe(Vec<u8>),
    Wildcard(bool),
    /// The server sends what it has to send.
    Serve,
    /// The client takes one response.
    Take,
    /// The client is slow to answer.
    Wait,
    /// The stream breaks; the next one resumes with what is held.
    Reconnect,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let name = 0..6_u8;
    let names = || proptest::collection::vec(0..6_u8, 1..3);
    let act = prop_oneof![
        4 => (name, proptest::option::weighted(0.8, 0..20_u8)).prop_map(|(n, b)| Act::Publish(n, b)),
        2 => names().prop_map(Act::Subscribe),
        2 => names().prop_map(Act::Unsubscribe),
        1 => any::<bool>().prop_map(Act::Wildcard),
        6 => Just(Act::Serve),
        6 => Just(Act::Take),
        1 => Just(Act::Wait),
        1 => Just(Act::Reconnect),
    ];
    proptest::collection::vec(act, 1..80)
}

/// One in five bodies is one that the client rejects.
fn is_bad(body: u8) -> bool {
    body.is_multiple_of(5)
}

struct World {
    session: Session,
    snapshot: Snapshot,
    revision: u64,
    now: Instant,
    content: BTreeMap<String, u8>,
    wildcard: bool,
    names: BTreeSet<String>,
    held: BTreeMap<String, u8>,
    inbox: Vec<DeltaDiscoveryResponse>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            session: Session::new(Transport::Delta),
            snapshot: Snapshot::default(),
            revision: 0,
            now: Instant::now(),
            content: BTreeMap::new(),
            wildcard: true,
            names: BTreeSet::new(),
            held: BTreeMap::new(),
            inbox: Vec::new(),
        };
        world.session.on_snapshot(Arc::new(world.snapshot.clone()));
        world.connect();
        world
    }

    fn say(&mut self, request: DeltaDiscoveryRequest) {
        let request = DeltaDiscoveryRequest {
            type_url: ROUTE.to_string(),
            ..request
        };
        self.session.on_request(request).unwrap();
    }

    fn connect(&mut self) {
        self.session = Session::new(Transport::Delta);
        self.session.on_snapshot(Arc::new(self.snapshot.clone()));
        self.inbox.clear();
        let held = self.held.iter();
        let mut wanted: Vec<String> = self.names.iter().cloned().collect();
        if self.wildcard {
            wanted.push("*".into());
        }
        // A first request that wants nothing must not look like the old wildcard (R49).
        if wanted.is_empty() {
            wanted.push("nothing".into());
        }
        self.say(DeltaDiscoveryRequest {
            resource_names_subscribe: wanted,
            initial_resource_versions: held
                .map(|(name, body)| (name.clone(), Version::of(&[*body]).to_string()))
                .collect(),
            ..DeltaDiscoveryRequest::default()
        });
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Publish(name, body) => self.publish(format!("r{name}"), body),
            Act::Subscribe(list) => {
                let list = names_of(&list);
                self.names.extend(list.iter().cloned());
                self.say(DeltaDiscoveryRequest {
                    resource_names_subscribe: list,
                    ..DeltaDiscoveryRequest::default()
                });
            }
            Act::Unsubscribe(list) => {
                let list = names_of(&list);
                for name in &list {
                    self.names.remove(name);
                }
                self.drop_unwanted();
                self.say(DeltaDiscoveryRequest {
                    resource_names_unsubscribe: list,
                    ..DeltaDiscoveryRequest::default()
                });
            }
            Act::Wildcard(on) => {
                self.wildcard = on;
                self.drop_unwanted();
                let star = vec!["*".to_owned()];
                let (add, take) = if on { (star, vec![]) } else { (vec![], star) };
                self.say(DeltaDiscoveryRequest {
                    resource_names_subscribe: add,
                    resource_names_unsubscribe: take,
                    ..DeltaDiscoveryRequest::default()
                });
            }
            Act::Serve => self.serve(),
            Act::Take => self.take(),
            Act::Wait => self.now += ACK_PATIENCE,
            Act::Reconnect => self.connect(),
        }
    }

    fn publish(&mut self, name: String, body: Option<u8>) {
        let id = ResourceId::new(ROUTE, name.as_str());
        let mut changes = Changes::default();
        match body {
            Some(body) => {
                self.content.insert(name, body);
                changes
                    .upserts
                    .push(Resource::from_encoded(id, &[body], Vec::new()));
            }
            None => {
                self.content.remove(&name);
                changes.removals.push(id);
            }
        }
        self.revision += 1;
        self.snapshot = self
            .snapshot
            .next(self.revision.to_string(), changes)
            .unwrap();
        self.session.on_snapshot(Arc::new(self.snapshot.clone()));
    }

    fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    fn drop_unwanted(&mut self) {
        let (wildcard, names) = (self.wildcard, self.names.clone());
        self.held.retain(|name, _| wildcard || names.contains(name));
    }

    fn serve(&mut self) {
        while let Some(out) = self.session.poll(self.now) {
            let bytes = [out.payload, out.nonce].concat();
            self.inbox
                .push(DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap());
        }
    }

    fn take(&mut self) {
        if self.inbox.is_empty() {
            return;
        }
        let response = self.inbox.remove(0);
        let mut bad = false;
        for resource in response.resources {
            let body = resource.resource.unwrap().value[0];
            if is_bad(body) {
                bad = true;
            } else if self.wants(&resource.name) {
                self.held.insert(resource.name, body);
            }
        }
        for name in response.removed_resources {
            self.held.remove(&name);
        }
        // Which one was bad is not said, as most clients would: R26.
        let error_detail = bad.then(|| Status {
            code: 3,
            message: "bad".into(),
            details: Vec::new(),
        });
        self.say(DeltaDiscoveryRequest {
            response_nonce: response.nonce,
            error_detail,
            ..DeltaDiscoveryRequest::default()
        });
    }

    fn settle(&mut self) {
        for _ in 0..4 {
            self.serve();
            while !self.inbox.is_empty() {
                self.take();
                self.serve();
            }
            self.now += ACK_PATIENCE;
        }
    }

    fn check(&self) {
        for (name, body) in self.content.iter().filter(|(name, _)| self.wants(name)) {
            if is_bad(*body) {
                assert_ne!(self.held.get(name), Some(body));
            } else {
                assert_eq!(self.held.get(name), Some(body), "{name} is missing or old");
            }
        }
        for name in self.held.keys() {
            assert!(
                self.content.contains_key(name),
                "{name} is gone, and still held"
            );
        }
    }
}

fn names_of(list: &[u8]) -> Vec<String> {
    list.iter().map(|name| format!("r{name}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_client_ends_up_with_what_it_wants(acts in acts()) {
        let mut world = World::new();
        for act in acts {
            world.act(act);
        }
        world.settle();
        world.check();
    }
}
