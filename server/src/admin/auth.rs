//! Owns who may call the Admin API: API keys, their roles, and where a request carries one.
//! Must not know: what is asked for.

use std::fmt;

use axum::extract::Request;
use http::{HeaderMap, Method, header};
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

use super::answer::Problem;
use super::query::Query;

/// Characters of a generated key, as many as APISIX generates: 32 letters are 182 bits.
const GENERATED_CHARS: usize = 32;

/// What a line of a key file looks like, for help texts.
pub const KEY_FILE_LINE: &str = "KEY, admin KEY or viewer KEY";

/// What a key lets its holder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Reading.
    Viewer,
}

/// The API keys. Only their hashes are kept.
#[derive(Clone, Default)]
pub struct Keys {
    entries: Vec<(Role, [u8; 32])>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({}, redacted)", self.entries.len())
    }
}

/// A line of a key file that is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line} {reason}; a line is {KEY_FILE_LINE}")]
pub struct BadKeys {
    line: usize,
    reason: &'static str,
}

impl Keys {
    /// One new admin key. The caller shows it once; nobody can get it back from here.
    #[must_use]
    pub fn generate() -> (Self, String) {
        let mut random = rand::rng();
        let key: String = (0..GENERATED_CHARS)
            .map(|_| char::from(random.random_range(b'a'..=b'z')))
            .collect();
        (Self::default().with(Role::Admin, &key), key)
    }

    /// Adds a key.
    #[must_use]
    pub fn with(mut self, role: Role, key: &str) -> Self {
        self.entries.push((role, digest(key)));
        self
    }

    /// Adds the keys of a file: one a line, a role before it if it is not an admin's, `#` starts a comment.
    ///
    /// # Errors
    /// A line that is not a key. The line itself is not shown.
    pub fn with_file(self, text: &str) -> Result<Self, BadKeys> {
        Ok(read_keys(text)?
            .into_iter()
            .fold(self, |keys, (role, key)| keys.with(role, key)))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The role of a key. Takes as long for a wrong key as for a right one.
    #[must_use]
    pub fn role(&self, key: &str) -> Option<Role> {
        let offered = digest(key);
        let mut found = None;
        for (role, known) in &self.entries {
            let difference = known
                .iter()
                .zip(offered)
                .fold(0_u8, |difference, (a, b)| difference | (a ^ b));
            if difference == 0 {
                found = Some(*role);
            }
        }
        found
    }
}

/// The keys of a key file, in order.
pub(crate) fn read_keys(text: &str) -> Result<Vec<(Role, &str)>, BadKeys> {
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |reason| BadKeys {
            line: number + 1,
            reason,
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let entry = match words[..] {
            ["admin" | "viewer"] => return Err(bad("has a role and no key")),
            [key] | ["admin", key] => (Role::Admin, key),
            ["viewer", key] => (Role::Viewer, key),
            [_, _] => return Err(bad("has a role that is neither admin nor viewer")),
            _ => return Err(bad("has too many words")),
        };
        keys.push(entry);
    }
    Ok(keys)
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// By whose key this request may go on, if it may.
pub(crate) fn authorize(keys: &Keys, request: &Request) -> Result<Role, Problem> {
    let refused = |description| Err(Problem::Unauthorized { description });
    let Some(key) = offered_key(request) else {
        return refused("missing apikey");
    };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match keys.role(&key) {
        None => refused("wrong apikey"),
        Some(Role::Viewer) if !reads => refused("invalid method for role viewer"),
        Some(role) => Ok(role),
    }
}

/// The key of a request: query, then header, then cookie, as APISIX looks for it.
fn offered_key(request: &Request) -> Option<String> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    if let Some(key) = query.get("api_key") {
        return Some(key.to_owned());
    }
    let headers = request.headers();
    if let Some(key) = headers.get("x-api-key") {
        return Some(String::from_utf8_lossy(key.as_bytes()).into_owned());
    }
    cookie(headers, "x_api_key")
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_names_roles() {
        let keys = Keys::default()
            .with_file("# ours\n\n  one\nadmin two\nviewer three\n")
            .unwrap();
        assert_eq!(keys.role("one"), Some(Role::Admin));
        assert_eq!(keys.role("two"), Some(Role::Admin));
        assert_eq!(keys.role("three"), Some(Role::Viewer));
        assert_eq!(keys.role(""), None);
        assert_eq!(keys.role("on"), None);
        for (file, line) in [("a b", 1), ("a\nviewer", 2), ("admin a b", 1)] {
            let error = Keys::default().with_file(file).unwrap_err();
            assert_eq!(error.line, line, "{error}");
        }
    }

    #[test]
    fn a_generated_key_is_accepted_and_not_printed() {
        let (keys, key) = Keys::generate();
        assert_eq!(key.len(), GENERATED_CHARS);
        assert_eq!(keys.role(&key), Some(Role::Admin));
        assert_ne!(Keys::generate().1, key);
        assert_eq!(format!("{keys:?}"), "Keys(1, redacted)");
    }

    #[test]
    fn a_request_carries_a_key_in_three_places() {
        let offered = |uri: &str, headers: &[(&str, &str)]| {
            let mut request = Request::builder().uri(uri);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            offered_key(&request.body(axum::body::Body::empty()).unwrap())
        };
        let all = [("x-api-key", "h"), ("cookie", "a=b; x_api_key=c")];
        assert_eq!(offered("/?api_key=q%21", &all).unwrap(), "q!");
        assert_eq!(offered("/", &all).unwrap(), "h");
        assert_eq!(offered("/", &all[1..]).unwrap(), "c");
        assert_eq!(offered("/", &[]), None);
    }
}
