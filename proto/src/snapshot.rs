//! Owns the immutable set of resources that a fleet is served, in which every reference resolves.
//! Must not know: who subscribes, what was sent to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use imbl::HashMap;

use crate::name::{ResourceId, SetVersion, TypeUrl};
use crate::resource::Resource;
use crate::step::Published;

mod draft;
#[cfg(test)]
mod tests;

use draft::Draft;

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

    /// What to remember as the newest seen when `seen` was and `told` comes: never something before it.
    /// Of another store the newest word counts.
    #[must_use]
    pub fn newest(seen: Option<Self>, told: Option<Self>) -> Option<Self> {
        match (seen, told) {
            (Some(seen), Some(told)) if told.is_behind(&seen) => Some(seen),
            (seen, told) => told.or(seen),
        }
    }

    /// Reads what [`fmt::Display`] wrote: `1234@cdf818194e3a8c32`. Words after it are for people.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (revision, store) = text.split(' ').next()?.split_once('@')?;
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

/// Resources that make no snapshot together: everything that is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inconsistent(pub Vec<Problem>);

impl fmt::Display for Inconsistent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, more)) = self.0.split_first() else {
            return Ok(());
        };
        first.fmt(f)?;
        match more.len() {
            0 => Ok(()),
            more => write!(f, ", and {more} problems more"),
        }
    }
}

impl std::error::Error for Inconsistent {}

/// One reason why a snapshot can't be built.
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
    called: Option<Arc<str>>,
    types: BTreeMap<TypeUrl, Arc<Published>>,
    /// How many resources refer to each.
    referred: HashMap<ResourceId, u32>,
    /// The versions of the parents of each resource that parents warm (R83).
    parents: HashMap<ResourceId, SetVersion>,
}

impl Snapshot {
    /// The snapshot after `changes`, which people will know by `label`.
    ///
    /// # Errors
    /// The result would not be consistent. Nothing of `changes` is taken.
    pub fn next(&self, label: impl Into<Arc<str>>, changes: Changes) -> Result<Self, Inconsistent> {
        self.advance(&label.into(), changes, |published| published)
            .map_err(Inconsistent)
    }

    /// The snapshot that holds exactly `resources`, under a version of your own: it is what state of the
    /// world says as `version_info` of every type that changes, instead of the hash of its set. Nodes
    /// that hold this snapshot are sent what differs. A type that [`Snapshot::next`] changes later goes by
    /// the hash of its set again.
    ///
    /// # Errors
    /// The result would not be consistent.
    pub fn replace(
        &self,
        version: impl Into<Arc<str>>,
        resources: Vec<Resource>,
    ) -> Result<Self, Inconsistent> {
        let changes = self.changes_to(resources);
        self.advance(&version.into(), changes, Published::with_own_version)
            .map_err(Inconsistent)
    }

    /// What must change so that exactly `resources` are left. What is there already stays as it is, and is
    /// shared by both.
    #[must_use]
    pub fn changes_to(&self, mut resources: Vec<Resource>) -> Changes {
        let ids: BTreeSet<&ResourceId> = resources.iter().map(Resource::id).collect();
        let all = self.types().flat_map(|published| published.set().iter());
        let removals = all
            .map(|resource| resource.id())
            .filter(|id| !ids.contains(id))
            .cloned()
            .collect();
        // Whoever names one twice is to be told.
        if ids.len() == resources.len() {
            resources.retain(|new| !self.get(new.id()).is_some_and(|old| old.is_same(new)));
        }
        Changes {
            removals,
            upserts: resources,
        }
    }

    fn get(&self, id: &ResourceId) -> Option<&Arc<Resource>> {
        self.types.get(&id.type_url)?.set().get(&id.name)
    }

    fn advance(
        &self,
        label: &Arc<str>,
        changes: Changes,
        finish: impl Fn(Published) -> Published,
    ) -> Result<Self, Vec<Problem>> {
        let mut draft = Draft::new(self, &changes)?;
        for id in &changes.removals {
            draft.remove(id);
        }
        for resource in changes.upserts {
            draft.insert(Arc::new(resource));
        }
        draft.warm();
        draft.check()?;
        let mut next = self.clone();
        next.referred = draft.referred;
        next.parents = draft.parents;
        for (type_url, set) in draft.sets {
            let published = match self.types.get(&type_url) {
                Some(old) if old.set().version() == set.version() => continue,
                Some(old) => old.succeed(set, label.clone()),
                None => Published::new(type_url.clone(), set, label.clone()),
            };
            next.types.insert(type_url, Arc::new(finish(published)));
        }
        Ok(next)
    }

    /// This snapshot and the types of `other`, to be served together. It is no snapshot to go on from:
    /// references are not counted over both.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let mut both = self.clone();
        let types = other.types.iter();
        both.types
            .extend(types.map(|(type_url, published)| (type_url.clone(), published.clone())));
        both
    }

    /// The same without the resources of these types, which this client may not have: it is told so
    /// (R97).
    #[must_use]
    pub fn denying(&self, types: &[TypeUrl]) -> Self {
        let mut less = self.clone();
        for type_url in types {
            let label = self.types.get(type_url).map(|published| published.label());
            let denied = Published::denied(type_url.clone(), label.cloned().unwrap_or_default());
            less.types.insert(type_url.clone(), Arc::new(denied));
        }
        less
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

    /// The same content, by a name of its owner's: lists of nodes say who has it.
    #[must_use]
    pub fn called(mut self, name: impl Into<Arc<str>>) -> Self {
        self.called = Some(name.into());
        self
    }

    /// What its owner calls it.
    #[must_use]
    pub fn name(&self) -> Option<&Arc<str>> {
        self.called.as_ref()
    }

    /// The same content. Many that hold `other` are about to take it, or to come back to it: what they
    /// are sent is made once.
    #[must_use]
    pub fn after(mut self, other: &Self) -> Self {
        for (type_url, published) in &mut self.types {
            let Some(other) = other.types.get(type_url) else {
                continue;
            };
            if !published.is_after(other) {
                *published = Arc::new(published.after(other));
            }
        }
        self
    }

    /// Whether there never was a resource in this snapshot or those it descends from, and nobody has
    /// said that this is right. It may be a store that was wiped (R44).
    #[must_use]
    pub fn is_blank(&self) -> bool {
        let denied = |published: &Arc<Published>| published.is_denied();
        self.types.values().all(denied) && !self.trusted
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
