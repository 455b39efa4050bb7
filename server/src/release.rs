//! Owns a fleet's releases in the store: cut once, never changed, whole or not there at all.
//! Must not know: what a release holds, who gets it, when one is cut.
//!
//! First the parts are written, each under the digest of its bytes, then the header, which alone makes
//! the release exist. A server that dies between the two leaves parts that nobody names; they are found
//! when releases are pruned.

mod blobs;
mod draft;
mod prune;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bellwether_rollout::content::{self, Item, Manifest, TooLarge};
use bellwether_rollout::{Digest, Millis};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::keys;
use crate::store::{Commit, Guard, KeyValue, Revision, Store, StoreError, Txn, Write};

pub use self::draft::{DraftError, cut};
pub use self::prune::Pruned;

/// How often a release is tried again that another server's work came between.
const ATTEMPTS: usize = 10;

/// The releases of one fleet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Releases {
    store: Arc<dyn Store>,
    fleet: Arc<str>,
}

/// What there is to know of a release without its parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The number in `shop@42`.
    pub seq: u64,
    /// What it holds.
    pub digest: Digest,
    /// The parts that its manifest was cut into.
    pub manifest: Vec<Digest>,
    /// Resources of all kinds of clients.
    pub resources: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Who cut it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When.
    pub created: Millis,
    /// The store's revision that its keys were read at.
    pub revision: u64,
    /// The build that encoded it.
    pub build: String,
}

/// What is said when a release is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Who cuts it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When.
    pub now: Millis,
    /// The store's revision that its keys were read at.
    pub revision: u64,
}

/// Why a release can't be cut or had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is too large.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// There is none.
    #[error("{fleet} has no release {seq}")]
    Unknown {
        /// Whose.
        fleet: String,
        /// Which.
        seq: u64,
    },
    /// It is not as it was cut.
    #[error("release {fleet}@{seq} is damaged: {reason}")]
    Damaged {
        /// Whose.
        fleet: String,
        /// Which.
        seq: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Others were always faster.
    #[error(
        "release of {0} was not cut: other servers wrote {ATTEMPTS} times meanwhile; try again"
    )]
    Busy(String),
}

/// What is written beside the parts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Newest {
    seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
}

impl Releases {
    /// Of this fleet, in the store that the fleet is in.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, fleet: &str) -> Self {
        Self {
            store,
            fleet: fleet.into(),
        }
    }

    /// Cuts a release. If the newest one holds the very same, that one is returned, and nothing new.
    ///
    /// # Errors
    /// It is too large, or the store fails; then it does not exist.
    pub async fn create(
        &self,
        items: Vec<Item>,
        cut: &Cut,
    ) -> Result<(Header, bool), ReleaseError> {
        let packed = content::pack(items)?;
        let encoded = packed.manifest.encode();
        let digest = packed.manifest.digest();
        let mut parts = packed.blobs;
        let manifest = blobs::cut(&encoded, &mut parts);
        for _ in 0..ATTEMPTS {
            let (newest, at) = self.newest().await?;
            if newest.digest == Some(digest)
                && let Ok(header) = self.header(newest.seq).await
            {
                return Ok((header, false));
            }
            let header = Header {
                seq: newest.seq + 1,
                digest,
                manifest: manifest.clone(),
                resources: packed.manifest.resources,
                bytes: packed.manifest.bytes,
                author: cut.author.clone(),
                reason: cut.reason.clone(),
                created: cut.now,
                revision: cut.revision,
                build: env!("CARGO_PKG_VERSION").to_owned(),
            };
            // Nobody deletes them without writing the newest release's number, too.
            let known = self.parts_of(newest.seq).await.unwrap_or_default();
            self.write(&parts, &known).await?;
            if self.commit(&header, at).await? == Commit::Conflict {
                // Another release was cut, or parts were deleted that we took for written.
                continue;
            }
            return Ok((header, true));
        }
        Err(ReleaseError::Busy(self.fleet.to_string()))
    }

    async fn commit(&self, header: &Header, at: Revision) -> Result<Commit, ReleaseError> {
        let newest = Newest {
            seq: header.seq,
            digest: Some(header.digest),
        };
        let key = keys::release(&self.fleet, header.seq);
        let txn = Txn {
            guards: vec![
                self.newest_is_at(at),
                Guard {
                    key: key.clone(),
                    mod_revision: Revision(0),
                },
            ],
            writes: vec![self.put_newest(&newest), put(key, json(header))],
        };
        Ok(self.store.commit(txn).await?)
    }

    /// Every release, oldest first. Those that can't be read are left out.
    ///
    /// # Errors
    /// The store fails.
    pub async fn list(&self) -> Result<Vec<Header>, ReleaseError> {
        let reading = self.store.read(&keys::releases_range(&self.fleet)).await?;
        let headers = reading.entries.iter().filter_map(|entry| parse(entry).ok());
        Ok(headers.collect())
    }

    /// One of them, without its parts.
    ///
    /// # Errors
    /// There is none, or the store fails.
    pub async fn header(&self, seq: u64) -> Result<Header, ReleaseError> {
        let (entry, _) = self.store.get(&keys::release(&self.fleet, seq)).await?;
        let entry = entry.ok_or_else(|| ReleaseError::Unknown {
            fleet: self.fleet.to_string(),
            seq,
        })?;
        parse(&entry).map_err(|error| self.damaged(seq, error))
    }

    /// The newest of them; none if there is none.
    ///
    /// # Errors
    /// The store fails, or it can't be read.
    pub async fn newest_header(&self) -> Result<Option<Header>, ReleaseError> {
        let (newest, _) = self.newest().await?;
        match newest.seq {
            0 => Ok(None),
            seq => self.header(seq).await.map(Some),
        }
    }

    /// One of them, whole.
    ///
    /// # Errors
    /// There is none, it is not as it was cut, or the store fails.
    pub async fn load(&self, seq: u64) -> Result<(Header, Vec<Item>), ReleaseError> {
        let header = self.header(seq).await?;
        let manifest = self.manifest(&header).await?;
        let parts = self.read_blobs(manifest.blobs()).await?;
        let items = content::unpack(&manifest, |digest| parts.get(digest).cloned());
        let items = items.map_err(|error| self.damaged(seq, error))?;
        Ok((header, items))
    }

    async fn manifest(&self, header: &Header) -> Result<Manifest, ReleaseError> {
        let damaged = |error: &dyn fmt::Display| self.damaged(header.seq, error);
        let parts = self.read_blobs(header.manifest.iter().copied()).await?;
        let encoded = blobs::join(&header.manifest, &parts).map_err(|error| damaged(&error))?;
        if Digest::of(&encoded) != header.digest {
            return Err(damaged(&"its manifest has another digest"));
        }
        Manifest::decode(&encoded).map_err(|error| damaged(&error))
    }

    /// The names of every part of a release, those of its manifest among them.
    async fn parts_of(&self, seq: u64) -> Result<BTreeSet<Digest>, ReleaseError> {
        let header = self.header(seq).await?;
        let manifest = self.manifest(&header).await?;
        Ok(manifest.blobs().chain(header.manifest).collect())
    }

    async fn newest(&self) -> Result<(Newest, Revision), ReleaseError> {
        let (entry, _) = self.store.get(&keys::newest_release(&self.fleet)).await?;
        let Some(entry) = entry else {
            return Ok((Newest::default(), Revision(0)));
        };
        let newest =
            serde_json::from_slice(&entry.value).map_err(|error| self.damaged(0, error))?;
        Ok((newest, entry.mod_revision))
    }

    fn newest_is_at(&self, mod_revision: Revision) -> Guard {
        Guard {
            key: keys::newest_release(&self.fleet),
            mod_revision,
        }
    }

    fn put_newest(&self, newest: &Newest) -> Write {
        put(keys::newest_release(&self.fleet), json(newest))
    }

    fn damaged(&self, seq: u64, reason: impl fmt::Display) -> ReleaseError {
        ReleaseError::Damaged {
            fleet: self.fleet.to_string(),
            seq,
            reason: reason.to_string(),
        }
    }
}

fn parse(entry: &KeyValue) -> Result<Header, serde_json::Error> {
    serde_json::from_slice(&entry.value)
}

fn put(key: String, value: Bytes) -> Write {
    Write::Put {
        key,
        value,
        lease: None,
    }
}

fn json(value: &impl Serialize) -> Bytes {
    // Of plain numbers and text.
    serde_json::to_vec(value).unwrap_or_default().into()
}
