//! Owns the name of all that a thin proxy has in force: the same on both sides, whatever way it came
//! about. Must not know: what any of it means.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::name::{SetVersion, TypeUrl};
use crate::snapshot::Snapshot;

/// The key in `node.metadata` under which a node says what it has in force when it connects.
pub const CONTENT_KEY: &str = "bellwether.content";

/// The hash of the names and versions of every native resource. It does not depend on the order in
/// which they came, and types without resources don't count, so that a newer server's types change
/// nothing for an older node. Endpoints don't count: where a service is changes all the time, and is no
/// part of what a node could die of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content(u128);

impl Content {
    /// Of the sets of all types.
    #[must_use]
    pub fn of<'a>(types: impl IntoIterator<Item = (&'a TypeUrl, SetVersion)>) -> Self {
        let empty = SetVersion::default();
        let counts = |type_url: &TypeUrl| *type_url != TypeUrl::ENDPOINTS;
        let members = types
            .into_iter()
            .filter(|(type_url, version)| *version != empty && counts(type_url));
        Self(members.fold(0, |sum, (type_url, version)| {
            sum.wrapping_add(member(type_url, version))
        }))
    }

    /// Of what a node has that holds the whole of a snapshot.
    #[must_use]
    pub fn of_snapshot(snapshot: &Snapshot) -> Self {
        let native = &TypeUrl::NATIVE;
        Self::of(native.iter().filter_map(|type_url| {
            let published = snapshot.published(type_url)?;
            Some((type_url, published.set().version()))
        }))
    }

    /// Reads what [`fmt::Display`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_ours =
            text.len() == 32 && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
        is_ours.then(|| u128::from_str_radix(text, 16).ok().map(Self))?
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

fn member(type_url: &TypeUrl, version: SetVersion) -> u128 {
    let digest = Sha256::digest(format!("{type_url} {version}"));
    let first = digest.iter().take(16);
    first.fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Name, ResourceId, Version};
    use crate::resource::Resource;

    fn route(name: &str, body: &'static [u8]) -> Resource {
        let id = ResourceId::new(TypeUrl::ROUTE, name);
        Resource::from_encoded(id, body, Vec::new())
    }

    /// A node counts what it was sent; the server, what it sends.
    #[test]
    fn both_sides_name_it_alike() {
        let resources = vec![route("routes/1", b"1"), route("routes/2", b"2")];
        let held: Vec<(Name, Version)> = resources
            .iter()
            .map(|one| {
                (
                    one.name().clone(),
                    Version::parse(&one.version().to_string()).unwrap(),
                )
            })
            .collect();
        let snapshot = Snapshot::default().replace("v", resources).unwrap();
        let set = SetVersion::of(held.iter().rev().map(|(name, version)| (name, *version)));
        let none = SetVersion::default();
        let held = Content::of([(&TypeUrl::CLUSTER, none), (&TypeUrl::ROUTE, set)]);
        assert_eq!(held, Content::of_snapshot(&snapshot));
        assert_eq!(Content::parse(&held.to_string()), Some(held));
        assert_ne!(held, Content::of([(&TypeUrl::CLUSTER, set)]));
        let with_endpoints = [(&TypeUrl::ROUTE, set), (&TypeUrl::ENDPOINTS, set)];
        assert_eq!(held, Content::of(with_endpoints));
        assert_eq!(
            Content::of_snapshot(&Snapshot::default()),
            Content::default()
        );
        assert_eq!(Content::parse("+0000000000000000000000000000000"), None);
    }
}
