//! Endpoints that fail: retries, timeouts, what the client is told.

use std::net::SocketAddr;

use bellwether::wire::native;

use super::rig::Rig;
use crate::harness::http::{Answer, Resetter, Upstream};

fn closed_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn no_retries(cluster: &mut native::Cluster) {
    cluster.retries = Some(0);
}

/// §3.4: by default every other endpoint is tried, each once; POST only while nothing was sent.
#[tokio::test]
async fn another_endpoint_is_tried() {
    let good = Upstream::start("good").await;
    let resets = Resetter::start(20).await;
    let rig = Rig::start().await;
    rig.forward_to(&[closed_port(), resets.address, good.address]);
    let mut client = rig.http1().await;
    for _ in 0..6 {
        assert_eq!(client.get("/").await.json()["name"], "good");
    }
    assert!(resets.connections() > 0);

    rig.forward_to(&[closed_port(), good.address]);
    for _ in 0..4 {
        // Nothing was sent to the closed port, so even a body goes on to the other.
        let request = client.request("POST", "/", "text");
        assert_eq!(client.ask(request).await.json()["body"], "text");
    }
    let metrics = rig.page("/metrics").await;
    assert!(metrics.contains("kind=\"connect\""), "{metrics}");
    assert!(metrics.contains("kind=\"reset\""), "{metrics}");
}

#[tokio::test]
async fn what_may_have_been_done_is_not_repeated() {
    let good = Upstream::start("good").await;
    let resets = Resetter::start(20).await;
    let rig = Rig::start().await;
    rig.forward_to(&[resets.address, good.address]);
    let mut client = rig.http1().await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let request = client.request("POST", "/", "text");
        statuses.push(client.ask(request).await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502]);
}

/// An endpoint that closes a connection that waited in the pool is no failure for anybody.
#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_replaced() {
    let rig = Rig::start().await;
    let mut client = rig.http1().await;
    for _ in 0..20 {
        let once = OneRequest::start().await;
        rig.forward(&[once.0], no_retries, |_| {});
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(client.get("/").await.status, 200);
    }
}

/// Answers one request on each connection as if more could follow, and closes it at the next one.
struct OneRequest(SocketAddr, tokio::task::JoinHandle<()>);

impl OneRequest {
    async fn start() -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await;
                let _ = stream.read(&mut buffer).await;
            }
        });
        Self(address, task)
    }
}

impl Drop for OneRequest {
    fn drop(&mut self) {
        self.1.abort();
    }
}

/// §3.4 and nginx: no connection is 502, no answer in time 504; no endpoint 503.
#[tokio::test]
async fn the_status_says_what_failed() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    let mut client = rig.http1().await;
    rig.forward(&[closed_port()], no_retries, |_| {});
    let answer = client.get("/").await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.text(), "{\"error_msg\":\"502 Bad Gateway\"}\n");
    rig.forward_to(&[]);
    assert_eq!(client.get("/").await.status, 503);
    let quick = native::Timeouts {
        read_ms: 50,
        ..native::Timeouts::default()
    };
    rig.forward(&[upstream.address], no_retries, |route| {
        route.timeouts = Some(quick)
    });
    let mut other = rig.http2().await;
    assert_eq!(client.get("/hang").await.status, 504);
    assert_eq!(other.get("/hang").await.status, 504);
    // The connection that hung is not used again.
    upstream.was_aborted().await;
    upstream.was_aborted().await;
    rig.forward_to(&[upstream.address]);
    assert_eq!(client.get("/").await.status, 200);
}

/// A response that stalls is cut off; the client sees that it is not whole.
#[tokio::test]
async fn a_response_that_stalls_is_cut_off() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    let quick = native::Timeouts {
        read_ms: 500,
        ..native::Timeouts::default()
    };
    rig.forward(&[upstream.address], no_retries, |route| {
        route.timeouts = Some(quick)
    });
    let mut client = rig.http1().await;
    let request = client.request("GET", "/stream", "");
    let response = client.send(request).await.unwrap();
    assert!(Answer::read(response).await.is_err());
    let metrics = rig.page("/metrics").await;
    assert!(metrics.contains("kind=\"timeout\""), "{metrics}");
}

/// A host name is resolved, and one that does not resolve is a 502.
#[tokio::test]
async fn host_names_are_resolved() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    let put = |host: &str| {
        rig.forward_to(&[]);
        rig.edit(|edit| {
            let endpoint = native::Endpoint {
                host: host.into(),
                port: upstream.address.port().into(),
                weight: 1,
                priority: 0,
                ..native::Endpoint::default()
            };
            super::rig::put_endpoints(edit, "1", &[endpoint]);
        });
    };
    let mut client = rig.http1().await;
    put("localhost");
    assert_eq!(client.get("/").await.status, 200);
    put("no-such-host.invalid");
    assert_eq!(client.get("/").await.status, 502);
}
