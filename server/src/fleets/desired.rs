//! Owns which fleets a server is to serve: those it was started with, and those that are defined in the
//! store. Must not know: how one is served.
//!
//! What is defined in the store outranks what a server was started with, so that all servers agree. Of
//! fleets whose prefixes overlap, the one that was defined first is served.

use std::collections::{BTreeMap, BTreeSet};

use super::definition::{Definition, check_name};
use crate::keys;
use crate::store::{Batch, Change, KeyValue, Revision};

/// What is known of definitions.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// By the command line.
    fixed: BTreeMap<String, Definition>,
    /// Names of the stores besides the one that the definitions are in.
    stores: BTreeSet<String>,
    stored: BTreeMap<String, Stored>,
}

/// A key of a definition.
#[derive(Clone, Debug)]
struct Stored {
    created: Revision,
    /// The last good one.
    definition: Option<Definition>,
    /// What is wrong with the value as it stands.
    problem: Option<String>,
}

/// The fleets to be served, and what can't be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// By name.
    pub fleets: BTreeMap<String, Definition>,
    /// Why a fleet is not served, or not as it is defined now.
    pub problems: BTreeMap<String, String>,
}

impl Desired {
    /// What a server was started with. `stores` are the names that it knows other stores by.
    #[must_use]
    pub fn new(fixed: BTreeMap<String, Definition>, stores: BTreeSet<String>) -> Self {
        Self {
            fixed,
            stores,
            stored: BTreeMap::new(),
        }
    }

    /// Whether servers are started with it, so that it is there without a definition, too.
    #[must_use]
    pub fn is_fixed(&self, name: &str) -> bool {
        self.fixed.contains_key(name)
    }

    /// Takes changes of definitions.
    pub fn apply(&mut self, batch: &Batch) {
        for change in &batch.changes {
            match change {
                Change::Put(kv) => self.put(kv),
                Change::Delete { key } => {
                    if let Some(name) = keys::fleet_of_definition(key) {
                        self.stored.remove(name);
                    }
                }
            }
        }
    }

    fn put(&mut self, kv: &KeyValue) {
        let Some(name) = keys::fleet_of_definition(&kv.key) else {
            return;
        };
        let read = check_name(name).and_then(|()| Definition::parse(&kv.value));
        let known = self.stored.remove(name);
        let created = kv.create_revision;
        let stored = match read {
            Ok(definition) => Stored {
                created,
                definition: Some(definition),
                problem: None,
            },
            // What was good before stays in force.
            Err(bad) => Stored {
                created,
                definition: known.and_then(|known| known.definition),
                problem: Some(bad.to_string()),
            },
        };
        self.stored.insert(name.to_owned(), stored);
    }

    /// What would be if `name` were defined so.
    ///
    /// # Errors
    /// It can't be, and why.
    pub fn check(&self, name: &str, definition: &Definition) -> Result<(), String> {
        let mut next = self.clone();
        let created = self.stored.get(name).map(|stored| stored.created);
        let stored = Stored {
            created: created.unwrap_or(Revision(u64::MAX)),
            definition: Some(definition.clone()),
            problem: None,
        };
        next.stored.insert(name.to_owned(), stored);
        let (before, after) = (self.resolve().problems, next.resolve().problems);
        let new = |(other, _): &(&String, &String)| !before.contains_key(*other);
        match after.get(name) {
            Some(problem) => Err(problem.clone()),
            None => match after.iter().find(new) {
                Some((_, problem)) => Err(problem.clone()),
                None => Ok(()),
            },
        }
    }

    /// What is to be served.
    #[must_use]
    pub fn resolve(&self) -> Resolved {
        let mut resolved = Resolved::default();
        let stored = |name: &String| {
            self.stored
                .get(name)
                .and_then(|one| one.definition.as_ref())
        };
        for (name, fixed) in &self.fixed {
            let definition = stored(name).unwrap_or(fixed);
            self.add(name, definition, &mut resolved);
        }
        let mut others: Vec<_> = self
            .stored
            .iter()
            .filter(|(name, _)| !self.fixed.contains_key(*name))
            .collect();
        others.sort_by_key(|(name, stored)| (stored.created, *name));
        for (name, stored) in others {
            if let Some(definition) = &stored.definition {
                self.add(name, definition, &mut resolved);
            }
        }
        for (name, stored) in &self.stored {
            if let Some(problem) = &stored.problem {
                let text = format!("the definition of fleet {name:?} is not in force: {problem}");
                resolved.problems.entry(name.clone()).or_insert(text);
            }
        }
        resolved
    }

    fn add(&self, name: &str, definition: &Definition, resolved: &mut Resolved) {
        let mut refuse = |reason: String| {
            resolved.problems.insert(name.to_owned(), reason);
        };
        if let Some(store) = definition
            .store
            .as_ref()
            .filter(|store| !self.stores.contains(*store))
        {
            return refuse(format!(
                "fleet {name:?} is in store {store:?}, which this server was not told of by --other-store"
            ));
        }
        let taken = resolved.fleets.iter().find(|(_, other)| {
            other.store == definition.store && other.prefix.overlaps(&definition.prefix)
        });
        if let Some((other, taken)) = taken {
            return refuse(format!(
                "the prefixes of the fleets {other:?} and {name:?} overlap: {} and {}",
                taken.prefix, definition.prefix
            ));
        }
        resolved.fleets.insert(name.to_owned(), definition.clone());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::keys::Prefix;

    fn put(name: &str, value: &str, created: u64) -> Batch {
        let kv = KeyValue {
            key: keys::fleet(name),
            value: Bytes::from(value.to_owned()),
            create_revision: Revision(created),
            mod_revision: Revision(9),
            lease: None,
        };
        Batch {
            revision: Revision(9),
            changes: vec![Change::Put(kv)],
        }
    }

    fn desired() -> Desired {
        let fixed = Definition::direct(Prefix::new("/apisix").unwrap());
        let fixed = BTreeMap::from([("default".to_owned(), fixed)]);
        Desired::new(fixed, BTreeSet::from(["eu".to_owned()]))
    }

    fn served(desired: &Desired) -> Vec<String> {
        desired.resolve().fleets.into_keys().collect()
    }

    #[test]
    fn what_is_stored_comes_goes_and_outranks_the_command_line() {
        let mut desired = desired();
        desired.apply(&put("shop", r#"{"prefix": "/shop"}"#, 2));
        assert_eq!(served(&desired), ["default", "shop"]);
        desired.apply(&put(
            "default",
            r#"{"prefix": "/apisix", "mode": "staged"}"#,
            3,
        ));
        let mode = desired.resolve().fleets["default"].mode;
        assert_eq!(mode, super::super::Mode::Staged);
        let key = keys::fleet("shop");
        desired.apply(&Batch {
            revision: Revision(10),
            changes: vec![Change::Delete { key }],
        });
        assert_eq!(served(&desired), ["default"]);
    }

    #[test]
    fn a_bad_definition_disturbs_nobody() {
        let mut desired = desired();
        desired.apply(&put("shop", r#"{"prefix": "/shop"}"#, 2));
        desired.apply(&put("shop", "{", 2));
        desired.apply(&put("other", "{", 3));
        let resolved = desired.resolve();
        assert_eq!(resolved.fleets.len(), 2, "the last good one stays");
        let problems: Vec<_> = resolved.problems.keys().collect();
        assert_eq!(problems, ["other", "shop"]);
    }

    #[test]
    fn of_two_that_overlap_the_first_is_served() {
        let mut desired = desired();
        desired.apply(&put("late", r#"{"prefix": "/x"}"#, 7));
        desired.apply(&put("early", r#"{"prefix": "/x/y"}"#, 5));
        desired.apply(&put("elsewhere", r#"{"prefix": "/x", "store": "eu"}"#, 8));
        desired.apply(&put("nowhere", r#"{"prefix": "/z", "store": "us"}"#, 8));
        assert_eq!(served(&desired), ["default", "early", "elsewhere"]);
        let problems = desired.resolve().problems;
        assert!(problems["late"].contains("overlap"), "{problems:?}");
        assert!(problems["nowhere"].contains("\"us\""), "{problems:?}");
    }

    #[test]
    fn what_would_not_be_served_is_refused_before_it_is_stored() {
        let mut desired = desired();
        desired.apply(&put("shop", r#"{"prefix": "/shop"}"#, 2));
        let at = |prefix: &str| Definition::direct(Prefix::new(prefix).unwrap());
        assert_eq!(desired.check("new", &at("/new")), Ok(()));
        assert_eq!(desired.check("shop", &at("/shop/a")), Ok(()));
        assert!(desired.check("new", &at("/shop/a")).is_err());
        assert!(desired.check("shop", &at("/apisix")).is_err());
        // It would push out another.
        assert!(desired.check("default", &at("/shop")).is_err());
    }
}
