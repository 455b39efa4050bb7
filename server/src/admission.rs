//! Owns which fleet a node of the discovery port belongs to. Must not know: how configuration becomes
//! snapshots, or how they are streamed.

use std::collections::BTreeMap;

use bellwether::rejection::clean;
use bellwether::wire::core::Node;
use bellwether_xds::{Admission, Admitted, Peer, SnapshotFeed, Status};

/// The fleets of this server by name, each with what its nodes get.
#[derive(Clone, Debug)]
pub struct Fleets {
    feeds: BTreeMap<String, SnapshotFeed>,
}

impl Fleets {
    /// A fleet gets what its feed says.
    #[must_use]
    pub fn new(feeds: BTreeMap<String, SnapshotFeed>) -> Self {
        Self { feeds }
    }

    /// With one fleet every node is in it; with several it must name one of them.
    fn fleet_of(&self, node: &Node) -> Result<(&String, &SnapshotFeed), Status> {
        if let Some(only) = self
            .feeds
            .first_key_value()
            .filter(|_| self.feeds.len() == 1)
        {
            return Ok(only);
        }
        self.feeds.get_key_value(&node.cluster).ok_or_else(|| {
            Status::not_found(format!(
                "node {:?} names fleet {:?} in node.cluster, and there is no such fleet",
                clean(&node.id),
                clean(&node.cluster),
            ))
        })
    }
}

impl Admission for Fleets {
    fn admit(&self, _: &Peer, node: &Node) -> Result<Admitted, Status> {
        let (group, feed) = self.fleet_of(node)?;
        Ok(Admitted {
            group: group.clone(),
            feed: feed.clone(),
        })
    }
}
