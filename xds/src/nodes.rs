//! Owns the list of connected nodes and what each was sent, acknowledged and rejected.
//! Must not know: how the protocol works; the streams report, whoever wants to know reads.

mod desk;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bellwether::name::TypeUrl;
use bellwether::session::{HoldBack, ResourceStatus, TypeStatus};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use desk::Desk;
pub use view::{NodeView, RejectionView, ResourceView, StateView, TypeView, VersionView};

/// Questions that wait for the task that owns the list. Streams register here too, so a storm of them
/// is slowed down by this rather than held in memory.
const QUESTIONS: usize = 256;

/// How long a stream may take to tell of its resources. It does nothing that takes longer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

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
    desk: Arc<Desk>,
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

    /// Waits until somebody wants to know of each resource.
    pub(crate) async fn asked(&self) {
        self.desk.asked().await;
    }

    /// Answers everybody who does.
    pub(crate) fn answer(&self, resources: impl Iterator<Item = ResourceStatus>) {
        self.desk.answer(resources);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.desk.close();
    }
}

/// A stream that is on the list.
#[derive(Debug)]
pub(crate) struct Entry {
    identity: Arc<Identity>,
    connected_ms: u64,
    state: watch::Receiver<StreamState>,
    desk: Arc<Desk>,
}

#[derive(Debug)]
enum Question {
    Register(Arc<Entry>),
    All(oneshot::Sender<Vec<Arc<Entry>>>),
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
        let desk = Arc::<Desk>::default();
        let entry = Arc::new(Entry {
            identity: identity.clone(),
            connected_ms: unix_ms(),
            state: reader,
            desk: desk.clone(),
        });
        // The owner lives as long as we do, so this can only fail while everything goes down.
        let _ = self.questions.send(Question::Register(entry)).await;
        Registration {
            identity,
            state,
            desk,
        }
    }

    /// Every connected node, ordered by group and id. Empty once the server is going down.
    pub async fn list(&self) -> Vec<NodeView> {
        let all = self.all().await;
        NodeView::together(all.iter().map(|entry| entry.view()).collect())
    }

    /// The connected nodes that call themselves so, with each of their resources.
    pub async fn named(&self, id: &str) -> Vec<NodeView> {
        let mut views = Vec::new();
        for entry in self.all().await {
            if entry.identity.id == id {
                views.push(entry.view().with(&entry.resources().await));
            }
        }
        NodeView::together(views)
    }

    /// The streams of nodes of a group, or of all, ordered by group and id.
    pub(crate) async fn streams(
        &self,
        group: Option<&str>,
        has: impl Fn(&str) -> bool,
    ) -> Vec<Arc<Entry>> {
        let mut found = self.all().await;
        found.retain(|entry| {
            let of_group = group.is_none_or(|group| entry.identity.group == group);
            of_group && has(&entry.identity.id)
        });
        found.sort_by(|a, b| a.place().cmp(&b.place()));
        found
    }

    async fn all(&self) -> Vec<Arc<Entry>> {
        let (answer, wait) = oneshot::channel();
        if self.questions.send(Question::All(answer)).await.is_err() {
            return Vec::new();
        }
        wait.await.unwrap_or_default()
    }
}

async fn own(mut inbox: mpsc::Receiver<Question>) {
    let mut entries: Vec<Arc<Entry>> = Vec::new();
    let mut tidy_at = QUESTIONS;
    while let Some(question) = inbox.recv().await {
        match question {
            Question::Register(entry) => {
                entries.push(entry);
                if entries.len() > tidy_at {
                    entries.retain(|entry| entry.is_connected());
                    // Tidied once for each doubling: cheap, and at most twice what is needed is kept.
                    tidy_at = entries.len() * 2 + QUESTIONS;
                }
            }
            Question::All(answer) => {
                entries.retain(|entry| entry.is_connected());
                // Whoever asked may have gone away.
                let _ = answer.send(entries.clone());
            }
        }
    }
}

impl Entry {
    fn place(&self) -> (&str, &str, &str) {
        let identity = &self.identity;
        (&identity.group, &identity.id, &identity.address)
    }

    fn is_connected(&self) -> bool {
        self.state.has_changed().is_ok()
    }

    fn view(&self) -> NodeView {
        let state = self.state.borrow().clone();
        NodeView::new(&self.identity, self.connected_ms, state)
    }

    /// Who its node is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Each resource of the stream; none if it has ended, or does not come to it.
    pub(crate) async fn resources(&self) -> Arc<[ResourceStatus]> {
        let asked = timeout(ANSWER_PATIENCE, self.desk.ask()).await;
        asked.ok().flatten().unwrap_or_default()
    }
}

/// As reports show it: milliseconds since 1970, 0 if the clock stands before that.
fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
