//! Owns the list of connected nodes and what each was sent, acknowledged and rejected.
//! Must not know: how the protocol works; the streams report, `/v1/nodes` reads.

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// A connected node. `/v1/nodes` answers a list of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// The id it gave itself.
    pub id: String,
    /// The fleet it was put in.
    pub fleet: String,
    /// `bellwether-agent 0.1.0`, `envoy 1.40`.
    pub user_agent: String,
    /// Where it connects from.
    pub address: String,
    /// Unix time in milliseconds.
    pub connected_ms: u64,
    /// Everything subscribed is acknowledged at the newest version and nothing is rejected.
    pub in_sync: bool,
    /// One for each type it subscribed to.
    pub types: Vec<TypeView>,
}

/// One type of a connected node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeView {
    /// The type.
    pub type_url: String,
    /// Whether it follows everything.
    pub wildcard: bool,
    /// How many names it subscribed to besides.
    pub names: u64,
    /// The newest version sent: revision for people, and the hash of the set.
    pub sent: Option<VersionView>,
    /// The newest version that was answered, with ACK or NACK.
    pub acked: Option<VersionView>,
    /// What it rejected and was not offered anew since.
    pub rejected: Vec<RejectionView>,
}

/// A version of one type's set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionView {
    /// Revision or release, for people.
    pub revision: String,
    /// Hash of the set, equal on every server that has the same.
    pub version: String,
}

/// One rejected resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectionView {
    /// The resource's name.
    pub name: String,
    /// The version that was rejected.
    pub version: String,
    /// What the node says is wrong, cut and cleaned.
    pub reason: String,
}

/// A question to the task that owns the list.
#[derive(Debug)]
pub(crate) enum Question {
    List(oneshot::Sender<Vec<NodeView>>),
}

/// Asks for the connected nodes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Nodes {
    questions: mpsc::Sender<Question>,
}

impl Nodes {
    /// Every connected node, ordered by fleet and id. Empty once the server is going down.
    pub async fn list(&self) -> Vec<NodeView> {
        let (answer, wait) = oneshot::channel();
        if self.questions.send(Question::List(answer)).await.is_err() {
            return Vec::new();
        }
        wait.await.unwrap_or_default()
    }
}
