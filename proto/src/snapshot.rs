//! Owns the immutable set of resources that a fleet is served, in which every reference resolves.
//! Must not know: who subscribes, what was sent to whom.

use crate::name::ResourceId;
use crate::resource::Resource;

/// What is different in the next snapshot.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// New or changed resources. No id twice, none that is removed too.
    pub upserts: Vec<Resource>,
    /// Resources that are gone.
    pub removals: Vec<ResourceId>,
}
