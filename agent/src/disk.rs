//! Owns the state folder: the configurations that an agent may start from, and what it noted of its
//! attempts. Must not know: what a resource means, which configuration to start from.
//!
//! A configuration is an encoded `DeltaDiscoveryResponse` that holds every resource in force, with the
//! position as `system_version_info`.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bellwether::name::TypeUrl;
use bellwether::snapshot::Position;
use bellwether::wire::discovery::{DeltaDiscoveryResponse, Resource};
use bellwether::wire::google::protobuf::Any;
use bytes::Bytes;
use prost::Message;
use tracing::warn;

use crate::held::Held;

mod sealed;

pub use sealed::DiskError;
use sealed::Sealed;

/// Begins both files with a configuration.
const CONFIGURATION: Sealed = Sealed(b"bellwether last good 1\n");

/// Begins the file with what was noted of attempts.
const ATTEMPT: Sealed = Sealed(b"bellwether attempt 1\n");

const ATTEMPT_FILE: &str = "attempt";

/// Holds why the watchdog ended the process before.
const HUNG_FILE: &str = "hung";

/// Bytes of a name that we made or somebody wrote into our file.
const LONGEST_ID: usize = 256;

/// Bytes of a reason that our watchdog wrote.
const LONGEST_REASON: usize = 512;

/// A configuration that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// What has survived its probation.
    LastGood,
    /// What was in force last, whatever became of it.
    Candidate,
}

impl Kept {
    fn file(self) -> &'static str {
        match self {
            Self::LastGood => "last-good",
            Self::Candidate => "candidate",
        }
    }
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

    /// A configuration; `None` if there is none.
    ///
    /// # Errors
    /// The file can't be read, or is damaged. The agent can start without it.
    pub fn load(&self, kept: Kept) -> Result<Option<Held>, DiskError> {
        let path = self.folder.join(kept.file());
        let Some(content) = sealed::read(&path)? else {
            return Ok(None);
        };
        let held = decode(&content);
        held.map(Some)
            .map_err(|reason| DiskError::Damaged { path, reason })
    }

    /// Replaces a configuration.
    ///
    /// # Errors
    /// It could not be written; the old one is still there.
    pub fn save(&self, kept: Kept, held: &Held) -> Result<(), DiskError> {
        let path = self.folder.join(kept.file());
        sealed::write(&path, &CONFIGURATION.seal(&encode(held)))
    }

    /// When a configuration was written; `None` if there is none.
    #[must_use]
    pub fn written_at(&self, kept: Kept) -> Option<SystemTime> {
        fs::metadata(self.folder.join(kept.file()))
            .ok()?
            .modified()
            .ok()
    }

    /// What was noted of attempts; `None` if nothing ever was.
    ///
    /// # Errors
    /// As [`Disk::load`].
    pub fn load_attempt(&self) -> Result<Option<Vec<u8>>, DiskError> {
        let path = self.folder.join(ATTEMPT_FILE);
        let Some(content) = sealed::read(&path)? else {
            return Ok(None);
        };
        let body = ATTEMPT.open(&content).map(<[u8]>::to_vec);
        body.map(Some)
            .map_err(|reason| DiskError::Damaged { path, reason })
    }

    /// Notes what is attempted; it is on the disk when this returns.
    ///
    /// # Errors
    /// As [`Disk::save`].
    pub fn save_attempt(&self, body: &[u8]) -> Result<(), DiskError> {
        sealed::write(&self.folder.join(ATTEMPT_FILE), &ATTEMPT.seal(body))
    }

    /// Notes why the watchdog ends the process. It shares nothing with what may hang.
    ///
    /// # Errors
    /// As [`Disk::save`].
    pub fn save_hung(&self, reason: &str) -> Result<(), DiskError> {
        sealed::write(&self.folder.join(HUNG_FILE), reason.as_bytes())
    }

    /// Why the watchdog ended the process before, if it did.
    #[must_use]
    pub fn hung(&self) -> Option<String> {
        let content = fs::read(self.folder.join(HUNG_FILE)).ok()?;
        let first = content.get(..LONGEST_REASON).unwrap_or(&content);
        Some(String::from_utf8_lossy(first).into_owned())
    }

    /// Forgets what the watchdog noted.
    pub fn forget_hung(&self) {
        let path = self.folder.join(HUNG_FILE);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(path = %path.display(), %error, "can't forget that the watchdog ended this agent");
        }
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
    all.encode_to_vec()
}

/// Reads a whole file with a configuration, or says what is wrong with it. Never panics, whatever the
/// bytes.
///
/// # Errors
/// The reason for the operator.
pub fn decode(content: &[u8]) -> Result<Held, String> {
    let body = CONFIGURATION.open(content)?;
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
    use std::os::unix::fs::PermissionsExt;

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
        assert_eq!(disk.load(Kept::LastGood).unwrap(), None);
        disk.save(Kept::LastGood, &sample()).unwrap();
        assert_eq!(disk.load(Kept::LastGood).unwrap(), Some(sample()));
        disk.save(Kept::LastGood, &Held::default()).unwrap();
        assert_eq!(disk.load(Kept::LastGood).unwrap(), Some(Held::default()));
    }

    #[test]
    fn an_interrupted_save_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        disk.save(Kept::LastGood, &sample()).unwrap();
        fs::write(folder.path().join("last-good.new"), b"half of it").unwrap();
        assert_eq!(disk.load(Kept::LastGood).unwrap(), Some(sample()));
    }

    #[test]
    fn nobody_else_reads_what_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&folder.path().join("state")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&disk.folder), 0o700);
        fs::write(disk.folder.join("last-good.new"), b"left behind").unwrap();
        disk.save(Kept::LastGood, &sample()).unwrap();
        assert_eq!(mode(&disk.folder.join("last-good")), 0o600);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = CONFIGURATION.seal(&encode(&sample()));
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
        fs::write(folder.path().join("last-good"), b"junk").unwrap();
        let text = disk.load(Kept::LastGood).unwrap_err().to_string();
        assert!(
            text.contains("last-good is damaged: it does not begin"),
            "{text}"
        );
        let text = Disk::open(&folder.path().join("last-good"))
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
            let _ = decode(&CONFIGURATION.seal(&body));
        }
    }
}
