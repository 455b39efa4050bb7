//! Owns `If-Match` and `If-None-Match`: what a client says must hold of the value it writes or reads.
//! Must not know: what the value is.

use http::{HeaderMap, header};

use super::answer::{Problem, etag};
use crate::store::Revision;

/// What must hold. Both parts, if both are there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Precondition {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

#[derive(Debug, PartialEq, Eq)]
enum Tags {
    Any,
    These(Vec<String>),
}

impl Tags {
    fn parse(headers: &HeaderMap, name: header::HeaderName) -> Option<Self> {
        let mut tags = Vec::new();
        for line in headers.get_all(name) {
            let line = String::from_utf8_lossy(line.as_bytes());
            tags.extend(line.split(',').map(|tag| tag.trim().to_owned()));
        }
        if tags.is_empty() {
            return None;
        }
        if tags.iter().any(|tag| tag == "*") {
            return Some(Self::Any);
        }
        Some(Self::These(tags))
    }

    fn hold(&self, current: Option<Revision>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::These(tags), Some(revision)) => tags.contains(&etag(revision)),
        }
    }
}

impl Precondition {
    /// Reads the headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self {
            if_match: Tags::parse(headers, header::IF_MATCH),
            if_none_match: Tags::parse(headers, header::IF_NONE_MATCH),
        }
    }

    /// Whether the client holds what is there already: a GET answers 304.
    pub(crate) fn is_known(&self, current: Revision) -> bool {
        self.if_none_match
            .as_ref()
            .is_some_and(|tags| tags.hold(Some(current)))
    }

    /// Checks against what is there before a write; `None`: nothing.
    ///
    /// # Errors
    /// [`Problem::Precondition`], with what is there.
    pub(crate) fn check(&self, current: Option<Revision>) -> Result<(), Problem> {
        let found = current.map_or_else(
            || "there is none".to_owned(),
            |revision| format!("it is at {revision}"),
        );
        if self
            .if_match
            .as_ref()
            .is_some_and(|tags| !tags.hold(current))
        {
            return Err(Problem::Precondition(format!(
                "If-Match does not hold, {found}"
            )));
        }
        if self
            .if_none_match
            .as_ref()
            .is_some_and(|tags| tags.hold(current))
        {
            return Err(Problem::Precondition(format!(
                "If-None-Match does not hold, {found}"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn tags_are_revisions() {
        let holds = |name: header::HeaderName, tags: &'static str, current: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(tags));
            Precondition::of(&headers)
                .check(current.map(Revision))
                .is_ok()
        };
        let m = || header::IF_MATCH;
        let n = || header::IF_NONE_MATCH;
        assert!(holds(m(), "\"7\"", Some(7)));
        assert!(holds(m(), "\"6\", \"7\"", Some(7)));
        assert!(holds(m(), "*", Some(7)));
        assert!(!holds(m(), "*", None));
        assert!(!holds(m(), "\"7\"", Some(8)));
        assert!(!holds(m(), "7", Some(7)));
        assert!(!holds(m(), "\"7\"", None));
        assert!(!holds(m(), "W/\"7\"", Some(7)));
        assert!(holds(n(), "*", None));
        assert!(!holds(n(), "*", Some(7)));
        assert!(holds(n(), "\"6\"", Some(7)));
        assert!(!holds(n(), "\"7\"", Some(7)));
        let none = Precondition::of(&HeaderMap::new());
        assert!(none.check(None).is_ok() && none.check(Some(Revision(1))).is_ok());
    }

    #[test]
    fn a_lost_precondition_says_what_is_there() {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_static("\"3\""));
        let precondition = Precondition::of(&headers);
        assert_eq!(
            precondition
                .check(Some(Revision(9)))
                .unwrap_err()
                .to_string(),
            "precondition failed: If-Match does not hold, it is at 9"
        );
        assert!(!precondition.is_known(Revision(3)));
    }
}
