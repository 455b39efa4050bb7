//! Servers that accept a stream and then say nothing.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bellwether::wire::core::Node;
use bellwether_agent::apply::Applier;
use bellwether_agent::subscribe::{Credentials, SubscribeConfig, Subscription, parse_server};
use bellwether_agent::table::{Limits, Matching, Table};
use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Says `at` whenever a stream was opened, and nothing on the stream.
async fn silent(opened: mpsc::Sender<SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let opened = opened.clone();
            let answer = service_fn(move |_| {
                // Two are listened to, further ones are not.
                let _ = opened.try_send(at);
                let response = Response::builder().header("content-type", "application/grpc");
                let never = stream::pending::<Result<Frame<Bytes>, Infallible>>();
                let response = response.body(StreamBody::new(never)).unwrap();
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), answer);
            tokio::spawn(connection);
        }
    });
    at
}

/// A stream on which nothing comes looks healthy to every ping; the next server is tried all the same.
#[tokio::test]
async fn a_server_that_says_nothing_is_left_for_the_next() {
    let (opened, mut streams) = mpsc::channel(16);
    let (first, second) = (silent(opened.clone()).await, silent(opened).await);
    let table = Table::empty(Limits::default(), Matching::default());
    let applier = Applier::new(Arc::new(ArcSwap::new(table)));
    let config = SubscribeConfig {
        servers: [first, second]
            .map(|server| parse_server(&format!("http://{server}")).unwrap())
            .into(),
        credentials: Credentials::default(),
        node: Node::default(),
        patience: Duration::from_millis(50),
    };
    let (subscription, _status) = Subscription::new(config, applier, None);
    let following = tokio::spawn(subscription.run());
    let one = streams.recv().await.unwrap();
    let other = streams.recv().await.unwrap();
    assert_ne!(one, other);
    following.abort();
}
