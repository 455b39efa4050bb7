//! Owns the reader of a follower: what it was told, and what it therefore has.
//! Must not know: which store it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether_server::fleet::{StoreState, StoreStatus};
use bellwether_server::store::follow::{FollowOptions, Follower, follow};
use bellwether_server::store::{Change, Revision, Store};

/// Far longer than anything takes: a test that waits for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A frozen follower looks often, so that tests need not wait.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What a reader of `/p/` has.
pub(super) struct Mirror {
    pub(super) follower: Follower,
    pub(super) content: BTreeMap<String, String>,
    /// Every change since it was last looked at: `+key=value`, `-key`.
    told: Vec<String>,
    revision: Revision,
}

impl Mirror {
    /// Follows, and waits for the first reading.
    pub(super) async fn of(store: Arc<dyn Store>) -> Self {
        let mut mirror = Self::unsynced(store);
        mirror.hear().await;
        mirror.told.clear();
        mirror.state(StoreState::Live).await;
        mirror
    }

    pub(super) fn unsynced(store: Arc<dyn Store>) -> Self {
        let options = FollowOptions {
            look_again: LOOK_AGAIN,
            ..FollowOptions::default()
        };
        Self {
            follower: follow(store, "/p/".to_owned(), options),
            content: BTreeMap::new(),
            told: Vec::new(),
            revision: Revision(0),
        }
    }

    /// One batch.
    pub(super) async fn hear(&mut self) {
        let batch = tokio::time::timeout(PATIENCE, self.follower.batches.recv()).await;
        let batch = batch
            .expect("a change arrives")
            .expect("the follower lives");
        assert!(batch.revision >= self.revision);
        assert!(!self.follower.health.borrow().id.is_empty());
        self.revision = batch.revision;
        for change in batch.changes {
            match change {
                Change::Put(kv) => {
                    let value = String::from_utf8(kv.value.to_vec()).unwrap();
                    self.told.push(format!("+{}={value}", kv.key));
                    self.content.insert(kv.key, value);
                }
                Change::Delete { key } => {
                    self.told.push(format!("-{key}"));
                    self.content.remove(&key);
                }
            }
        }
    }

    /// Batches until something has the value; then everything it was told since the last time.
    pub(super) async fn until(&mut self, key: &str, value: &str) -> Vec<String> {
        while self.content.get(key).map(String::as_str) != Some(value) {
            self.hear().await;
        }
        std::mem::take(&mut self.told)
    }

    /// Waits until the follower is in a state.
    pub(super) async fn state(&mut self, state: StoreState) -> StoreStatus {
        let reached = self
            .follower
            .health
            .wait_for(|status| status.state == state);
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        reached
            .expect("the state is reached")
            .expect("the follower lives")
            .clone()
    }

    /// Whether there is anything it was not told yet.
    pub(super) fn was_told_nothing(&mut self) -> bool {
        self.follower.batches.try_recv().is_err() && self.told.is_empty()
    }
}
