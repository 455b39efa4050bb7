//! Owns the list of resources in force, with their bytes: what the disk keeps and `/config_dump` shows.
//! Must not know: what the bytes mean, who sent them.

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::snapshot::Position;
use bytes::Bytes;
use imbl::OrdMap;

/// One resource in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldResource {
    /// As the server gave it.
    pub version: String,
    /// The encoded message, in memory of its own: a slice would keep a whole response alive.
    pub body: Bytes,
}

/// Every resource in force. Persistent: a copy for the disk or for a reader costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    resources: OrdMap<ResourceId, HeldResource>,
    /// The newest position seen, so that no server takes us back in time.
    pub position: Option<Position>,
}

impl Held {
    /// Nothing in force, at a position.
    #[must_use]
    pub fn at(position: Option<Position>) -> Self {
        Self {
            position,
            ..Self::default()
        }
    }

    /// Records that a resource is in force.
    pub fn insert(&mut self, type_url: &TypeUrl, name: &Name, version: &str, body: Bytes) {
        let held = HeldResource {
            version: version.to_owned(),
            body,
        };
        self.resources
            .insert(ResourceId::new(type_url.clone(), name.clone()), held);
    }

    /// Records that a resource is no longer in force.
    pub fn remove(&mut self, type_url: &TypeUrl, name: &Name) {
        self.resources
            .remove(&ResourceId::new(type_url.clone(), name.clone()));
    }

    /// In the order of types and names.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceId, &HeldResource)> {
        self.resources.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}
