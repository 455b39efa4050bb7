//! Owns when the configuration in force goes to disk: soon after it changed, not at every change.
//! Must not know: what is in it.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::error;

use crate::disk::{Disk, Kept};
use crate::held::Held;

/// Changes within this time go to disk together.
const QUIET: Duration = Duration::from_millis(200);

/// A save that took long is followed by a pause of this many times as long, so that a large
/// configuration that changes all the time does not keep the disk busy.
const REST: u32 = 10;

/// Saves whatever `held` becomes, until `stop` is true; then once more if something is unsaved.
pub async fn save(disk: Disk, mut held: watch::Receiver<Held>, mut stop: watch::Receiver<bool>) {
    loop {
        let stopped = tokio::select! {
            changed = held.changed() => match changed {
                Ok(()) => false,
                Err(_) => return,
            },
            _ = stop.wait_for(|stop| *stop) => true,
        };
        if stopped {
            if held.has_changed().unwrap_or(false) {
                save_now(&disk, &mut held).await;
            }
            return;
        }
        pause(QUIET, &mut stop).await;
        let started = Instant::now();
        save_now(&disk, &mut held).await;
        pause(started.elapsed().saturating_mul(REST), &mut stop).await;
    }
}

async fn pause(time: Duration, stop: &mut watch::Receiver<bool>) {
    // Being told to stop ends the pause; so does its end.
    let _ = tokio::time::timeout(time, stop.wait_for(|stop| *stop)).await;
}

async fn save_now(disk: &Disk, held: &mut watch::Receiver<Held>) {
    let (disk, held) = (disk.clone(), held.borrow_and_update().clone());
    let saved = tokio::task::spawn_blocking(move || disk.save(Kept::Candidate, &held)).await;
    match saved {
        Ok(Ok(())) => {}
        Ok(Err(error)) => error!(
            error = %error,
            cause = ?std::error::Error::source(&error),
            "can't keep the configuration in force; a restart without a server would serve an older one"
        ),
        Err(panic) => error!(%panic, "saving the configuration in force failed"),
    }
}
