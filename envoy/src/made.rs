//! Owns what was made of one thing, and how it differs from what was made before.
//! Must not know: how it is made.

use std::collections::BTreeMap;

use bellwether::name::ResourceId;
use bellwether::resource::Resource;
use bellwether::snapshot::Changes;

/// What was made of one native resource, or of all of one type together.
#[derive(Debug, Default)]
pub(crate) struct Made {
    resources: BTreeMap<ResourceId, Resource>,
    unsupported: Vec<Unsupported>,
}

/// Something of a native resource that a kind of client can't be told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unsupported {
    /// The native resource.
    pub resource: ResourceId,
    /// What can't be expressed, and what becomes of it.
    pub what: String,
}

impl Made {
    /// Adds a resource.
    pub(crate) fn add(&mut self, resource: Resource) {
        self.resources.insert(resource.id().clone(), resource);
    }

    /// Says that something of a native resource can't be expressed.
    pub(crate) fn cannot(&mut self, resource: &ResourceId, what: impl Into<String>) {
        self.unsupported.push(Unsupported {
            resource: resource.clone(),
            what: what.into(),
        });
    }

    /// What can't be expressed.
    pub(crate) fn unsupported(&self) -> &[Unsupported] {
        &self.unsupported
    }

    /// How many resources there are.
    pub(crate) fn len(&self) -> usize {
        self.resources.len()
    }

    /// What must change so that `self` stands where `old` stood. Equal bytes are no change.
    pub(crate) fn changes_from(&self, old: &Self, changes: &mut Changes) {
        let different = |resource: &&Resource| old.resources.get(resource.id()) != Some(*resource);
        let upserts = self.resources.values().filter(different);
        changes.upserts.extend(upserts.cloned());
        let gone = |id: &&ResourceId| !self.resources.contains_key(*id);
        changes
            .removals
            .extend(old.resources.keys().filter(gone).cloned());
    }
}
