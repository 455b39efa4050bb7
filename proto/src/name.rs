//! Owns the small words of the protocol: type URLs, resource names, versions.
//! Must not know: what a resource holds.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// The type of a resource, as it stands in `type_url` and in `Any`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeUrl(Cow<'static, str>);

impl TypeUrl {
    /// [`crate::wire::native::Cluster`]
    pub const CLUSTER: Self = Self::known("type.googleapis.com/bellwether.v1.Cluster");
    /// [`crate::wire::native::Endpoints`]
    pub const ENDPOINTS: Self = Self::known("type.googleapis.com/bellwether.v1.Endpoints");
    /// [`crate::wire::native::Certificate`]
    pub const CERTIFICATE: Self = Self::known("type.googleapis.com/bellwether.v1.Certificate");
    /// [`crate::wire::native::Consumer`]
    pub const CONSUMER: Self = Self::known("type.googleapis.com/bellwether.v1.Consumer");
    /// [`crate::wire::native::GlobalRule`]
    pub const GLOBAL_RULE: Self = Self::known("type.googleapis.com/bellwether.v1.GlobalRule");
    /// [`crate::wire::native::Route`]
    pub const ROUTE: Self = Self::known("type.googleapis.com/bellwether.v1.Route");

    /// The native types in make-before-break order: what is referred to stands before what refers (R84).
    pub const NATIVE: [Self; 6] = [
        Self::ENDPOINTS,
        Self::CLUSTER,
        Self::CERTIFICATE,
        Self::CONSUMER,
        Self::GLOBAL_RULE,
        Self::ROUTE,
    ];

    const fn known(url: &'static str) -> Self {
        Self(Cow::Borrowed(url))
    }

    /// The whole URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the type stands in make-before-break order: what is referred to before what refers (R84).
    /// Types we do not know come last.
    #[must_use]
    pub fn rank(&self) -> usize {
        let known = Self::NATIVE.iter().position(|known| known == self);
        known.unwrap_or(Self::NATIVE.len())
    }

    /// Whether resources of another type may refer to this type's.
    #[must_use]
    pub fn is_referred_to(&self) -> bool {
        [Self::ENDPOINTS, Self::CLUSTER, Self::CERTIFICATE].contains(self)
    }

    /// Whether traffic enters here: what nothing else refers to, and what keeps clusters in use.
    #[must_use]
    pub fn is_entry(&self) -> bool {
        *self == Self::ROUTE
    }

    /// Whether a first request that names nothing means "everything" (R48, R49).
    #[must_use]
    pub fn has_legacy_wildcard(&self) -> bool {
        Self::NATIVE.contains(self)
    }

    /// The last part, for people: `Route`.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.rsplit('.').next().unwrap_or(&self.0)
    }
}

impl From<String> for TypeUrl {
    fn from(url: String) -> Self {
        Self::NATIVE
            .into_iter()
            .find(|known| known.as_str() == url)
            .unwrap_or(Self(Cow::Owned(url)))
    }
}

impl From<&str> for TypeUrl {
    fn from(url: &str) -> Self {
        Self::from(url.to_owned())
    }
}

impl fmt::Debug for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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
        Self(text.into())
    }
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
    pub(crate) fn add(&mut self, name: &Name, version: Version) {
        self.0 = self.0.wrapping_add(member(name, version));
    }

    pub(crate) fn remove(&mut self, name: &Name, version: Version) {
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
}
