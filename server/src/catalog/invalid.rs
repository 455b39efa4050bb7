//! Owns what is said about a value that can't be used: which field, and why. Must not know: which key
//! the value belongs to, or what becomes of it.

use std::fmt::{self, Write};

/// Bytes of a quoted name in a reason. A key may be a megabyte of noise, and reasons go to logs.
const QUOTED_BYTES_MAX: usize = 80;

/// Bytes of a whole path in a reason.
const PATH_BYTES_MAX: usize = 400;

/// Why a value is not usable configuration. Displayed as `upstream.nodes["10.0.0.1:99999"]: port is
/// over 65535`. It never holds a secret: reasons name fields and rules, not contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    path: String,
    reason: String,
}

impl Invalid {
    /// About the value itself; [`Self::within`] says where it stands.
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            reason: reason.into(),
        }
    }

    /// The value stands in this field.
    #[must_use]
    pub(super) fn within(self, field: &str) -> Self {
        self.under(field.to_owned())
    }

    /// The value stands under this key of a map whose keys people choose.
    #[must_use]
    pub(super) fn within_entry(self, key: &str) -> Self {
        self.under(format!("[{}]", quoted(key)))
    }

    /// The value is this element of a list.
    #[must_use]
    pub(super) fn within_element(self, index: usize) -> Self {
        self.under(format!("[{index}]"))
    }

    /// The field, as `upstream.nodes[0].port`. Empty when the whole value is meant.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong with it.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    fn under(mut self, mut outer: String) -> Self {
        if self.path.len() > PATH_BYTES_MAX {
            return self;
        }
        if !self.path.is_empty() && !self.path.starts_with('[') {
            outer.push('.');
        }
        self.path.insert_str(0, &outer);
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "{}: {}", self.path, self.reason)
        }
    }
}

/// A name from outside, safe to print: quoted, escaped, cut.
pub(super) fn quoted(name: &str) -> String {
    let mut end = name.len().min(QUOTED_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let mut text = format!("{:?}", &name[..end]);
    if end < name.len() {
        let _ = write!(text, "…");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_the_field() {
        let at = |error: Invalid| error.to_string();
        assert_eq!(at(Invalid::new("is bad")), "is bad");
        assert_eq!(
            at(Invalid::new("port is over 65535")
                .within_entry("a:99999")
                .within("nodes")
                .within("upstream")),
            r#"upstream.nodes["a:99999"]: port is over 65535"#
        );
        assert_eq!(
            at(Invalid::new("is bad")
                .within("port")
                .within_element(3)
                .within("nodes")),
            "nodes[3].port: is bad"
        );
    }

    #[test]
    fn what_people_chose_is_escaped_and_cut() {
        assert_eq!(quoted("a\n"), r#""a\n""#);
        assert!(quoted(&"ü".repeat(1000)).len() < 200);
    }
}
