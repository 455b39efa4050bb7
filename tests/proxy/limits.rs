//! Clients that would use it all up, and the end of the proxy.

use std::time::Duration;

use bellwether_agent::proxy::ProxyConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::rig::Rig;
use crate::harness::http::{Connection, Upstream, body};

fn quick() -> ProxyConfig {
    ProxyConfig {
        head_timeout: Duration::from_secs(1),
        body_timeout: Duration::from_millis(100),
        ..ProxyConfig::default()
    }
}

/// Nothing at all, half a preface of HTTP/2, half a head, an idle connection: all are closed.
#[tokio::test]
async fn clients_that_send_nothing_are_closed() {
    let upstream = Upstream::start("up").await;
    let rig = &Rig::with(quick()).await;
    rig.forward_to(&[upstream.address]);
    let silent = ["", "PRI * HT", "GET / HTTP/1.1\r\nhost: a"].map(|sent| async move {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        // An end or a reset: either way the proxy has let go.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{sent:?}");
    });
    futures_util::future::join_all(silent).await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.starts_with(b"HTTP/1.1 200"));
    let mut idle = rig.http2().await;
    assert_eq!(idle.get("/").await.status, 200);
    // The sender is ready for as long as the connection is open.
    while idle.is_open() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A body that stops is 408, and the endpoint's part of it is given up.
#[tokio::test]
async fn a_client_that_stops_in_its_body_is_answered() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::with(quick()).await;
    rig.forward_to(&[upstream.address]);
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let head = b"POST /sink HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345";
    stream.write_all(head).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(
        rest.starts_with(b"HTTP/1.1 408"),
        "{}",
        String::from_utf8_lossy(&rest)
    );
}

#[tokio::test]
async fn heads_are_bounded() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    rig.forward_to(&[upstream.address]);
    let long = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(64 << 10)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: y\r\n".repeat(200)
    );
    for head in [long, many] {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        let _ = stream.write_all(head.as_bytes()).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        let rest = String::from_utf8_lossy(&rest);
        assert!(
            rest.is_empty() || rest.starts_with("HTTP/1.1 431"),
            "{rest}"
        );
    }
    assert_eq!(upstream.requests(), 0);
}

/// Two hosts, none, a length besides chunks: what would be read in two ways is refused or made plain.
#[tokio::test]
async fn what_can_be_read_in_two_ways_goes_no_further() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    rig.forward_to(&[upstream.address]);
    for head in [
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nhost: a b\r\n",
        "GET / HTTP/1.1\r\nhost: a/b\r\n",
        "GET / HTTP/1.1\r\nhost: u@a\r\n",
        "GET / HTTP/1.1\r\nhost: a, b\r\n",
        "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n",
    ] {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        let head = format!("{head}connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert!(answer.starts_with("HTTP/1.1 40"), "{head}{answer}");
    }
    assert_eq!(upstream.requests(), 0);
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let smuggled = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
                    0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    stream.write_all(smuggled.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    // The chunks count, and what follows on such a connection is not believed (RFC 9112 §6.1).
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(!answer.contains("smuggled"), "{answer}");
    assert_eq!(upstream.requests(), 1);
}

/// More connections than allowed wait their turn and lose nothing.
#[tokio::test]
async fn connections_are_bounded() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::with(ProxyConfig {
        connections_max: 1,
        ..ProxyConfig::default()
    })
    .await;
    rig.forward_to(&[upstream.address]);
    let mut first = rig.http1().await;
    assert_eq!(first.get("/").await.status, 200);
    let mut second = rig.http1().await;
    let request = second.request("GET", "/", "");
    let waiting = tokio::spawn(async move { second.send(request).await });
    assert_eq!(first.get("/").await.status, 200);
    assert_eq!(upstream.requests(), 2, "the second has not been let in");
    drop(first);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

/// On drain, requests end, idle connections are closed, new ones are not taken.
#[tokio::test]
async fn a_drain_lets_requests_end() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    rig.forward_to(&[upstream.address]);
    let mut idle = rig.http1().await;
    idle.get("/").await;
    let mut busy = rig.http1().await;
    let request = busy.request("GET", "/stream", "");
    let response = busy.send(request).await.unwrap();
    let address = rig.address;
    let stopped = rig.stop();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!stopped.is_finished());
    upstream.go_on();
    let answer = crate::harness::http::Answer::read(response).await.unwrap();
    assert_eq!(answer.text(), "firstsecond");
    stopped.await.unwrap();
    assert!(idle.send(idle.request("GET", "/", "")).await.is_err());
}

/// What does not end within the grace period is cut off, tunnels too.
#[tokio::test]
async fn a_drain_is_bounded() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::with(ProxyConfig {
        grace: Duration::from_millis(50),
        ..ProxyConfig::default()
    })
    .await;
    rig.forward(&[upstream.address], |_| {}, |route| route.websocket = true);
    let mut hanging = rig.http1().await;
    let request = hanging.request("GET", "/hang", "");
    let hangs = tokio::spawn(async move { hanging.send(request).await.map(drop) });
    upstream.hangs().await;
    let mut client = Connection::http1(rig.address).await;
    let request = http::Request::get("/upgrade")
        .header("host", "a")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .body(body(""))
        .unwrap();
    let mut response = client.send(request).await.unwrap();
    let tunnel = hyper::upgrade::on(&mut response).await.unwrap();
    rig.stop().await.unwrap();
    assert!(hangs.await.unwrap().is_err());
    let mut rest = Vec::new();
    let mut tunnel = hyper_util::rt::TokioIo::new(tunnel);
    let _ = tunnel.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}
