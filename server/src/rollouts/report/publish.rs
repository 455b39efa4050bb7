//! Owns when a server's report is written, and the lease that it goes with. Must not know: what it says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether_rollout::Millis;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::becomes;
use super::fit::{Turn, fitted};
use super::{FleetReport, Report, Told};
use crate::clock::unix_ms;
use crate::keys;
use crate::store::{LeaseId, Store, StoreError, Txn, Write};

/// How long a server that is gone counts as one that has not reported.
pub const REPORT_TTL: Duration = Duration::from_secs(15);

/// How often it is written at most.
const OFTEN: Duration = Duration::from_secs(1);

/// How often it is written at least while a rollout is under way: what is older than a few of these is
/// no evidence.
const SELDOM: Duration = Duration::from_secs(5);

/// How often it is written at most where no rollout is under way and no other release is in use.
const IDLE: Duration = Duration::from_secs(30);

/// What is waited after a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// What there is to report, by fleet.
pub type LocalReports = watch::Receiver<Arc<BTreeMap<String, FleetReport>>>;

/// What the leader has to say, by fleet.
pub(in super::super) type AllTold = watch::Receiver<Arc<BTreeMap<String, Told>>>;

/// What was written last. Pure: time is an argument.
#[derive(Debug, Default)]
struct Pace {
    written: Option<(Instant, Content)>,
    /// Not every fleet had room in it.
    behind: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    fleets: Arc<BTreeMap<String, FleetReport>>,
    told: Arc<BTreeMap<String, Told>>,
}

impl Content {
    fn is_active(&self) -> bool {
        self.fleets.values().any(FleetReport::is_active)
    }

    fn in_use(&self) -> impl Iterator<Item = (&String, &Vec<u64>)> {
        self.fleets.iter().map(|(name, one)| (name, &one.in_use))
    }
}

impl Pace {
    /// When this is to be written; never, if it says nothing new.
    fn due(&self, content: &Content, now: Instant) -> Option<Instant> {
        let Some((at, before)) = &self.written else {
            return Some(now);
        };
        let changed = content != before;
        let soon = changed
            && (content.is_active() || before.is_active() || !content.in_use().eq(before.in_use()));
        let soon = soon || (self.behind && content.is_active());
        match (soon, content.is_active(), changed) {
            (true, _, _) => Some(*at + OFTEN),
            (false, true, _) => Some(*at + SELDOM),
            (false, false, changed) if changed || self.behind => Some(*at + IDLE),
            (false, false, _) => None,
        }
    }
}

/// Keeps a server's report in the store while there is a fleet to report of, until `stop`.
pub(in super::super) struct Publisher {
    pub(in super::super) store: Arc<dyn Store>,
    pub(in super::super) server: String,
    pub(in super::super) ttl: Duration,
    pub(in super::super) local: LocalReports,
    pub(in super::super) told: AllTold,
    /// Whether there is any fleet in staged mode.
    pub(in super::super) wanted: watch::Receiver<bool>,
    pub(in super::super) stop: watch::Receiver<bool>,
}

impl Publisher {
    pub(in super::super) async fn run(mut self) {
        let (stop, wanted) = (self.stop.clone(), self.wanted.clone());
        loop {
            let mut lease = None;
            tokio::select! {
                biased;
                () = becomes(&stop, true) => return,
                () = becomes(&wanted, true) => {}
            }
            tokio::select! {
                biased;
                () = becomes(&stop, true) => {}
                () = becomes(&wanted, false) => {}
                () = self.keep(&mut lease) => {}
            }
            if let Some(lease) = lease {
                // Else it ends by itself.
                let _ = timeout(PAUSE * 4, self.store.revoke(lease)).await;
            }
        }
    }

    /// Never ends.
    async fn keep(&mut self, lease: &mut Option<LeaseId>) {
        loop {
            let error = self.one_lease(lease).await;
            tracing::debug!(server = self.server, %error, "no report for now");
            // A store that is away may still know the lease; one that says no does not.
            if !matches!(error, StoreError::Unavailable { .. }) {
                *lease = None;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends with what went wrong. The report is then written anew.
    async fn one_lease(&mut self, known: &mut Option<LeaseId>) -> StoreError {
        let lease = match *known {
            Some(lease) => lease,
            None => match self.bounded(self.store.grant(self.ttl)).await {
                Ok(lease) => lease,
                Err(error) => return error,
            },
        };
        *known = Some(lease);
        let (mut pace, mut turn) = (Pace::default(), Turn::default());
        let mut renew = Instant::now() + self.ttl / 3;
        loop {
            let content = Content {
                fleets: self.local.borrow_and_update().clone(),
                told: self.told.borrow_and_update().clone(),
            };
            let now = Instant::now();
            let due = pace.due(&content, now);
            if due.is_some_and(|due| due <= now) {
                let fitted = fitted(self.report(&content), turn);
                turn = fitted.turn;
                pace.behind = !fitted.whole;
                if let Err(error) = self.write(fitted.value, lease).await {
                    return error;
                }
                pace.written = Some((now, content));
                continue;
            }
            if renew <= now {
                if let Err(error) = self.bounded(self.store.keep_alive(lease)).await {
                    return error;
                }
                renew = now + self.ttl / 3;
                continue;
            }
            let until = due.map_or(renew, |due| due.min(renew));
            tokio::select! {
                () = sleep_until(until) => {}
                changed = self.local.changed() => stay(changed.is_ok()).await,
                changed = self.told.changed() => stay(changed.is_ok()).await,
            }
        }
    }

    fn report(&self, content: &Content) -> Report {
        Report {
            server: self.server.clone(),
            time: Millis(unix_ms()),
            fleets: (*content.fleets).clone(),
            told: (*content.told).clone(),
        }
    }

    async fn write(&self, value: Bytes, lease: LeaseId) -> Result<(), StoreError> {
        let put = Write::Put {
            key: keys::replica(&self.server),
            value,
            lease: Some(lease),
        };
        let txn = Txn {
            guards: Vec::new(),
            writes: vec![put],
        };
        self.bounded(self.store.commit(txn)).await.map(drop)
    }

    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let patience = self.ttl / 3;
        timeout(patience, call)
            .await
            .unwrap_or_else(|_| Err(super::super::no_answer(patience)))
    }
}

/// Nobody is left who could say anything new: what was said stands.
async fn stay(somebody: bool) {
    if !somebody {
        tokio::time::sleep(OFTEN).await;
    }
}

#[cfg(test)]
mod tests {
    use bellwether_rollout::Evidence;

    use super::*;

    fn content(exposure: u64, nodes: u64, in_use: &[u64]) -> Content {
        let report = FleetReport {
            nodes,
            evidence: Evidence {
                exposure,
                ..Evidence::default()
            },
            in_use: in_use.to_vec(),
            ..FleetReport::default()
        };
        Content {
            fleets: Arc::new([("f".to_owned(), report)].into()),
            told: Arc::default(),
        }
    }

    #[test]
    fn what_is_new_is_written_soon_only_while_it_matters() {
        let now = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.due(&content(0, 1, &[1]), now), Some(now));
        pace.written = Some((now, content(0, 1, &[1])));
        let due = |pace: &Pace, next: &Content| pace.due(next, now);
        assert_eq!(due(&pace, &content(0, 1, &[1])), None);
        assert_eq!(due(&pace, &content(0, 2, &[1])), Some(now + IDLE));
        assert_eq!(due(&pace, &content(0, 1, &[1, 2])), Some(now + OFTEN));
        assert_eq!(due(&pace, &content(3, 1, &[1])), Some(now + OFTEN));
        pace.written = Some((now, content(3, 1, &[1])));
        assert_eq!(due(&pace, &content(3, 1, &[1])), Some(now + SELDOM));
        assert_eq!(due(&pace, &content(3, 2, &[1])), Some(now + OFTEN));
        assert_eq!(due(&pace, &content(0, 2, &[1])), Some(now + OFTEN));
        pace.behind = true;
        assert_eq!(due(&pace, &content(3, 1, &[1])), Some(now + OFTEN));
        pace.written = Some((now, content(0, 1, &[1])));
        assert_eq!(due(&pace, &content(0, 1, &[1])), Some(now + IDLE));
    }
}
