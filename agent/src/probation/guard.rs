//! Owns what stands before each change: what is refused, and that it is noted before it is put in force.
//! Must not know: how it is noted, or put in force.

use std::sync::Arc;

use bellwether::content::Content;
use bellwether::name::ResourceId;
use tokio::sync::{mpsc, oneshot, watch};

use super::keeper::Ask;
use super::quarantine::Quarantine;
use super::{ProbationStatus, States};
use crate::watchdog::Pulse;

/// Held by who puts changes in force.
#[derive(Debug)]
pub struct Guard {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) status: watch::Receiver<ProbationStatus>,
    /// A process died of something not long ago, so each change is noted by name.
    pub(super) is_careful: bool,
    pub(super) quarantine: Quarantine,
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

    /// Whether this agent died of what is offered (`None`: that it is removed).
    pub fn refuses(&mut self, id: &ResourceId, version: Option<&str>) -> bool {
        self.quarantine.refuses(id, version)
    }

    /// What was refused and is refused no more. Each is named once.
    pub fn take_again(&mut self) -> Vec<ResourceId> {
        self.quarantine.take_again()
    }

    /// Whether [`Guard::before`] has a use for names. A fleet that changes all the time pays nothing.
    #[must_use]
    pub fn wants_names(&self) -> bool {
        let status = self.status.borrow();
        !status.on_probation || (self.is_careful && !status.setbacks.is_empty())
    }

    /// Something is about to be put in force, and all will be called `content` then. It may be once this
    /// returns.
    pub async fn before(&mut self, content: Option<Content>, states: States) {
        let (done, noted) = oneshot::channel();
        let ask = Ask::Before {
            content,
            states,
            released: self.quarantine.take_released(),
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
        let released = self.quarantine.take_released();
        let _ = self.asks.send(Ask::After { content, released }).await;
    }

    /// Whether there is something to say to [`Guard::after`] although nothing was put in force.
    #[must_use]
    pub fn has_released(&self) -> bool {
        self.quarantine.has_released()
    }
}
