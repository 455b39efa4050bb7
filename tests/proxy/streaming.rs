//! Bodies that are long, slow or broken off, and connections that stop to be HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bellwether::wire::native;
use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::rig::Rig;
use crate::harness::http::{Upstream, zeros};

/// The first chunk is with the client before the upstream has sent the second.
#[tokio::test]
async fn a_response_flows_as_it_comes() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    rig.forward_to(&[upstream.address]);
    for mut client in [rig.http1().await, rig.http2().await] {
        let request = client.request("GET", "/stream", "");
        let mut body = client.send(request).await.unwrap().into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "first");
        upstream.go_on();
        let second = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(second, "second");
    }
}

/// The upstream begins to read the request while the client has not sent all of it.
#[tokio::test]
async fn a_request_flows_as_it_comes() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    rig.forward_to(&[upstream.address]);
    let mut client = rig.http1().await;
    let (rest, waits) = oneshot::channel::<()>();
    let chunks = stream::unfold((0, Some(waits)), |(step, mut waits)| async move {
        if step == 2 {
            return None;
        }
        if step == 1 {
            let _ = waits.take()?.await;
        }
        Some((
            Ok(Frame::data(Bytes::from_static(b"12345"))),
            (step + 1, waits),
        ))
    });
    let request = Request::post("/sink")
        .header("host", "a.com")
        .body(BodyExt::boxed(SyncStream::new(chunks)))
        .unwrap();
    let answer = tokio::spawn(async move { client.ask(request).await });
    while upstream.requests() == 0 {
        tokio::task::yield_now().await;
    }
    rest.send(()).unwrap();
    assert_eq!(answer.await.unwrap().text(), "10");
}

/// `BoxBody` wants `Sync`, which a stream over a future is not.
struct SyncStream;

impl SyncStream {
    #[allow(clippy::new_ret_no_self)]
    fn new<S>(
        chunks: S,
    ) -> impl http_body::Body<Data = Bytes, Error = std::convert::Infallible> + Sync
    where
        S: futures_util::Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>>
            + Send
            + Sync
            + 'static,
    {
        StreamBody::new(chunks)
    }
}

/// 100 MB each way; at no moment is more on its way than sockets and a few windows hold. The
/// kernel's buffers on loopback may be several MB on each of the four ends.
#[tokio::test]
async fn large_bodies_pass_in_bounded_memory() {
    const BYTES: u64 = 100 << 20;
    const ON_THE_WAY_MAX: u64 = 40 << 20;
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    rig.forward_to(&[upstream.address]);
    for mut client in [rig.http1().await, rig.http2().await] {
        let (sent, received) = (upstream.sent(), upstream.received());
        let left = Arc::<AtomicU64>::default();
        let mut request = client.request("POST", "/sink", "");
        *request.body_mut() = zeros(BYTES, &left);
        let mut asking = Box::pin(client.ask(request));
        let answer = loop {
            tokio::select! {
                answer = &mut asking => break answer,
                () = tokio::task::yield_now() => {}
            }
            let on_the_way = left.load(Ordering::SeqCst) - (upstream.received() - received);
            assert!(
                on_the_way < ON_THE_WAY_MAX,
                "{on_the_way} bytes on their way"
            );
        };
        drop(asking);
        assert_eq!(answer.text(), BYTES.to_string());

        let request = client.request("GET", &format!("/zeros/{BYTES}"), "");
        let mut body = client.send(request).await.unwrap().into_body();
        let mut came = 0;
        while let Some(frame) = body.frame().await {
            came += frame.unwrap().data_ref().map_or(0, Bytes::len) as u64;
            let on_the_way = upstream.sent() - sent - came;
            assert!(
                on_the_way < ON_THE_WAY_MAX,
                "{on_the_way} bytes on their way"
            );
        }
        assert_eq!(came, BYTES);
    }
}

/// A client that goes away takes its request with it.
#[tokio::test]
async fn a_client_that_goes_away_cancels_its_request() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    rig.forward_to(&[upstream.address]);
    for mut client in [rig.http1().await, rig.http2().await] {
        let request = client.request("GET", "/hang", "");
        let asking = tokio::spawn(async move { client.send(request).await });
        upstream.hangs().await;
        asking.abort();
        upstream.was_aborted().await;
    }
}

#[tokio::test]
async fn a_websocket_passes_where_the_route_allows_it() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    rig.forward(&[upstream.address], |_| {}, |route| route.websocket = true);
    let mut client = rig.http1().await;
    let request = || {
        Request::get("/upgrade")
            .header("host", "a.com")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "key")
            .body(crate::harness::http::body(""))
            .unwrap()
    };
    let mut response = client.send(request()).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["upgrade"], "websocket");
    assert_eq!(response.headers()["sec-websocket-accept"], "yes");
    let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
    let mut socket = TokioIo::new(upgraded);
    for message in ["one", "two"] {
        socket.write_all(message.as_bytes()).await.unwrap();
        let mut echo = [0; 3];
        socket.read_exact(&mut echo).await.unwrap();
        assert_eq!(echo, message.as_bytes());
    }
    assert!(
        rig.page("/metrics")
            .await
            .contains("bellwether_proxy_tunnels 1")
    );
    drop(socket);

    // Elsewhere it is a request like any other, and an upstream that upgrades all the same is refused.
    rig.forward_to(&[upstream.address]);
    let mut client = rig.http1().await;
    assert_eq!(client.ask(request()).await.status, 502);
}

/// `Expect: 100-continue` is answered by the proxy, and not passed on.
#[tokio::test]
async fn a_client_may_wait_to_be_told_to_go_on() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    rig.forward_to(&[upstream.address]);
    let mut stream = tokio::net::TcpStream::connect(rig.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: a.com\r\nexpect: 100-continue\r\n\
                content-length: 4\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"text").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\"body\":\"text\""), "{answer}");
    assert!(!answer.contains("expect"), "{answer}");
}

/// What hyper's server, which the upstream is, takes at a time on one connection.
const STREAMS_OF_HYPER: usize = 200;

/// An endpoint that speaks HTTP/2 takes so many requests on one connection; the others don't wait for
/// these to end, which a stream may never do.
#[tokio::test]
async fn streams_that_one_connection_has_no_room_for_get_another() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    let grpc = native::cluster::Scheme::Grpc.into();
    rig.forward(&[upstream.address], |cluster| cluster.scheme = grpc, |_| {});
    let mut hanging = Vec::new();
    // One after the other, so that none of them finds that there is no connection yet.
    for _ in 0..=STREAMS_OF_HYPER {
        let mut client = rig.http1().await;
        hanging.push(tokio::spawn(async move { client.get("/hang").await }));
        upstream.hangs().await;
    }
    assert_eq!(upstream.connections(), 2);
    for request in hanging {
        request.abort();
    }
}
