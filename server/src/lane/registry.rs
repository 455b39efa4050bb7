//! Owns registering, renewing and draining instances: the transactions that make it so in the store.
//! Must not know: HTTP, or what becomes of instances.
//!
//! A registration is two keys: one under a lease, which says that the instance lives, and one without,
//! which says that it is known. To renew is to keep the lease alive, and writes nothing. Who drains an
//! instance takes both away and leaves a mark for a while, so that whoever keeps it registered learns of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::DRAINED;
use super::instance::Instance;
use super::service::believes;
use crate::keys::{GatewayKey, InstanceKey, Prefix, instance, instances_range, known_instance};
use crate::store::{Commit, Guard, KeyValue, LeaseId, Revision, Store, StoreError, Txn, Write};

/// How long a registration may hold without being renewed, in seconds. Stores have no shorter leases.
pub const TTL_S_MIN: u64 = 2;

/// The longest, an hour: whoever wants more wants `nodes` in an upstream.
pub const TTL_S_MAX: u64 = 3_600;

/// Stores may grant more than was asked for, up to this.
const TTL_FLOOR: Duration = Duration::from_secs(10);

/// How long it is known that an instance was drained. Whoever kept it registered asks much sooner.
const DRAINED_TTL: Duration = Duration::from_secs(3_600);

/// How often a transaction is tried again that another one came between.
const ATTEMPTS: usize = 16;

/// Instances that are forgotten with one transaction: two guards each.
const FORGOTTEN_AT_ONCE: usize = 30;

/// The instances of a fleet in its store.
#[derive(Clone, Copy, Debug)]
pub struct Registry<'a> {
    /// The fleet's store.
    pub store: &'a dyn Store,
    /// The fleet.
    pub fleet: &'a str,
    /// Where its configuration is.
    pub prefix: &'a Prefix,
}

/// Which instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Which<'a> {
    /// Whose. A name that [`crate::keys::is_service`] takes.
    pub service: &'a str,
    /// One that [`crate::keys::is_instance`] takes.
    pub id: &'a str,
}

/// What a registration came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The lease that it goes with.
    pub lease: LeaseId,
    /// Nothing had to be written.
    pub renewed: bool,
    /// There was none before.
    pub new: bool,
}

/// Why an instance can't be registered, renewed or drained.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegistryError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was to be renewed, and somebody drained it.
    #[error("instance {0} was drained")]
    Drained(String),
    /// It was to be renewed, and its registration has ended.
    #[error("instance {0} is not registered any more")]
    Ended(String),
    /// It was to be drained, and is not there.
    #[error("there is no instance {0}")]
    Unknown(String),
    /// Others were always faster.
    #[error("instance {0}: others wrote {ATTEMPTS} times meanwhile; try again")]
    Busy(String),
}

impl Registry<'_> {
    /// Registers an instance, or renews it. `again`: it must be there.
    ///
    /// # Errors
    /// See [`RegistryError`]; then it is as it was.
    pub async fn register(
        &self,
        which: Which<'_>,
        value: &Instance,
        ttl: Duration,
        again: bool,
    ) -> Result<Registered, RegistryError> {
        let key = instance(self.fleet, which.service, which.id);
        let body = Bytes::from(value.encode());
        for _ in 0..ATTEMPTS {
            let (found, _) = self.store.get(&key).await?;
            let kept = self.keep_alive(found.as_ref(), ttl).await?;
            if let (Some(found), Some(lease)) = (&found, kept)
                && found.value == body
            {
                return Ok(Registered {
                    lease,
                    renewed: true,
                    new: false,
                });
            }
            if again && found.is_none() {
                return Err(self.why_gone(which).await?);
            }
            let lease = match kept {
                Some(lease) => lease,
                None => self.store.grant(ttl).await?,
            };
            let at = found.as_ref().map(|found| found.mod_revision);
            let written = self.write(which, at, &body, lease).await;
            if let Ok(Commit::Applied(_)) = written {
                return Ok(Registered {
                    lease,
                    renewed: false,
                    new: found.is_none(),
                });
            }
            if kept.is_none()
                && let Err(error) = self.store.revoke(lease).await
            {
                tracing::debug!(%lease, %error, "unused lease not revoked");
            }
            written?;
        }
        Err(RegistryError::Busy(which.to_string()))
    }

    /// The lease of what is there, if it lives and is as long as is wanted.
    async fn keep_alive(
        &self,
        found: Option<&KeyValue>,
        ttl: Duration,
    ) -> Result<Option<LeaseId>, StoreError> {
        let Some(lease) = found.and_then(|found| found.lease) else {
            return Ok(None);
        };
        match self.store.keep_alive(lease).await {
            Ok(has) => Ok((has >= ttl && has <= ttl.max(TTL_FLOOR)).then_some(lease)),
            // It has ended just now.
            Err(StoreError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write(
        &self,
        which: Which<'_>,
        at: Option<Revision>,
        body: &Bytes,
        lease: LeaseId,
    ) -> Result<Commit, StoreError> {
        let key = instance(self.fleet, which.service, which.id);
        let known = known_instance(self.fleet, which.service, which.id);
        let (said, _) = self.store.get(&known).await?;
        let said_at = said.as_ref().map(|said| said.mod_revision);
        let mut txn = Txn {
            guards: vec![guard(key.clone(), at), guard(known.clone(), said_at)],
            writes: vec![put(key, body, Some(lease))],
        };
        if said.is_none_or(|said| said.value != *body) {
            txn.writes.push(put(known, body, None));
        }
        self.store.commit(txn).await
    }

    /// Forgets those of a service that are known and gone, if enough others live: as long as somebody can
    /// renew, it was they who failed. What others do meanwhile wins; there is always another time.
    ///
    /// # Errors
    /// The store fails.
    pub async fn forget_the_lost(&self, service: &str) -> Result<(), StoreError> {
        let range = format!("{}{service}/", instances_range(self.fleet));
        let (mut alive, mut known) = (BTreeSet::new(), BTreeMap::new());
        for entry in self.store.read(&range).await?.entries {
            match InstanceKey::parse(self.fleet, &entry.key) {
                Some(one) if !one.known => drop(alive.insert(one.id)),
                Some(one) if entry.value != DRAINED => {
                    known.insert(one.id, entry.mod_revision);
                }
                Some(_) | None => {}
            }
        }
        known.retain(|id, _| !alive.contains(id));
        if known.is_empty() || !believes(alive.len(), alive.len() + known.len()) {
            return Ok(());
        }
        let mut txn = Txn::default();
        for (id, at) in known.into_iter().take(FORGOTTEN_AT_ONCE) {
            let key = known_instance(self.fleet, service, &id);
            let alive = instance(self.fleet, service, &id);
            txn.guards
                .extend([guard(key.clone(), Some(at)), guard(alive, None)]);
            txn.writes.push(Write::Delete { key });
        }
        self.store.commit(txn).await.map(drop)
    }

    async fn why_gone(&self, which: Which<'_>) -> Result<RegistryError, StoreError> {
        let key = known_instance(self.fleet, which.service, which.id);
        let (known, _) = self.store.get(&key).await?;
        Ok(match known {
            Some(known) if known.value == DRAINED => RegistryError::Drained(which.to_string()),
            Some(_) | None => RegistryError::Ended(which.to_string()),
        })
    }

    /// Takes an instance out of its service for good. `remembered`: a server still tells proxies of it,
    /// whatever the store says.
    ///
    /// # Errors
    /// See [`RegistryError`]; then it is as it was.
    pub async fn drain(&self, which: Which<'_>, remembered: bool) -> Result<(), RegistryError> {
        let mut keys = vec![instance(self.fleet, which.service, which.id)];
        if let Some(lease) = GatewayKey::lease(which.id) {
            keys.push(self.prefix.gateway_service(lease, which.service));
        }
        let known = known_instance(self.fleet, which.service, which.id);
        for _ in 0..ATTEMPTS {
            let mut txn = Txn::default();
            for key in &keys {
                if let (Some(found), _) = self.store.get(key).await? {
                    txn.guards
                        .push(guard(key.clone(), Some(found.mod_revision)));
                    txn.writes.push(Write::Delete { key: key.clone() });
                }
            }
            let (said, _) = self.store.get(&known).await?;
            let is_known = said.as_ref().is_some_and(|said| said.value != DRAINED);
            if txn.writes.is_empty() && !is_known && !remembered {
                return Err(RegistryError::Unknown(which.to_string()));
            }
            let lease = self.store.grant(DRAINED_TTL).await?;
            let at = said.map(|said| said.mod_revision);
            txn.guards.push(guard(known.clone(), at));
            let mark = Bytes::from_static(DRAINED);
            txn.writes.push(put(known.clone(), &mark, Some(lease)));
            if let Commit::Applied(_) = self.store.commit(txn).await? {
                return Ok(());
            }
        }
        Err(RegistryError::Busy(which.to_string()))
    }
}

impl std::fmt::Display for Which<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of service {:?}", self.id, self.service)
    }
}

fn put(key: String, value: &Bytes, lease: Option<LeaseId>) -> Write {
    Write::Put {
        key,
        value: value.clone(),
        lease,
    }
}

fn guard(key: String, at: Option<Revision>) -> Guard {
    Guard {
        key,
        mod_revision: at.unwrap_or(Revision(0)),
    }
}
