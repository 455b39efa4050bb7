//! Owns the ways in which responses are written: which transport, and what of it the client understands.
//! Must not know: resources, sets, streams.

use crate::wire::core::Node;

/// The variant of the transport, known from the RPC method (R2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Differences; each resource has a version.
    Delta,
    /// State of the world: each response has one version.
    Sotw,
}

/// How the responses of a stream are written. Streams that have the same share the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Delta, to a client that knows no time to live.
    Delta,
    /// Delta, with times to live (R89).
    DeltaTtl,
    /// State of the world, to a client that knows no time to live or no wrapped resources.
    Sotw,
    /// State of the world, where resources with a time to live are wrapped to carry it (R90).
    SotwTtl,
}

/// What a client says when it understands times to live (R89).
const SUPPORTS_TTL: &str = "xds.config.supports-resource-ttl";

/// What a client says when it understands wrapped resources in state of the world (R90).
const SUPPORTS_WRAPPED: &str = "xds.config.supports-resource-in-sotw";

impl Encoding {
    /// How many there are.
    pub(crate) const COUNT: usize = 4;

    /// What `node` understands.
    #[must_use]
    pub fn for_node(transport: Transport, node: &Node) -> Self {
        let says = |feature| node.client_features.iter().any(|said| said == feature);
        match transport {
            Transport::Delta if says(SUPPORTS_TTL) => Self::DeltaTtl,
            Transport::Delta => Self::Delta,
            Transport::Sotw if says(SUPPORTS_TTL) && says(SUPPORTS_WRAPPED) => Self::SotwTtl,
            Transport::Sotw => Self::Sotw,
        }
    }

    /// The variant of the transport.
    #[must_use]
    pub fn transport(self) -> Transport {
        match self {
            Self::Delta | Self::DeltaTtl => Transport::Delta,
            Self::Sotw | Self::SotwTtl => Transport::Sotw,
        }
    }

    /// Whether times to live are said.
    #[must_use]
    pub fn has_ttl(self) -> bool {
        matches!(self, Self::DeltaTtl | Self::SotwTtl)
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Delta => 0,
            Self::DeltaTtl => 1,
            Self::Sotw => 2,
            Self::SotwTtl => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R89, R90: nobody is sent what he did not say he understands.
    #[test]
    fn a_client_is_sent_what_it_understands() {
        let node = |features: &[&str]| Node {
            client_features: features.iter().map(|f| (*f).to_owned()).collect(),
            ..Node::default()
        };
        for (features, delta, sotw) in [
            (&[][..], Encoding::Delta, Encoding::Sotw),
            (&[SUPPORTS_TTL], Encoding::DeltaTtl, Encoding::Sotw),
            (&[SUPPORTS_WRAPPED], Encoding::Delta, Encoding::Sotw),
            (
                &[SUPPORTS_TTL, SUPPORTS_WRAPPED],
                Encoding::DeltaTtl,
                Encoding::SotwTtl,
            ),
        ] {
            let node = node(features);
            assert_eq!(Encoding::for_node(Transport::Delta, &node), delta);
            assert_eq!(Encoding::for_node(Transport::Sotw, &node), sotw);
        }
    }
}
