//! Owns the way from blobs back to resources. Must not know: where blobs come from. It believes none of
//! them: what does not have the digest that it is named by is no part of a release.

use std::time::Duration;

use bellwether::name::{ResourceId, TypeUrl};
use bytes::{Bytes, BytesMut};
use prost::Message;

use super::{Item, Manifest, View, wire};
use crate::digest::Digest;

/// A release can't be had as it was cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A part is not there.
    #[error("blob {0} is missing")]
    Missing(Digest),
    /// A part is not what it was.
    #[error("blob {0} is damaged: its bytes have another digest")]
    Damaged(Digest),
    /// A part is not understood.
    #[error("bucket {bucket} can't be read: {reason}")]
    Unreadable {
        /// Which.
        bucket: usize,
        /// Why not.
        reason: String,
    },
    /// There are more or fewer than there were.
    #[error("the release has {found} resources, its manifest says {said}")]
    Count {
        /// In its parts.
        found: u64,
        /// In its manifest.
        said: u64,
    },
}

/// Every resource of a release, from its parts.
///
/// # Errors
/// A part is missing, damaged, or written by a newer server.
pub fn unpack(
    manifest: &Manifest,
    mut blob: impl FnMut(&Digest) -> Option<Bytes>,
) -> Result<Vec<Item>, Broken> {
    let mut items = Vec::new();
    for (number, parts) in manifest.buckets.iter().enumerate() {
        let mut whole = BytesMut::new();
        for digest in parts {
            let part = blob(digest).ok_or(Broken::Missing(*digest))?;
            if Digest::of(&part) != *digest {
                return Err(Broken::Damaged(*digest));
            }
            whole.extend_from_slice(&part);
        }
        let unreadable = |reason: String| Broken::Unreadable {
            bucket: number,
            reason,
        };
        let bucket =
            wire::Bucket::decode(whole.freeze()).map_err(|error| unreadable(error.to_string()))?;
        for item in bucket.items {
            items.push(decode(item).map_err(unreadable)?);
        }
    }
    let found = items.len() as u64;
    if found != manifest.resources {
        return Err(Broken::Count {
            found,
            said: manifest.resources,
        });
    }
    items.sort_by(|one, other| one.key().cmp(&other.key()));
    Ok(items)
}

fn decode(item: wire::Item) -> Result<Item, String> {
    let view = View::ALL
        .into_iter()
        .find(|view| u32::from(*view as u8) == item.view);
    let id = item.id.ok_or("a resource has no name")?;
    Ok(Item {
        view: view
            .ok_or_else(|| format!("{} is for clients of unknown kind {}", id.name, item.view))?,
        id: decode_id(&id),
        body: item.body,
        refers: item.refers.iter().map(decode_id).collect(),
        ttl: (item.ttl > 0).then(|| Duration::from_millis(item.ttl)),
    })
}

fn decode_id(id: &wire::Id) -> ResourceId {
    ResourceId::new(TypeUrl::from(id.type_url.as_str()), id.name.as_str())
}
