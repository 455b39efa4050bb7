//! Owns the proof that this server knows the newest state: the state key is read again and again while it
//! matters, which a store that lags or is cut off can't answer. Must not know: what the state says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::store::Store;

/// Between two reads. Well below what a proof is good for.
const PAUSE: Duration = Duration::from_millis(1_500);

/// How long a read may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is to be proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    /// The revision at which the state was last written, as far as is known.
    pub(super) generation: u64,
    /// Whether anybody may be exposed to anything.
    pub(super) matters: bool,
}

/// Proves the newest claim for as long as it matters.
pub(super) async fn prove(
    store: Arc<dyn Store>,
    key: String,
    mut claims: watch::Receiver<Claim>,
    proven: watch::Sender<Option<Instant>>,
) {
    loop {
        if claims.wait_for(|claim| claim.matters).await.is_err() {
            return;
        }
        let claim = *claims.borrow_and_update();
        let asked = Instant::now();
        if let Ok(Ok((found, _))) = timeout(PATIENCE, store.get(&key)).await {
            let is_newest = found.is_some_and(|found| found.mod_revision.0 == claim.generation);
            // It was so when it was asked at the latest.
            if is_newest {
                proven.send_replace(Some(asked));
            }
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            changed = claims.changed() => if changed.is_err() {
                return;
            },
        }
    }
}
