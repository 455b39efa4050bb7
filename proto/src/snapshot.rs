//! Owns the immutable set of resources that a fleet is served, in which every reference resolves.
//! Must not know: who subscribes, what was sent to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use imbl::HashMap;

use crate::name::{ResourceId, TypeUrl};
use crate::resource::Resource;
use crate::set::ResourceSet;
use crate::step::Published;

/// What is different in the next snapshot.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// New or changed resources. No id twice, none that is removed too.
    pub upserts: Vec<Resource>,
    /// Resources that are gone.
    pub removals: Vec<ResourceId>,
}

impl Changes {
    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.removals.is_empty()
    }

    /// Several changes, one after the other, as one: of an id that is named again, only the last is left.
    #[must_use]
    pub fn merged(all: Vec<Self>) -> Self {
        let mut all: Vec<_> = all
            .into_iter()
            .filter(|changes| !changes.is_empty())
            .collect();
        if all.len() < 2 {
            return all.pop().unwrap_or_default();
        }
        let mut last: BTreeMap<ResourceId, Option<Resource>> = BTreeMap::new();
        for changes in all {
            last.extend(changes.removals.into_iter().map(|id| (id, None)));
            let upserts = changes.upserts.into_iter();
            last.extend(upserts.map(|resource| (resource.id().clone(), Some(resource))));
        }
        let mut merged = Self::default();
        for (id, resource) in last {
            match resource {
                Some(resource) => merged.upserts.push(resource),
                None => merged.removals.push(id),
            }
        }
        merged
    }
}

/// How far in the history of which store something is. Only positions in one store can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The store's id.
    pub store: u64,
    /// A revision of that store.
    pub revision: u64,
}

impl Position {
    /// Whether `self` is in the same store as `other` and before it.
    #[must_use]
    pub fn is_behind(&self, other: &Self) -> bool {
        self.store == other.store && self.revision < other.revision
    }

    /// Reads what [`fmt::Display`] wrote: `1234@cdf818194e3a8c32`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (revision, store) = text.split_once('@')?;
        Some(Self {
            store: u64::from_str_radix(store, 16).ok()?,
            revision: revision.parse().ok()?,
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:x}", self.revision, self.store)
    }
}

/// Why a snapshot can't be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A reference that does not resolve.
    #[error("{from} refers to {to}, which does not exist")]
    Dangling {
        /// What refers.
        from: ResourceId,
        /// What is missing.
        to: ResourceId,
    },
    /// A removal of what is still needed.
    #[error("{id} can't be removed, it is still referred to")]
    StillReferredTo {
        /// What was to be removed.
        id: ResourceId,
    },
    /// A resource that is changed twice at once.
    #[error("{id} is changed twice")]
    Twice {
        /// What is named twice.
        id: ResourceId,
    },
}

/// All resources of a fleet at one moment. Immutable: a change makes the next one, which shares what
/// is the same. One that exists is consistent: every reference in it resolves.
#[derive(Clone, Default)]
pub struct Snapshot {
    position: Option<Position>,
    trusted: bool,
    types: BTreeMap<TypeUrl, Arc<Published>>,
    /// How many resources refer to each.
    referred: HashMap<ResourceId, u32>,
}

impl Snapshot {
    /// The snapshot after `changes`, which people will know by `label`.
    ///
    /// # Errors
    /// The result would not be consistent. Nothing of `changes` is taken.
    pub fn next(&self, label: impl Into<Arc<str>>, changes: Changes) -> Result<Self, Vec<Problem>> {
        let label = label.into();
        let mut draft = Draft::new(self, &changes)?;
        for id in &changes.removals {
            draft.remove(id);
        }
        for resource in changes.upserts {
            draft.insert(Arc::new(resource));
        }
        draft.check()?;
        let mut next = self.clone();
        next.referred = draft.referred;
        for (type_url, set) in draft.sets {
            let published = match self.types.get(&type_url) {
                Some(old) if old.set().version() == set.version() => continue,
                Some(old) => old.succeed(set, label.clone()),
                None => Published::new(type_url.clone(), set, label.clone()),
            };
            next.types.insert(type_url, Arc::new(published));
        }
        Ok(next)
    }

    /// The same content, known to be right up to `position`.
    #[must_use]
    pub fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    /// The same content, to be believed even if there is none: somebody has looked.
    #[must_use]
    pub fn trusted(mut self) -> Self {
        self.trusted = true;
        self
    }

    /// The same without these types, for those who must not have them. What refers to their resources
    /// is still there.
    #[must_use]
    pub fn without(&self, types: &[TypeUrl]) -> Self {
        let mut rest = self.clone();
        rest.types.retain(|type_url, _| !types.contains(type_url));
        rest
    }

    /// Whether there never was a resource in this snapshot or those it descends from, and nobody has
    /// said that this is right. It may be a store that was wiped (R44).
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.types.is_empty() && !self.trusted
    }

    /// Up to where in the store's history the snapshot is known to be right.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// The resources of one type; `None` where there never was one.
    #[must_use]
    pub fn published(&self, type_url: &TypeUrl) -> Option<&Arc<Published>> {
        self.types.get(type_url)
    }

    /// Every type that ever had a resource.
    pub fn types(&self) -> impl Iterator<Item = &Arc<Published>> {
        self.types.values()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Snapshot");
        out.field("position", &self.position);
        for published in self.types.values() {
            out.field(published.type_url().short(), &published.set().len());
        }
        out.finish()
    }
}

/// A snapshot in the making.
struct Draft<'a> {
    base: &'a Snapshot,
    sets: BTreeMap<TypeUrl, ResourceSet>,
    referred: HashMap<ResourceId, u32>,
    /// What must be looked at again before the draft is a snapshot.
    removed: BTreeSet<ResourceId>,
    referring: Vec<Arc<Resource>>,
}

impl<'a> Draft<'a> {
    fn new(base: &'a Snapshot, changes: &Changes) -> Result<Self, Vec<Problem>> {
        let mut seen = BTreeSet::new();
        let ids = changes
            .upserts
            .iter()
            .map(Resource::id)
            .chain(&changes.removals);
        let twice: Vec<_> = ids
            .filter(|id| !seen.insert(*id))
            .map(|id| Problem::Twice { id: id.clone() })
            .collect();
        if !twice.is_empty() {
            return Err(twice);
        }
        Ok(Self {
            base,
            sets: BTreeMap::new(),
            referred: base.referred.clone(),
            removed: BTreeSet::new(),
            referring: Vec::new(),
        })
    }

    fn set(&mut self, type_url: &TypeUrl) -> &mut ResourceSet {
        self.sets.entry(type_url.clone()).or_insert_with(|| {
            self.base
                .published(type_url)
                .map(|published| published.set().as_ref().clone())
                .unwrap_or_default()
        })
    }

    fn get(&self, id: &ResourceId) -> Option<&Arc<Resource>> {
        match self.sets.get(&id.type_url) {
            Some(set) => set.get(&id.name),
            None => self.base.published(&id.type_url)?.set().get(&id.name),
        }
    }

    fn insert(&mut self, resource: Arc<Resource>) {
        for id in resource.refers() {
            *self.referred.entry(id.clone()).or_insert(0) += 1;
        }
        if !resource.refers().is_empty() {
            self.referring.push(resource.clone());
        }
        let old = self.set(resource.type_url()).insert(resource);
        self.release(old);
    }

    fn remove(&mut self, id: &ResourceId) {
        let old = self.set(&id.type_url).remove(&id.name);
        if old.is_some() {
            self.removed.insert(id.clone());
        }
        self.release(old);
    }

    fn release(&mut self, old: Option<Arc<Resource>>) {
        for id in old.iter().flat_map(|resource| resource.refers()) {
            match self.referred.get_mut(id) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.referred.remove(id)),
            }
        }
    }

    fn check(&self) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        for resource in &self.referring {
            for to in resource.refers().iter().filter(|to| self.get(to).is_none()) {
                problems.push(Problem::Dangling {
                    from: resource.id().clone(),
                    to: to.clone(),
                });
            }
        }
        for id in self
            .removed
            .iter()
            .filter(|id| self.referred.contains_key(*id))
        {
            problems.push(Problem::StillReferredTo { id: id.clone() });
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(type_url: TypeUrl, name: &str) -> ResourceId {
        ResourceId::new(type_url, name)
    }

    fn cluster(name: &str, body: &str) -> Resource {
        Resource::from_encoded(id(TypeUrl::CLUSTER, name), body.as_bytes(), Vec::new())
    }

    fn route(name: &str, to: &str) -> Resource {
        let refers = vec![id(TypeUrl::CLUSTER, to)];
        Resource::from_encoded(id(TypeUrl::ROUTE, name), to.as_bytes(), refers)
    }

    fn put(upserts: Vec<Resource>) -> Changes {
        Changes {
            upserts,
            removals: Vec::new(),
        }
    }

    fn remove(removals: Vec<ResourceId>) -> Changes {
        Changes {
            upserts: Vec::new(),
            removals,
        }
    }

    #[test]
    fn a_dangling_reference_is_refused_whole() {
        let problems = Snapshot::default()
            .next("1", put(vec![cluster("b", "1"), route("r", "a")]))
            .unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems[0].to_string(),
            "Route r refers to Cluster a, which does not exist"
        );
    }

    #[test]
    fn what_is_referred_to_can_be_removed_only_with_what_refers() {
        let base = Snapshot::default()
            .next(
                "1",
                put(vec![cluster("a", "1"), route("r", "a"), route("s", "a")]),
            )
            .unwrap();
        let a = id(TypeUrl::CLUSTER, "a");
        let r = id(TypeUrl::ROUTE, "r");
        let s = id(TypeUrl::ROUTE, "s");
        let refused = base
            .next("2", remove(vec![a.clone(), r.clone()]))
            .unwrap_err();
        assert_eq!(refused, [Problem::StillReferredTo { id: a.clone() }]);
        let gone = base.next("2", remove(vec![a.clone(), r, s])).unwrap();
        assert!(gone.published(&TypeUrl::ROUTE).unwrap().set().is_empty());
        assert!(gone.referred.is_empty());
        let moved = Changes {
            upserts: vec![cluster("b", "1"), route("r", "b"), route("s", "b")],
            removals: vec![a],
        };
        assert!(base.next("2", moved).is_ok());
    }

    #[test]
    fn an_unchanged_type_keeps_its_published_set() {
        let base = Snapshot::default()
            .next("1", put(vec![cluster("a", "1"), route("r", "a")]))
            .unwrap();
        let next = base
            .next("2", put(vec![cluster("a", "1"), route("s", "a")]))
            .unwrap();
        let same =
            |t: &TypeUrl| Arc::ptr_eq(base.published(t).unwrap(), next.published(t).unwrap());
        assert!(same(&TypeUrl::CLUSTER));
        assert!(!same(&TypeUrl::ROUTE));
        assert_eq!(&**next.published(&TypeUrl::CLUSTER).unwrap().label(), "1");
    }

    #[test]
    fn a_resource_changed_twice_is_refused() {
        let refused =
            Snapshot::default().next("1", put(vec![cluster("a", "1"), cluster("a", "2")]));
        assert!(matches!(refused.unwrap_err()[..], [Problem::Twice { .. }]));
    }

    #[test]
    fn merged_changes_do_what_they_did_one_after_the_other() {
        let first = Changes {
            upserts: vec![cluster("a", "1"), cluster("b", "1")],
            removals: vec![id(TypeUrl::CLUSTER, "c")],
        };
        let later = Changes {
            upserts: vec![cluster("c", "2"), cluster("b", "2")],
            removals: vec![id(TypeUrl::CLUSTER, "a")],
        };
        let base = Snapshot::default()
            .next("1", put(vec![cluster("c", "1")]))
            .unwrap();
        let stepwise = base
            .next("2", first.clone())
            .unwrap()
            .next("3", later.clone())
            .unwrap();
        let at_once = base.next("3", Changes::merged(vec![first, later])).unwrap();
        let version = |s: &Snapshot| s.published(&TypeUrl::CLUSTER).unwrap().set().version();
        assert_eq!(version(&at_once), version(&stepwise));
    }

    #[test]
    fn positions_of_different_stores_are_not_compared() {
        let at = |store, revision| Position { store, revision };
        assert!(at(1, 5).is_behind(&at(1, 6)));
        assert!(!at(1, 6).is_behind(&at(1, 6)));
        assert!(!at(2, 5).is_behind(&at(1, 6)));
        assert_eq!(
            Position::parse(&at(0xcafe, 5).to_string()),
            Some(at(0xcafe, 5))
        );
        assert_eq!(Position::parse("shop@42x"), None);
    }
}
