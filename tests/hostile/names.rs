//! Names without measure, and answers to nothing.

use bellwether::wire::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use bytes::{Bytes, BytesMut};
use prost::Message;
use tonic::Code;

use super::victim::{ROUTE, Victim};
use super::wire::{Call, Connection, DELTA, SOTW, framed};

const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

fn names(count: usize, len: usize) -> Vec<String> {
    let name = |n| format!("{n:08}{}", "x".repeat(len - 8));
    (0..count).map(name).collect()
}

fn subscribe(names: Vec<String>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: EDS.to_owned(),
        resource_names_subscribe: names,
        ..DeltaDiscoveryRequest::default()
    }
}

/// In pieces, as a connection carries it. `false`: the server did not take all of it.
async fn pour(call: &Call, message: &impl Message) -> bool {
    let bytes = framed(&message.encode_to_vec());
    for part in bytes.chunks(1 << 16) {
        if !call.send(bytes.slice_ref(part)).await {
            return false;
        }
    }
    true
}

/// Much is not too much: each name is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_of_names_is_served() {
    let mut victim = Victim::start(&[]).await;
    let mut connection = Connection::reading(victim.address()).await;
    for request in [subscribe(names(50_000, 20)), subscribe(names(3, 1 << 20))] {
        let mut call = connection.call(DELTA).await.unwrap();
        assert!(pour(&call, &request).await);
        call.hear().await.expect("an answer");
        victim.is_well().await;
    }
    let mut call = connection.call(SOTW).await.unwrap();
    let request = DiscoveryRequest {
        type_url: EDS.to_owned(),
        resource_names: names(50_000, 20),
        ..DiscoveryRequest::default()
    };
    assert!(pour(&call, &request).await);
    call.hear().await.expect("an answer");
    victim.is_well().await;
    victim.grew_at_most(128);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_names_are_refused_by_number_and_by_size() {
    let mut victim = Victim::start(&[]).await;
    let mut connection = Connection::reading(victim.address()).await;
    let too_many = names(100_001, 8);
    let in_sotw = DiscoveryRequest {
        type_url: EDS.to_owned(),
        resource_names: too_many.clone(),
        ..DiscoveryRequest::default()
    };
    let call = connection.call(SOTW).await.unwrap();
    pour(&call, &in_sotw).await;
    let status = call.end().await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    for (request, expected) in [
        (subscribe(too_many), "100000 names"),
        (subscribe(names(80_000, 300)), "16777216 bytes"),
    ] {
        let call = connection.call(DELTA).await.unwrap();
        pour(&call, &request).await;
        let status = call.end().await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert!(status.message().contains(expected), "{status:?}");
    }
    victim.is_well().await;
    victim.grew_at_most(128);
}

/// A few names at a time, each a megabyte: they count by their bytes, too.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_grow_without_end_are_refused() {
    let mut victim = Victim::start(&[]).await;
    let mut connection = Connection::reading(victim.address()).await;
    let call = connection.call(DELTA).await.unwrap();
    call.flood((0..200).map(|n| {
        let name = format!("{n}{}", "x".repeat(1 << 20));
        framed(&subscribe(vec![name]).encode_to_vec())
    }));
    let status = call.end().await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    victim.is_well().await;
    victim.grew_at_most(200);
}

/// Messages that are begun on many streams and never ended: what has come of them is bounded together.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_never_end_are_refused_together() {
    let mut victim = Victim::start(&[]).await;
    let mut connection = Connection::reading(victim.address()).await;
    let mut calls = Vec::new();
    for _ in 0..40 {
        let call = connection.call(DELTA).await.unwrap();
        // As if it were in the middle of 16 MB.
        call.say(&subscribe(vec!["a".to_owned()])).await;
        call.send(Bytes::from_static(&[0, 0, 0xff, 0xff, 0xff]))
            .await;
        calls.push(call);
    }
    let part = Bytes::from(vec![b'x'; 1 << 16]);
    for _ in 0..200 {
        for call in &calls {
            call.send(part.clone()).await;
        }
    }
    let mut refused = 0;
    for call in calls {
        // Those that are left end by themselves.
        let status = call.hang_up().end().await;
        refused += usize::from(status.code() == Code::ResourceExhausted);
    }
    assert!(refused > 0);
    victim.is_well().await;
    // 500 MB were sent.
    victim.grew_at_most(200);
}

/// Unknown, stale and huge; nothing of it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_million_nonces_are_heard_and_forgotten() {
    let mut victim = Victim::start(&[]).await;
    let mut connection = Connection::reading(victim.address()).await;
    let mut call = connection.call(DELTA).await.unwrap();
    let mut request = DeltaDiscoveryRequest {
        type_url: ROUTE.to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    assert!(call.say(&request).await);
    call.hear().await.expect("an answer");
    for batch in 0..1000 {
        let mut bytes = BytesMut::new();
        for n in 0..1000 {
            request.response_nonce = format!("{:x}", batch * 1000 + n);
            bytes.extend_from_slice(&framed(&request.encode_to_vec()));
        }
        assert!(
            call.send(bytes.freeze()).await,
            "the stream is not ended for it"
        );
    }
    request.response_nonce = "f".repeat(1 << 20);
    assert!(pour(&call, &request).await);
    // What it says after that is heard.
    request.resource_names_subscribe = vec!["last".to_owned()];
    assert!(call.say(&request).await);
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("last") {
        heard.extend_from_slice(&call.hear().await.expect("an answer"));
    }
    victim.is_well().await;
    victim.grew_at_most(64);
}
