//! Owns the list of connected nodes and what each was sent, acknowledged and rejected.
//! Must not know: how the protocol works; the streams report, whoever wants to know reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bellwether::name::{Name, TypeUrl};
use bellwether::rejection::Rejected;
use bellwether::session::{HoldBack, Mark, TypeStatus};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

/// A connected node, for people and other programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// The id it gave itself.
    pub id: String,
    /// The group it was put in; other programs know it as its fleet.
    #[serde(rename = "fleet")]
    pub group: String,
    /// `bellwether-agent 0.1.0`, `envoy 1.40`.
    pub user_agent: String,
    /// Where it connects from.
    pub address: String,
    /// What vouches for it; empty: nothing does.
    #[serde(default)]
    pub identity: String,
    /// What is known of it by what vouches for it, not by its own word.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Types that it does not get, because nothing vouches for it.
    #[serde(default)]
    pub withheld: Vec<String>,
    /// Unix time in milliseconds.
    pub connected_ms: u64,
    /// Everything subscribed is acknowledged at the newest version and nothing is rejected.
    pub in_sync: bool,
    /// Why nothing is sent to it, or empty: the server knows less than the node does.
    #[serde(default)]
    pub held_back: String,
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

/// Questions that wait for the task that owns the list. Streams register here too, so a storm of them
/// is slowed down by this rather than held in memory.
const QUESTIONS: usize = 256;

/// Who a stream's node is. Fixed for the life of the stream (R7, R8).
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The id it gave itself.
    pub id: String,
    /// The group it was put in.
    pub group: String,
    /// Its program and version.
    pub user_agent: String,
    /// Where it connects from.
    pub address: String,
    /// What vouches for it; empty: nothing does.
    pub identity: String,
    /// What is known of it by what vouches for it.
    pub labels: BTreeMap<String, String>,
    /// Types that it does not get.
    pub withheld: Vec<TypeUrl>,
}

/// What a stream reports of itself; it costs a few pointers, and is turned into text only for readers.
#[derive(Clone, Debug, Default)]
pub struct StreamState {
    /// Every type it subscribed to.
    pub types: Vec<TypeStatus>,
    /// Nothing is unanswered and nothing rejected.
    pub in_sync: bool,
    /// Why nothing is sent.
    pub held_back: Option<HoldBack>,
}

/// A stream's place in the list. Dropping it takes the node off.
#[derive(Debug)]
pub struct Registration {
    identity: Arc<Identity>,
    state: watch::Sender<StreamState>,
}

impl Registration {
    /// Who the stream's node is.
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Replaces what the stream last reported.
    pub fn report(&self, state: impl FnOnce() -> StreamState) {
        self.state.send_replace(state());
    }
}

#[derive(Debug)]
struct Entry {
    identity: Arc<Identity>,
    connected_ms: u64,
    state: watch::Receiver<StreamState>,
}

#[derive(Debug)]
enum Question {
    Register(Entry),
    List(oneshot::Sender<Vec<NodeView>>),
}

/// Asks for the connected nodes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Nodes {
    questions: mpsc::Sender<Question>,
}

impl Nodes {
    /// Starts the task that owns the list. It ends when the last clone is dropped.
    #[must_use]
    pub fn start() -> Self {
        let (questions, inbox) = mpsc::channel(QUESTIONS);
        tokio::spawn(own(inbox));
        Self { questions }
    }

    /// Puts a stream on the list for as long as it keeps the registration.
    pub async fn register(&self, identity: Identity) -> Registration {
        let identity = Arc::new(identity);
        let (state, reader) = watch::channel(StreamState::default());
        let entry = Entry {
            identity: identity.clone(),
            connected_ms: unix_ms(),
            state: reader,
        };
        // The owner lives as long as we do, so this can only fail while everything goes down.
        let _ = self.questions.send(Question::Register(entry)).await;
        Registration { identity, state }
    }

    /// Every connected node, ordered by group and id. Empty once the server is going down.
    pub async fn list(&self) -> Vec<NodeView> {
        let (answer, wait) = oneshot::channel();
        if self.questions.send(Question::List(answer)).await.is_err() {
            return Vec::new();
        }
        wait.await.unwrap_or_default()
    }
}

async fn own(mut inbox: mpsc::Receiver<Question>) {
    let mut entries: Vec<Entry> = Vec::new();
    let mut tidy_at = QUESTIONS;
    while let Some(question) = inbox.recv().await {
        match question {
            Question::Register(entry) => {
                entries.push(entry);
                if entries.len() > tidy_at {
                    entries.retain(Entry::is_connected);
                    // Tidied once for each doubling: cheap, and at most twice what is needed is kept.
                    tidy_at = entries.len() * 2 + QUESTIONS;
                }
            }
            Question::List(answer) => {
                entries.retain(Entry::is_connected);
                let views = together(entries.iter().map(Entry::view).collect());
                // Whoever asked may have gone away.
                let _ = answer.send(views);
            }
        }
    }
}

/// One view for each node: a client that follows each type on a stream of its own has them all on one
/// connection.
fn together(mut views: Vec<NodeView>) -> Vec<NodeView> {
    fn place(view: &NodeView) -> (&str, &str, &str) {
        (&view.group, &view.id, &view.address)
    }
    views.sort_by(|a, b| place(a).cmp(&place(b)));
    views.dedup_by(|next, view| {
        let is_one = place(view) == place(next);
        if is_one {
            view.connected_ms = view.connected_ms.min(next.connected_ms);
            view.in_sync &= next.in_sync;
            if view.held_back.is_empty() {
                view.held_back = std::mem::take(&mut next.held_back);
            }
            view.types.append(&mut next.types);
        }
        is_one
    });
    views
}

impl Entry {
    fn is_connected(&self) -> bool {
        self.state.has_changed().is_ok()
    }

    fn view(&self) -> NodeView {
        let state = self.state.borrow().clone();
        NodeView {
            id: self.identity.id.clone(),
            group: self.identity.group.clone(),
            user_agent: self.identity.user_agent.clone(),
            address: self.identity.address.clone(),
            identity: self.identity.identity.clone(),
            labels: self.identity.labels.clone(),
            withheld: self
                .identity
                .withheld
                .iter()
                .map(TypeUrl::to_string)
                .collect(),
            connected_ms: self.connected_ms,
            in_sync: state.in_sync,
            held_back: state
                .held_back
                .map(|why| why.to_string())
                .unwrap_or_default(),
            types: state.types.into_iter().map(type_view).collect(),
        }
    }
}

/// As reports show it: milliseconds since 1970, 0 if the clock stands before that.
fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn type_view(status: TypeStatus) -> TypeView {
    let version = |mark: Mark| VersionView {
        revision: mark.label.to_string(),
        version: mark.version.to_string(),
    };
    let rejection = |(name, why): (Name, Rejected)| RejectionView {
        name: name.to_string(),
        version: why.version.to_string(),
        reason: why.reason.to_string(),
    };
    TypeView {
        type_url: status.type_url.to_string(),
        wildcard: status.wildcard,
        names: status.names as u64,
        sent: status.sent.map(version),
        acked: status.acked.map(version),
        rejected: status.rejected.into_iter().map(rejection).collect(),
    }
}
