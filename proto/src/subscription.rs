//! Owns what one stream wants of one type: names, a wildcard, or both (R47 to R56, R65 to R72).
//! Must not know: resources, versions, what was sent.

use std::collections::BTreeSet;

use crate::name::Name;

/// The name that means "everything" (R47).
const WILDCARD: &str = "*";

/// What a delta stream wants of one type.
#[derive(Clone, Debug, Default)]
pub struct Subscription {
    wildcard: bool,
    names: BTreeSet<Name>,
}

/// What a request changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Everything must be sent, whatever was sent before (R55).
    pub wildcard_started: bool,
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
                self.names.insert(name.clone());
                due.insert(name);
            }
        }
        for name in unsubscribe {
            if name == WILDCARD {
                self.wildcard = false;
                changed.wildcard_started = false;
            } else if let Some(name) = self.names.take(name.as_str()) {
                due.remove(&name);
                if self.wildcard {
                    due.insert(name);
                } else {
                    changed.dropped.push(name);
                }
            }
        }
        changed.due = due.into_iter().collect();
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
}
