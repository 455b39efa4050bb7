//! Owns the desired state of one fleet: batches of the store go in, changes of resources come out.
//! Must not know: tasks, clocks, sockets, who is served. It is pure, and has one owner.
//!
//! A change costs what it touches. The key's value is read once; what refers to the item is compiled
//! again, in the order of the graph (ssl, upstream, plugin config and group, service, route), and only
//! if the item looks different from outside: new nodes of an upstream touch no route. What comes out
//! equal to what is served, byte for byte, is not a change.
//!
//! A bad value never hides the rest. The last good one of its key stays in force, and the problem is
//! kept until the key is good again or gone. A server that starts anew has no last good value: then the
//! key has none in force, and what refers to it is answered as if it did not exist.
//!
//! Every upstream is served, referred to or not: a client that subscribes by name may want it,
//! `traffic-split` names upstreams, and a new route finds its endpoints ready.

mod address;
mod compile;
mod entry;
mod expression;
mod gateway;
pub mod inspect;
mod invalid;
mod parse;
mod pattern;
mod read;
mod references;
mod spec;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::snapshot::Changes;
use serde_json::Value;

pub use self::invalid::Invalid;
pub use self::references::references;

use self::compile::compile;
use self::entry::{Entries, Entry, Part, Place};
use self::gateway::{Gateway, Touched};
use self::parse::Shape;
use self::references::References;
use self::spec::Spec;
use self::warnings::Warnings;
use crate::fleet::KeyProblem;
use crate::keys::{INIT_DIR, Item, Key, Kind, Layout, Prefix};
use crate::lane::Instances;
use crate::store::{Batch, Change, KeyValue, Revision};

/// Under which name credentials are counted: they have a directory in each consumer.
const CREDENTIALS: &str = "credentials";

/// The desired state of one fleet.
#[derive(Debug)]
pub struct Catalog {
    prefix: Prefix,
    entries: Entries,
    references: References,
    counts: BTreeMap<&'static str, u64>,
    problems: BTreeMap<String, Problem>,
    warnings: Warnings,
    gateway: Option<Gateway>,
    instances: Instances,
    /// Whose endpoints are the instances of each service.
    followers: BTreeMap<Box<str>, BTreeSet<Item>>,
}

/// A key whose newest value is bad.
#[derive(Debug)]
struct Problem {
    reason: String,
    revision: Revision,
    last_good: bool,
}

impl Catalog {
    /// The empty state of the fleet whose configuration is under `prefix`.
    #[must_use]
    pub fn new(prefix: Prefix) -> Self {
        Self {
            prefix,
            entries: Entries::default(),
            references: References::default(),
            counts: BTreeMap::new(),
            problems: BTreeMap::new(),
            warnings: Warnings::default(),
            gateway: None,
            instances: Instances::default(),
            followers: BTreeMap::new(),
        }
    }

    /// The same, with the keys read that belong to this layout.
    #[must_use]
    pub fn reading(mut self, layout: Layout) -> Self {
        self.gateway = match layout {
            Layout::Apisix => None,
            Layout::GoGateway => Some(Gateway::default()),
        };
        self
    }

    /// Applies whole revisions, and tells what the set of resources changes by. In the set that
    /// results, every reference of a resource resolves.
    pub fn apply(&mut self, batch: &Batch) -> Changes {
        let mut dirty: BTreeSet<(Rank, Item)> = BTreeSet::new();
        for change in &batch.changes {
            if self.of_gateway(change, &mut dirty) {
                continue;
            }
            let touched = match change {
                Change::Put(entry) if entry.value == INIT_DIR => self.forget(&entry.key),
                Change::Put(entry) => self.learn(entry),
                Change::Delete { key } => self.forget(key),
            };
            dirty.extend(touched.map(|item| (Rank::of(item.kind), item)));
        }
        self.rebuild_all(dirty)
    }

    /// Takes the instances that services have now, and tells what the set of resources changes by: the
    /// endpoints of the upstreams that follow those that differ, and nothing else.
    pub fn set_instances(&mut self, instances: &Instances) -> Changes {
        let old = std::mem::replace(&mut self.instances, instances.clone());
        let mut dirty: BTreeSet<(Rank, Item)> = BTreeSet::new();
        for service in instances.changed_since(&old) {
            let followers = self.followers.get(service).into_iter().flatten();
            dirty.extend(followers.map(|item| (Rank::of(item.kind), item.clone())));
        }
        self.rebuild_all(dirty)
    }

    fn rebuild_all(&mut self, mut dirty: BTreeSet<(Rank, Item)>) -> Changes {
        let mut changes = Changes::default();
        // What is referred to has a lower rank, so nothing is compiled twice.
        while let Some((rank, item)) = dirty.pop_first() {
            if self.rebuild(&item, &mut changes) {
                let referrers = self.references.of(&item);
                for referrer in referrers {
                    let above = Rank::of(referrer.kind);
                    debug_assert!(above > rank, "{referrer} refers to {item}");
                    dirty.insert((above, referrer.clone()));
                }
            }
        }
        changes
    }

    /// Keys whose newest value is bad, in key order.
    pub fn problems(&self) -> impl ExactSizeIterator<Item = KeyProblem> + '_ {
        self.problems.iter().map(|(key, problem)| KeyProblem {
            key: key.clone(),
            reason: problem.reason.clone(),
            revision: problem.revision.0,
            last_good: problem.last_good,
        })
    }

    /// Keys that are in force but not as their author may think, in key order. Not a problem: an agent
    /// answers what the texts say. A key with several of them comes several times.
    pub fn warnings(&self) -> impl Iterator<Item = KeyProblem> + '_ {
        self.warnings.iter()
    }

    /// How many keys are in force, by directory; credentials by themselves. Kinds without are left out.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.clone()
    }

    /// Which key of which item this is; `None` if it is not configuration.
    fn place(&self, key: &str) -> Option<Place> {
        match self.prefix.parse(key)? {
            Key::Item(item) => {
                let current = self.prefix.key(&item) == key;
                let part = if current { Part::Current } else { Part::Legacy };
                Some(Place { item, part })
            }
            Key::Credential { consumer, id } => Some(Place {
                item: Item::new(Kind::Consumer, consumer),
                part: Part::Credential(id),
            }),
            Key::Directory | Key::Ignored => None,
        }
    }

    /// Takes a new value. The answer is the item to compile.
    fn learn(&mut self, entry: &KeyValue) -> Option<Item> {
        let place = self.place(&entry.key)?;
        let read = parse::bytes(place.shape(), &entry.value);
        Some(self.take(place, entry, read))
    }

    fn take(&mut self, place: Place, entry: &KeyValue, read: Result<Spec, Invalid>) -> Item {
        let outcome = self.edit(&place, |item| item.put(place.part.clone(), entry, read));
        match outcome {
            Ok(()) => {
                self.problems.remove(&entry.key);
            }
            Err((invalid, last_good)) => {
                let problem = Problem {
                    reason: invalid.to_string(),
                    revision: entry.mod_revision,
                    last_good,
                };
                self.problems.insert(entry.key.clone(), problem);
            }
        }
        place.item
    }

    /// Whether it was a key of a Go gateway; then it is done with.
    fn of_gateway(&mut self, change: &Change, dirty: &mut BTreeSet<(Rank, Item)>) -> bool {
        let Some(gateway) = &mut self.gateway else {
            return false;
        };
        let (Change::Put(KeyValue { key, .. }) | Change::Delete { key }) = change;
        let Some(found) = self.prefix.parse_gateway(key) else {
            return false;
        };
        let touched = match gateway.apply(found, change) {
            Ok(touched) => {
                self.problems.remove(key);
                touched
            }
            Err(problem) => {
                self.problems.insert(key.clone(), problem);
                Vec::new()
            }
        };
        for Touched { item, spec } in touched {
            dirty.insert((Rank::of(item.kind), item.clone()));
            let place = Place {
                item,
                part: Part::Current,
            };
            self.edit(&place, |entry| match spec {
                Some(spec) => entry.set(spec),
                None => entry.delete(&Part::Current),
            });
        }
        true
    }

    /// Forgets a key and everything known of it. The answer is the item to compile.
    fn forget(&mut self, key: &str) -> Option<Item> {
        let place = self.place(key)?;
        self.problems.remove(key);
        self.warnings.remove(key);
        self.entries.get(&place.item)?;
        self.edit(&place, |item| item.delete(&place.part));
        Some(place.item)
    }

    /// Changes one key of an entry and what follows from its values alone: references and counts.
    fn edit<T>(&mut self, place: &Place, edit: impl FnOnce(&mut Entry) -> T) -> T {
        let Place { item, part } = place;
        let entry = self.entries.or_default(item);
        let (referred, counted) = (entry.references(), entry.counts(part));
        let followed = entry.service().map(Box::from);
        let outcome = edit(entry);
        self.references
            .replace(item, &referred, &entry.references());
        let follows = entry.service();
        if followed.as_deref() != follows {
            if let Some(service) = followed
                && let Some(followers) = self.followers.get_mut(&service)
            {
                followers.remove(item);
                if followers.is_empty() {
                    self.followers.remove(&service);
                }
            }
            if let Some(service) = follows {
                let followers = self.followers.entry(service.into()).or_default();
                followers.insert(item.clone());
            }
        }
        let counts = entry.counts(part);
        let directory = match part {
            Part::Current | Part::Legacy => item.kind.directory(),
            Part::Credential(_) => CREDENTIALS,
        };
        self.recount(directory, counted, counts);
        outcome
    }

    fn recount(&mut self, directory: &'static str, before: bool, after: bool) {
        if before == after {
            return;
        }
        let count = self.counts.entry(directory).or_default();
        *count = *count + u64::from(after) - u64::from(before);
        if *count == 0 {
            self.counts.remove(directory);
        }
    }

    /// Compiles one item and adds what is different from what is served. The answer is whether those
    /// that refer to it need work too.
    fn rebuild(&mut self, item: &Item, changes: &mut Changes) -> bool {
        let Some(entry) = self.entries.get(item) else {
            return false;
        };
        let compiled = compile(&self.entries, &self.instances, item, entry);
        let mut made = Vec::with_capacity(compiled.resources.len());
        for resource in compiled.resources {
            let made_of_it = (index_of(resource.type_url()), resource.version());
            if !entry.made.contains(&made_of_it) {
                changes.upserts.push(resource);
            }
            made.push(made_of_it);
        }
        let mut gone = entry
            .made
            .iter()
            .filter(|(was, _)| !made.iter().any(|(is, _)| is == was))
            .peekable();
        if gone.peek().is_some() {
            let name = Name::from(item.to_string());
            let removals = gone.map(|(index, _)| {
                ResourceId::new(TypeUrl::NATIVE[usize::from(*index)].clone(), name.clone())
            });
            changes.removals.extend(removals);
        }
        let visible = Rank::of(item.kind).always_visible() || entry.face != compiled.face;
        self.rewarn(item, compiled.warnings);
        let entry = self.entries.get_mut(item).expect("it was there above");
        entry.made = made.into();
        entry.face = compiled.face;
        if entry.is_empty() {
            self.entries.remove(item);
        }
        visible
    }

    /// Replaces the warnings of an item's keys.
    fn rewarn(&mut self, item: &Item, warnings: Vec<(Part, String)>) {
        let Some(entry) = self.entries.get_mut(item) else {
            return;
        };
        if entry.warned {
            for part in entry.parts() {
                self.warnings.remove(&key_of(&self.prefix, item, &part));
            }
        }
        entry.warned = !warnings.is_empty();
        for (part, text) in warnings {
            let source = entry
                .source(&part)
                .expect("only keys that are there are warned of");
            let key = key_of(&self.prefix, item, &part);
            self.warnings.add(key, source.revision, &text);
        }
    }
}

/// Whether this would be a good value, before anything is stored. Unknown fields are fine.
///
/// # Errors
/// Names the field and the reason.
pub fn check(item: &Item, value: &Value) -> Result<(), Invalid> {
    parse::value(Shape::Item(item.kind, &item.id), value).map(drop)
}

/// The same for a consumer's credential.
///
/// # Errors
/// Names the field and the reason.
pub fn check_credential(value: &Value) -> Result<(), Invalid> {
    parse::value(Shape::Credential, value).map(drop)
}

/// The order of compilation: an item refers only to items of a lower rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Certificate,
    Upstream,
    Shared,
    Service,
    Leaf,
}

impl Rank {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Ssl => Self::Certificate,
            Kind::Upstream => Self::Upstream,
            Kind::PluginConfig | Kind::ConsumerGroup => Self::Shared,
            Kind::Service => Self::Service,
            Kind::Route
            | Kind::Consumer
            | Kind::GlobalRule
            | Kind::PluginMetadata
            | Kind::StreamRoute
            | Kind::Proto
            | Kind::Secret => Self::Leaf,
        }
    }

    /// Everything in these is merged into what refers to them, so a face can't stand for it.
    fn always_visible(self) -> bool {
        match self {
            Self::Shared | Self::Service => true,
            Self::Certificate | Self::Upstream | Self::Leaf => false,
        }
    }
}

/// The key of a part, as it is in the store.
fn key_of(prefix: &Prefix, item: &Item, part: &Part) -> String {
    match part {
        Part::Current => prefix.key(item),
        Part::Legacy => prefix.legacy_key(item),
        Part::Credential(id) => prefix.credential_key(&item.id, id),
    }
}

fn index_of(type_url: &TypeUrl) -> u8 {
    let index = TypeUrl::NATIVE.iter().position(|known| known == type_url);
    let index = index.expect("the catalog makes native types only");
    u8::try_from(index).expect("there are six native types")
}

#[cfg(test)]
mod tests;
