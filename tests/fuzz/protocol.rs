//! Owns the fuzz targets of the protocol: whatever a node says to a session, or a server to a
//! subscriber, both survive it. Must not know: what should be said.
//!
//! An input is a message whose field 1 holds the messages, one after the other.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::encoding::Transport;
use bellwether::name::{ResourceId, TypeUrl};
use bellwether::resource::Resource;
use bellwether::session::Session;
use bellwether::snapshot::{Changes, Position, Snapshot};
use bellwether::subscriber::Subscriber;
use bellwether::wire::core::Node;
use bellwether::wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use prost::Message;

use super::driver::{Target, fuzz};
use super::mutate::Format;

const WORDS: &[&str] = &[
    "*",
    "a",
    "b",
    "1",
    "2",
    "3",
    "type.googleapis.com/bellwether.v1.Route",
    "type.googleapis.com/bellwether.v1.Cluster",
    "type.googleapis.com/bellwether.v1.Rejections",
    "bellwether.position",
    "9@1",
];

#[test]
fn session() {
    fuzz(&Target {
        name: "session",
        format: Format::Protobuf,
        words: WORDS,
        run: run_session,
    });
}

#[test]
fn subscriber() {
    fuzz(&Target {
        name: "subscriber",
        format: Format::Protobuf,
        words: WORDS,
        run: run_subscriber,
    });
}

/// What a node says, message by message.
#[derive(Clone, PartialEq, prost::Message)]
struct Requests {
    #[prost(message, repeated, tag = "1")]
    all: Vec<DeltaDiscoveryRequest>,
}

/// What a server says, message by message.
#[derive(Clone, PartialEq, prost::Message)]
struct Responses {
    #[prost(message, repeated, tag = "1")]
    all: Vec<DeltaDiscoveryResponse>,
}

fn snapshot(base: &Snapshot, revision: u64) -> Snapshot {
    let resource = |type_url, name: &str| {
        let body = format!("{name}{revision}");
        Resource::from_encoded(ResourceId::new(type_url, name), body.as_bytes(), Vec::new())
    };
    let changes = Changes {
        upserts: vec![
            resource(TypeUrl::ROUTE, "a"),
            resource(TypeUrl::CLUSTER, "b"),
        ],
        removals: Vec::new(),
    };
    let position = Position { store: 1, revision };
    base.next(position.to_string(), changes)
        .expect("no references")
        .at(position)
}

fn run_session(input: &[u8]) -> u64 {
    let mut seen = DefaultHasher::new();
    let mut now = Instant::now();
    let mut session = Session::new(Transport::Delta);
    let mut current = Snapshot::default();
    let Ok(requests) = Requests::decode(input) else {
        return 0;
    };
    for (revision, request) in requests.all.into_iter().enumerate() {
        match session.on_request(request) {
            Ok(event) => event.is_some().hash(&mut seen),
            Err(refusal) => return refusal.to_string().len() as u64,
        }
        current = snapshot(&current, revision as u64);
        session.on_snapshot(Arc::new(current.clone()));
        now += Duration::from_secs(revision as u64);
        let mut sent = 0;
        while let Some(out) = session.poll(now) {
            let bytes = [out.payload, out.nonce].concat();
            let response = DeltaDiscoveryResponse::decode(bytes.as_slice()).expect("ours decode");
            assert!(!response.nonce.is_empty(), "R13");
            let names = response.resources.iter().map(|resource| &resource.name);
            let mut all: Vec<_> = names.chain(&response.removed_resources).collect();
            all.sort();
            assert!(
                all.windows(2).all(|pair| pair[0] != pair[1]),
                "R61, R62: {all:?}"
            );
            sent += 1;
            assert!(sent < 100, "it never stops to speak");
        }
        sent.hash(&mut seen);
        if let Some(deadline) = session.next_deadline() {
            assert!(deadline > now, "a deadline in the past is a busy loop");
        }
    }
    session.status().count().hash(&mut seen);
    seen.finish()
}

fn run_subscriber(input: &[u8]) -> u64 {
    let mut seen = DefaultHasher::new();
    let mut subscriber = Subscriber::new(Node::default(), &TypeUrl::NATIVE);
    subscriber.connect();
    let Ok(responses) = Responses::decode(input) else {
        return 0;
    };
    for response in responses.all {
        let nonce = response.nonce.clone();
        let answer = match subscriber.on_response(response) {
            Ok(update) => {
                let bad = update
                    .offers
                    .iter()
                    .take(1)
                    .map(|offer| (offer.name.clone(), "bad".to_owned()));
                let bad: BTreeMap<_, _> = bad.collect();
                subscriber
                    .applied(&update, bad)
                    .expect("the stream is still there")
            }
            Err(nack) => *nack,
        };
        assert_eq!(answer.response_nonce, nonce, "every response is answered");
        answer.error_detail.is_some().hash(&mut seen);
    }
    subscriber.rejected().count().hash(&mut seen);
    subscriber.connect().len().hash(&mut seen);
    seen.finish()
}

/// A corpus that does not decode would only ever test the first check.
#[test]
fn the_corpus_has_messages_that_decode() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let inputs = |folder: &str| -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        entries
            .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
            .collect()
    };
    let most = |counts: Vec<usize>| counts.into_iter().max().unwrap_or_default();
    let requests = inputs("session")
        .iter()
        .filter_map(|i| Some(Requests::decode(i.as_slice()).ok()?.all.len()))
        .collect();
    let responses = inputs("subscriber")
        .iter()
        .filter_map(|i| Some(Responses::decode(i.as_slice()).ok()?.all.len()))
        .collect();
    assert!(most(requests) >= 2 && most(responses) >= 2);
}
