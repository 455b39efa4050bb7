//! Owns the election of the one server that decides: asks the store for what the election wants, and says
//! whether this server leads. Must not know: what a leader does.
//!
//! The key is written once an election, under a lease, so its revision is the fence of everything that
//! the leader writes: one that wakes up after another was elected can't write any more.

mod election;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use self::election::{Election, Next};
use super::mirror::{Mirror, Mirrored};
use crate::clock::unix_ms;
use crate::keys;
use crate::store::{Commit, Guard, Revision, Store, StoreError, Txn, Write};

/// How long a leader is missed before another is elected.
pub const LEADER_TTL: Duration = Duration::from_secs(10);

/// The term of a leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Guards every write.
    pub fence: Guard,
    /// From when, by this server's clock.
    pub since: Instant,
    /// Nothing is decided after that.
    pub until: Instant,
}

/// Who leads, as the store has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// The server.
    pub server: String,
    /// Unix time in milliseconds.
    pub since: u64,
}

/// Whether this server leads.
pub(super) type Terms = watch::Receiver<Option<Term>>;

/// Who leads by what the store says.
pub(super) fn leader_of(mirrored: &Mirrored) -> Option<Leader> {
    let heard = mirrored.entries.get(&keys::leader())?;
    serde_json::from_slice(&heard.kv.value).ok()
}

/// Stands for election for as long as `wanted`, until `stop`; then gives back what it has.
pub(super) struct Stand {
    pub(super) store: Arc<dyn Store>,
    pub(super) server: String,
    pub(super) ttl: Duration,
    pub(super) key: Mirror,
    pub(super) terms: watch::Sender<Option<Term>>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Stand {
    pub(super) async fn run(mut self) {
        let mut election = Election::new(self.ttl);
        loop {
            {
                let key = self.key.borrow_and_update();
                if key.live {
                    let found = key.entries.get(&keys::leader());
                    election.seen(key.revision, found.map(|heard| heard.kv.mod_revision));
                }
            }
            self.publish(&election);
            let next = election.next(Instant::now());
            let mut stop = self.stop.clone();
            tokio::select! {
                biased;
                stopped = stop.wait_for(|stop| *stop) => match stopped {
                    Ok(_) => break,
                    // The server was torn down: nobody is left to be polite for.
                    Err(_) => return,
                },
                () = self.act(&mut election, next) => {}
            }
        }
        self.terms.send_replace(None);
        if let Some(lease) = election.lease() {
            // Else it ends by itself.
            let _ = timeout(self.ttl / 3, self.store.revoke(lease)).await;
        }
    }

    fn publish(&self, election: &Election) {
        let reign = election.reign(Instant::now());
        let term = reign.map(|reign| Term {
            fence: Guard {
                key: keys::leader(),
                mod_revision: reign.fence,
            },
            since: reign.since,
            until: reign.until,
        });
        self.terms.send_if_modified(|known| {
            let (was, is) = (known.is_some(), term.is_some());
            if was != is {
                tracing::info!(server = self.server, leads = is, "election");
            }
            let changed = *known != term;
            *known = term;
            changed
        });
    }

    async fn act(&mut self, election: &mut Election, next: Next) {
        let asked = Instant::now();
        match next {
            Next::Wait(until) => self.wait(election, until).await,
            Next::Grant => match self.bounded(self.store.grant(self.ttl)).await {
                Ok(lease) => election.granted(lease, asked),
                Err(error) => self.failed(election, &error),
            },
            Next::Stand(lease) => {
                let leader = Leader {
                    server: self.server.clone(),
                    since: unix_ms(),
                };
                let put = Write::Put {
                    key: keys::leader(),
                    value: serde_json::to_vec(&leader).unwrap_or_default().into(),
                    lease: Some(lease),
                };
                let txn = Txn {
                    guards: vec![Guard {
                        key: keys::leader(),
                        mod_revision: Revision(0),
                    }],
                    writes: vec![put],
                };
                match self.bounded(self.store.commit(txn)).await {
                    Ok(Commit::Applied(fence)) => election.elected(fence, Instant::now()),
                    Ok(Commit::Conflict) => {
                        election.lost();
                        // It was never used.
                        let _ = self.bounded(self.store.revoke(lease)).await;
                    }
                    Err(error) => self.failed(election, &error),
                }
            }
            Next::Renew(lease) => match self.bounded(self.store.keep_alive(lease)).await {
                Ok(_) => election.renewed(asked),
                Err(StoreError::Refused { reason }) => {
                    tracing::warn!(server = self.server, reason, "leads no longer");
                    election.lost();
                }
                Err(error) => self.failed(election, &error),
            },
        }
    }

    /// Until something is heard of the key, it is time to act, or the term is over.
    async fn wait(&mut self, election: &Election, until: Option<Instant>) {
        let over = election.reign(Instant::now()).map(|reign| reign.until);
        let until = until.into_iter().chain(over).min();
        let timer = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timer => {}
            changed = self.key.changed() => {
                if changed.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    fn failed(&self, election: &mut Election, error: &StoreError) {
        tracing::debug!(server = self.server, %error, "election");
        election.failed(Instant::now());
    }

    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let patience = self.ttl / 3;
        timeout(patience, call)
            .await
            .unwrap_or_else(|_| Err(super::no_answer(patience)))
    }
}
