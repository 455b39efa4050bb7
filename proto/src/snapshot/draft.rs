//! Owns a snapshot in the making: applies changes to sets, and checks that every reference resolves.
//! Must not know: labels, positions, how it is served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::HashMap;

use super::{Changes, Problem, Snapshot};
use crate::name::{ResourceId, SetVersion, TypeUrl};
use crate::resource::Resource;
use crate::set::ResourceSet;

/// A snapshot in the making.
pub(super) struct Draft<'a> {
    base: &'a Snapshot,
    pub(super) sets: BTreeMap<TypeUrl, ResourceSet>,
    pub(super) referred: HashMap<ResourceId, u32>,
    pub(super) parents: HashMap<ResourceId, SetVersion>,
    /// Children that must be looked at: they, or a parent of theirs, have changed.
    warmed: BTreeSet<ResourceId>,
    /// What must be looked at again before the draft is a snapshot.
    removed: BTreeSet<ResourceId>,
    referring: Vec<Arc<Resource>>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(base: &'a Snapshot, changes: &Changes) -> Result<Self, Vec<Problem>> {
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
            parents: base.parents.clone(),
            warmed: BTreeSet::new(),
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
            None => self.base.get(id),
        }
    }

    pub(super) fn insert(&mut self, resource: Arc<Resource>) {
        for id in resource.refers() {
            *self.referred.entry(id.clone()).or_insert(0) += 1;
        }
        if !resource.refers().is_empty() {
            self.referring.push(resource.clone());
        }
        for child in children(&resource) {
            let parents = self.parents.entry(child.clone()).or_default();
            parents.add(resource.name(), resource.version());
            self.warmed.insert(child.clone());
        }
        if self.parents.contains_key(resource.id()) {
            self.warmed.insert(resource.id().clone());
        }
        let old = self.set(resource.type_url()).insert(resource);
        self.release(old);
    }

    pub(super) fn remove(&mut self, id: &ResourceId) {
        let old = self.set(&id.type_url).remove(&id.name);
        if old.is_some() {
            self.removed.insert(id.clone());
        }
        self.release(old);
    }

    fn release(&mut self, old: Option<Arc<Resource>>) {
        for (old, child) in old
            .iter()
            .flat_map(|old| children(old).map(move |child| (old, child)))
        {
            let parents = self.parents.entry(child.clone()).or_default();
            parents.remove(old.name(), old.version());
            if *parents == SetVersion::default() {
                self.parents.remove(child);
            }
            self.warmed.insert(child.clone());
        }
        for id in old.iter().flat_map(|resource| resource.refers()) {
            match self.referred.get_mut(id) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.referred.remove(id)),
            }
        }
    }

    /// Gives each child the version that its content and its parents have (R83).
    pub(super) fn warm(&mut self) {
        for id in std::mem::take(&mut self.warmed) {
            let parents = self.parents.get(&id).copied().unwrap_or_default();
            let Some(child) = self.get(&id) else {
                continue;
            };
            if !child.is_warmed_by(parents) {
                let child = Arc::new(child.warmed_by(parents));
                self.set(&id.type_url).insert(child);
            }
        }
    }

    pub(super) fn check(&self) -> Result<(), Vec<Problem>> {
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

/// What is warmed by `parent`, and must be sent again after it.
fn children(parent: &Resource) -> impl Iterator<Item = &ResourceId> {
    let type_url = parent.type_url().children();
    let refers = parent.refers().iter();
    refers.filter(move |id| type_url.as_ref() == Some(&id.type_url))
}
