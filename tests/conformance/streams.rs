//! How streams begin, end and stall: R102 to R106.

use bellwether::wire::core::Node;
use bellwether_xds::{Admission, Admitted, Groups, Peer, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Code;

use super::rig::{EDS, EVERYBODY, LDS, Rig};
use super::script::{Delta, Sotw, Variant};
use crate::harness::programs::{PATIENCE, eventually};

/// R102, R104: a server that can't serve says so before it says anything else, and never sends an empty
/// configuration instead.
#[tokio::test]
async fn r102_r104_a_server_without_configuration_refuses_before_any_response() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::admitting(Groups::default(), Starting(watch::channel(None).0)).await;
        let mut script = rig.open::<V>().await;
        script.subscribe(&LDS, &[]).await;
        let status = script.end().await;
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert_eq!(script.ended_after, 0, "R104");
    }
}

/// R39: who asks and then ends his half, as one who only looks does, gets what he has asked for.
#[tokio::test]
async fn r39_who_only_asks_is_answered() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(LDS, "l", "1"), (EDS, "e", "1")]).await;
        let mut script = rig.open::<V>().await;
        script.subscribe(&LDS, &[]).await;
        script.subscribe(&EDS, &["e"]).await;
        script.hang_up();
        let status = script.end().await;
        assert_eq!((status.code(), script.ended_after), (Code::Ok, 2));
    }
}

/// R102: a server that goes down ends streams that were served with a code that says "try another".
#[tokio::test]
async fn r102_a_server_that_goes_down_ends_its_streams() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(LDS, "a", "1")]).await;
        let mut script = rig.open::<V>().await;
        script.start(&LDS, &[]).await;
        rig.go_down();
        let status = script.end().await;
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(status.message().contains("try another"), "{status:?}");
        assert_eq!(
            script.ended_after, 0,
            "nothing is taken away on the way out"
        );
    }
}

/// A client that ends its half gets the other ended too, without an error.
#[tokio::test]
async fn a_stream_that_its_client_ends_is_ended() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(LDS, "a", "1")]).await;
        let mut script = rig.open::<V>().await;
        script.start(&LDS, &[]).await;
        script.hang_up();
        assert_eq!(script.end().await.code(), Code::Ok);
        let gone = || async { rig.nodes.list().await.is_empty().then_some(()) };
        eventually("the node to be off the list", gone).await;
    }
}

/// R105: the server pings, and closes what does not answer. This takes as long as it says, some 30 s.
#[tokio::test]
async fn r105_a_connection_that_does_not_answer_pings_is_closed() {
    let rig = Rig::start().await;
    let mut connection = TcpStream::connect(rig.address).await.unwrap();
    connection
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    // No settings of ours, and then not a word, as if the cable had been cut.
    connection
        .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
        .await
        .unwrap();
    let mut pinged = false;
    let closed = timeout(PATIENCE, async {
        let mut head = [0; 9];
        while connection.read_exact(&mut head).await.is_ok() {
            let [a, b, c, kind, flags, ..] = head;
            pinged |= kind == 6 && flags == 0;
            let mut rest = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            if connection.read_exact(&mut rest).await.is_err() {
                break;
            }
        }
    });
    closed.await.expect("the server closes the connection");
    assert!(pinged);
}

/// R106: one that reads nothing costs the others nothing, and what it says is still heard.
#[tokio::test]
async fn r106_a_stream_that_is_not_read_stops_nobody_and_is_still_heard() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(EDS, "a", "1")]).await;
        let mut stalled = rig.open::<V>().await;
        stalled.node = Some(Node {
            id: "stalled".to_owned(),
            ..Node::default()
        });
        let names: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        stalled.subscribe(&EDS, &all).await;
        let mut reader = rig.open::<V>().await;
        reader.start(&EDS, &["a"]).await;
        // More than any window and buffer between the two takes.
        let body = "x".repeat(1 << 20);
        let big: Vec<_> = all[1..]
            .iter()
            .map(|name| (EDS, *name, body.as_str()))
            .collect();
        rig.publish(&big);
        for n in 2..100 {
            let small = n.to_string();
            rig.publish(&[(EDS, "a", &small), (EDS, "n0", &small)]);
            let heard = reader.hear().await;
            assert_eq!(heard.bodies(), [small]);
            reader.ack(&heard).await;
        }
        stalled.subscribe(&LDS, &["one", "two"]).await;
        let is_heard = || async {
            let nodes = rig.nodes.list().await;
            let node = nodes.iter().find(|node| node.id == "stalled")?;
            node.types.iter().any(|of| of.names == 2).then_some(())
        };
        eventually("what the stalled stream says to be heard", is_heard).await;
        // Once it reads it gets all there is.
        let mut got = 0;
        while got < names.len() {
            let heard = stalled.hear().await;
            stalled.ack(&heard).await;
            got += heard.resources.len();
        }
    }
}

/// Knows every node and has nothing for it yet.
struct Starting(watch::Sender<Option<std::sync::Arc<bellwether::snapshot::Snapshot>>>);

impl Admission for Starting {
    fn admit(&self, _: &Peer, _: &Node) -> Result<Admitted, Status> {
        Ok(Admitted::new("starting", self.0.subscribe()))
    }
}

/// A group that is taken away takes nothing from its nodes: they are told to go elsewhere.
#[tokio::test]
async fn r104_a_group_that_is_gone_ends_its_streams_and_deletes_nothing() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let groups = Groups::by(|_, _| EVERYBODY.to_owned());
        let rig = Rig::of(groups.clone()).await;
        rig.publish(&[(LDS, "l", "1")]);
        let mut script = rig.open::<V>().await;
        script.start(&LDS, &[]).await;
        assert!(groups.remove(EVERYBODY));
        let status = script.end().await;
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert_eq!(script.ended_after, 0);
    }
}
