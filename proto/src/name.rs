//! Owns the small words of the protocol: resource names and versions.
//! Must not know: what a resource holds.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

pub use crate::type_url::TypeUrl;

/// The name of a resource, unique within its type. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for Name {
    fn from(text: T) -> Self {
        Self(canonical(text.into()))
    }
}

/// R107: the context parameters of an `xdstp` name are a set, so they are kept in one order.
fn canonical(text: Arc<str>) -> Arc<str> {
    if !text.starts_with("xdstp://") {
        return text;
    }
    let (rest, fragment) = match text.split_once('#') {
        Some((rest, fragment)) => (rest, Some(fragment)),
        None => (&*text, None),
    };
    let Some((path, parameters)) = rest.split_once('?') else {
        return text;
    };
    let mut parameters: Vec<&str> = parameters.split('&').collect();
    parameters.sort_unstable();
    let mut sorted = format!("{path}?{}", parameters.join("&"));
    if let Some(fragment) = fragment {
        sorted.push('#');
        sorted.push_str(fragment);
    }
    sorted.into()
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A type and a name: what a reference points at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId {
    /// The type.
    pub type_url: TypeUrl,
    /// The name within the type.
    pub name: Name,
}

impl ResourceId {
    /// Puts the two together.
    pub fn new(type_url: TypeUrl, name: impl Into<Name>) -> Self {
        Self {
            type_url,
            name: name.into(),
        }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.type_url.short(), self.name)
    }
}

/// The version of one resource: the first 128 bits of the SHA-256 of its encoded body, so that every
/// replica gives equal content an equal version and a reconnect anywhere resumes for free (R18, R20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u128);

impl Version {
    /// The version of content.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self(first_128_bits(Sha256::digest(content).as_slice()))
    }

    /// A byte that differs from content to content.
    pub(crate) fn last_byte(self) -> u8 {
        let [.., last] = self.0.to_be_bytes();
        last
    }

    /// The version of content that is to be forgotten after `ttl` (R92).
    pub(crate) fn with_ttl(self, ttl: Duration) -> Self {
        let Self(told) = Self::of(&ttl.as_nanos().to_be_bytes());
        Self(self.0.wrapping_add(told))
    }

    /// The version of content that is warmed by parents of these versions (R83).
    pub(crate) fn warmed_by(self, parents: SetVersion) -> Self {
        Self(self.0.wrapping_add(parents.0))
    }

    /// Reads what [`fmt::Display`] wrote; `None` for a version that is not ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || text.bytes().any(|b| b.is_ascii_uppercase() || b == b'+') {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The version of a whole set: the sum of a hash of each (name, version). It does not depend on the
/// order of changes, and costs what changed, not what the set holds (R15, R18).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SetVersion(u128);

impl SetVersion {
    /// That of these names and versions.
    #[must_use]
    pub fn of<'a>(members: impl IntoIterator<Item = (&'a Name, Version)>) -> Self {
        let mut set = Self::default();
        for (name, version) in members {
            set.add(name, version);
        }
        set
    }

    /// With one member more, which must not be there yet.
    pub fn add(&mut self, name: &Name, version: Version) {
        self.0 = self.0.wrapping_add(member(name, version));
    }

    /// With one member less, which must be there.
    pub fn remove(&mut self, name: &Name, version: Version) {
        self.0 = self.0.wrapping_sub(member(name, version));
    }
}

impl fmt::Display for SetVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SetVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn member(name: &Name, version: Version) -> u128 {
    let mut hash = Sha256::new();
    hash.update(version.0.to_be_bytes());
    hash.update(name.as_str().as_bytes());
    first_128_bits(hash.finalize().as_slice())
}

fn first_128_bits(digest: &[u8]) -> u128 {
    digest
        .iter()
        .take(16)
        .fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_reads_back_and_nothing_else_does() {
        let version = Version::of(b"content");
        assert_eq!(Version::parse(&version.to_string()), Some(version));
        for bad in ["", "1", "+0000000000000000000000000000001", &"A".repeat(32)] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_set_version_does_not_depend_on_order() {
        let (a, b) = (Name::from("a"), Name::from("b"));
        let (one, two) = (Version::of(b"1"), Version::of(b"2"));
        let mut left = SetVersion::default();
        left.add(&a, one);
        left.add(&b, two);
        let mut right = SetVersion::default();
        right.add(&b, two);
        right.add(&b, one);
        right.add(&a, one);
        right.remove(&b, one);
        assert_eq!(left, right);
    }

    /// R107, R109.
    #[test]
    fn the_order_of_context_parameters_does_not_matter() {
        let name = |text: &str| Name::from(text);
        assert_eq!(
            name("xdstp://a/t/x?b=2&a=1#e"),
            name("xdstp://a/t/x?a=1&b=2#e")
        );
        assert_ne!(name("xdstp://a/t/x?a=1"), name("xdstp://a/t/x?a=2"));
        assert_ne!(name("a/t/x?b=2&a=1"), name("a/t/x?a=1&b=2"), "no such name");
    }
}
