//! Owns what one stream wants of one type: names, a wildcard, or both (R47 to R56, R65 to R72).
//! Must not know: resources, versions, what was sent.

use std::collections::BTreeSet;

use crate::name::Name;

/// Bytes that a name takes besides its text.
const BYTES_BESIDES: usize = 64;

/// The name that means "everything" (R47).
const WILDCARD: &str = "*";

/// What a stream wants of one type.
#[derive(Clone, Debug, Default)]
pub struct Subscription {
    wildcard: bool,
    /// A state-of-the-world request has named something, so that none means none from now on.
    has_named: bool,
    /// What the names take in memory.
    bytes: usize,
    names: BTreeSet<Name>,
}

/// What a request changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Everything must be sent, whatever was sent before (R55).
    pub wildcard_started: bool,
    /// Not everything is wanted any more.
    pub wildcard_ended: bool,
    /// Must be answered with the resource or its removal, whatever was sent before: subscribed
    /// (R67, R70, R72), or unsubscribed while the wildcard still covers it (R69).
    pub due: Vec<Name>,
    /// No longer wanted by name, and not covered by a wildcard either.
    pub dropped: Vec<Name>,
}

impl Subscription {
    /// Takes a delta request. `first`: it is the first of its type on the stream; `legacy_wildcard`:
    /// for this type a first request that names nothing means everything (R49, R52).
    pub fn update(
        &mut self,
        first: bool,
        legacy_wildcard: bool,
        subscribe: Vec<String>,
        unsubscribe: Vec<String>,
    ) -> Changed {
        let mut changed = Changed::default();
        let before = self.wildcard;
        if first && subscribe.is_empty() && legacy_wildcard {
            self.wildcard = true;
            changed.wildcard_started = true;
        }
        let mut due = BTreeSet::new();
        for name in subscribe {
            if name == WILDCARD {
                self.wildcard = true;
                changed.wildcard_started = true;
            } else {
                let name = Name::from(name);
                if self.names.insert(name.clone()) {
                    self.bytes += bytes_of(&name);
                }
                due.insert(name);
            }
        }
        for name in unsubscribe {
            if name == WILDCARD {
                self.wildcard = false;
                changed.wildcard_started = false;
            } else if let Some(name) = self.names.take(&Name::from(name)) {
                self.bytes -= bytes_of(&name);
                due.remove(&name);
                if self.wildcard {
                    due.insert(name);
                } else {
                    changed.dropped.push(name);
                }
            }
        }
        changed.wildcard_ended = before && !self.wildcard;
        changed.due = due.into_iter().filter(|name| self.wants(name)).collect();
        changed
    }

    /// Takes the whole list of a state-of-the-world request (R37). A list that names nothing means
    /// everything, for a type that has that, as long as none has named anything (R49, R50).
    pub fn restate(&mut self, legacy_wildcard: bool, names: Vec<String>) -> Changed {
        let mut changed = Changed::default();
        let named_before = self.has_named;
        self.has_named |= !names.is_empty();
        let legacy = legacy_wildcard && !named_before && names.is_empty();
        let (wildcards, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|n| n == WILDCARD);
        let wildcard = legacy || !wildcards.is_empty();
        changed.wildcard_started = wildcard && !self.wildcard;
        changed.wildcard_ended = self.wildcard && !wildcard;
        self.wildcard = wildcard;
        let names: BTreeSet<Name> = names.into_iter().map(Name::from).collect();
        self.bytes = names.iter().map(bytes_of).sum();
        let before = std::mem::replace(&mut self.names, names);
        // R38: what is named anew is sent, even if it was sent before.
        changed.due = self.names.difference(&before).cloned().collect();
        let dropped = before.difference(&self.names).filter(|_| !self.wildcard);
        changed.dropped = dropped.cloned().collect();
        changed
    }

    /// Whether a resource of this name is wanted.
    #[must_use]
    pub fn wants(&self, name: &Name) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// Whether everything is wanted.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Names asked for one by one.
    #[must_use]
    pub fn names(&self) -> &BTreeSet<Name> {
        &self.names
    }

    /// What the names take in memory, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What a name takes in memory.
pub(crate) fn bytes_of(name: &Name) -> usize {
    name.as_str().len() + BYTES_BESIDES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn due(changed: &Changed) -> Vec<&str> {
        changed.due.iter().map(Name::as_str).collect()
    }

    fn started(first: &[&str]) -> Subscription {
        let mut subscription = Subscription::default();
        subscription.update(true, true, names(first), Vec::new());
        subscription
    }

    /// R51, the walk of the specification: unset, then A, then not `*`, then not A.
    #[test]
    fn the_delta_walk_of_the_specification() {
        let mut s = started(&[]);
        assert!(s.is_wildcard());
        s.update(false, true, names(&["A"]), Vec::new());
        assert!(s.is_wildcard() && s.wants(&"A".into()), "R53");
        s.update(false, true, Vec::new(), names(&["*"]));
        assert!(!s.is_wildcard() && s.wants(&"A".into()) && !s.wants(&"B".into()));
        s.update(false, true, Vec::new(), names(&["A"]));
        assert!(
            !s.is_wildcard() && !s.wants(&"A".into()),
            "nothing, not everything"
        );
    }

    /// R48: types without a legacy wildcard read an empty first request as nothing.
    #[test]
    fn an_empty_first_request_is_no_wildcard_where_the_type_has_none() {
        let mut s = Subscription::default();
        s.update(true, false, Vec::new(), Vec::new());
        assert!(!s.is_wildcard());
        s.update(false, false, names(&["*"]), Vec::new());
        assert!(s.is_wildcard(), "explicitly it works everywhere");
    }

    /// R49: later empty requests never mean everything.
    #[test]
    fn only_a_first_request_can_be_a_legacy_wildcard() {
        let mut s = started(&["A"]);
        s.update(false, true, Vec::new(), names(&["A"]));
        s.update(false, true, Vec::new(), Vec::new());
        assert!(!s.is_wildcard());
    }

    /// R66 and R54.
    #[test]
    fn phantom_unsubscribes_change_nothing() {
        let mut s = started(&[]);
        let changed = s.update(false, true, Vec::new(), names(&["member"]));
        assert_eq!(changed, Changed::default());
        assert!(s.wants(&"member".into()));
    }

    /// R69.
    #[test]
    fn unsubscribing_a_name_under_a_wildcard_must_be_answered() {
        let mut s = started(&["*", "A"]);
        let changed = s.update(false, true, Vec::new(), names(&["A"]));
        assert_eq!(due(&changed), ["A"]);
        assert!(changed.dropped.is_empty());
        assert!(s.wants(&"A".into()));
    }

    /// R68.
    #[test]
    fn a_plain_unsubscribe_needs_no_answer() {
        let mut s = started(&["A", "B"]);
        let changed = s.update(false, true, Vec::new(), names(&["A"]));
        assert_eq!(due(&changed), Vec::<&str>::new());
        assert_eq!(changed.dropped, [Name::from("A")]);
    }

    /// R55, R67, R70.
    #[test]
    fn subscribing_again_must_be_answered() {
        let mut s = started(&["*", "A"]);
        let changed = s.update(false, true, names(&["A", "*", "A"]), Vec::new());
        assert_eq!(due(&changed), ["A"]);
        assert!(changed.wildcard_started);
    }

    /// R50, the walk of the specification: nothing, then `*` and A, then A, then nothing.
    #[test]
    fn the_sotw_walk_of_the_specification() {
        let mut s = Subscription::default();
        assert!(s.restate(true, Vec::new()).wildcard_started);
        assert!(s.is_wildcard());
        let changed = s.restate(true, names(&["*", "A"]));
        assert!(s.is_wildcard() && !changed.wildcard_started);
        assert_eq!(due(&changed), ["A"]);
        let changed = s.restate(true, names(&["A"]));
        assert!(!s.is_wildcard() && s.wants(&"A".into()) && !s.wants(&"B".into()));
        assert!(changed.due.is_empty() && changed.dropped.is_empty());
        let changed = s.restate(true, Vec::new());
        assert!(!s.is_wildcard() && !s.wants(&"A".into()));
        assert_eq!(changed.dropped, [Name::from("A")]);
        assert!(s.restate(true, names(&["*"])).wildcard_started, "R55");
    }

    /// R48: endpoints, routes and secrets that nobody names are not wanted.
    #[test]
    fn an_empty_list_means_nothing_where_the_type_has_no_such_wildcard() {
        let mut s = Subscription::default();
        let changed = s.restate(false, Vec::new());
        assert!(!changed.wildcard_started && !s.wants(&"A".into()));
    }

    #[test]
    fn what_names_take_is_counted_once_and_given_back() {
        let mut s = started(&["A", "B"]);
        let two = s.bytes();
        s.update(false, true, names(&["A", "B", "A"]), Vec::new());
        assert_eq!(s.bytes(), two);
        s.update(false, true, Vec::new(), names(&["A", "B", "C"]));
        assert_eq!(s.bytes(), 0);
        s.restate(true, names(&["A", "B", "*"]));
        assert_eq!(s.bytes(), two);
        s.restate(true, Vec::new());
        assert_eq!(s.bytes(), 0);
    }
}
