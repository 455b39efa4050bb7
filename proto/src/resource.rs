//! Owns one resource: its name, its version and its bytes, encoded once for every stream.
//! Must not know: sets, subscriptions, streams.

mod expiry;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len, string};

use crate::encoding::Encoding;
use crate::name::{Name, ResourceId, SetVersion, TypeUrl, Version};

use expiry::Expiry;

/// Field numbers of `envoy.service.discovery.v3.Resource`, `google.protobuf.Any` and the responses.
mod field {
    pub(super) const RESOURCE_VERSION: u32 = 1;
    pub(super) const RESOURCE_ANY: u32 = 2;
    pub(super) const RESOURCE_NAME: u32 = 3;
    pub(super) const ANY_TYPE_URL: u32 = 1;
    pub(super) const ANY_VALUE: u32 = 2;
    pub(super) const RESPONSE_RESOURCES: u32 = 2;
}

/// A named, typed, versioned thing on the wire.
///
/// It holds one allocation: the entry of a `DeltaDiscoveryResponse`, tag included. Because
/// `Resource.resource` and `DiscoveryResponse.resources` have the same field number, the end of that
/// entry is also the entry of a state-of-the-world response, so both transports share the bytes.
#[derive(Clone, Debug)]
pub struct Resource {
    id: ResourceId,
    version: Version,
    /// Of the body alone. Differs from `version` in what is warmed by parents.
    content: Version,
    refers: Box<[ResourceId]>,
    delta_entry: Bytes,
    any_at: usize,
    body_at: usize,
    expiry: Option<Box<Expiry>>,
}

impl Resource {
    /// Encodes `message`. `refers` are the resources that must be in any snapshot that holds this one: a
    /// listener's routes, a route's clusters, a cluster's endpoints and secrets. Nothing reads them from the
    /// message. Without them nodes may be sent this resource before what it needs (R84), and are not sent
    /// again what it warms (R83).
    pub fn new(id: ResourceId, message: &impl Message, refers: Vec<ResourceId>) -> Self {
        Self::from_encoded(id, &message.encode_to_vec(), refers)
    }

    /// The same from a body that is encoded already.
    #[must_use]
    pub fn from_encoded(id: ResourceId, body: &[u8], refers: Vec<ResourceId>) -> Self {
        let content = Version::of(body);
        Self::encode(id, body, content, content, refers.into())
    }

    fn encode(
        id: ResourceId,
        body: &[u8],
        content: Version,
        version: Version,
        refers: Box<[ResourceId]>,
    ) -> Self {
        let version_text = version.to_string();
        let type_url = id.type_url.as_str().to_owned();
        let name = id.name.as_str().to_owned();

        let any_len = string::encoded_len(field::ANY_TYPE_URL, &type_url)
            + key_len(field::ANY_VALUE)
            + encoded_len_varint(body.len() as u64)
            + body.len();
        let any_entry_len =
            key_len(field::RESOURCE_ANY) + encoded_len_varint(any_len as u64) + any_len;
        let resource_len = string::encoded_len(field::RESOURCE_VERSION, &version_text)
            + string::encoded_len(field::RESOURCE_NAME, &name)
            + any_entry_len;

        let mut entry = BytesMut::with_capacity(resource_len + 12);
        encode_key(
            field::RESPONSE_RESOURCES,
            WireType::LengthDelimited,
            &mut entry,
        );
        encode_varint(resource_len as u64, &mut entry);
        string::encode(field::RESOURCE_VERSION, &version_text, &mut entry);
        string::encode(field::RESOURCE_NAME, &name, &mut entry);
        let any_at = entry.len();
        encode_key(field::RESOURCE_ANY, WireType::LengthDelimited, &mut entry);
        encode_varint(any_len as u64, &mut entry);
        string::encode(field::ANY_TYPE_URL, &type_url, &mut entry);
        encode_key(field::ANY_VALUE, WireType::LengthDelimited, &mut entry);
        encode_varint(body.len() as u64, &mut entry);
        let body_at = entry.len();
        entry.extend_from_slice(body);

        Self {
            id,
            version,
            content,
            refers,
            delta_entry: entry.freeze(),
            any_at,
            body_at,
            expiry: None,
        }
    }

    /// The same, to be forgotten by clients that understand it when they have not heard of it for `ttl`
    /// (R89): while the stream is up, the session sends heartbeats well within that time (R91, R93).
    /// It is a part of the version: another time to live is sent to those who have the resource (R92).
    #[must_use]
    pub fn with_ttl(self, ttl: Duration) -> Self {
        let content = self.content.with_ttl(ttl);
        let mut expiring = Self::encode(
            self.id.clone(),
            &self.body(),
            content,
            content,
            self.refers.clone(),
        );
        expiring.expiry = Some(Box::new(Expiry::new(&expiring, ttl)));
        expiring
    }

    /// Whether it is what `other` is, whatever parents have warmed either.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.content == other.content && self.id == other.id && self.refers == other.refers
    }

    pub(crate) fn is_warmed_by(&self, parents: SetVersion) -> bool {
        self.version == self.content.warmed_by(parents)
    }

    /// The same as a child of `parents`: it has another version when one of them has, so that it is sent
    /// again after a parent has changed (R83), to everybody and by the same bytes.
    #[must_use]
    pub(crate) fn warmed_by(&self, parents: SetVersion) -> Self {
        let version = self.content.warmed_by(parents);
        let (id, refers) = (self.id.clone(), self.refers.clone());
        let mut again = Self::encode(id, &self.body(), self.content, version, refers);
        again.expiry = self.ttl().map(|ttl| Box::new(Expiry::new(&again, ttl)));
        again
    }

    /// Type and name.
    #[must_use]
    pub fn id(&self) -> &ResourceId {
        &self.id
    }

    /// The type.
    #[must_use]
    pub fn type_url(&self) -> &TypeUrl {
        &self.id.type_url
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.id.name
    }

    /// The hash of the body, and of the parents of what is warmed by parents.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// What must be in the same snapshot.
    #[must_use]
    pub fn refers(&self) -> &[ResourceId] {
        &self.refers
    }

    /// The encoded message itself.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.delta_entry.slice(self.body_at..)
    }

    /// How long clients keep it without hearing of it.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        self.expiry.as_ref().map(|expiry| expiry.ttl())
    }

    /// The entry of field `resources` in a response, tag and length included.
    #[must_use]
    pub fn entry(&self, encoding: Encoding) -> Bytes {
        match (&self.expiry, encoding) {
            (Some(expiry), Encoding::DeltaTtl | Encoding::SotwTtl) => expiry.entry(encoding),
            (_, Encoding::Delta | Encoding::DeltaTtl) => self.delta_entry.clone(),
            (_, Encoding::Sotw | Encoding::SotwTtl) => self.delta_entry.slice(self.any_at..),
        }
    }

    /// The entry that says it is still there and has not changed (R91), if it has a time to live and the
    /// client understands that.
    #[must_use]
    pub fn heartbeat(&self, encoding: Encoding) -> Option<Bytes> {
        let expiry = self.expiry.as_ref().filter(|_| encoding.has_ttl())?;
        Some(expiry.heartbeat(encoding))
    }
}

/// Two are equal when a node that has one needs not be sent the other.
impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version && self.id == other.id
    }
}

impl Eq for Resource {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::discovery::{DeltaDiscoveryResponse, DiscoveryResponse};
    use crate::wire::native::{Endpoint, Endpoints};

    fn sample() -> (Endpoints, Resource) {
        let message = Endpoints {
            endpoints: vec![Endpoint {
                host: "127.0.0.1".into(),
                port: 1980,
                weight: 1,
                priority: 0,
                zone: String::new(),
            }],
            service_name: String::new(),
        };
        let id = ResourceId::new(TypeUrl::ENDPOINTS, "upstreams/1");
        (message.clone(), Resource::new(id, &message, Vec::new()))
    }

    #[test]
    fn a_delta_entry_decodes_as_the_generated_code_wants_it() {
        let (message, resource) = sample();
        let mut response = DeltaDiscoveryResponse::decode(resource.entry(Encoding::Delta)).unwrap();
        let entry = response.resources.pop().unwrap();
        assert_eq!(entry.name, "upstreams/1");
        assert_eq!(entry.version, resource.version().to_string());
        let any = entry.resource.unwrap();
        assert_eq!(any.type_url, TypeUrl::ENDPOINTS.as_str());
        assert_eq!(Endpoints::decode(any.value).unwrap(), message);
    }

    /// R90: state-of-the-world carries the `Any` itself, from the same bytes.
    #[test]
    fn a_sotw_entry_is_the_tail_of_the_delta_entry() {
        let (message, resource) = sample();
        let response = DiscoveryResponse::decode(resource.entry(Encoding::Sotw)).unwrap();
        assert_eq!(response.resources.len(), 1);
        assert_eq!(
            Endpoints::decode(response.resources[0].value.clone()).unwrap(),
            message
        );
        assert_eq!(Endpoints::decode(resource.body()).unwrap(), message);
    }
}
