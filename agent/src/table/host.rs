//! Owns one host of a route (`docs/apisix.md` §2.4). Must not know: paths.

/// A host that a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// The whole host.
    Exact(Box<str>),
    /// Whatever ends so, at any depth: `*.a.com`, and `*a.com`, and `*`.
    Suffix(Box<str>),
}

/// Why a host is not a pattern.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing to match.
    #[error("is empty")]
    Empty,
    /// A star that is not the first letter.
    #[error("has a star that does not stand first")]
    Star,
    /// No host holds it.
    #[error("has a letter that no host can have")]
    Letter,
}

impl HostPattern {
    /// Reads a host. Upper case is taken for lower case.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        let lower = text.to_ascii_lowercase();
        let (rest, suffix) = match lower.strip_prefix('*') {
            Some(rest) => (rest, true),
            None => (lower.as_str(), false),
        };
        if rest.contains('*') {
            return Err(HostError::Star);
        }
        if rest.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'/') {
            return Err(HostError::Letter);
        }
        Ok(if suffix {
            Self::Suffix(rest.into())
        } else {
            Self::Exact(rest.into())
        })
    }

    /// The key of the host's own paths in the router.
    pub(crate) fn scope(&self) -> String {
        match self {
            Self::Exact(host) => host.to_string(),
            Self::Suffix(end) => format!("*{end}"),
        }
    }

    /// The test of the modes that look at the path first: a pattern with a colon is compared with
    /// the Host header as it came, port included.
    pub(crate) fn matches(&self, host: &str, raw_host: &str) -> bool {
        match self {
            Self::Exact(want) if want.contains(':') => raw_host.eq_ignore_ascii_case(want),
            Self::Exact(want) => **want == *host,
            Self::Suffix(end) if end.contains(':') => {
                raw_host.to_ascii_lowercase().ends_with(&**end)
            }
            Self::Suffix(end) => host.ends_with(&**end),
        }
    }
}

/// nginx's `$host`: without port, without a final dot, in lower case.
#[must_use]
pub fn host_of(raw: &str) -> String {
    let end = match raw.strip_prefix('[').and_then(|rest| rest.find(']')) {
        Some(bracket) => bracket + 2,
        None => raw.find(':').unwrap_or(raw.len()),
    };
    let host = raw.get(..end).unwrap_or(raw);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_no_port_no_case_and_no_final_dot() {
        for (raw, host) in [
            ("A.Example.com", "a.example.com"),
            ("a.com:8080", "a.com"),
            ("a.com.", "a.com"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(host_of(raw), host, "{raw}");
        }
    }

    /// §2.4: a leading star is a suffix at any depth, a pattern with a colon sees the port.
    #[test]
    fn patterns_match_as_section_2_4_says() {
        let matches = |pattern: &str, raw: &str| {
            HostPattern::parse(pattern)
                .unwrap()
                .matches(&host_of(raw), raw)
        };
        assert!(matches("*.a.com", "x.y.a.com"));
        assert!(!matches("*.a.com", "a.com"));
        assert!(matches("*foo.com", "barfoo.com"));
        assert!(matches("*", "anything"));
        assert!(matches("A.com", "a.COM:81"));
        assert!(matches("a.com:81", "a.com:81"));
        assert!(!matches("a.com:81", "a.com"));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        assert_eq!(HostPattern::parse(""), Err(HostError::Empty));
        assert_eq!(HostPattern::parse("a.*.com"), Err(HostError::Star));
        assert_eq!(HostPattern::parse("a b"), Err(HostError::Letter));
        assert_eq!(HostPattern::parse("a\0"), Err(HostError::Letter));
    }
}
