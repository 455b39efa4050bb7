//! Owns the last good configuration on disk: one checksummed file, replaced whole or not at all.
//! Must not know: what a resource means, or where it came from.
//!
//! The file is [`MAGIC`], the SHA-256 of the rest, and the rest: an encoded `DeltaDiscoveryResponse`
//! that holds every resource in force, with the position as `system_version_info`. It is written to a
//! neighbour, synced, and renamed over the old one, so that a kill at any moment leaves one of the two.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bellwether::name::TypeUrl;
use bellwether::snapshot::Position;
use bellwether::wire::discovery::{DeltaDiscoveryResponse, Resource};
use bellwether::wire::google::protobuf::Any;
use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::held::Held;

/// Tells our files from others', and this format from later ones.
const MAGIC: &[u8] = b"bellwether last good 1\n";

const DIGEST_BYTES: usize = 32;

const FILE: &str = "last-good";

/// The file holds private keys and the credentials of consumers.
const OWNER_ONLY: u32 = 0o600;

/// Bytes of a name that we made or somebody wrote into our file.
const LONGEST_ID: usize = 256;

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
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| DiskError::Io {
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
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(OWNER_ONLY)
                .open(&draft)?;
            // What an interrupted save left may have been made by somebody less careful.
            file.set_permissions(Permissions::from_mode(OWNER_ONLY))?;
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

    /// A name for this agent that stays the same for as long as the folder does. Where it can't be
    /// kept, or what was kept is no name, there is a new one: a proxy that does not start serves nobody.
    pub fn node_id(&self) -> String {
        let path = self.folder.join("node-id");
        let kept = fs::read_to_string(&path).unwrap_or_default();
        let kept = kept.trim();
        if !kept.is_empty() && kept.len() <= LONGEST_ID && !kept.contains(char::is_control) {
            return kept.to_owned();
        }
        let id = format!("agent-{:016x}", rand::random::<u64>());
        if let Err(error) = fs::write(&path, &id) {
            warn!(path = %path.display(), %error, id, "can't keep the name made for this agent; the next start makes another");
        }
        id
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
    fn nobody_else_reads_what_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&folder.path().join("state")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&disk.folder), 0o700);
        fs::write(disk.folder.join("last-good.new"), b"left behind").unwrap();
        disk.save(&sample()).unwrap();
        assert_eq!(mode(&disk.folder.join(FILE)), 0o600);
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
        let id = Disk::open(folder.path()).unwrap().node_id();
        assert_eq!(Disk::open(folder.path()).unwrap().node_id(), id);
    }

    /// A kill between making the file and writing into it leaves it empty; that must not be the end.
    #[test]
    fn a_node_id_that_is_none_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        for bad in [&b""[..], b"\n", b"\xff\xfe", &[b'a'; 5_000], b"a\0b"] {
            fs::write(folder.path().join("node-id"), bad).unwrap();
            let id = disk.node_id();
            assert!(id.starts_with("agent-"), "{id}");
            assert_eq!(disk.node_id(), id);
        }
    }

    #[test]
    fn a_folder_that_takes_nothing_does_not_stop_an_agent() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("node-id")).unwrap();
        let id = Disk::open(folder.path()).unwrap().node_id();
        assert!(id.starts_with("agent-"), "{id}");
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
