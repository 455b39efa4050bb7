//! Owns following the keys of a fleet's instances in its store. Must not know: what they mean, or who
//! looks at them.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tracing::{error, warn};

use super::{Lane, LaneView};
use crate::fleet::KeyProblem;
use crate::keys::{Layout, Prefix, instances_range};
use crate::store::Store;
use crate::store::follow::{FollowOptions, Follower, Operator, follow_by};
use crate::store::status::StoreState;

/// The lane of one fleet, latest wins; `None` until the store has said all that it knows.
pub type InstancesFeed = watch::Receiver<Option<Arc<LaneView>>>;

/// Starts to follow the instances of a fleet. It goes on until nobody looks any more. `operator` is who
/// says that the store is to be believed.
#[must_use]
pub fn follow_instances(
    fleet: &str,
    prefix: &Prefix,
    layout: Layout,
    store: &Arc<dyn Store>,
    operator: &Operator,
    options: FollowOptions,
) -> InstancesFeed {
    let options = FollowOptions {
        fleeting: true,
        ..options
    };
    let start = |range| follow_by(operator, store.clone(), range, options);
    let (sender, feed) = watch::channel(None);
    let worker = Worker {
        fleet: fleet.to_owned(),
        lane: Lane::new(fleet, prefix),
        own: start(instances_range(fleet)),
        of_gateways: match layout {
            Layout::Apisix => None,
            Layout::GoGateway => Some(start(prefix.gateway_services())),
        },
        sender,
    };
    tokio::spawn(worker.run());
    feed
}

#[derive(Debug)]
struct Worker {
    fleet: String,
    lane: Lane,
    own: Follower,
    of_gateways: Option<Follower>,
    sender: watch::Sender<Option<Arc<LaneView>>>,
}

impl Worker {
    async fn run(mut self) {
        // Half of the truth would take instances from those who have them.
        let mut unread = [true, self.of_gateways.is_some()];
        loop {
            let gateways = async {
                match &mut self.of_gateways {
                    Some(follower) => follower.batches.recv().await,
                    None => std::future::pending().await,
                }
            };
            let (which, batch) = tokio::select! {
                () = self.sender.closed() => return,
                Ok(()) = self.own.health.changed() => {
                    if unread == [false, false] {
                        self.tell();
                    }
                    continue;
                }
                batch = self.own.batches.recv() => (0, batch),
                batch = gateways => (1, batch),
            };
            let Some(batch) = batch else { break };
            self.lane.apply(&batch, Instant::now());
            unread[which] = false;
            let is_news = !batch.changes.is_empty() || self.sender.borrow().is_none();
            if unread == [false, false] && is_news {
                self.tell();
            }
        }
        error!(
            fleet = self.fleet,
            "nothing follows the instances of services any more; the last ones are in force"
        );
        // Whoever looks at them goes on with what there is.
        self.sender.closed().await;
    }

    fn tell(&self) {
        let known = self.sender.borrow().clone();
        let mut view = self.lane.view();
        view.warnings.extend(self.frozen());
        let before = known.as_deref().map_or(&[][..], |known| &known.warnings);
        for warning in view.warnings.iter().filter(|one| !before.contains(one)) {
            warn!(
                fleet = self.fleet,
                key = warning.key,
                reason = warning.reason,
                "instances are kept in force"
            );
        }
        self.sender.send_replace(Some(Arc::new(view)));
    }

    /// What to say while the store is not believed.
    fn frozen(&self) -> Option<KeyProblem> {
        let health = self.own.health.borrow();
        (health.state == StoreState::Frozen).then(|| KeyProblem {
            key: instances_range(&self.fleet),
            reason: format!("the last instances stay in force: {}", health.reason),
            revision: 0,
            last_good: true,
        })
    }
}
