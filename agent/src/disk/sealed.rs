//! Owns how a file is kept: checksummed, for its owner only, replaced whole or not at all.
//! Must not know: what is in it.
//!
//! A sealed file is a line that tells it from others, the SHA-256 of the rest, and the rest. It is written
//! to a neighbour, synced, and renamed over the old one, so that a kill at any moment leaves one of the two.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

const DIGEST_BYTES: usize = 32;

/// What is kept holds private keys and the credentials of consumers.
const OWNER_ONLY: u32 = 0o600;

/// Why something that is kept can't be used.
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

/// A kind of sealed file: the line it begins with, which also tells this format from later ones.
#[derive(Debug)]
pub(super) struct Sealed(pub(super) &'static [u8]);

impl Sealed {
    pub(super) fn seal(&self, body: &[u8]) -> Vec<u8> {
        [self.0, Sha256::digest(body).as_slice(), body].concat()
    }

    /// What was sealed, or what is wrong with the file.
    pub(super) fn open<'a>(&self, content: &'a [u8]) -> Result<&'a [u8], String> {
        let rest = content
            .strip_prefix(self.0)
            .ok_or("it does not begin like a file of ours")?;
        let (digest, body) = rest.split_at_checked(DIGEST_BYTES).ok_or("it is cut off")?;
        if Sha256::digest(body).as_slice() != digest {
            return Err("its checksum does not match its content".to_owned());
        }
        Ok(body)
    }
}

/// The whole file; `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DiskError::Io {
            doing: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Replaces the file; it is on the disk when this returns.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), DiskError> {
    let draft = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(OWNER_ONLY)
            .open(&draft)?;
        // What an interrupted save left may have been made by somebody less careful.
        file.set_permissions(Permissions::from_mode(OWNER_ONLY))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        // The rename itself must survive a power cut.
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| DiskError::Io {
        doing: "write",
        path: path.to_owned(),
        source,
    })
}
