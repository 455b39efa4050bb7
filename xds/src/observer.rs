//! Owns the list of what can be told of streams. Must not know: who listens.

use bellwether::name::{Name, TypeUrl};
use bellwether::rejection::Rejected;
use bellwether::session::Mark;
use tonic::Status;

use crate::admission::Peer;
use crate::nodes::Identity;

/// Is told what happens on the streams. It is called in the middle of a stream's work, so it must not
/// wait for anything.
#[expect(unused_variables, reason = "by default nobody listens")]
pub trait Observer: Send + Sync + 'static {
    /// A node was admitted.
    fn connected(&self, node: &Identity) {}

    /// A response of so many bytes was handed to the node's connection.
    fn sent(&self, node: &Identity, bytes: usize) {}

    /// The node has put a response in force. The version's label is what the snapshot was given as its own.
    fn acked(&self, node: &Identity, type_url: &TypeUrl, version: &Mark, resources: usize) {}

    /// The node has rejected resources: the text is its own, cut and cleaned (R101).
    fn nacked(
        &self,
        node: &Identity,
        type_url: &TypeUrl,
        version: &Mark,
        rejected: &[(Name, Rejected)],
    ) {
    }

    /// The stream of a node that was connected has ended.
    fn disconnected(&self, node: &Identity) {}

    /// A stream was ended for something its client did or is.
    fn refused(&self, peer: &Peer, status: &Status) {}
}

/// Nobody listens.
impl Observer for () {}
