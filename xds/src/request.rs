//! Owns what the two kinds of discovery requests have in common. Must not know: what they mean.

use bellwether::encoding::Transport;
use bellwether::session::{Event, Refusal, Session};
use bellwether::wire::core::Node;
use bellwether::wire::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};

use crate::weight::Weighed;

/// A request of a discovery stream.
pub(crate) trait Request: prost::Message + Default + Weighed + Send + 'static {
    /// The variant of the transport whose requests these are.
    const TRANSPORT: Transport;

    /// The node, which only the first request of a stream is sure to name (R7).
    fn node(&self) -> Option<&Node>;

    /// Whether the node says, by what it says of versions, that it has nothing yet.
    fn holds_nothing(&self) -> bool;

    /// Hands the request to a session of this variant.
    fn tell(self, session: &mut Session) -> Result<Option<Event>, Refusal>;
}

impl Request for DeltaDiscoveryRequest {
    const TRANSPORT: Transport = Transport::Delta;

    fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    fn holds_nothing(&self) -> bool {
        self.initial_resource_versions.is_empty()
    }

    fn tell(self, session: &mut Session) -> Result<Option<Event>, Refusal> {
        session.on_request(self)
    }
}

impl Request for DiscoveryRequest {
    const TRANSPORT: Transport = Transport::Sotw;

    fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    fn holds_nothing(&self) -> bool {
        self.version_info.is_empty()
    }

    fn tell(self, session: &mut Session) -> Result<Option<Event>, Refusal> {
        session.on_sotw_request(self)
    }
}
