//! Owns the order of a host's routes (`docs/apisix.md` §2.3), which is the order in which Envoy tries
//! them. Must not know: what a route does.

use std::cmp::Reverse;

use bellwether::name::Name;

use crate::route::path::{Pattern, Place};

/// Exact paths, then longer prefixes before shorter ones; at the same place greater priority, longer
/// path, older, lesser name. The same order as the agent's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order {
    wild: bool,
    length: Reverse<usize>,
    place: String,
    priority: Reverse<i64>,
    text_length: Reverse<usize>,
    created: u64,
    name: Name,
    text: String,
}

impl Order {
    pub(crate) fn of(pattern: &Pattern, name: &Name, priority: i64, created: u64) -> Self {
        let Place { exact, text } = pattern.place();
        Self {
            wild: !exact,
            length: Reverse(if exact { 0 } else { text.len() }),
            place: text,
            priority: Reverse(priority),
            text_length: Reverse(pattern.text().len()),
            created,
            name: name.clone(),
            text: pattern.text().to_owned(),
        }
    }

    /// When the route was created.
    pub(crate) fn created(&self) -> u64 {
        self.created
    }
}
