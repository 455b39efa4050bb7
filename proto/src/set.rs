//! Owns the set of all resources of one type: persistent, so that the next set shares everything that
//! did not change. Must not know: other types, subscriptions, streams.

use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use crate::name::{Name, SetVersion};
use crate::resource::Resource;

/// The resources of one type. Cloning is cheap; a change costs what it touches.
#[derive(Clone, Default)]
pub struct ResourceSet {
    resources: OrdMap<Name, Arc<Resource>>,
    version: SetVersion,
    /// How many have a time to live.
    expiring: usize,
}

/// One difference between two sets.
#[derive(Debug)]
pub enum Difference<'a> {
    /// New or changed.
    Upsert(&'a Arc<Resource>),
    /// Gone; this is what it was.
    Removed(&'a Arc<Resource>),
}

impl ResourceSet {
    /// The hash of all names and versions.
    #[must_use]
    pub fn version(&self) -> SetVersion {
        self.version
    }

    /// How many resources there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// One resource.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&Arc<Resource>> {
        self.resources.get(name)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// What must be sent to one who holds `self` so that he holds `newer`, in the order of names.
    /// Costs what differs, as long as the sets descend from each other.
    pub fn diff<'a>(&'a self, newer: &'a Self) -> impl Iterator<Item = Difference<'a>> {
        self.resources
            .diff(&newer.resources)
            .map(|item| match item {
                DiffItem::Add(_, resource) => Difference::Upsert(resource),
                DiffItem::Update {
                    new: (_, resource), ..
                } => Difference::Upsert(resource),
                DiffItem::Remove(_, resource) => Difference::Removed(resource),
            })
    }

    /// Whether any resource has a time to live.
    #[must_use]
    pub fn has_expiring(&self) -> bool {
        self.expiring > 0
    }

    /// Puts a resource in; the one it replaces.
    pub(crate) fn insert(&mut self, resource: Arc<Resource>) -> Option<Arc<Resource>> {
        let name = resource.name().clone();
        self.version.add(&name, resource.version());
        self.expiring += usize::from(resource.ttl().is_some());
        let old = self.resources.insert(name, resource);
        if let Some(old) = &old {
            self.forget(old);
        }
        old
    }

    /// Takes a resource out.
    pub(crate) fn remove(&mut self, name: &Name) -> Option<Arc<Resource>> {
        let old = self.resources.remove(name)?;
        self.forget(&old);
        Some(old)
    }

    fn forget(&mut self, old: &Resource) {
        self.version.remove(old.name(), old.version());
        self.expiring -= usize::from(old.ttl().is_some());
    }
}

impl std::fmt::Debug for ResourceSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ResourceSet({} resources, {})", self.len(), self.version)
    }
}
