//! Owns a ready-made [`Admission`]: named groups of nodes, each with a snapshot that its owner replaces
//! at will. Must not know: where snapshots come from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bellwether::rejection::clean;
use bellwether::snapshot::Snapshot;
use bellwether::wire::core::Node;
use tokio::sync::watch;
use tonic::Status;

use crate::admission::{Admission, Admitted, Peer};

type Feed = watch::Sender<Option<Arc<Snapshot>>>;
type Choice = dyn Fn(&Peer, &Node) -> String + Send + Sync;

/// Groups of nodes and the snapshot of each. Cheap to clone; all clones are one.
///
/// A node of a group that has no snapshot is refused: what is not there is never an instruction.
#[derive(Clone)]
pub struct Groups {
    choice: Arc<Choice>,
    // Held for a look-up in a map only.
    feeds: Arc<Mutex<BTreeMap<String, Feed>>>,
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").finish_non_exhaustive()
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self::by_cluster()
    }
}

impl Groups {
    /// A node belongs to the group that it names in `node.cluster`.
    #[must_use]
    pub fn by_cluster() -> Self {
        Self::by(|_, node| node.cluster.clone())
    }

    /// `choice` says which group a node belongs to.
    #[must_use]
    pub fn by(choice: impl Fn(&Peer, &Node) -> String + Send + Sync + 'static) -> Self {
        Self {
            choice: Arc::new(choice),
            feeds: Arc::default(),
        }
    }

    /// Hands a group its newest snapshot. It should be made of the one before by [`Snapshot::next`], so
    /// that a change costs what has changed.
    pub fn set(&self, group: &str, snapshot: Snapshot) {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = Some(Arc::new(snapshot));
        match feeds.get(group) {
            Some(feed) => drop(feed.send_replace(newest)),
            None => drop(feeds.insert(group.to_owned(), watch::channel(newest).0)),
        }
    }
}

impl Groups {
    /// The newest snapshot of a group, to make the next one of.
    #[must_use]
    pub fn get(&self, group: &str) -> Option<Arc<Snapshot>> {
        let feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.get(group)?.borrow().clone()
    }

    /// There is no such group any more: its streams end with `UNAVAILABLE`, and its nodes keep what they
    /// have. Whether there was one.
    pub fn remove(&self, group: &str) -> bool {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.remove(group).is_some()
    }
}

impl Admission for Groups {
    fn admit(&self, peer: &Peer, node: &Node) -> Result<Admitted, Status> {
        let group = (self.choice)(peer, node);
        let feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        match feeds.get(&group) {
            Some(feed) => Ok(Admitted::new(group, feed.subscribe())),
            None => Err(Status::not_found(format!(
                "node {:?} belongs to group {:?}, and there is no such group",
                clean(&node.id),
                clean(&group),
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(cluster: &str) -> Node {
        Node {
            cluster: cluster.to_owned(),
            ..Node::default()
        }
    }

    fn snapshots(admitted: Admitted) -> crate::SnapshotFeed {
        match admitted.feed {
            crate::Feed::All(feed) => feed,
            crate::Feed::Each(_) => panic!("all get the same"),
        }
    }

    #[test]
    fn a_node_gets_the_newest_snapshot_of_its_group() {
        let groups = Groups::default();
        let peer = Peer::default();
        let refused = groups.admit(&peer, &node("a")).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::NotFound);
        groups.set("a", Snapshot::default());
        let admitted = groups.admit(&peer, &node("a")).unwrap();
        assert_eq!(admitted.group, "a");
        let mut feed = snapshots(admitted);
        assert!(feed.borrow_and_update().is_some());
        groups.clone().set("a", Snapshot::default());
        assert!(feed.has_changed().unwrap());
        assert!(groups.admit(&peer, &node("b")).is_err());
    }

    #[test]
    fn a_group_that_is_removed_feeds_nobody() {
        let groups = Groups::default();
        groups.set("a", Snapshot::default());
        assert!(groups.get("a").is_some() && groups.get("b").is_none());
        let admitted = groups.admit(&Peer::default(), &node("a")).unwrap();
        assert!(groups.remove("a") && !groups.remove("a"));
        assert!(snapshots(admitted).has_changed().is_err() && groups.get("a").is_none());
        assert!(groups.admit(&Peer::default(), &node("a")).is_err());
    }

    #[test]
    fn a_closure_can_choose() {
        let groups = Groups::by(|_, node| node.id.clone());
        groups.set("", Snapshot::default());
        assert!(groups.admit(&Peer::default(), &node("a")).is_ok());
    }
}
