//! Owns the file that says which certificate is of which fleet. Must not know: how certificates are
//! verified.
//!
//! TOML, or the same as JSON:
//!
//! ```toml
//! [[identity]]
//! san = ["spiffe://example.org/shop/*", "*.shop.example.org"]
//! fleet = "shop"
//! labels = { zone = "eu-1" }
//! ```
//!
//! The first rule one of whose patterns fits a subject alternative name counts. A pattern with `://` is
//! for URIs, any other for DNS names. A `*` stands for one part of a name: up to the next dot of a DNS
//! name or slash of a URI, and at the end of a URI for everything that follows.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_xds::{Certificate, SubjectName};
use serde::Deserialize;

use super::identity::Trusted;

/// A file of rules that is none.
#[derive(Debug, thiserror::Error)]
pub enum BadRules {
    /// Not the format.
    #[error("it is neither TOML nor JSON with a list of identities: {0}")]
    Format(String),
    /// A pattern that fits nothing, or that nobody would understand.
    #[error("the pattern {0:?} must be a name with at most one *")]
    Pattern(String),
    /// A rule that can't be of use.
    #[error("rule {0} names no fleet or no san")]
    Empty(usize),
}

/// Which certificate is of which fleet.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    patterns: Vec<Pattern>,
    fleet: String,
    labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
struct Pattern {
    is_uri: bool,
    before: String,
    /// What stands behind the `*`, if there is one.
    after: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    identity: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    san: OneOrMany,
    fleet: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Rules {
    /// Reads a file of rules.
    ///
    /// # Errors
    /// It is none.
    pub fn read(text: &str) -> Result<Self, BadRules> {
        // Some editors begin a file with a mark that nobody sees.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let file: File = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| BadRules::Format(error.to_string()))?
        } else {
            toml::from_str(text).map_err(|error| BadRules::Format(error.to_string()))?
        };
        let entries = file.identity.into_iter().enumerate();
        let rules: Result<Vec<_>, _> = entries.map(|(at, entry)| Rule::read(at, entry)).collect();
        Ok(Self { rules: rules? })
    }

    /// The fleets that are named.
    pub(crate) fn fleets(&self) -> BTreeSet<&str> {
        self.rules.iter().map(|rule| rule.fleet.as_str()).collect()
    }

    /// What the first rule that fits says.
    pub(super) fn find(&self, certificate: &Certificate) -> Option<Trusted> {
        self.rules.iter().find_map(|rule| {
            let fits = |name: &&SubjectName| rule.patterns.iter().any(|pattern| pattern.fits(name));
            let name = certificate.names.iter().find(fits)?;
            Some(Trusted {
                fleet: Some(rule.fleet.clone()),
                labels: rule.labels.clone(),
                by: format!("certificate {name}"),
            })
        })
    }
}

impl Rule {
    fn read(at: usize, entry: Entry) -> Result<Self, BadRules> {
        let sans = match entry.san {
            OneOrMany::One(san) => vec![san],
            OneOrMany::Many(sans) => sans,
        };
        if sans.is_empty() || entry.fleet.is_empty() {
            return Err(BadRules::Empty(at + 1));
        }
        let patterns: Result<Vec<_>, _> = sans.iter().map(|san| Pattern::read(san)).collect();
        Ok(Self {
            patterns: patterns?,
            fleet: entry.fleet,
            labels: entry.labels,
        })
    }
}

impl Pattern {
    fn read(text: &str) -> Result<Self, BadRules> {
        let is_uri = text.contains("://");
        let text = match is_uri {
            true => text.to_owned(),
            false => text.to_ascii_lowercase(),
        };
        let (before, after) = match text.split_once('*') {
            Some((before, after)) => (before.to_owned(), Some(after.to_owned())),
            None => (text.clone(), None),
        };
        let twice = after.as_ref().is_some_and(|after| after.contains('*'));
        if text.is_empty() || text == "*" || twice {
            return Err(BadRules::Pattern(text));
        }
        Ok(Self {
            is_uri,
            before,
            after,
        })
    }

    fn fits(&self, name: &SubjectName) -> bool {
        let (name, end) = match name {
            SubjectName::Uri(name) if self.is_uri => (name, '/'),
            SubjectName::Dns(name) if !self.is_uri => (name, '.'),
            SubjectName::Uri(_) | SubjectName::Dns(_) => return false,
        };
        let Some(after) = &self.after else {
            return *name == self.before;
        };
        let part = name
            .strip_prefix(&*self.before)
            .and_then(|rest| rest.strip_suffix(&**after));
        // Whoever resolves such a path would be somewhere else (SPIFFE allows none).
        if self.is_uri && name.split('/').any(|part| part == "." || part == "..") {
            return false;
        }
        let to_the_end = self.is_uri && after.is_empty();
        part.is_some_and(|part| !part.is_empty() && (to_the_end || !part.contains(end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names() {
        let fits = |pattern: &str, name: SubjectName| Pattern::read(pattern).unwrap().fits(&name);
        let uri = |name: &str| SubjectName::Uri(name.into());
        let dns = |name: &str| SubjectName::Dns(name.into());
        for (pattern, name, expected) in [
            ("spiffe://a/b", uri("spiffe://a/b"), true),
            ("spiffe://a/b", uri("spiffe://a/b/c"), false),
            ("spiffe://a/*", uri("spiffe://a/b/c"), true),
            ("spiffe://a/*", uri("spiffe://a/"), false),
            ("spiffe://a/*", uri("spiffe://ab/c"), false),
            ("spiffe://a/*", uri("spiffe://a/../b/c"), false),
            ("spiffe://a/*", uri("spiffe://a/."), false),
            ("spiffe://a/*", uri("spiffe://a/..b"), true),
            ("spiffe://a/*/gw", uri("spiffe://a/b/gw"), true),
            ("spiffe://a/*/gw", uri("spiffe://a/b/c/gw"), false),
            ("spiffe://*/gw", uri("spiffe://evil/a/gw"), false),
            ("a.test", dns("a.test"), true),
            ("A.test", dns("a.test"), true),
            ("*.test", dns("a.test"), true),
            ("*.test", dns("a.b.test"), false),
            ("*.test", dns(".test"), false),
            ("gw-*.test", dns("gw-1.test"), true),
            ("a.test", uri("a.test"), false),
            ("spiffe://a/*", dns("spiffe://a/b"), false),
        ] {
            assert_eq!(fits(pattern, name.clone()), expected, "{pattern} {name:?}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let toml = "[[identity]]\nsan = 'a.test'\nfleet = 'a'\n[[identity]]\nsan = '*.test'\nfleet = 'b'\nlabels = {x = 'y'}\n";
        let json = r#"{"identity": [{"san": "a.test", "fleet": "a"},
            {"san": ["*.test"], "fleet": "b", "labels": {"x": "y"}}]}"#;
        for text in [toml, json] {
            let rules = Rules::read(text).unwrap();
            let find = |name: &str| {
                rules.find(&Certificate {
                    names: vec![
                        SubjectName::Uri("x://y".into()),
                        SubjectName::Dns(name.into()),
                    ],
                    ..Certificate::default()
                })
            };
            assert_eq!(find("a.test").unwrap().fleet.unwrap(), "a");
            let other = find("b.test").unwrap();
            assert_eq!(other.labels["x"], "y");
            assert_eq!(other.by, "certificate b.test");
            assert_eq!(find("b.example"), None);
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for (text, named) in [
            ("[[identity]]\nfleet = 'a'", "san"),
            ("[[identity]]\nsan = 'a'\nfleet = 'a'\nlabel = 'x'", "label"),
            ("[[identity]]\nsan = '*'\nfleet = 'a'", "\"*\""),
            ("[[identity]]\nsan = '*.*.a'\nfleet = 'a'", "at most one"),
            ("[[identity]]\nsan = []\nfleet = 'a'", "rule 1"),
            ("{", "JSON"),
            ("=", "TOML"),
        ] {
            let error = Rules::read(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
