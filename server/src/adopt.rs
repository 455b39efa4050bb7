//! Owns what happens when a fleet becomes staged: what its nodes have then becomes its stable release, so
//! that nothing changes for them and nodes that come later get the same. Must not know: who wants it.

use bellwether_rollout::cohort::Salt;
use bellwether_rollout::{Release, State};
use bytes::Bytes;

use crate::fleet::Fleet;
use crate::keys;
use crate::release::{DraftError, cut};
use crate::store::{Commit, Guard, Revision, StoreError, Txn, Write};

/// Why a fleet can't become staged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdoptError {
    /// What is in force could not be made a release.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something about its state.
    #[error("fleet {fleet:?} can't become staged: {reason}")]
    State {
        /// Which.
        fleet: String,
        /// What.
        reason: String,
    },
}

/// Cuts a release of what is in force, and makes it what is stable. A fleet without keys has nothing to
/// begin with, which is no error.
///
/// # Errors
/// The release could not be cut, a rollout is under way, or somebody else wrote the state meanwhile.
pub(crate) async fn adopt(fleet: &Fleet, reason: &str) -> Result<(), AdoptError> {
    let header = match cut(fleet, "bellwether", reason).await {
        Ok((header, _)) => header,
        Err(DraftError::NothingInForce(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let failed = |reason: String| AdoptError::State {
        fleet: fleet.name.clone(),
        reason,
    };
    let key = keys::state(&fleet.name);
    let (found, _) = fleet.store.get(&key).await?;
    let mut state = match &found {
        Some(found) => serde_json::from_slice(&found.value)
            .map_err(|error| failed(format!("its state can't be read: {error}")))?,
        None => State::new(Salt(rand::random())),
    };
    if let Some(rollout) = &state.rollout {
        return Err(failed(format!("rollout {} is under way", rollout.id)));
    }
    let stable = Release {
        seq: header.seq,
        digest: header.digest,
    };
    state.adopt(stable);
    let value = serde_json::to_vec(&state).map_err(|error| failed(error.to_string()))?;
    let txn = Txn {
        guards: vec![Guard {
            key: key.clone(),
            mod_revision: found.map_or(Revision(0), |found| found.mod_revision),
        }],
        writes: vec![Write::Put {
            key,
            value: Bytes::from(value),
            lease: None,
        }],
    };
    match fleet.store.commit(txn).await? {
        Commit::Applied(_) => Ok(()),
        Commit::Conflict => Err(failed(
            "somebody else wrote its state; try again".to_owned(),
        )),
    }
}
