//! Owns what happens when a fleet becomes staged: what its nodes have then becomes its stable release, so
//! that nothing changes for them and nodes that come later get the same. Must not know: who wants it.

use bellwether_rollout::machine::Command;
use bellwether_rollout::{Evidence, Release};

use crate::fleet::Fleet;
use crate::release::{DraftError, cut};
use crate::rollouts::{Line, LineError};

/// Why a fleet can't become staged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdoptError {
    /// What is in force could not be made a release.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// It could not be made stable.
    #[error(transparent)]
    Line(#[from] LineError),
}

/// Cuts a release of what is in force, and makes it what is stable. A fleet without keys has nothing to
/// begin with, which is no error.
///
/// # Errors
/// The release could not be cut, or a rollout is under way.
pub(crate) async fn adopt(fleet: &Fleet, author: &str) -> Result<(), AdoptError> {
    let header = match cut(fleet, author, "the fleet becomes staged").await {
        Ok((header, _)) => header,
        Err(DraftError::NothingInForce(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let release = Release {
        seq: header.seq,
        digest: header.digest,
    };
    let line = Line::new(fleet.store.clone(), &fleet.name);
    let command = Command::Adopt {
        author: author.to_owned(),
        release,
    };
    line.command(&command, author, &Evidence::default()).await?;
    Ok(())
}
