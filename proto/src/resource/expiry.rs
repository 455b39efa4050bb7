//! Owns the encodings of a resource that has a time to live. Few have one, so they are kept apart.
//! Must not know: when heartbeats are sent.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;
use prost::encoding::message;

use super::{Resource, field};
use crate::encoding::{Encoding, Transport};
use crate::wire::discovery;
use crate::wire::google::protobuf::{self, Any};

/// The type of a wrapped resource in a state-of-the-world response (R90).
const WRAPPED: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

/// A time to live, and everything that is written differently for it.
#[derive(Clone, Debug)]
pub(super) struct Expiry {
    ttl: Duration,
    delta: Entries,
    sotw: Entries,
}

#[derive(Clone, Debug)]
struct Entries {
    whole: Bytes,
    heartbeat: Bytes,
}

impl Expiry {
    pub(super) fn new(resource: &Resource, ttl: Duration) -> Self {
        let heartbeat = discovery::Resource {
            version: resource.version().to_string(),
            name: resource.name().to_string(),
            ttl: Some(protobuf::Duration {
                seconds: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(ttl.subsec_nanos()).unwrap_or_default(),
            }),
            ..discovery::Resource::default()
        };
        let body = Any {
            type_url: resource.type_url().as_str().to_owned(),
            value: resource.body(),
        };
        let whole = discovery::Resource {
            resource: Some(body),
            ..heartbeat.clone()
        };
        let wrapped = |resource: &discovery::Resource| Any {
            type_url: WRAPPED.to_owned(),
            value: resource.encode_to_vec().into(),
        };
        Self {
            ttl,
            delta: Entries {
                whole: entry(&whole),
                heartbeat: entry(&heartbeat),
            },
            sotw: Entries {
                whole: entry(&wrapped(&whole)),
                heartbeat: entry(&wrapped(&heartbeat)),
            },
        }
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    pub(super) fn entry(&self, encoding: Encoding) -> Bytes {
        self.entries(encoding).whole.clone()
    }

    pub(super) fn heartbeat(&self, encoding: Encoding) -> Bytes {
        self.entries(encoding).heartbeat.clone()
    }

    fn entries(&self, encoding: Encoding) -> &Entries {
        match encoding.transport() {
            Transport::Delta => &self.delta,
            Transport::Sotw => &self.sotw,
        }
    }
}

fn entry(resource: &impl Message) -> Bytes {
    let mut entry = BytesMut::new();
    message::encode(field::RESPONSE_RESOURCES, resource, &mut entry);
    entry.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{ResourceId, TypeUrl};
    use crate::wire::discovery::{DeltaDiscoveryResponse, DiscoveryResponse};

    fn sample() -> Resource {
        let id = ResourceId::new(TypeUrl::ENVOY_ENDPOINTS, "a");
        Resource::from_encoded(id, b"body", Vec::new()).with_ttl(Duration::from_millis(1500))
    }

    /// R89, R91: the same version, and no body in a heartbeat.
    #[test]
    fn delta_carries_the_time_to_live() {
        let resource = sample();
        let read = |bytes: Bytes| {
            let mut response = DeltaDiscoveryResponse::decode(bytes).unwrap();
            response.resources.pop().unwrap()
        };
        let whole = read(resource.entry(Encoding::DeltaTtl));
        let ttl = whole.ttl.unwrap();
        assert_eq!((ttl.seconds, ttl.nanos), (1, 500_000_000));
        assert_eq!(whole.version, resource.version().to_string());
        assert_eq!(&whole.resource.unwrap().value[..], b"body");
        let beat = read(resource.heartbeat(Encoding::DeltaTtl).unwrap());
        assert_eq!((beat.resource, beat.version), (None, whole.version));
        assert!(read(resource.entry(Encoding::Delta)).ttl.is_none());
        assert!(resource.heartbeat(Encoding::Delta).is_none());
    }

    /// R90: wrapped only for those who understand it.
    #[test]
    fn state_of_the_world_wraps_what_has_a_time_to_live() {
        let resource = sample();
        let read = |bytes: Bytes| {
            let mut response = DiscoveryResponse::decode(bytes).unwrap();
            response.resources.pop().unwrap()
        };
        let any = read(resource.entry(Encoding::SotwTtl));
        assert_eq!(any.type_url, WRAPPED);
        let wrapped = discovery::Resource::decode(any.value).unwrap();
        assert_eq!(wrapped.name, "a");
        assert_eq!(&wrapped.resource.unwrap().value[..], b"body");
        let plain = read(resource.entry(Encoding::Sotw));
        assert_eq!(plain.type_url, TypeUrl::ENVOY_ENDPOINTS.as_str());
    }
}
