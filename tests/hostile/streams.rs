//! Streams that are not read, not used, or given up at once.

use bellwether::wire::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use serde_json::json;
use tonic::Code;

use super::victim::{CLUSTER, ROUTE, Victim};
use super::wire::{Connection, DELTA, SOTW};

/// Streams that follow everything and whose windows stay closed, while some thousand versions go out.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_never_read_cost_what_they_hold_and_no_more() {
    let mut victim = Victim::start(&[]).await;
    let mut connection = Connection::open(victim.address()).await;
    let mut stalled = Vec::new();
    for n in 0..100 {
        let path = if n % 2 == 0 { DELTA } else { SOTW };
        let call = connection.call(path).await.unwrap();
        for type_url in [ROUTE, CLUSTER] {
            let said = if n % 2 == 0 {
                let request = DeltaDiscoveryRequest {
                    type_url: type_url.to_owned(),
                    ..DeltaDiscoveryRequest::default()
                };
                call.say(&request).await
            } else {
                let request = DiscoveryRequest {
                    type_url: type_url.to_owned(),
                    ..DiscoveryRequest::default()
                };
                call.say(&request).await
            };
            assert!(said);
        }
        stalled.push(call);
    }
    for version in 0..1500 {
        // 20 KB, all of it new each time: 30 MB in the end, for each of the streams.
        let uris: Vec<_> = (0..200)
            .map(|n| format!("/{version}/{n}/{}", "x".repeat(80)))
            .collect();
        let route = json!({"uris": uris, "upstream": {"nodes": {"127.0.0.1:1": 1}}});
        victim.server.put("routes/big", route).await;
        if version % 100 == 0 {
            victim.is_well().await;
        }
    }
    victim.is_well().await;
    let nodes = victim.server.nodes().await;
    assert_eq!(nodes.len(), 2, "101 streams of two connections");
    victim.grew_at_most(96);
    drop(stalled);
}

/// Streams that were opened and say nothing are ended. This takes as long as the server's patience, 10 s.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_say_nothing_are_ended() {
    let mut victim = Victim::start(&[]).await;
    let mut connection = Connection::open(victim.address()).await;
    let mut silent = Vec::new();
    for n in 0..1000 {
        let path = if n % 2 == 0 { DELTA } else { SOTW };
        silent.push(connection.call(path).await.unwrap());
    }
    victim.is_well().await;
    for call in silent {
        assert_eq!(call.end().await.code(), Code::DeadlineExceeded);
    }
    victim.is_well().await;
    victim.grew_at_most(64);
}

/// Opened and reset, as fast as it goes: it ends such a connection, and nobody else's.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_are_bounded() {
    let mut victim = Victim::start(&[]).await;
    let mut closed = 0;
    for _ in 0..20 {
        let mut connection = Connection::open(victim.address()).await;
        for _ in 0..1000 {
            if connection.reset().await.is_err() {
                closed += 1;
                break;
            }
        }
        victim.is_well().await;
    }
    eprintln!("{closed} of 20 connections were closed");
    victim.grew_at_most(64);
}
