//! Owns what an etcd of a given version can be trusted with. Must not know: connections.

/// A member's version, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u32, u32, u32);

impl Version {
    /// Reads `3.5.1`, with or without something after it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let core = text.split(['-', '+']).next()?;
        let mut parts = core.split('.').map(str::parse);
        let mut part = || parts.next()?.ok();
        Some(Self(part()?, part()?, part()?))
    }

    /// Whether a progress notification comes only after all events it speaks for. Before 3.4.25 and
    /// 3.5.8 it could overtake them, and a watch resumed from it would miss changes.
    pub(super) fn progress_is_a_bookmark(self) -> bool {
        match (self.0, self.1) {
            (3, 0..=3) | (0..=2, _) => false,
            (3, 4) => self >= Self(3, 4, 25),
            (3, 5) => self >= Self(3, 5, 8),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_believed_from_the_fixed_versions_on() {
        for (text, wanted) in [
            ("3.5.1", false),
            ("3.5.7", false),
            ("3.5.8", true),
            ("3.5.21", true),
            ("3.4.24", false),
            ("3.4.25", true),
            ("3.3.27", false),
            ("3.6.0-rc.1", true),
            ("3.7.2", true),
            ("4.0.0", true),
        ] {
            let version = Version::parse(text).unwrap();
            assert_eq!(version.progress_is_a_bookmark(), wanted, "{text}");
        }
        assert_eq!(Version::parse("not a version"), None);
    }
}
