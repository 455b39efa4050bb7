//! Owns the place where a node's last report lies. Must not know: what it says.

use std::sync::Arc;
use std::time::Instant;

use bellwether::wire::native::NodeReport;
use tokio::sync::watch;

use super::Identity;

/// What a node reported last.
#[derive(Clone, Debug)]
pub struct Reported {
    /// What it said.
    pub report: Arc<NodeReport>,
    /// When it did.
    pub at: Instant,
}

/// A stream of reports' place in the list. Dropping it takes the node off.
#[derive(Debug)]
pub struct Reporting {
    identity: Arc<Identity>,
    last: watch::Sender<Option<Reported>>,
}

/// The other end of it.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    identity: Arc<Identity>,
    last: watch::Receiver<Option<Reported>>,
}

impl Reporting {
    pub(super) fn new(identity: Arc<Identity>) -> (Self, Reporter) {
        let (sender, last) = watch::channel(None);
        let reporter = Reporter {
            identity: identity.clone(),
            last,
        };
        let last = sender;
        (Self { identity, last }, reporter)
    }

    /// Who reports.
    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Replaces what it said before.
    pub(crate) fn keep(&self, report: NodeReport) {
        let at = Instant::now();
        let report = Arc::new(report);
        self.last.send_replace(Some(Reported { report, at }));
    }
}

impl Reporter {
    pub(super) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    pub(super) fn is_connected(&self) -> bool {
        self.last.has_changed().is_ok()
    }

    pub(super) fn last(&self) -> Option<(Arc<Identity>, Reported)> {
        let last = self.last.borrow().clone()?;
        Some((self.identity.clone(), last))
    }
}
