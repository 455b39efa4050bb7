//! Owns the question who a node is and what it gets. Must not know: the answers.

use std::net::SocketAddr;

use bellwether::wire::core::Node;
use tonic::Status;

use crate::SnapshotFeed;

/// The other end of a stream, as the connection knows it, whatever the node says of itself.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Where it connects from.
    pub address: Option<SocketAddr>,
}

/// What a node gets.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The nodes it belongs to, as lists, logs and metrics name them.
    pub group: String,
    /// What they are sent.
    pub feed: SnapshotFeed,
}

/// Says what a node gets. Asked once for each stream, with the node of its first request (R7, R8).
pub trait Admission: Send + Sync + 'static {
    /// Whether the node may have anything, and what.
    ///
    /// # Errors
    /// It may not; the stream ends with this status.
    fn admit(&self, peer: &Peer, node: &Node) -> Result<Admitted, Status>;
}
