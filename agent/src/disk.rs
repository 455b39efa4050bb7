//! Owns the last good configuration on disk: one checksummed file, replaced whole or not at all.
//! Must not know: what a resource means, or where it came from.
//!
//! The file is [`MAGIC`], the SHA-256 of the rest, and the rest: an encoded `DeltaDiscoveryResponse`
//! that holds every resource in force, with the position as `system_version_info`. It is written to a
//! neighbour, synced, and renamed over the old one, so that a kill at any moment leaves one of the two.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bellwether::name::TypeUrl;
use bellwether::snapshot::Position;
use bellwether::wire::discovery::{DeltaDiscoveryResponse, Resource};
use bellwether::wire::google::protobuf::Any;
use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use crate::held::Held;

/// Tells our files from others', and this format from later ones.
const MAGIC: &[u8] = b"bellwether last good 1\n";

const DIGEST_BYTES: usize = 32;

const FILE: &str = "last-good";

/// Why there is no last good configuration to start from.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The folder or the file can't be used.
    #[error("can't {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not what we wrote.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was seen.
        reason: String,
    },
}

/// The folder of one agent.
#[derive(Clone, Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Makes the folder if needed.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn open(folder: &Path) -> Result<Self, DiskError> {
        fs::create_dir_all(folder).map_err(|source| DiskError::Io {
            doing: "make folder",
            path: folder.to_owned(),
            source,
        })?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// What was in force when this agent last ran; `None` if it never did.
    ///
    /// # Errors
    /// The file can't be read, or is damaged. The agent can start without it.
    pub fn load(&self) -> Result<Option<Held>, DiskError> {
        let path = self.folder.join(FILE);
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(DiskError::Io {
                    doing: "read",
                    path,
                    source,
                });
            }
        };
        match decode(&content) {
            Ok(held) => Ok(Some(held)),
            Err(reason) => Err(DiskError::Damaged { path, reason }),
        }
    }

    /// Replaces what is kept.
    ///
    /// # Errors
    /// It could not be written; the old one is still there.
    pub fn save(&self, held: &Held) -> Result<(), DiskError> {
        let path = self.folder.join(FILE);
        let draft = self.folder.join("last-good.new");
        let write = || -> io::Result<()> {
            let mut file = File::create(&draft)?;
            file.write_all(&encode(held))?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            // The rename itself must survive a power cut.
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|source| DiskError::Io {
            doing: "write",
            path: path.clone(),
            source,
        })
    }

    /// A name for this agent that stays the same for as long as the folder does.
    ///
    /// # Errors
    /// It can be neither read nor written.
    pub fn node_id(&self) -> Result<String, DiskError> {
        let path = self.folder.join("node-id");
        let io = |doing, source| DiskError::Io {
            doing,
            path: path.clone(),
            source,
        };
        match fs::read_to_string(&path) {
            Ok(id) if !id.trim().is_empty() => Ok(id.trim().to_owned()),
            Ok(_) => Err(DiskError::Damaged {
                path,
                reason: "it is empty".to_owned(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let id = format!("agent-{:016x}", rand::random::<u64>());
                fs::write(&path, &id).map_err(|source| io("write", source))?;
                Ok(id)
            }
            Err(source) => Err(io("read", source)),
        }
    }
}

fn encode(held: &Held) -> Vec<u8> {
    let resources = held.iter().map(|(id, resource)| Resource {
        name: id.name.to_string(),
        version: resource.version.clone(),
        resource: Some(Any {
            type_url: id.type_url.to_string(),
            value: resource.body.clone(),
        }),
        ..Resource::default()
    });
    let all = DeltaDiscoveryResponse {
        system_version_info: held.position.map(|p| p.to_string()).unwrap_or_default(),
        resources: resources.collect(),
        ..DeltaDiscoveryResponse::default()
    };
    let body = all.encode_to_vec();
    [MAGIC, Sha256::digest(&body).as_slice(), &body].concat()
}

/// Reads the whole file, or says what is wrong with it. Never panics, whatever the bytes.
///
/// # Errors
/// The reason for the operator.
pub fn decode(content: &[u8]) -> Result<Held, String> {
    let rest = content
        .strip_prefix(MAGIC)
        .ok_or("it does not begin like a file of ours")?;
    let (digest, body) = rest.split_at_checked(DIGEST_BYTES).ok_or("it is cut off")?;
    if Sha256::digest(body).as_slice() != digest {
        return Err("its checksum does not match its content".to_owned());
    }
    let all = DeltaDiscoveryResponse::decode(body).map_err(|error| error.to_string())?;
    let mut held = Held::at(Position::parse(&all.system_version_info));
    for resource in all.resources {
        let any = resource
            .resource
            .ok_or_else(|| format!("{} has no body", resource.name))?;
        let type_url = TypeUrl::from(any.type_url.as_str());
        let body = Bytes::copy_from_slice(&any.value);
        held.insert(&type_url, &resource.name.into(), &resource.version, body);
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Held {
        let mut held = Held::at(Some(Position {
            store: 7,
            revision: 9,
        }));
        held.insert(
            &TypeUrl::ROUTE,
            &"routes/1".into(),
            "v1",
            Bytes::from_static(b"route"),
        );
        held.insert(&TypeUrl::CLUSTER, &"upstreams/1".into(), "v2", Bytes::new());
        held
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&folder.path().join("a/b")).unwrap();
        assert_eq!(disk.load().unwrap(), None);
        disk.save(&sample()).unwrap();
        assert_eq!(disk.load().unwrap(), Some(sample()));
        disk.save(&Held::default()).unwrap();
        assert_eq!(disk.load().unwrap(), Some(Held::default()));
    }

    #[test]
    fn an_interrupted_save_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        disk.save(&sample()).unwrap();
        fs::write(folder.path().join("last-good.new"), b"half of it").unwrap();
        assert_eq!(disk.load().unwrap(), Some(sample()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = encode(&sample());
        for at in 0..good.len() {
            assert!(decode(&good[..at]).is_err(), "cut at {at}");
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(decode(&bad).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn errors_name_the_file_and_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        fs::write(folder.path().join(FILE), b"junk").unwrap();
        let text = disk.load().unwrap_err().to_string();
        assert!(
            text.contains("last-good is damaged: it does not begin"),
            "{text}"
        );
        let text = Disk::open(&folder.path().join(FILE))
            .unwrap_err()
            .to_string();
        assert!(text.starts_with("can't make folder"), "{text}");
    }

    #[test]
    fn a_node_id_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let id = Disk::open(folder.path()).unwrap().node_id().unwrap();
        assert_eq!(Disk::open(folder.path()).unwrap().node_id().unwrap(), id);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = decode(&body);
            // Behind a good checksum too.
            let _ = decode(&[MAGIC, Sha256::digest(&body).as_slice(), &body].concat());
        }
    }
}
