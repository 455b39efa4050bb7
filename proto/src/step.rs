//! Owns the step from one set to another as encoded responses, so that every stream that takes the
//! step sends the same bytes. Must not know: nonces, streams, when a step is taken.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::string;

use crate::name::{Name, SetVersion, TypeUrl, Version};
use crate::resource::Resource;
use crate::set::{Difference, ResourceSet};

/// Bytes of one response. gRPC clients refuse messages over 4 MiB unless told otherwise (R11); what is
/// larger goes as several responses. A single resource that is larger goes alone.
pub const MAX_RESPONSE_BYTES: usize = 3 << 20;

/// How many earlier sets a published set keeps a shared step from. Whoever is further behind gets a
/// step computed for it alone.
const SHARED_STEPS: usize = 8;

/// Field numbers of `DeltaDiscoveryResponse`.
mod field {
    pub(super) const SYSTEM_VERSION_INFO: u32 = 1;
    pub(super) const TYPE_URL: u32 = 4;
    pub(super) const NONCE: u32 = 5;
    pub(super) const REMOVED_RESOURCES: u32 = 6;
}

/// One response without its nonce, which is the only part that differs between streams.
#[derive(Debug)]
pub struct Part {
    /// An encoded `DeltaDiscoveryResponse`; a nonce field appended to it makes it whole.
    pub payload: Bytes,
    /// The names and versions it carries.
    pub offered: Box<[(Name, Version)]>,
    /// The names it removes.
    pub removed: Box<[Name]>,
}

/// The encoded nonce field, to be appended to a [`Part`]'s payload.
#[must_use]
pub fn encode_nonce(nonce: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(nonce.len() + 3);
    string::encode(field::NONCE, &nonce.to_owned(), &mut out);
    out.freeze()
}

/// All that must be sent to one who holds one set so that he holds another. No part: nothing to send.
#[derive(Debug, Default)]
pub struct Step {
    /// In the order they are to be sent.
    pub parts: Box<[Part]>,
    /// Names that must be removed later, once nothing refers to them (R84). Empty for types that
    /// nothing refers to: their removals are in `parts`.
    pub removed_later: Box<[Name]>,
}

/// Collects differences and cuts them into responses.
#[derive(Debug)]
pub(crate) struct StepBuilder<'a> {
    type_url: &'a TypeUrl,
    label: &'a str,
    parts: Vec<Part>,
    body: BytesMut,
    offered: Vec<(Name, Version)>,
    removed: Vec<Name>,
}

impl<'a> StepBuilder<'a> {
    pub(crate) fn new(type_url: &'a TypeUrl, label: &'a str) -> Self {
        Self {
            type_url,
            label,
            parts: Vec::new(),
            body: BytesMut::new(),
            offered: Vec::new(),
            removed: Vec::new(),
        }
    }

    pub(crate) fn upsert(&mut self, resource: &Resource) {
        let entry = resource.delta_entry();
        self.make_room(entry.len());
        self.body.put_slice(entry);
        self.offered
            .push((resource.name().clone(), resource.version()));
    }

    pub(crate) fn remove(&mut self, name: &Name) {
        let text = name.as_str().to_owned();
        self.make_room(string::encoded_len(field::REMOVED_RESOURCES, &text));
        string::encode(field::REMOVED_RESOURCES, &text, &mut self.body);
        self.removed.push(name.clone());
    }

    /// `greet`: make one response even if there is nothing to say (R57).
    pub(crate) fn finish(mut self, greet: bool) -> Box<[Part]> {
        if !self.is_empty() || (greet && self.parts.is_empty()) {
            self.cut();
        }
        self.parts.into_boxed_slice()
    }

    fn is_empty(&self) -> bool {
        self.offered.is_empty() && self.removed.is_empty()
    }

    fn make_room(&mut self, more: usize) {
        if !self.is_empty() && self.body.len() + more > MAX_RESPONSE_BYTES {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let type_url = self.type_url.as_str().to_owned();
        string::encode(field::TYPE_URL, &type_url, &mut self.body);
        string::encode(
            field::SYSTEM_VERSION_INFO,
            &self.label.to_owned(),
            &mut self.body,
        );
        self.parts.push(Part {
            payload: self.body.split().freeze(),
            offered: std::mem::take(&mut self.offered).into(),
            removed: std::mem::take(&mut self.removed).into(),
        });
    }
}

impl Step {
    fn between(
        type_url: &TypeUrl,
        label: &str,
        from: &ResourceSet,
        to: &ResourceSet,
        greet: bool,
    ) -> Self {
        let mut builder = StepBuilder::new(type_url, label);
        let mut removed_later = Vec::new();
        for difference in from.diff(to) {
            match difference {
                Difference::Upsert(resource) => builder.upsert(resource),
                Difference::Removed(name) if type_url.is_referred_to() => {
                    removed_later.push(name.clone());
                }
                Difference::Removed(name) => builder.remove(name),
            }
        }
        Self {
            parts: builder.finish(greet),
            removed_later: removed_later.into(),
        }
    }
}

/// A set as it is served: with the label people know it by, and the steps that lead to it.
#[derive(Debug)]
pub struct Published {
    type_url: TypeUrl,
    set: Arc<ResourceSet>,
    label: Arc<str>,
    first: OnceLock<Arc<Step>>,
    recent: Box<[(SetVersion, OnceLock<Arc<Step>>)]>,
}

impl Published {
    /// The first set of a type.
    pub(crate) fn new(type_url: TypeUrl, set: ResourceSet, label: Arc<str>) -> Self {
        Self {
            type_url,
            set: Arc::new(set),
            label,
            first: OnceLock::new(),
            recent: Box::default(),
        }
    }

    /// The set that replaces this one. It remembers the last few, not more: a step is kept only as
    /// long as it is likely to be taken.
    pub(crate) fn succeed(&self, set: ResourceSet, label: Arc<str>) -> Self {
        let recent = std::iter::once(self.set.version())
            .chain(self.recent.iter().map(|(version, _)| *version))
            .take(SHARED_STEPS)
            .map(|version| (version, OnceLock::new()))
            .collect();
        Self {
            type_url: self.type_url.clone(),
            set: Arc::new(set),
            label,
            first: OnceLock::new(),
            recent,
        }
    }

    /// The resources.
    #[must_use]
    pub fn set(&self) -> &Arc<ResourceSet> {
        &self.set
    }

    /// The type.
    #[must_use]
    pub fn type_url(&self) -> &TypeUrl {
        &self.type_url
    }

    /// What people call this version: a revision or a release (R19).
    #[must_use]
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// The step for one who follows everything and holds nothing. Has at least one part (R57).
    #[must_use]
    pub fn first_step(&self) -> Arc<Step> {
        let compute = || {
            let nothing = ResourceSet::default();
            Arc::new(Step::between(
                &self.type_url,
                &self.label,
                &nothing,
                &self.set,
                true,
            ))
        };
        self.first.get_or_init(compute).clone()
    }

    /// The step for one who follows everything and holds `from`. Computed once for all who hold it,
    /// unless it is long past; whoever comes while it is computed waits for just that.
    #[must_use]
    pub fn step_from(&self, from: &ResourceSet) -> Arc<Step> {
        if from.version() == self.set.version() {
            return Arc::new(Step::default());
        }
        let compute = || {
            Arc::new(Step::between(
                &self.type_url,
                &self.label,
                from,
                &self.set,
                false,
            ))
        };
        self.recent
            .iter()
            .find(|(version, _)| *version == from.version())
            .map_or_else(compute, |(_, step)| step.get_or_init(compute).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ResourceId;
    use crate::wire::discovery::DeltaDiscoveryResponse;
    use prost::Message;

    fn set(type_url: &TypeUrl, members: &[(&str, &str)]) -> ResourceSet {
        let mut set = ResourceSet::default();
        for (name, body) in members {
            let id = ResourceId::new(type_url.clone(), *name);
            set.insert(Arc::new(Resource::from_encoded(
                id,
                body.as_bytes(),
                Vec::new(),
            )));
        }
        set
    }

    fn decode(part: &Part, nonce: &str) -> DeltaDiscoveryResponse {
        let mut bytes = part.payload.to_vec();
        bytes.extend_from_slice(&encode_nonce(nonce));
        DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap()
    }

    #[test]
    fn a_step_is_a_delta_response_once_a_nonce_is_appended() {
        let from = set(&TypeUrl::ROUTE, &[("a", "1"), ("b", "1"), ("c", "1")]);
        let to = set(&TypeUrl::ROUTE, &[("a", "1"), ("b", "2"), ("d", "1")]);
        let published = Published::new(TypeUrl::ROUTE, to, "7".into());
        let step = published.step_from(&from);
        assert_eq!(step.parts.len(), 1);
        let response = decode(&step.parts[0], "n1");
        assert_eq!(response.nonce, "n1");
        assert_eq!(response.system_version_info, "7");
        assert_eq!(response.type_url, TypeUrl::ROUTE.as_str());
        let names: Vec<_> = response.resources.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["b", "d"]);
        assert_eq!(response.removed_resources, ["c"]);
    }

    /// R84: what others refer to is removed after they let go of it.
    #[test]
    fn removals_of_what_is_referred_to_come_later() {
        let from = set(&TypeUrl::CLUSTER, &[("a", "1"), ("b", "1")]);
        let to = set(&TypeUrl::CLUSTER, &[("a", "2")]);
        let step = Published::new(TypeUrl::CLUSTER, to, "7".into()).step_from(&from);
        assert!(decode(&step.parts[0], "n").removed_resources.is_empty());
        assert_eq!(&*step.removed_later, [Name::from("b")]);
    }

    #[test]
    fn a_step_is_computed_once_and_shared() {
        let from = set(&TypeUrl::ROUTE, &[("a", "1")]);
        let old = Published::new(TypeUrl::ROUTE, from.clone(), "1".into());
        let new = old.succeed(set(&TypeUrl::ROUTE, &[("a", "2")]), "2".into());
        let (one, two) = (new.step_from(&from), new.step_from(&from));
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!(one.parts[0].payload.as_ptr(), two.parts[0].payload.as_ptr());
        assert!(Arc::ptr_eq(&new.first_step(), &new.first_step()));
    }

    /// R11: no response outgrows what clients accept, and nothing is lost by cutting.
    #[test]
    fn a_large_step_is_cut() {
        let body = "x".repeat(MAX_RESPONSE_BYTES / 3);
        let names: Vec<String> = (0..10).map(|n| format!("r{n}")).collect();
        let members: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), body.as_str()))
            .collect();
        let step =
            Published::new(TypeUrl::ROUTE, set(&TypeUrl::ROUTE, &members), "1".into()).first_step();
        let sizes: Vec<_> = step.parts.iter().map(|part| part.payload.len()).collect();
        assert!(
            sizes.iter().all(|size| *size < MAX_RESPONSE_BYTES + 1024),
            "{sizes:?}"
        );
        let sent: usize = step
            .parts
            .iter()
            .map(|part| decode(part, "n").resources.len())
            .sum();
        assert_eq!(sent, 10);
    }

    /// R57: one who follows everything gets a first answer even if there is nothing.
    #[test]
    fn the_first_step_to_an_empty_set_is_an_empty_response() {
        let step = Published::new(TypeUrl::ROUTE, ResourceSet::default(), "1".into()).first_step();
        assert_eq!(step.parts.len(), 1);
        assert!(decode(&step.parts[0], "n").resources.is_empty());
    }
}
