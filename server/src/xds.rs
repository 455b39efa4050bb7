//! Owns the discovery port: gRPC in, one task a stream, each with a session of its own.
//! Must not know: the store, or how configuration becomes snapshots.
//!
//! Served: `envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources` (R1). The
//! response messages never pass through a protobuf encoder: a stream sends the bytes of a shared step
//! and its own nonce, see [`body`].

mod accept;
mod body;
mod metrics;
mod service;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether::snapshot::Snapshot;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::nodes::Nodes;

pub use metrics::XdsMetrics;
use service::DiscoveryService;

/// HTTP/2 pings find half-open connections, which are silent stalls otherwise (R105).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How long a ping may stay unanswered.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams on one connection. A proxy needs one; the rest is for relays of many in one process.
const MAX_STREAMS: u32 = 1024;

/// The newest snapshot of a fleet; `None` before the first sync.
pub type SnapshotFeed = watch::Receiver<Option<Arc<Snapshot>>>;

/// What every stream may use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// The fleets by name.
    pub fleets: Arc<BTreeMap<String, SnapshotFeed>>,
    /// The list of connected nodes.
    pub nodes: Nodes,
    /// Counters.
    pub metrics: XdsMetrics,
    /// Turns true when the server goes down.
    pub going_down: watch::Receiver<bool>,
}

/// Serves until `discovery.going_down`, then ends every stream with `UNAVAILABLE`, so that the nodes
/// look for another server, and returns when all are gone.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    discovery: Discovery,
) -> Result<(), tonic::transport::Error> {
    let mut going_down = discovery.going_down.clone();
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .add_service(DiscoveryService::new(discovery))
        .serve_with_incoming_shutdown(accept::connections(listener), async move {
            // An error means that whoever would say so is gone: go down too.
            let _ = going_down.wait_for(|down| *down).await;
        })
        .await
}
