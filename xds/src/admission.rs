//! Owns the question who a node is and what it gets. Must not know: the answers.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bellwether::name::TypeUrl;
use bellwether::wire::core::Node;
use tokio::sync::watch;
use tonic::Status;

use crate::certificate::Certificate;
use crate::feed::Feed;
use crate::nodes::Identity;

/// The other end of a stream, as the connection knows it, whatever the node says of itself.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Where it connects from.
    pub address: Option<SocketAddr>,
    /// The certificate that it showed; `None` without TLS, or if it showed none.
    pub certificate: Option<Arc<Certificate>>,
    /// What came as `authorization: Bearer …`; nobody has looked at it yet.
    pub token: Option<Token>,
}

impl Peer {
    /// How long its certificate vouches for it from now on; `None`: as long as it likes.
    pub(crate) fn vouched_for(&self) -> Option<Duration> {
        let end = self.certificate.as_ref()?.expires?;
        Some(end.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// Whether it still does.
    pub(crate) fn check_certificate(&self) -> Result<(), Status> {
        match self.vouched_for() {
            Some(Duration::ZERO) => Err(Status::unauthenticated(
                "the certificate of this node has expired",
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// A bearer token. It is a secret: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<str>);

impl Token {
    /// The token itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Token {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// What a node gets.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The nodes it belongs to, as lists, logs and metrics name them.
    pub group: String,
    /// What they are sent.
    pub feed: Feed,
    /// Types that this node does not get. It sees snapshots without them.
    pub withheld: Vec<TypeUrl>,
    /// What vouches for the node, for people; empty: nothing does.
    pub identity: String,
    /// What is known of the node by what vouches for it, not by its own word.
    pub labels: BTreeMap<String, String>,
}

impl Admitted {
    /// Everything that the feed has.
    #[must_use]
    pub fn new(group: impl Into<String>, feed: impl Into<Feed>) -> Self {
        Self {
            group: group.into(),
            feed: feed.into(),
            withheld: Vec::new(),
            identity: String::new(),
            labels: BTreeMap::new(),
        }
    }
}

/// Says what a node gets. Asked for each stream, with the node of its first request (R7, R8, R10).
pub trait Admission: Send + Sync + 'static {
    /// Whether the node may have anything, and what.
    ///
    /// # Errors
    /// It may not; the stream ends with this status.
    fn admit(&self, peer: &Peer, node: &Node) -> Result<Admitted, Status>;

    /// Changes when what was said of nodes before may not hold any more: every stream is judged again
    /// then. `None`: it holds for as long as a stream is up.
    fn changes(&self) -> Option<watch::Receiver<()>> {
        None
    }

    /// Whether a node that was admitted may go on as it is.
    ///
    /// # Errors
    /// It may not; the stream ends with this status.
    #[expect(unused_variables, reason = "by default what was said holds")]
    fn still(&self, peer: &Peer, node: &Identity) -> Result<(), Status> {
        Ok(())
    }

    /// Which nodes a caller may ask about in client status: those of one group, or `None`: all.
    ///
    /// # Errors
    /// It may not ask at all.
    #[expect(unused_variables, reason = "by default everybody may see everything")]
    fn may_see(&self, peer: &Peer) -> Result<Option<String>, Status> {
        Ok(None)
    }
}
