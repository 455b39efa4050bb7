//! Owns the cutting of a release from what is in force in a fleet. Must not know: who asks for it, or how
//! releases are kept.

use std::time::Duration;

use bellwether_rollout::Millis;
use tokio::time::timeout;

use super::{Cut, Header, ReleaseError, Releases};
use crate::clock::unix_ms;
use crate::fleet::Fleet;
use crate::keys;
use crate::views::render;

/// How long a cut waits for changes that were made before it and have not arrived yet. Those that were made
/// have arrived by then; only a store in which nothing of the fleet has changed says nothing in time.
const CATCH_UP: Duration = Duration::from_millis(500);

/// Why no release could be cut.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// There is nothing to cut one of.
    #[error("nothing is in force in fleet {0:?}: it has not been read yet, or it has no keys")]
    NothingInForce(String),
    /// What is in force contradicts itself for some kind of client.
    #[error("a defect of this server, nothing was cut: {0}")]
    Defect(String),
    /// It could not be written.
    #[error(transparent)]
    Release(#[from] ReleaseError),
}

/// Cuts a release of what is in force now, for all kinds of clients, and says whether there was none
/// of the same content before.
///
/// # Errors
/// There is nothing, or it could not be made or written. Then there is no new release.
pub async fn cut(fleet: &Fleet, author: &str, reason: &str) -> Result<(Header, bool), DraftError> {
    catch_up(fleet).await?;
    let Some((native, settings)) = fleet.views.in_force() else {
        return Err(DraftError::NothingInForce(fleet.name.clone()));
    };
    let cut = Cut {
        author: author.to_owned(),
        reason: reason.to_owned(),
        now: Millis(unix_ms()),
        revision: native.position().map_or(0, |position| position.revision),
    };
    // Seconds of work where there are 100,000 routes.
    let rendered = tokio::task::spawn_blocking(move || render(&native, &settings)).await;
    let items = match rendered {
        Ok(Ok(items)) => items,
        Ok(Err(inconsistent)) => return Err(DraftError::Defect(inconsistent.to_string())),
        Err(panic) => return Err(DraftError::Defect(panic.to_string())),
    };
    let releases = Releases::new(fleet.store.clone(), &fleet.name);
    let (header, new) = releases.create(items, &cut).await?;
    tracing::info!(
        fleet = fleet.name,
        seq = header.seq,
        new,
        reason,
        "release cut"
    );
    Ok((header, new))
}

/// Whoever writes and then cuts means what was written.
async fn catch_up(fleet: &Fleet) -> Result<(), ReleaseError> {
    let (_, now) = fleet.store.get(&keys::newest_release(&fleet.name)).await?;
    let mut status = fleet.status.clone();
    // Late is no reason to cut nothing: what is in force is cut.
    let _ = timeout(
        CATCH_UP,
        status.wait_for(|status| status.synced_to >= now.0),
    )
    .await;
    Ok(())
}
