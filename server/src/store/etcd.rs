//! Owns the store in an etcd cluster: one connection for all callers, one token, one watch for each that asks.
//! Must not know: what the keys mean, or when to try again after a failure (the follower does).

mod config;
mod connection;
mod failure;
mod read;
mod version;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Compare, CompareOp, DeleteOptions, PutOptions, TxnOp};

pub use self::config::{EtcdConfig, Password, Patience};

use self::connection::{Connection, Retry};
use self::failure::Failure;
use super::{
    Commit, Guard, KeyValue, LeaseId, Reading, Revision, Store, StoreError, StoreId, Txn, Watch,
    Write, check,
};

/// A store in etcd. Cheap to make: it connects when it is first asked.
#[derive(Debug)]
pub struct EtcdStore {
    connection: Arc<Connection>,
}

impl EtcdStore {
    /// Checks the configuration. Nothing is contacted yet.
    ///
    /// # Errors
    /// [`StoreError::Refused`] names what is wrong with it.
    pub fn new(config: EtcdConfig) -> Result<Self, StoreError> {
        config.check()?;
        Ok(Self {
            connection: Arc::new(Connection::new(config)),
        })
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn id(&self) -> Result<StoreId, StoreError> {
        self.connection
            .call(Retry::Elsewhere, |member| async move {
                let status = member.client.maintenance_client().status().await?;
                Ok(failure::header(status.header())?.0)
            })
            .await
    }

    async fn read(&self, prefix: &str) -> Result<Reading, StoreError> {
        read::read(&self.connection, prefix).await
    }

    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        self.connection
            .call(Retry::Elsewhere, |member| {
                let key = key.to_owned();
                async move {
                    let mut answer = member.kv.clone().get(key, None).await?;
                    let (_, revision) = failure::header(answer.header())?;
                    let found = answer.take_kvs().pop().and_then(read::key_value);
                    Ok((found, revision))
                }
            })
            .await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        watch::open(&self.connection, prefix, from).await
    }

    async fn commit(&self, txn: Txn) -> Result<Commit, StoreError> {
        check::check(&txn)?;
        let request = request(&txn);
        self.connection
            .call(Retry::Never, |member| {
                let request = request.clone();
                async move {
                    let answer = member.kv.clone().txn(request).await?;
                    let (_, revision) = failure::header(answer.header())?;
                    Ok(if answer.succeeded() {
                        Commit::Applied(revision)
                    } else {
                        Commit::Conflict
                    })
                }
            })
            .await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let seconds = whole_seconds(ttl);
        self.connection
            .call(Retry::Never, |member| async move {
                let answer = member.client.lease_client().grant(seconds, None).await?;
                Ok(LeaseId(answer.id()))
            })
            .await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.connection
            .call(Retry::Elsewhere, |member| async move {
                let mut client = member.client.lease_client();
                // The first answer, which the client keeps for itself, says that the lease is there;
                // the second says how long it has.
                let (mut keeper, mut answers) = client.keep_alive(lease.0).await?;
                keeper.keep_alive().await?;
                let answer = answers.message().await?;
                let seconds = answer.map_or(0, |answer| answer.ttl());
                match u64::try_from(seconds) {
                    Ok(1..) => Ok(Duration::from_secs(seconds.unsigned_abs())),
                    Ok(0) | Err(_) => Err(Failure::no_such_lease(lease)),
                }
            })
            .await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.connection
            .call(Retry::Never, |member| async move {
                member.client.lease_client().revoke(lease.0).await?;
                Ok(())
            })
            .await
    }
}

/// etcd counts leases in seconds; a lease never ends earlier than was asked for.
fn whole_seconds(ttl: Duration) -> i64 {
    let seconds = ttl.as_millis().div_ceil(1000).max(1);
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

fn request(txn: &Txn) -> etcd_client::Txn {
    let compares: Vec<Compare> = txn.guards.iter().map(compare).collect();
    let writes: Vec<TxnOp> = txn.writes.iter().map(operation).collect();
    etcd_client::Txn::new().when(compares).and_then(writes)
}

/// The `mod_revision` of a key that is not there is 0 in etcd, too.
fn compare(guard: &Guard) -> Compare {
    let revision = failure::to_wire(guard.mod_revision);
    Compare::mod_revision(guard.key.as_str(), CompareOp::Equal, revision)
}

fn operation(write: &Write) -> TxnOp {
    match write {
        Write::Put { key, value, lease } => {
            let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
            TxnOp::put(key.as_str(), value.as_ref(), options)
        }
        Write::Delete { key } => TxnOp::delete(key.as_str(), None),
        Write::DeletePrefix { prefix } => {
            TxnOp::delete(prefix.as_str(), Some(DeleteOptions::new().with_prefix()))
        }
    }
}
