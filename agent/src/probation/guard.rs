//! Owns what stands before each change: what is refused, and that it is noted before it is put in force.
//! Must not know: how it is noted, or put in force.

use std::sync::Arc;

use bellwether::content::Content;
use bellwether::name::ResourceId;
use tokio::sync::{mpsc, oneshot, watch};

use super::keeper::Ask;
use super::{ProbationStatus, States};
use crate::watchdog::Pulse;

/// Held by who puts changes in force.
#[derive(Debug)]
pub struct Guard {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) status: watch::Receiver<ProbationStatus>,
    /// A process died of something not long ago, so each change is noted by name.
    pub(super) is_careful: bool,
    pub(super) quarantine: States,
    pub(super) released: Vec<ResourceId>,
    pub(super) pulse: Arc<Pulse>,
}

impl Guard {
    /// Where the keeper can be asked by others too.
    #[must_use]
    pub fn asks(&self) -> mpsc::Sender<Ask> {
        self.asks.clone()
    }

    /// Shows when something is being put in force.
    #[must_use]
    pub fn pulse(&self) -> Arc<Pulse> {
        self.pulse.clone()
    }

    /// Whether this agent died of what is offered (`None`: that it is removed). Anything else under that
    /// name ends the refusal.
    pub fn refuses(&mut self, id: &ResourceId, version: Option<&str>) -> bool {
        let Some(refused) = self.quarantine.get(id) else {
            return false;
        };
        if refused.as_deref() == version {
            return true;
        }
        self.quarantine.remove(id);
        self.released.push(id.clone());
        false
    }

    /// Whether [`Guard::before`] has a use for names. A fleet that changes all the time pays nothing.
    #[must_use]
    pub fn wants_names(&self) -> bool {
        let status = self.status.borrow();
        !status.on_probation || (self.is_careful && !status.setbacks.is_empty())
    }

    /// Something is about to be put in force, and all will be called `content` then. It may be once this
    /// returns.
    pub async fn before(&self, content: Option<Content>, states: States) {
        let (done, noted) = oneshot::channel();
        let ask = Ask::Before {
            content,
            states,
            done,
        };
        // Without a keeper the agent is going down.
        if self.asks.send(ask).await.is_ok() {
            let _ = noted.await;
        }
        self.pulse.begins();
    }

    /// It is in force.
    pub async fn after(&mut self, content: Option<Content>) {
        self.pulse.ends();
        let released = std::mem::take(&mut self.released);
        let _ = self.asks.send(Ask::After { content, released }).await;
    }

    /// Whether there is something to say to [`Guard::after`] although nothing was put in force.
    #[must_use]
    pub fn has_released(&self) -> bool {
        !self.released.is_empty()
    }
}
