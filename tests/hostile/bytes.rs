//! Bytes that are no messages.

use bellwether::wire::core::Node;
use bellwether::wire::discovery::DeltaDiscoveryRequest;
use bellwether::wire::google::protobuf::{Struct, Value, value::Kind};
use bytes::{BufMut, BytesMut};
use prost::Message;
use tonic::Code;

use super::victim::{ROUTE, Victim};
use super::wire::{Connection, DELTA, SOTW, STATUS, framed};

/// Each is told what is wrong with it, and has a stream of its own to end.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_ends_its_stream_with_a_clear_status() {
    let mut victim = Victim::start(&[]).await;
    let mut connection = Connection::open(victim.address()).await;
    let head = |flag: u8, len: u32| {
        let mut bytes = BytesMut::new();
        bytes.put_u8(flag);
        bytes.put_u32(len);
        bytes.freeze()
    };
    let invalid = framed(&[0xff; 64]);
    // A name that is no UTF-8.
    let no_text = framed(&[0x1a, 2, 0xc3, 0x28]);
    // A length that goes beyond the message.
    let beyond = framed(&[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    let deep = framed(&nested(10_000));
    for (what, bytes, expected) in [
        (
            "4 GiB are announced",
            head(0, u32::MAX),
            Code::ResourceExhausted,
        ),
        (
            "too much is announced",
            head(0, (16 << 20) + 1),
            Code::ResourceExhausted,
        ),
        ("compressed by nothing", head(1, 4), Code::Internal),
        ("a flag that is none", head(7, 4), Code::Internal),
        ("no protobuf", invalid, Code::InvalidArgument),
        ("no text", no_text, Code::InvalidArgument),
        ("longer than it is", beyond, Code::InvalidArgument),
        ("metadata 10,000 deep", deep, Code::InvalidArgument),
    ] {
        for path in [DELTA, SOTW] {
            let call = connection.call(path).await.unwrap();
            call.send(bytes.clone()).await;
            let status = call.end().await;
            assert_eq!(status.code(), expected, "{what}: {status:?}");
            assert!(!status.message().is_empty(), "{what}");
        }
    }
    // A message that stops in the middle, and its stream with it.
    let call = connection.call(DELTA).await.unwrap();
    call.send(head(0, 100)).await;
    call.send("x").await;
    assert_eq!(call.hang_up().end().await.code(), Code::InvalidArgument);
    victim.is_well().await;
    victim.grew_at_most(32);
}

/// Few bytes each, and a hundred times as many once they are read: they are counted before.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_would_grow_when_they_are_read_are_not() {
    let mut victim = Victim::start(&[]).await;
    let mut connection = Connection::reading(victim.address()).await;
    // Empty fields of two bytes: names, names with versions, locators, what an error or a node repeats.
    let empty = |tag: u8| [tag, 0].repeat(7 << 20);
    let inside = |tag: u8, bytes: Vec<u8>| {
        let mut out = vec![tag];
        prost::encoding::encode_varint(bytes.len() as u64, &mut out);
        [out, bytes].concat()
    };
    let metadata = inside(0x1a, inside(0x0a, inside(0x12, inside(0x32, empty(0x0a)))));
    let too_much = Code::ResourceExhausted;
    for (path, message, expected) in [
        (DELTA, empty(0x1a), too_much),
        (DELTA, empty(0x2a), too_much),
        (DELTA, empty(0x42), too_much),
        (DELTA, inside(0x3a, empty(0x1a)), Code::InvalidArgument),
        (DELTA, inside(0x0a, empty(0x52)), too_much),
        (DELTA, inside(0x0a, metadata), too_much),
        (SOTW, empty(0x1a), too_much),
        (SOTW, empty(0x3a), too_much),
        (SOTW, inside(0x32, empty(0x1a)), Code::InvalidArgument),
        (STATUS, empty(0x0a), too_much),
    ] {
        let call = connection.call(path).await.unwrap();
        let bytes = framed(&message);
        for part in bytes.chunks(1 << 16) {
            // It may be refused before all of it is there.
            if !call.send(bytes.slice_ref(part)).await {
                break;
            }
        }
        let status = call.end().await;
        assert_eq!(status.code(), expected, "{path}: {status:?}");
    }
    victim.is_well().await;
    victim.grew_at_most(96);
}

/// What gRPC wants to be said to who compresses in a way that is not read: nothing is unpacked.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_requests_are_refused_unread() {
    let mut victim = Victim::start(&[]).await;
    let mut connection = Connection::open(victim.address()).await;
    for path in [DELTA, SOTW] {
        let encoding = [("grpc-encoding", "gzip")];
        let call = connection.call_with(path, &encoding).await.unwrap();
        let mut message = BytesMut::from(&framed(b"a bomb")[..]);
        message[0] = 1;
        call.send(message.freeze()).await;
        assert_eq!(call.header("grpc-accept-encoding"), "identity");
        assert_eq!(call.end().await.code(), Code::Unimplemented);
    }
    victim.is_well().await;
}

/// What a node says of itself is not kept beyond what is shown of it.
#[tokio::test(flavor = "multi_thread")]
async fn huge_metadata_is_read_and_forgotten() {
    let mut victim = Victim::start(&[]).await;
    let text = Value {
        kind: Some(Kind::StringValue("x".repeat(1000))),
    };
    let fields = (0..850).map(|n| (format!("field{n}"), text.clone()));
    let request = DeltaDiscoveryRequest {
        node: Some(Node {
            id: "n".repeat(100 << 10),
            metadata: Some(Struct {
                fields: fields.collect(),
            }),
            ..Node::default()
        }),
        type_url: ROUTE.to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    let message = framed(&request.encode_to_vec());
    assert!(message.len() > 900 << 10);
    let mut connection = Connection::open(victim.address()).await;
    let mut calls = Vec::new();
    for _ in 0..30 {
        let mut call = connection.call(DELTA).await.unwrap();
        for part in message.chunks(1 << 16) {
            assert!(call.send(message.slice_ref(part)).await);
        }
        call.hear().await.expect("it is served like any other");
        calls.push(call);
    }
    victim.is_well().await;
    // They are all still there, and have sent 300 MB.
    victim.grew_at_most(128);
    let longest = victim.server.nodes().await;
    let ids = longest
        .iter()
        .map(|node| node["id"].as_str().unwrap().len());
    assert!(ids.max().unwrap() < 2000);
}

/// A request whose node's metadata are lists in lists.
fn nested(depth: usize) -> Vec<u8> {
    let mut value = Vec::new();
    for _ in 0..depth {
        let list = field(1, &value);
        value = field(6, &list);
    }
    let entry = [field(1, b"deep"), field(2, &value)].concat();
    let metadata = field(3, &field(1, &entry));
    [field(1, &metadata), field(2, ROUTE.as_bytes())].concat()
}

/// A field of bytes, as protobuf has it.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}
