//! Owns the way from resources to blobs. Must not know: where blobs are kept.
//!
//! Resources are dealt into buckets by the hash of their names, so that a release that differs in one
//! resource differs in one bucket: the rest is stored already.

use std::collections::BTreeMap;

use bellwether::name::ResourceId;
use bytes::Bytes;
use prost::Message;
use sha2::{Digest as _, Sha256};

use super::{Item, MAX_BLOB, MAX_BYTES, Manifest, wire};
use crate::digest::Digest;

/// Bytes of a bucket that is worth having: few keys for all, few bytes for one change.
const BUCKET: usize = 64 << 10;

/// Buckets at most, so that the manifest stays small.
const MAX_BUCKETS: usize = 4096;

/// A release, ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The list of its parts.
    pub manifest: Manifest,
    /// The parts, by the digest of their bytes.
    pub blobs: BTreeMap<Digest, Bytes>,
}

/// It is no release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the resources have {bytes} bytes; a release has {MAX_BYTES} at most")]
pub struct TooLarge {
    /// What they have.
    pub bytes: usize,
}

/// Packs resources, in whatever order they come: equal resources make an equal release.
///
/// # Errors
/// They are too large together.
pub fn pack(mut items: Vec<Item>) -> Result<Packed, TooLarge> {
    items.sort_by(|one, other| one.key().cmp(&other.key()));
    items.dedup_by(|one, other| one.key() == other.key());
    let bytes: usize = items.iter().map(|item| item.body.len()).sum();
    if bytes > MAX_BYTES {
        return Err(TooLarge { bytes });
    }
    let count = buckets_for(bytes);
    let mut buckets = vec![wire::Bucket::default(); count];
    for item in &items {
        if let Some(bucket) = buckets.get_mut(place(item, count)) {
            bucket.items.push(encode(item));
        }
    }
    let mut blobs = BTreeMap::new();
    let parts = buckets.iter().map(|bucket| {
        let encoded = Bytes::from(bucket.encode_to_vec());
        let starts = (0..encoded.len()).step_by(MAX_BLOB);
        let cut = starts.map(|start| encoded.slice(start..encoded.len().min(start + MAX_BLOB)));
        cut.map(|blob| {
            let digest = Digest::of(&blob);
            blobs.insert(digest, blob);
            digest
        })
        .collect()
    });
    let manifest = Manifest {
        resources: items.len() as u64,
        bytes: bytes as u64,
        buckets: parts.collect(),
    };
    Ok(Packed { manifest, blobs })
}

/// A power of two, so that it seldom changes.
fn buckets_for(bytes: usize) -> usize {
    bytes.div_ceil(BUCKET).next_power_of_two().min(MAX_BUCKETS)
}

fn place(item: &Item, count: usize) -> usize {
    let (view, type_url, name) = item.key();
    let hash = Sha256::new()
        .chain_update([view as u8])
        .chain_update(type_url)
        .chain_update([0])
        .chain_update(name)
        .finalize();
    let number = hash
        .iter()
        .take(4)
        .fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
    number % count
}

fn encode(item: &Item) -> wire::Item {
    let millis = item.ttl.map_or(0, |ttl| ttl.as_millis());
    wire::Item {
        view: u32::from(item.view as u8),
        id: Some(id(&item.id)),
        body: item.body.clone(),
        refers: item.refers.iter().map(id).collect(),
        ttl: u64::try_from(millis).unwrap_or(u64::MAX),
    }
}

fn id(id: &ResourceId) -> wire::Id {
    wire::Id {
        type_url: id.type_url.as_str().to_owned(),
        name: id.name.as_str().to_owned(),
    }
}
