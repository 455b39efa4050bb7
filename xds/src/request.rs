//! Owns what the two kinds of discovery requests have in common. Must not know: what they mean.

use bellwether::encoding::Transport;
use bellwether::session::{Event, Refusal, Session};
use bellwether::wire::core::Node;
use bellwether::wire::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};

use crate::names::BYTES_BESIDES;

/// A request of a discovery stream.
pub(crate) trait Request: prost::Message + Default + Send + 'static {
    /// The variant of the transport whose requests these are.
    const TRANSPORT: Transport;

    /// The node, which only the first request of a stream is sure to name (R7).
    fn node(&self) -> Option<&Node>;

    /// Bytes of the names that it may leave behind.
    fn name_bytes(&self) -> usize;

    /// Hands the request to a session of this variant.
    fn tell(self, session: &mut Session) -> Result<Option<Event>, Refusal>;
}

impl Request for DeltaDiscoveryRequest {
    const TRANSPORT: Transport = Transport::Delta;

    fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    fn name_bytes(&self) -> usize {
        let claims = self.initial_resource_versions.iter();
        let claims = claims.map(|(name, version)| name.len() + version.len() + BYTES_BESIDES);
        claims.sum::<usize>() + bytes_of(&self.resource_names_subscribe)
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

    fn name_bytes(&self) -> usize {
        bytes_of(&self.resource_names)
    }

    fn tell(self, session: &mut Session) -> Result<Option<Event>, Refusal> {
        session.on_sotw_request(self)
    }
}

fn bytes_of(names: &[String]) -> usize {
    let names = names.iter();
    names.map(|name| name.len() + BYTES_BESIDES).sum()
}
