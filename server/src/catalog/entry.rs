//! Owns what the catalog holds of one item: the values in force of each of its keys, and what was made
//! from them. Must not know: other items.

use std::collections::{BTreeMap, BTreeSet};

use bellwether::name::Version;

use super::invalid::Invalid;
use super::parse::Shape;
use super::spec::Spec;
use crate::keys::{Item, Kind};
use crate::store::{KeyValue, Revision};

/// Which of an item's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The one in the 3.x layout. It wins when it has a good value.
    Current,
    /// The same in the 2.x layout.
    Legacy,
    /// A credential of a consumer.
    Credential(String),
}

/// One key of the store, and whose it is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) item: Item,
    pub(super) part: Part,
}

impl Place {
    /// What its value is read as.
    pub(super) fn shape(&self) -> Shape<'_> {
        match self.part {
            Part::Current | Part::Legacy => Shape::Item(self.item.kind, &self.item.id),
            Part::Credential(_) => Shape::Credential,
        }
    }
}

/// One key.
#[derive(Debug)]
pub(super) struct Source {
    /// Its newest good value; `None` if it never had one.
    pub(super) spec: Option<Spec>,
    /// When the key was created.
    pub(super) created: Revision,
    /// When the value in force was written.
    pub(super) revision: Revision,
}

/// One item.
#[derive(Debug, Default)]
pub(super) struct Entry {
    current: Option<Source>,
    legacy: Option<Box<Source>>,
    credentials: BTreeMap<String, Source>,
    /// What is served of it: index of the type and version.
    pub(super) made: Box<[(u8, Version)]>,
    /// What those that refer to it see.
    pub(super) face: Face,
    /// Some of its keys have warnings.
    pub(super) warned: bool,
}

/// What an item looks like to those that refer to it. They need work only when it changes, so that
/// another node in an upstream costs nothing to its routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Face {
    /// It is not there, or has never had a good value.
    #[default]
    Absent,
    /// It can be used.
    Usable,
    /// It is there, and can't be used.
    Refused(Box<Refusal>),
}

/// Why an item can't be used, and what a request that needs it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u32,
    pub(super) reason: String,
}

impl Entry {
    /// The value in force, and which key it is from.
    pub(super) fn in_force(&self) -> Option<(Part, &Source)> {
        let good = |source: &&Source| source.spec.is_some();
        let current = self.current.as_ref().filter(good);
        let legacy = self.legacy.as_deref().filter(good);
        current
            .map(|source| (Part::Current, source))
            .or(legacy.map(|source| (Part::Legacy, source)))
    }

    /// Its parsed form.
    pub(super) fn spec(&self) -> Option<&Spec> {
        self.in_force()?.1.spec.as_ref()
    }

    /// Whether a good 3.x key hides a 2.x key.
    pub(super) fn hides_legacy(&self) -> bool {
        self.legacy.is_some() && matches!(self.in_force(), Some((Part::Current, _)))
    }

    /// The credentials, by id.
    pub(super) fn credentials(&self) -> impl Iterator<Item = (&String, &Source)> {
        self.credentials.iter()
    }

    /// One of the keys.
    pub(super) fn source(&self, part: &Part) -> Option<&Source> {
        match part {
            Part::Current => self.current.as_ref(),
            Part::Legacy => self.legacy.as_deref(),
            Part::Credential(id) => self.credentials.get(id),
        }
    }

    /// Its keys, good or bad.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part> {
        let current = self.current.as_ref().map(|_| Part::Current);
        let legacy = self.legacy.as_ref().map(|_| Part::Legacy);
        let credentials = self.credentials.keys().cloned().map(Part::Credential);
        current.into_iter().chain(legacy).chain(credentials)
    }

    /// Takes what was read from a key. A bad value leaves the last good one in force, unless the key
    /// was deleted in between: then that one was forgotten, or would have been had we seen it. The
    /// answer is whether a last good value is in force.
    pub(super) fn put(
        &mut self,
        part: Part,
        entry: &KeyValue,
        read: Result<Spec, Invalid>,
    ) -> Result<(), (Invalid, bool)> {
        let created = entry.create_revision;
        let revision = entry.mod_revision;
        let (spec, answer) = match read {
            Ok(spec) => (Some(spec), Ok(())),
            Err(invalid) => {
                let same_key = |source: &Source| source.created == created && source.spec.is_some();
                if self.source(&part).is_some_and(same_key) {
                    return Err((invalid, true));
                }
                (None, Err((invalid, false)))
            }
        };
        let source = Source {
            spec,
            created,
            revision,
        };
        match part {
            Part::Current => self.current = Some(source),
            Part::Legacy => self.legacy = Some(Box::new(source)),
            Part::Credential(id) => {
                self.credentials.insert(id, source);
            }
        }
        answer
    }

    /// Takes a value that no key of its own has. It is as old as the store.
    pub(super) fn set(&mut self, spec: Spec) {
        self.current = Some(Source {
            spec: Some(spec),
            created: Revision(0),
            revision: Revision(0),
        });
    }

    /// The service whose instances it follows.
    pub(super) fn service(&self) -> Option<&str> {
        self.spec()?.upstream()?.service.as_deref()
    }

    /// Forgets a key.
    pub(super) fn delete(&mut self, part: &Part) {
        match part {
            Part::Current => self.current = None,
            Part::Legacy => self.legacy = None,
            Part::Credential(id) => {
                self.credentials.remove(id);
            }
        }
    }

    /// No key is left.
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_none() && self.legacy.is_none() && self.credentials.is_empty()
    }

    /// What it points at. Credentials point at nothing.
    pub(super) fn references(&self) -> BTreeSet<Item> {
        self.spec().into_iter().flat_map(Spec::references).collect()
    }

    /// Whether one of its keys counts as being in force. Of two layouts one does.
    pub(super) fn counts(&self, part: &Part) -> bool {
        match part {
            Part::Current | Part::Legacy => self.spec().is_some(),
            Part::Credential(_) => self
                .source(part)
                .is_some_and(|source| source.spec.is_some()),
        }
    }
}

/// Every item there is.
#[derive(Debug, Default)]
pub(super) struct Entries(BTreeMap<Item, Box<Entry>>);

impl Entries {
    /// One item.
    pub(super) fn get(&self, item: &Item) -> Option<&Entry> {
        self.0.get(item).map(Box::as_ref)
    }

    /// Every item, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Item, &Entry)> {
        self.0.iter().map(|(item, entry)| (item, &**entry))
    }

    /// One item, to change.
    pub(super) fn get_mut(&mut self, item: &Item) -> Option<&mut Entry> {
        self.0.get_mut(item).map(Box::as_mut)
    }

    /// One item, made if need be.
    pub(super) fn or_default(&mut self, item: &Item) -> &mut Entry {
        self.0.entry(item.clone()).or_default()
    }

    /// Forgets one item.
    pub(super) fn remove(&mut self, item: &Item) {
        self.0.remove(item);
    }

    /// The value in force of one item.
    pub(super) fn spec(&self, kind: Kind, id: &str) -> Option<&Spec> {
        self.get(&Item::new(kind, id))?.spec()
    }

    /// What one item looks like to those that refer to it.
    pub(super) fn face(&self, item: &Item) -> &Face {
        self.get(item).map_or(&Face::Absent, |entry| &entry.face)
    }
}
