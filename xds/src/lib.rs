//! Serves Bellwether's protocol engine over gRPC: gRPC in, one task a stream, each with a session of its
//! own. What is served, and to whom, is decided by whoever embeds it: see [`Admission`].
//!
//! Served, as state of the world and as delta: the aggregated discovery service, and those of clusters,
//! endpoints, listeners, routes and secrets (R1); and what each node has, as client status discovery
//! (R111). The response messages never pass through a protobuf encoder: a stream sends the bytes of a shared step
//! and its own nonce.
//!
//! A server whose nodes are in groups, each with a snapshot:
//!
//! ```
//! use std::sync::Arc;
//!
//! use bellwether::name::{ResourceId, TypeUrl};
//! use bellwether::resource::Resource;
//! use bellwether::snapshot::Snapshot;
//! use bellwether_xds::{Discovery, Groups, nodes::Nodes, serve};
//! use tokio::{net::TcpListener, sync::watch};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Resources are whatever you have, encoded; a snapshot of them has a version of your own.
//! let id = ResourceId::new(TypeUrl::ENVOY_CLUSTER, "backend");
//! let cluster = Resource::from_encoded(id, b"\x0a\x07backend", Vec::new());
//! let snapshot = Snapshot::default()
//!     .replace("v1", vec![cluster])
//!     .expect("it refers to nothing");
//!
//! // Nodes choose their group by `node.cluster`; `Groups::by` takes a closure instead.
//! let groups = Groups::by_cluster();
//! groups.set("shop", snapshot);
//!
//! let (stop, going_down) = watch::channel(false);
//! let discovery = Discovery {
//!     admission: Arc::new(groups),
//!     observer: Arc::new(()),
//!     nodes: Nodes::start(),
//!     going_down,
//! };
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let server = tokio::spawn(serve(listener, discovery));
//! stop.send(true)?;
//! server.await??;
//! # Ok(())
//! # }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accept;
mod admission;
mod body;
mod budget;
mod certificate;
mod connection;
mod csds;
mod feed;
pub mod files;
mod groups;
mod gzip;
mod inbox;
mod method;
pub mod nodes;
mod observer;
mod quiet;
mod report;
mod request;
mod said;
mod service;
mod status;
mod stream;
mod tls;
mod weight;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bellwether::snapshot::Snapshot;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use admission::{Admission, Admitted, Peer, Token};
pub use certificate::{Certificate, SubjectName};
pub use feed::{Choice, Choose, Directive, Feed, Standing};
pub use groups::Groups;
pub use observer::Observer;
pub use said::Said;
pub use service::DiscoveryService;
pub use tls::{ClientAuth, Tls, TlsFiles};
pub use tonic::{Code, Status};

use nodes::Nodes;

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
