//! Owns which fleets are looked after: every one in staged mode, as long as this server leads, and none
//! else. Must not know: how one is.

mod housekeeping;
mod steward;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::steward::Steward;
use super::leader::Terms;
use super::report::{Replicas, Told};
use super::{Drafts, StagedFleet, StagedFleets, becomes};
use crate::store::Store;

/// What the leader says of each fleet.
pub(super) type TellAll = watch::Sender<Arc<BTreeMap<String, Told>>>;

/// What every steward needs.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) store: Arc<dyn Store>,
    pub(super) server: String,
    pub(super) terms: Terms,
    pub(super) replicas: watch::Receiver<Arc<Replicas>>,
    pub(super) told: TellAll,
    pub(super) drafts: Option<Arc<dyn Drafts>>,
}

/// One fleet that is looked after.
#[derive(Debug)]
struct Task {
    fleet: StagedFleet,
    since: Instant,
    handle: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Runs until `stop`.
pub(super) async fn run(
    context: Arc<Context>,
    mut fleets: StagedFleets,
    stop: watch::Receiver<bool>,
) {
    let mut tasks: BTreeMap<String, Task> = BTreeMap::new();
    let mut terms = context.terms.clone();
    loop {
        let term = terms.borrow_and_update().clone();
        let wanted = fleets.borrow_and_update().clone();
        tasks.retain(|name, task| {
            let same_term = term.as_ref().is_some_and(|term| term.since == task.since);
            same_term && wanted.get(name) == Some(&task.fleet)
        });
        if let Some(term) = &term {
            for (name, fleet) in wanted.iter() {
                tasks.entry(name.clone()).or_insert_with(|| Task {
                    fleet: fleet.clone(),
                    since: term.since,
                    handle: tokio::spawn(
                        Steward::new(context.clone(), fleet.clone(), term.clone()).run(),
                    ),
                });
            }
        }
        context.told.send_if_modified(|told| {
            let known = told.len();
            if told.keys().any(|name| !tasks.contains_key(name)) {
                Arc::make_mut(told).retain(|name, _| tasks.contains_key(name));
            }
            told.len() != known
        });
        tokio::select! {
            biased;
            () = becomes(&stop, true) => return,
            changed = terms.changed() => if changed.is_err() { return },
            changed = fleets.changed() => if changed.is_err() {
                // The fleets stay as they are.
                return becomes(&stop, true).await;
            },
        }
    }
}
