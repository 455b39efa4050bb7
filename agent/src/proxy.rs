//! Owns the data path: clients' connections in, requests matched against the table in force, and
//! forwarded. Must not know: that a control plane exists, where the table comes from.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::metrics::Metrics;
use crate::table::Table;
use crate::variable::View;

mod answer;
mod attempt;
mod connection;
mod forward;
mod headers;
mod response_body;
mod service;
mod stall;
mod tunnel;

/// How the proxy treats its clients. Every limit is against somebody who would use it all up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Connections at a time, over all listeners. Further ones wait in the kernel's backlog.
    pub connections_max: usize,
    /// Until a request's head is in, from its connection's begin or the request before: this closes
    /// clients that send letter by letter, and those that are idle. nginx: 60 s and 75 s.
    pub head_timeout: Duration,
    /// Between two successive reads of a request's body (nginx: 60 s).
    pub body_timeout: Duration,
    /// Between two successive writes to a client (nginx: 60 s).
    pub client_send_timeout: Duration,
    /// Bytes of a request's head (nginx: 4 times 8 KiB).
    pub head_bytes_max: usize,
    /// Headers of a request (hyper's default).
    pub headers_max: usize,
    /// Requests at a time on one HTTP/2 connection (nginx: 128).
    pub http2_streams_max: u32,
    /// After the drain began, requests that are not done are cut off.
    pub grace: Duration,
}

/// hyper wants at least this for its read buffer.
const LEAST_HEAD_BYTES: usize = 8 << 10;

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            connections_max: 65_536,
            head_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            client_send_timeout: Duration::from_secs(60),
            head_bytes_max: 32 << 10,
            headers_max: 100,
            http2_streams_max: 128,
            grace: Duration::from_secs(30),
        }
    }
}

/// The proxy. One serves any number of listeners.
#[derive(Debug)]
pub struct Proxy {
    table: Arc<ArcSwap<Table>>,
    metrics: Arc<Metrics>,
    config: ProxyConfig,
    connections: Arc<Semaphore>,
}

impl Proxy {
    /// A proxy that follows whatever is stored in `table`.
    #[must_use]
    pub fn new(
        table: Arc<ArcSwap<Table>>,
        config: ProxyConfig,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let permits = config.connections_max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            table,
            metrics,
            connections: Arc::new(Semaphore::new(permits)),
            config: ProxyConfig {
                head_bytes_max: config.head_bytes_max.max(LEAST_HEAD_BYTES),
                ..config
            },
        })
    }

    /// Serves a listener until `drain` is true or its sender is gone. Then it stops to accept, lets
    /// requests end within the grace period, and returns when all connections are closed.
    pub async fn serve(self: &Arc<Self>, listener: TcpListener, drain: watch::Receiver<bool>) {
        connection::serve(self, listener, drain).await;
    }

    /// Looks a request up as the data path does, for somebody who wants to see that it can.
    pub fn probe(&self) {
        let (parts, ()) = http::Request::new(()).into_parts();
        let nobody = SocketAddr::from(([127, 0, 0, 1], 0));
        let view = View {
            parts: &parts,
            path: "/",
            host: "",
            raw_host: "",
            client: nobody,
            local: nobody,
            secure: false,
            matched: None,
        };
        let _ = self.table.load().find(&view);
    }

    /// Closes idle connections to endpoints when their time has come, for ever. Without it they are
    /// closed when the next request would use them.
    pub async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP_PERIOD).await;
            for upstream in self.table.load_full().upstreams() {
                upstream.sweep();
            }
        }
    }
}

/// How late an idle connection may be closed. The shortest idle time that is common is 60 s.
const SWEEP_PERIOD: Duration = Duration::from_secs(5);
