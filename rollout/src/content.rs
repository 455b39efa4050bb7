//! Owns what a release holds: the encoded resources of every kind of client, exactly as they are sent.
//! Must not know: where it is kept, who gets it.
//!
//! Encoded when the release is cut and never again: an upgrade of a server changes nothing that a proxy
//! sees, and two builds of a server can't make two things of one release.

mod diff;
mod manifest;
mod pack;
#[cfg(test)]
mod tests;
mod unpack;
mod wire;

use std::time::Duration;

use bellwether::name::ResourceId;
use bellwether::resource::Resource;
use bytes::Bytes;

pub use self::diff::{Changed, Diff, diff};
pub use self::manifest::{BadManifest, MAX_BLOB, Manifest};
pub use self::pack::{Packed, TooLarge, pack};
pub use self::unpack::{Broken, unpack};

/// Bytes of all resources of one release at most.
pub const MAX_BYTES: usize = 256 << 20;

/// Who a resource is made for. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum View {
    /// Agents and programs that read native types.
    Native = 1,
    /// Envoy.
    Envoy = 2,
    /// An Envoy that nothing vouches for.
    EnvoyWithoutSecrets = 3,
    /// gRPC's own xDS clients.
    Grpc = 4,
    /// An agent or a program that nothing vouches for.
    NativeWithoutSecrets = 5,
    /// A client of gRPC's that nothing vouches for.
    GrpcWithoutSecrets = 6,
}

impl View {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Native,
        Self::Envoy,
        Self::EnvoyWithoutSecrets,
        Self::Grpc,
        Self::NativeWithoutSecrets,
        Self::GrpcWithoutSecrets,
    ];

    /// As it is named in the status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Envoy => "envoy",
            Self::EnvoyWithoutSecrets => "envoy_without_secrets",
            Self::Grpc => "grpc",
            Self::NativeWithoutSecrets => "native_without_secrets",
            Self::GrpcWithoutSecrets => "grpc_without_secrets",
        }
    }
}

/// One resource of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Who it is made for.
    pub view: View,
    /// Type and name.
    pub id: ResourceId,
    /// The encoded message.
    pub body: Bytes,
    /// What must be in the same view.
    pub refers: Vec<ResourceId>,
    /// How long clients keep it without hearing of it.
    pub ttl: Option<Duration>,
}

impl Item {
    /// What a snapshot holds.
    #[must_use]
    pub fn of(view: View, resource: &Resource) -> Self {
        Self {
            view,
            id: resource.id().clone(),
            body: resource.body(),
            refers: resource.refers().to_vec(),
            ttl: resource.ttl(),
        }
    }

    /// For a snapshot.
    #[must_use]
    pub fn resource(&self) -> Resource {
        let resource = Resource::from_encoded(self.id.clone(), &self.body, self.refers.clone());
        match self.ttl {
            Some(ttl) => resource.with_ttl(ttl),
            None => resource,
        }
    }

    /// What it is told apart by.
    fn key(&self) -> (View, &str, &str) {
        (self.view, self.id.type_url.as_str(), self.id.name.as_str())
    }
}
