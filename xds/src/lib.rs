//! Serves Bellwether's protocol engine over gRPC: gRPC in, one task a stream, each with a session of its
//! own. What is served, and to whom, is decided by whoever embeds it: see [`Admission`].
//!
//! Served, as state of the world and as delta: the aggregated discovery service, and those of clusters,
//! endpoints, listeners, routes and secrets (R1). The response messages never pass through a protobuf encoder: a stream sends the bytes of a shared step
//! and its own nonce.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accept;
mod admission;
mod body;
mod certificate;
mod connection;
pub mod files;
mod groups;
mod method;
pub mod nodes;
mod observer;
mod request;
mod service;
mod stream;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bellwether::snapshot::Snapshot;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use admission::{Admission, Admitted, Peer, Token};
pub use certificate::{Certificate, SubjectName};
pub use groups::Groups;
pub use observer::Observer;
pub use tls::{ClientAuth, Tls, TlsFiles};
pub use tonic::{Code, Status};

use nodes::Nodes;
use service::DiscoveryService;

/// HTTP/2 pings find half-open connections, which are silent stalls otherwise (R105).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How long a ping may stay unanswered.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams on one connection. A proxy needs one; the rest is for relays of many in one process.
const MAX_STREAMS: u32 = 1024;

/// The newest snapshot of a group of nodes; `None` until there is one.
pub type SnapshotFeed = watch::Receiver<Option<Arc<Snapshot>>>;

/// What every stream may use. Cheap to clone.
#[derive(Clone)]
pub struct Discovery {
    /// Says what a node gets.
    pub admission: Arc<dyn Admission>,
    /// Is told what happens.
    pub observer: Arc<dyn Observer>,
    /// The list of connected nodes.
    pub nodes: Nodes,
    /// Turns true when the server goes down.
    pub going_down: watch::Receiver<bool>,
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery")
            .field("going_down", &*self.going_down.borrow())
            .finish_non_exhaustive()
    }
}

/// Where nodes connect.
#[derive(Debug)]
pub struct Port {
    /// The socket.
    pub listener: TcpListener,
    /// `None`: everything can be read by whoever sees the network.
    pub tls: Option<Tls>,
}

impl From<TcpListener> for Port {
    fn from(listener: TcpListener) -> Self {
        Self {
            listener,
            tls: None,
        }
    }
}

/// Serves until `discovery.going_down`, then ends every stream with `UNAVAILABLE`, so that the nodes
/// look for another server, and returns when all are gone.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    port: impl Into<Port>,
    discovery: Discovery,
) -> Result<(), tonic::transport::Error> {
    let port = port.into();
    let mut going_down = discovery.going_down.clone();
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .serve_with_incoming_shutdown(
            DiscoveryService::new(discovery),
            accept::connections(port.listener, port.tls),
            async move {
                // An error means that whoever would say so is gone: go down too.
                let _ = going_down.wait_for(|down| *down).await;
            },
        )
        .await
}
