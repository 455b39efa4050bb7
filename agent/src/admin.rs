//! Owns the agent's own pages, on a listener of their own:
//!
//! - `GET /livez`: 200 as long as the process can answer.
//! - `GET /ready`: 200 once nothing is pending, otherwise 503; the body lists what is.
//! - `GET /config_dump`: what is in force, as JSON, secrets left out.
//! - `GET /metrics`: for Prometheus.
//!
//! Must not know: how a request is proxied, where the configuration comes from.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::readiness::Readiness;
use crate::table::Table;

mod dump;

/// Connections at a time: a few scrapers and a few people.
const CONNECTIONS_MAX: usize = 64;

/// Until a request's head is in.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A part of `/config_dump` that somebody else owns, such as the subscription's state.
pub type Section = Box<dyn Fn() -> serde_json::Value + Send + Sync>;

/// The agent's own pages.
pub struct Admin {
    readiness: Readiness,
    table: Arc<ArcSwap<Table>>,
    registry: Arc<Registry>,
    sections: Vec<(&'static str, Section)>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// Pages over these. `sections` are put into `/config_dump` under their names.
    #[must_use]
    pub fn new(
        readiness: Readiness,
        table: Arc<ArcSwap<Table>>,
        registry: Arc<Registry>,
        sections: Vec<(&'static str, Section)>,
    ) -> Arc<Self> {
        Arc::new(Self {
            readiness,
            table,
            registry,
            sections,
        })
    }

    /// Serves until `stop` is true or its sender is gone. Connections are cut off then.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let permit = permits.clone().acquire_owned().await;
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let this = self.clone();
            let mut stop = stop.clone();
            tokio::spawn(async move {
                let _permit = permit;
                let service = service_fn(move |request| {
                    let this = this.clone();
                    async move { Ok::<_, Infallible>(this.answer(&request)) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    _ = connection => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET is answered here\n".into(),
            );
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "alive\n".into()),
            "/ready" => self.ready(),
            "/metrics" => self.metrics(),
            "/config_dump" => self.config_dump(),
            _ => text(
                StatusCode::NOT_FOUND,
                "here are /livez, /ready, /config_dump and /metrics\n".into(),
            ),
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let pending = self.readiness.pending();
        if pending.is_empty() {
            return text(StatusCode::OK, "ready\n".into());
        }
        let body = format!("pending: {}\n", pending.join(", "));
        text(StatusCode::SERVICE_UNAVAILABLE, body)
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut body = String::new();
        if prometheus_client::encoding::text::encode(&mut body, &self.registry).is_err() {
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "a metric can't be written\n".into(),
            );
        }
        with_type(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            body,
        )
    }

    fn config_dump(&self) -> Response<Full<Bytes>> {
        let mut dump = dump::table(&self.table.load_full());
        for (name, section) in &self.sections {
            dump.insert((*name).to_owned(), section());
        }
        let body = serde_json::Value::Object(dump).to_string();
        with_type(StatusCode::OK, "application/json", body)
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", body)
}

fn with_type(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
