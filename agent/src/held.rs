//! Owns the list of resources in force, with their bytes: what the disk keeps and `/config_dump` shows.
//! Must not know: what the bytes mean, who sent them.

use std::collections::BTreeMap;

use bellwether::content::Content;
use bellwether::name::{Name, ResourceId, SetVersion, TypeUrl, Version};
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
    /// Kept up with each change, so that the name of all costs what changed.
    sets: BTreeMap<TypeUrl, SetVersion>,
    /// Resources with a version that is not one of ours.
    strange: usize,
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
        let id = ResourceId::new(type_url.clone(), name.clone());
        if let Some(old) = self.resources.insert(id, held) {
            self.forget(type_url, name, &old.version);
        }
        match Version::parse(version) {
            Some(version) => self.set(type_url).add(name, version),
            None => self.strange += 1,
        }
    }

    /// Records that a resource is no longer in force.
    pub fn remove(&mut self, type_url: &TypeUrl, name: &Name) {
        let id = ResourceId::new(type_url.clone(), name.clone());
        if let Some(old) = self.resources.remove(&id) {
            self.forget(type_url, name, &old.version);
        }
    }

    fn forget(&mut self, type_url: &TypeUrl, name: &Name, version: &str) {
        match Version::parse(version) {
            Some(version) => self.set(type_url).remove(name, version),
            None => self.strange -= 1,
        }
    }

    fn set(&mut self, type_url: &TypeUrl) -> &mut SetVersion {
        self.sets.entry(type_url.clone()).or_default()
    }

    /// The name of all of it; `None` if a server gave versions of its own kind.
    #[must_use]
    pub fn content(&self) -> Option<Content> {
        let sets = self.sets.iter().map(|(type_url, set)| (type_url, *set));
        (self.strange == 0).then(|| Content::of(sets))
    }

    /// The version that a resource is in force with.
    #[must_use]
    pub fn version(&self, id: &ResourceId) -> Option<&str> {
        self.resources.get(id).map(|held| &*held.version)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The way does not matter, only what is there at its end.
        #[test]
        fn the_content_is_that_of_what_is_held(
            steps in proptest::collection::vec((0..3_u8, 0..2_usize, 0..4_u8), 0..40),
        ) {
            let mut held = Held::default();
            for (name, kind, body) in steps {
                let (kind, name) = (&TypeUrl::NATIVE[kind], Name::from(name.to_string()));
                match body {
                    0 => held.remove(kind, &name),
                    1 => held.insert(kind, &name, "not ours", Bytes::new()),
                    body => {
                        let version = Version::of(&[body]).to_string();
                        held.insert(kind, &name, &version, Bytes::new());
                    }
                }
            }
            let mut anew = Held::default();
            for (id, one) in held.iter() {
                anew.insert(&id.type_url, &id.name, &one.version, one.body.clone());
            }
            prop_assert_eq!(held.content(), anew.content());
            let is_ours = held.iter().all(|(_, one)| one.version != "not ours");
            prop_assert_eq!(held.content().is_some(), is_ours);
        }
    }
}
