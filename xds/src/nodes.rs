//! Owns the list of connected nodes and what each was sent, acknowledged and rejected.
//! Must not know: how the protocol works; the streams report, whoever wants to know reads.

mod desk;
mod reports;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bellwether::name::TypeUrl;
use bellwether::session::{HoldBack, ResourceStatus, TypeStatus};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::said::Said;
use desk::Desk;
use reports::Reporter;
pub use reports::{Reported, Reporting};
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
    /// What it says of itself.
    pub said: Said,
    /// Whether it had nothing when the stream began, by its own word.
    pub is_fresh: bool,
}

impl Identity {
    /// What is known of it by what vouches for it; where nothing does, by its own word.
    #[must_use]
    pub fn known_labels(&self) -> &BTreeMap<String, String> {
        match self.identity.is_empty() {
            true => &self.said.labels,
            false => &self.labels,
        }
    }
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
    /// The name of the snapshot that it was given last.
    pub given: Option<Arc<str>>,
    /// Since when its node has answered for all of that.
    pub answered: Option<Instant>,
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

/// A stream as of now.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Who its node is.
    pub identity: Arc<Identity>,
    /// When it began.
    pub connected: Instant,
    /// What it reported of itself.
    pub state: StreamState,
}

/// A stream that is on the list.
#[derive(Debug)]
pub(crate) struct Entry {
    identity: Arc<Identity>,
    connected: Instant,
    connected_ms: u64,
    state: watch::Receiver<StreamState>,
    desk: Arc<Desk>,
}

#[derive(Debug)]
enum Question {
    Register(Arc<Entry>),
    Reporting(Reporter),
    All(oneshot::Sender<Vec<Arc<Entry>>>),
    Reports(oneshot::Sender<Vec<Reporter>>),
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
            connected: Instant::now(),
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

    /// Puts a stream of reports on the list for as long as it keeps the place.
    pub(crate) async fn reporting(&self, identity: Arc<Identity>) -> Reporting {
        let (reporting, reporter) = Reporting::new(identity);
        // As above.
        let _ = self.questions.send(Question::Reporting(reporter)).await;
        reporting
    }

    /// What is known of the nodes of a group as of now, for whoever counts them: a look for each stream
    /// and each stream of reports, in no order.
    pub async fn of_group(&self, group: &str) -> (Vec<Seen>, Vec<(Arc<Identity>, Reported)>) {
        let streams = self.all().await;
        let streams = streams.iter().filter(|entry| entry.identity.group == group);
        let streams = streams.map(|entry| entry.seen()).collect();
        let (answer, wait) = oneshot::channel();
        if self
            .questions
            .send(Question::Reports(answer))
            .await
            .is_err()
        {
            return (streams, Vec::new());
        }
        let reports = wait.await.unwrap_or_default();
        let reports = reports.iter().filter(|one| one.identity().group == group);
        (streams, reports.filter_map(Reporter::last).collect())
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
    let mut reporters: Vec<Reporter> = Vec::new();
    let mut tidy_at = QUESTIONS;
    let mut tidy_reporters_at = QUESTIONS;
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
            Question::Reporting(reporter) => {
                reporters.push(reporter);
                if reporters.len() > tidy_reporters_at {
                    reporters.retain(Reporter::is_connected);
                    tidy_reporters_at = reporters.len() * 2 + QUESTIONS;
                }
            }
            Question::Reports(answer) => {
                reporters.retain(Reporter::is_connected);
                let _ = answer.send(reporters.clone());
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

    fn seen(&self) -> Seen {
        Seen {
            identity: self.identity.clone(),
            connected: self.connected,
            state: self.state.borrow().clone(),
        }
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
