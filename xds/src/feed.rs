//! Owns the way from whoever makes snapshots to one stream: the same for all nodes of a group, or chosen
//! for each. Must not know: how snapshots are made, or by what anybody chooses.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::snapshot::{Position, Snapshot};
use tokio::sync::watch;

use crate::SnapshotFeed;
use crate::nodes::Identity;

/// What the nodes of a group are sent, latest wins.
#[derive(Clone, Debug)]
pub enum Feed {
    /// The newest snapshot, to every node.
    All(SnapshotFeed),
    /// What is chosen for each node. `None`: nobody knows yet.
    Each(watch::Receiver<Option<Arc<dyn Choose>>>),
}

/// Says what each node of a group is to have, as of now. It is replaced, never changed.
pub trait Choose: fmt::Debug + Send + Sync + 'static {
    /// What this node is to have. It is called in the middle of a stream's work, so it must not wait.
    fn choose(&self, node: &Identity, standing: &mut Standing, now: Instant) -> Choice;

    /// What this node is told besides, if it listens.
    fn directive(&self, node: &Identity, standing: &Standing) -> Directive;
}

/// What is chosen for a node.
#[derive(Clone, Debug)]
pub enum Choice {
    /// This.
    Snapshot(Arc<Snapshot>),
    /// No opinion: it keeps what it has. Absence is never an instruction.
    Keep,
    /// It keeps what it has until then; then the question is to be asked again.
    KeepUntil(Instant),
}

/// What is known of a node by its stream alone, and what was chosen for it before.
#[derive(Clone, Debug)]
pub struct Standing {
    /// When the stream began.
    pub connected: Instant,
    /// The name of the snapshot that the stream was given last.
    pub given: Option<Arc<str>>,
    /// Whoever chooses can keep here when this node's turn is, and in which line it stands.
    pub turn: Option<(u64, Instant)>,
}

/// What a node is told besides configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directive {
    /// What everybody knew who decided about this node.
    pub position: Option<Position>,
    /// What it is to have, for people.
    pub release: String,
    /// How long it must live with something new before it counts as stable; zero: as it sees fit.
    pub probation: Duration,
    /// How often it shall report; zero: as it sees fit.
    pub report_every: Duration,
}

impl Standing {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            connected: now,
            given: None,
            turn: None,
        }
    }
}

impl From<SnapshotFeed> for Feed {
    fn from(feed: SnapshotFeed) -> Self {
        Self::All(feed)
    }
}

impl Feed {
    /// Until there is anything to send. `false`: there never will be.
    pub(crate) async fn ready(&mut self) -> bool {
        match self {
            Self::All(feed) => feed.wait_for(Option::is_some).await.is_ok(),
            Self::Each(feed) => feed.wait_for(Option::is_some).await.is_ok(),
        }
    }

    /// Until there may be something else to send. `false`: there never will be.
    pub(crate) async fn changed(&mut self) -> bool {
        match self {
            Self::All(feed) => feed.changed().await.is_ok(),
            Self::Each(feed) => feed.changed().await.is_ok(),
        }
    }

    /// What this node is to have now.
    pub(crate) fn choose(
        &mut self,
        node: &Identity,
        standing: &mut Standing,
        now: Instant,
    ) -> Choice {
        match self {
            Self::All(feed) => {
                let newest = feed.borrow_and_update().clone();
                newest.map_or(Choice::Keep, Choice::Snapshot)
            }
            Self::Each(feed) => {
                let chooser = feed.borrow_and_update().clone();
                chooser.map_or(Choice::Keep, |chooser| chooser.choose(node, standing, now))
            }
        }
    }

    /// What this node is told besides. Where all get the same there is nothing to tell but once.
    pub(crate) fn directive(&mut self, node: &Identity, standing: &Standing) -> Directive {
        match self {
            Self::All(_) => Directive::default(),
            Self::Each(feed) => {
                let chooser = feed.borrow_and_update().clone();
                chooser.map_or_else(Directive::default, |chooser| {
                    chooser.directive(node, standing)
                })
            }
        }
    }

    /// Whether there is ever more to tell than at first.
    pub(crate) fn directs(&self) -> bool {
        matches!(self, Self::Each(_))
    }
}
