//! Owns the list of a release's parts. Its digest is the release's identity, for it names every part by
//! the digest of its bytes. Must not know: what the parts hold.

use bytes::Bytes;
use prost::Message;

use super::wire;
use crate::digest::Digest;

/// Bytes of one blob at most: etcd takes requests of up to 1.5 MiB, and several fit into one.
pub const MAX_BLOB: usize = 512 << 10;

/// How this server writes manifests, and the only way that it reads.
const FORMAT: u32 = 1;

/// The parts of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Resources of all views.
    pub resources: u64,
    /// Bytes of all resources.
    pub bytes: u64,
    /// Of each bucket, the blobs that it was cut into.
    pub buckets: Vec<Vec<Digest>>,
}

/// Not a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadManifest {
    /// It was damaged, or is something else.
    #[error("not a manifest of a release: {0}")]
    Damaged(String),
    /// A newer server wrote it.
    #[error("the manifest is written in format {0}; this server reads format {FORMAT}")]
    Format(u32),
}

impl Manifest {
    /// As it is stored.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let buckets = self.buckets.iter().map(|blobs| wire::Part {
            blobs: blobs
                .iter()
                .map(|digest| Bytes::copy_from_slice(digest.as_bytes()))
                .collect(),
        });
        let manifest = wire::Manifest {
            format: FORMAT,
            resources: self.resources,
            bytes: self.bytes,
            buckets: buckets.collect(),
        };
        manifest.encode_to_vec().into()
    }

    /// The identity of the release.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }

    /// Reads what was stored.
    ///
    /// # Errors
    /// It is damaged, or a newer server wrote it.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadManifest> {
        let damaged = |what: &dyn std::fmt::Display| BadManifest::Damaged(what.to_string());
        let manifest = wire::Manifest::decode(bytes).map_err(|error| damaged(&error))?;
        if manifest.format != FORMAT {
            return Err(BadManifest::Format(manifest.format));
        }
        let digest = |bytes: &Bytes| {
            let bytes = <[u8; 32]>::try_from(&bytes[..]);
            bytes
                .map(Digest::from_bytes)
                .map_err(|_| damaged(&"a digest has not 32 bytes"))
        };
        let buckets = manifest
            .buckets
            .iter()
            .map(|part| part.blobs.iter().map(digest).collect());
        Ok(Self {
            resources: manifest.resources,
            bytes: manifest.bytes,
            buckets: buckets.collect::<Result<_, _>>()?,
        })
    }

    /// Every blob, once for each place that it has.
    pub fn blobs(&self) -> impl Iterator<Item = Digest> {
        self.buckets.iter().flatten().copied()
    }
}
