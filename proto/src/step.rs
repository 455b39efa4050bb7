//! Owns the step from one set to another as encoded responses, so that every stream that takes the
//! step sends the same bytes. Must not know: nonces, streams, when a step is taken.

mod builder;

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use prost::encoding::string;

use crate::encoding::{Encoding, Transport};
use crate::name::{Name, SetVersion, TypeUrl, Version};
use crate::resource::Resource;
use crate::set::{Difference, ResourceSet};

pub(crate) use builder::StepBuilder;

/// Bytes of one response. gRPC clients refuse messages over 4 MiB unless told otherwise (R11); what is
/// larger goes as several responses. A single resource that is larger goes alone, and so does a
/// state-of-the-world response that must hold everything (R42).
pub const MAX_RESPONSE_BYTES: usize = 3 << 20;

/// How many earlier sets a published set keeps a shared step from. Whoever is further behind gets a
/// step computed for it alone.
const SHARED_STEPS: usize = 8;

/// `DiscoveryResponse.nonce` and `DeltaDiscoveryResponse.nonce`
const NONCE: u32 = 5;

/// Room for one more form of a payload, made by the first stream that wants it and used by all.
pub type Twin = Arc<OnceLock<Bytes>>;

/// The bytes of a response.
#[derive(Clone, Debug)]
pub struct Payload {
    /// An encoded response; a nonce field appended to it makes it whole.
    pub bytes: Bytes,
    /// What of it can be shared besides, like a compressed form; `None`: it was made for one stream
    /// alone.
    pub twin: Option<Twin>,
}

impl Payload {
    pub(crate) fn alone(bytes: Bytes) -> Self {
        Self { bytes, twin: None }
    }
}

impl std::ops::Deref for Payload {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

/// One response without its nonce, which is the only part that differs between streams.
#[derive(Debug)]
pub struct Part {
    /// What is sent.
    pub payload: Payload,
    /// The names and versions that it offers: all it carries, without what a state-of-the-world response
    /// only repeats. In the order of names.
    pub offered: Box<[(Name, Version)]>,
    /// The names it removes.
    pub removed: Box<[Name]>,
}

impl Part {
    /// Whether it offers a resource of this name.
    #[must_use]
    pub fn offers(&self, name: &Name) -> bool {
        let found = self
            .offered
            .binary_search_by(|(offered, _)| offered.cmp(name));
        found.is_ok()
    }
}

/// The encoded nonce field, to be appended to a [`Part`]'s payload.
#[must_use]
pub fn encode_nonce(nonce: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(nonce.len() + 3);
    string::encode(NONCE, &nonce.to_owned(), &mut out);
    out.freeze()
}

/// Something to be removed once nothing refers to it.
#[derive(Clone, Debug)]
pub struct Leaving {
    /// Its name.
    pub name: Name,
    /// What it was, where that is known: state of the world repeats it until it goes.
    pub resource: Option<Arc<Resource>>,
}

/// All that must be sent to one who holds one set so that he holds another. No part: nothing to send.
#[derive(Debug, Default)]
pub struct Step {
    /// In the order they are to be sent.
    pub parts: Box<[Part]>,
    /// What must be removed later, once nothing refers to it (R84). Empty for types that nothing refers
    /// to: their removals are in `parts`.
    pub removed_later: Box<[Leaving]>,
}

impl Step {
    /// Many will take it.
    fn shared(mut self) -> Self {
        for part in &mut self.parts {
            part.payload.twin = Some(Twin::default());
        }
        self
    }
}

/// Whether responses of this type repeat everything (R42).
pub(crate) fn repeats_everything(type_url: &TypeUrl, encoding: Encoding) -> bool {
    encoding.transport() == Transport::Sotw && type_url.is_listed_whole()
}

/// A set as it is served: with the label people know it by, and the steps that lead to it.
#[derive(Debug)]
pub struct Published {
    type_url: TypeUrl,
    set: Arc<ResourceSet>,
    label: Arc<str>,
    /// The label is also the version that state of the world says.
    own_version: bool,
    denied: bool,
    /// Versions of the last few sets, newest first.
    past: Box<[SetVersion]>,
    shelves: [OnceLock<Box<Shelf>>; Encoding::COUNT],
}

/// The steps in one encoding, made when they are first asked for.
#[derive(Debug)]
struct Shelf {
    first: OnceLock<Arc<Step>>,
    /// One for each of the past.
    recent: Box<[OnceLock<Arc<Step>>]>,
    heartbeat: OnceLock<Option<Arc<Step>>>,
}

impl Published {
    /// The first set of a type.
    pub(crate) fn new(type_url: TypeUrl, set: ResourceSet, label: Arc<str>) -> Self {
        Self {
            type_url,
            set: Arc::new(set),
            label,
            own_version: false,
            denied: false,
            past: Box::default(),
            shelves: Default::default(),
        }
    }

    /// A type of which this client may have nothing.
    pub(crate) fn denied(type_url: TypeUrl, label: Arc<str>) -> Self {
        Self {
            denied: true,
            ..Self::new(type_url, ResourceSet::default(), label)
        }
    }

    /// The same, whose label is the version that state of the world says.
    pub(crate) fn with_own_version(self) -> Self {
        Self {
            own_version: true,
            ..self
        }
    }

    /// The set that replaces this one. It remembers the last few, not more: a step is kept only as
    /// long as it is likely to be taken.
    pub(crate) fn succeed(&self, set: ResourceSet, label: Arc<str>) -> Self {
        let past = std::iter::once(self.set.version()).chain(self.past.iter().copied());
        Self {
            past: past.take(SHARED_STEPS).collect(),
            ..Self::new(self.type_url.clone(), set, label)
        }
    }

    /// Whether the step from another set is made once for all who take it.
    pub(crate) fn is_after(&self, other: &Self) -> bool {
        let version = other.set.version();
        version == self.set.version() || self.past.contains(&version)
    }

    /// The same, that makes the step from another set once for all who take it.
    pub(crate) fn after(&self, other: &Self) -> Self {
        let past = std::iter::once(other.set.version()).chain(self.past.iter().copied());
        Self {
            type_url: self.type_url.clone(),
            set: self.set.clone(),
            label: self.label.clone(),
            own_version: self.own_version,
            denied: self.denied,
            past: past.take(SHARED_STEPS).collect(),
            shelves: Default::default(),
        }
    }

    /// The same with other resources, for one client.
    pub(crate) fn with_set(&self, set: ResourceSet) -> Self {
        Self {
            own_version: self.own_version,
            denied: self.denied,
            ..Self::new(self.type_url.clone(), set, self.label.clone())
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

    /// Whether the client may have nothing of this type.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.denied
    }

    /// The version that state of the world says (R15): the hash of the set, equal on every server that
    /// has the same (R18), or the one that was given with it.
    #[must_use]
    pub fn version_info(&self) -> String {
        self.version_text(self.set.version())
    }

    fn version_text(&self, version: SetVersion) -> String {
        if self.own_version {
            self.label.to_string()
        } else {
            version.to_string()
        }
    }

    /// Whether a client that follows everything and says that it holds version `text` holds this set.
    /// A version of one's own says too little: it is the same while something is about to leave.
    #[must_use]
    pub fn is_version(&self, text: &str) -> bool {
        !self.own_version && self.version_info() == text
    }

    /// The step for one who follows everything and holds nothing. Has at least one part (R57).
    #[must_use]
    pub fn first_step(&self, encoding: Encoding) -> Arc<Step> {
        let compute = || {
            let step = self.step_between(&ResourceSet::default(), encoding, true);
            Arc::new(step.shared())
        };
        self.shelf(encoding).first.get_or_init(compute).clone()
    }

    /// The step for one who follows everything and holds `from`. Computed once for all who hold it,
    /// unless it is long past; whoever comes while it is computed waits for just that.
    #[must_use]
    pub fn step_from(&self, from: &ResourceSet, encoding: Encoding) -> Arc<Step> {
        if from.version() == self.set.version() {
            return Arc::new(Step::default());
        }
        let compute = || self.step_between(from, encoding, false);
        let mut past = self.past.iter();
        match past.position(|version| *version == from.version()) {
            Some(at) => self.shelf(encoding).recent[at]
                .get_or_init(|| Arc::new(compute().shared()))
                .clone(),
            None => Arc::new(compute()),
        }
    }

    /// What keeps alive what has a time to live, for one who holds everything (R91).
    #[must_use]
    pub fn heartbeat(&self, encoding: Encoding) -> Option<Arc<Step>> {
        let compute = || StepBuilder::new(self, encoding).heartbeat(self.set.iter());
        self.shelf(encoding)
            .heartbeat
            .get_or_init(|| compute().map(Arc::new))
            .clone()
    }

    fn shelf(&self, encoding: Encoding) -> &Shelf {
        self.shelves[encoding.index()].get_or_init(|| {
            Box::new(Shelf {
                first: OnceLock::new(),
                recent: self.past.iter().map(|_| OnceLock::new()).collect(),
                heartbeat: OnceLock::new(),
            })
        })
    }

    fn step_between(&self, from: &ResourceSet, encoding: Encoding, greet: bool) -> Step {
        let mut builder = StepBuilder::new(self, encoding);
        let mut removed_later = Vec::new();
        for difference in from.diff(&self.set) {
            match difference {
                Difference::Upsert(resource) => builder.upsert(resource),
                Difference::Removed(old) if self.type_url.is_referred_to() => {
                    builder.leaving(old);
                    removed_later.push(Leaving {
                        name: old.name().clone(),
                        resource: Some(old.clone()),
                    });
                }
                Difference::Removed(old) => builder.remove(old.name()),
            }
        }
        self.set
            .iter()
            .for_each(|resource| builder.repeat(resource));
        Step {
            parts: builder.finish(greet),
            removed_later: removed_later.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ResourceId;
    use crate::wire::discovery::{DeltaDiscoveryResponse, DiscoveryResponse};
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
        let step = published.step_from(&from, Encoding::Delta);
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
        let step =
            Published::new(TypeUrl::CLUSTER, to, "7".into()).step_from(&from, Encoding::Delta);
        assert!(decode(&step.parts[0], "n").removed_resources.is_empty());
        assert_eq!(step.removed_later[0].name, Name::from("b"));
    }

    #[test]
    fn a_step_is_computed_once_and_shared() {
        let from = set(&TypeUrl::ROUTE, &[("a", "1")]);
        let old = Published::new(TypeUrl::ROUTE, from.clone(), "1".into());
        let new = old.succeed(set(&TypeUrl::ROUTE, &[("a", "2")]), "2".into());
        let (one, two) = (
            new.step_from(&from, Encoding::Delta),
            new.step_from(&from, Encoding::Delta),
        );
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!(one.parts[0].payload.as_ptr(), two.parts[0].payload.as_ptr());
        let first = || new.first_step(Encoding::Delta);
        assert!(Arc::ptr_eq(&first(), &first()));
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
        let step = Published::new(TypeUrl::ROUTE, set(&TypeUrl::ROUTE, &members), "1".into())
            .first_step(Encoding::Delta);
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
        let step = Published::new(TypeUrl::ROUTE, ResourceSet::default(), "1".into())
            .first_step(Encoding::Delta);
        assert_eq!(step.parts.len(), 1);
        assert!(decode(&step.parts[0], "n").resources.is_empty());
    }

    fn decode_sotw(part: &Part) -> DiscoveryResponse {
        let mut bytes = part.payload.to_vec();
        bytes.extend_from_slice(&encode_nonce("n"));
        DiscoveryResponse::decode(bytes.as_slice()).unwrap()
    }

    fn bodies(response: &DiscoveryResponse) -> Vec<&[u8]> {
        let mut bodies: Vec<_> = response
            .resources
            .iter()
            .map(|any| &any.value[..])
            .collect();
        bodies.sort_unstable();
        bodies
    }

    /// R42, R84: everything in every response, what has to go included until nothing needs it.
    #[test]
    fn state_of_the_world_repeats_everything_of_clusters() {
        let from = set(
            &TypeUrl::ENVOY_CLUSTER,
            &[("a", "a1"), ("b", "b1"), ("c", "c1")],
        );
        let to = set(&TypeUrl::ENVOY_CLUSTER, &[("a", "a1"), ("c", "c2")]);
        let published = Published::new(TypeUrl::ENVOY_CLUSTER, to, "7".into());
        let step = published.step_from(&from, Encoding::Sotw);
        let response = decode_sotw(&step.parts[0]);
        assert_eq!(bodies(&response), [b"a1", b"b1", b"c2"]);
        assert!(
            !published.is_version(&response.version_info),
            "b is still in it"
        );
        let all = published.first_step(Encoding::Sotw);
        assert!(published.is_version(&decode_sotw(&all.parts[0]).version_info));
        assert_eq!(response.nonce, "n");
        assert_eq!(step.removed_later[0].name, Name::from("b"));
        let offered = &step.parts[0].offered;
        assert_eq!((offered.len(), &offered[0].0), (1, &Name::from("c")));
    }

    /// R43, R45: only what changed, and no removal but an error that newer clients know (R96).
    #[test]
    fn state_of_the_world_sends_only_changed_endpoints() {
        let from = set(&TypeUrl::ENVOY_ENDPOINTS, &[("a", "a1"), ("b", "b1")]);
        let to = set(&TypeUrl::ENVOY_ENDPOINTS, &[("a", "a2")]);
        let published = Published::new(TypeUrl::ENVOY_ENDPOINTS, to, "7".into());
        let step = published.step_from(&from, Encoding::Sotw);
        assert_eq!(bodies(&decode_sotw(&step.parts[0])), [b"a2"]);
        assert_eq!(step.removed_later[0].name, Name::from("b"));
    }

    /// R44: listeners go by not being there.
    #[test]
    fn a_listener_that_is_gone_is_missing_from_the_next_response() {
        let from = set(&TypeUrl::ENVOY_LISTENER, &[("a", "a1"), ("b", "b1")]);
        let to = set(&TypeUrl::ENVOY_LISTENER, &[("b", "b1")]);
        let published = Published::new(TypeUrl::ENVOY_LISTENER, to, "7".into());
        let step = published.step_from(&from, Encoding::Sotw);
        assert_eq!(bodies(&decode_sotw(&step.parts[0])), [b"b1"]);
        assert_eq!(&*step.parts[0].removed, [Name::from("a")]);
    }
}
