//! What strangers do to a port with TLS, while nodes are served.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Rig;
use crate::harness::stream::Stream;

const ROUTE: &str = "type.googleapis.com/bellwether.v1.Route";

/// Handshakes that are never begun, more than the server keeps, and as many that are garbage.
const STRANGERS: usize = 600;

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cost_nobody_else_anything() {
    let rig = Rig::mutual().await;
    let identity = rig.pki.issue_for("node", "spiffe://test/a/gateway");
    let address = rig.server.xds.split_once("://").unwrap().1.to_owned();
    let mut served = Stream::to(rig.endpoint(Some(&identity)), None)
        .await
        .unwrap();
    served.follow("first", "", ROUTE).await;
    let first = served.hear().await;
    served.ack(&first).await;

    let mut silent = Vec::new();
    for n in 0..STRANGERS {
        let mut garbage = TcpStream::connect(&address).await.unwrap();
        let bytes = if n % 2 == 0 {
            b"GET / HTTP/1.1\r\n\r\n".to_vec()
        } else {
            vec![(n % 251) as u8; 300]
        };
        // The server may hang up in the middle of it.
        let _ = garbage.write_all(&bytes).await;
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    // A plain HTTP/2 client is refused, not left to wait.
    let plain = rig.server.xds.replace("https://", "http://");
    let endpoint = tonic::transport::Endpoint::from_shared(plain).unwrap();
    let refused = match Stream::to(endpoint, None).await {
        Ok(mut stream) => stream.end().await,
        Err(status) => status,
    };
    assert_ne!(refused.code(), tonic::Code::Ok);

    // Those who were there go on, and whoever comes now is let in.
    let mut late = Stream::to(rig.endpoint(Some(&identity)), None)
        .await
        .unwrap();
    late.follow("late", "", ROUTE).await;
    let heard = late.hear().await;
    late.ack(&heard).await;
    rig.put("a", "routes/2", super::route("/more")).await;
    for stream in [&mut served, &mut late] {
        assert_eq!(stream.hear().await.resources[0].name, "routes/2");
    }
    // The oldest of the silent ones had to make room.
    let gone = silent[0].read(&mut [0; 1]).await;
    assert!(matches!(gone, Ok(0) | Err(_)), "{gone:?}");
    let log = rig.server.log();
    assert!(log.contains("TLS handshakes failed"), "{log}");
    assert!(
        log.matches("TLS handshakes failed").count() < 20,
        "the log is not theirs to fill"
    );
}
