//! Owns a small upstream that says its name and what it was asked. Must not know: Bellwether.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;

/// Starts one on a free port. It runs as long as this process.
pub(crate) async fn start(name: &'static str) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .with_context(|| format!("no port for the upstream {name}"))?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service =
                service_fn(
                    move |request| async move { Ok::<_, Infallible>(answer(name, &request)) },
                );
            tokio::spawn(async move {
                // A client that goes away is no failure of the upstream.
                let _ = Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(address)
}

fn answer(name: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let text = format!(
        "{name} answers {} {}\n",
        request.method(),
        request.uri().path()
    );
    Response::new(Full::from(text))
}
