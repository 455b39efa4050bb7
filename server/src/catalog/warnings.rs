//! Owns what the authors of keys in force should know. Must not know: why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::fleet::KeyProblem;
use crate::store::Revision;

/// Warnings by key. Most of a fleet says one thing (a plugin that the agent does not run), so equal
/// texts are kept once.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    by_key: BTreeMap<Box<str>, Warned>,
    texts: BTreeSet<Arc<str>>,
}

#[derive(Debug)]
struct Warned {
    revision: Revision,
    texts: Box<[Arc<str>]>,
}

impl Warnings {
    /// Adds one to what is said of a key.
    pub(super) fn add(&mut self, key: String, revision: Revision, text: &str) {
        let text = match self.texts.get(text) {
            Some(known) => Arc::clone(known),
            None => {
                let text: Arc<str> = text.into();
                self.texts.insert(Arc::clone(&text));
                text
            }
        };
        let texts = Box::default();
        let warned = self
            .by_key
            .entry(key.into())
            .or_insert(Warned { revision, texts });
        let mut texts = std::mem::take(&mut warned.texts).into_vec();
        texts.push(text);
        warned.texts = texts.into();
    }

    /// Nothing is said of a key any more.
    pub(super) fn remove(&mut self, key: &str) {
        let Some(warned) = self.by_key.remove(key) else {
            return;
        };
        for text in warned.texts {
            // This one, and the one in the set.
            if Arc::strong_count(&text) == 2 {
                self.texts.remove(&text);
            }
        }
    }

    /// All of them in key order; a key with several texts comes several times.
    pub(super) fn iter(&self) -> impl Iterator<Item = KeyProblem> + '_ {
        self.by_key.iter().flat_map(|(key, warned)| {
            warned.texts.iter().map(|text| KeyProblem {
                key: key.to_string(),
                reason: text.to_string(),
                revision: warned.revision.0,
                last_good: false,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_kept_once_and_go_with_their_last_key() {
        let mut warnings = Warnings::default();
        for key in ["b", "a"] {
            warnings.add(key.into(), Revision(1), "same");
        }
        warnings.add("b".into(), Revision(1), "other");
        let told: Vec<String> = warnings
            .iter()
            .map(|w| format!("{} {}", w.key, w.reason))
            .collect();
        assert_eq!(told, ["a same", "b same", "b other"]);
        assert_eq!(warnings.texts.len(), 2);
        warnings.remove("b");
        assert_eq!(warnings.texts.len(), 1);
        warnings.remove("a");
        warnings.remove("a");
        assert!(warnings.texts.is_empty());
    }

    #[test]
    fn a_text_said_twice_of_one_key_is_forgotten_too() {
        let mut warnings = Warnings::default();
        warnings.add("a".into(), Revision(1), "same");
        warnings.add("a".into(), Revision(1), "same");
        warnings.remove("a");
        assert!(warnings.texts.is_empty());
    }
}
