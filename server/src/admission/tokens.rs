//! Owns the file of bearer tokens: which is of which fleet. Must not know: how a token arrives.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use sha2::{Digest as _, Sha256};

use super::identity::Trusted;

/// What a line of a token file looks like, for help texts.
pub const TOKEN_FILE_LINE: &str = "TOKEN fleet=NAME [LABEL=VALUE ...]";

/// Characters that a token has at least: with fewer it could be guessed.
const TOKEN_CHARS_MIN: usize = 16;

/// The bearer tokens. Only their hashes are kept, and they are found by hash: how long that takes says
/// nothing of a token.
#[derive(Clone, Default)]
pub struct Tokens {
    known: HashMap<[u8; 32], Trusted>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({}, redacted)", self.known.len())
    }
}

/// A line of a token file that is not one. The line itself is not shown.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line} {reason}; a line is {TOKEN_FILE_LINE}")]
pub struct BadTokens {
    line: usize,
    reason: &'static str,
}

impl Tokens {
    /// Reads a token file; `#` starts a comment.
    ///
    /// # Errors
    /// A line that is not one.
    pub fn read(text: &str) -> Result<Self, BadTokens> {
        let mut tokens = Self::default();
        // Some editors begin a file with a mark that nobody sees.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            tokens.add(at + 1, line).map_err(|reason| BadTokens {
                line: at + 1,
                reason,
            })?;
        }
        Ok(tokens)
    }

    fn add(&mut self, number: usize, line: &str) -> Result<(), &'static str> {
        let mut words = line.split_whitespace();
        let token = words.next().unwrap_or_default();
        if token.len() < TOKEN_CHARS_MIN {
            return Err("has a token of less than 16 characters");
        }
        let mut labels = BTreeMap::new();
        for word in words {
            match word.split_once('=') {
                Some((label, value)) if !label.is_empty() => {
                    if labels.insert(label.to_owned(), value.to_owned()).is_some() {
                        return Err("says something twice");
                    }
                }
                _ => return Err("has a word that is not LABEL=VALUE"),
            }
        }
        let fleet = labels.remove("fleet").filter(|fleet| !fleet.is_empty());
        let trusted = Trusted {
            fleet: Some(fleet.ok_or("names no fleet")?),
            labels,
            by: format!("token of line {number}"),
        };
        match self.known.insert(digest(token), trusted) {
            Some(_) => Err("has a token that stands above already"),
            None => Ok(()),
        }
    }

    /// The fleets that are named.
    pub(crate) fn fleets(&self) -> BTreeSet<&str> {
        let all = self.known.values();
        all.filter_map(|trusted| trusted.fleet.as_deref()).collect()
    }

    /// Whose token it is.
    pub(super) fn find(&self, token: &str) -> Option<Trusted> {
        self.known.get(&digest(token)).cloned()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_is_read() {
        let text = "\u{feff}# ours\n\n0123456789abcdef fleet=a zone=eu tier=edge\r\n 0123456789abcdeg fleet=b\n";
        let tokens = Tokens::read(text).unwrap();
        let a = tokens.find("0123456789abcdef").unwrap();
        assert_eq!(a.fleet.as_deref(), Some("a"));
        assert_eq!((a.labels.len(), a.labels["tier"].as_str()), (2, "edge"));
        assert_eq!(a.by, "token of line 3");
        assert_eq!(tokens.find("0123456789abcde"), None);
        assert_eq!(format!("{tokens:?}"), "Tokens(2, redacted)");
    }

    #[test]
    fn what_is_no_line_is_refused_without_showing_it() {
        let long = "0123456789abcdef";
        for (text, named) in [
            ("short fleet=a".to_owned(), "less than 16"),
            (long.to_owned(), "no fleet"),
            (format!("{long} fleet="), "no fleet"),
            (format!("{long} fleet=a x"), "LABEL=VALUE"),
            (format!("{long} fleet=a fleet=b"), "twice"),
            (
                format!("{long} fleet=a\n{long} fleet=b"),
                "line 2 has a token that stands above",
            ),
        ] {
            let error = Tokens::read(&text).unwrap_err().to_string();
            assert!(
                error.contains(named) && !error.contains(long),
                "{text}: {error}"
            );
        }
    }
}
