//! Owns the promises of every store, as they are written at the top of `server/src/store.rs`.
//! Must not know: which store keeps them.

mod leases;
mod reading;
mod swaps;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use bellwether_server::store::{
    Batch, Change, Commit, Guard, KeyValue, LeaseId, Revision, Store, StoreError, Txn, Watch, Write,
};
use bytes::Bytes;

use super::subject::{Subject, apply, put};

pub(super) use self::leases::*;
pub(super) use self::reading::*;
pub(super) use self::swaps::*;
pub(super) use self::watching::*;

/// Far longer than anything takes: a test that waits for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

async fn next(watch: &mut Watch) -> Result<Batch, StoreError> {
    let next = tokio::time::timeout(PATIENCE, watch.batches.recv()).await;
    next.expect("a watch has something to say")
        .expect("a watch does not end without an error")
}

/// All changes up to a revision.
async fn changes_to(watch: &mut Watch, last: Revision) -> Vec<Change> {
    let mut changes = Vec::new();
    loop {
        let batch = next(watch).await.unwrap();
        changes.extend(batch.changes);
        if batch.revision >= last {
            return changes;
        }
    }
}

fn write(key: &str, value: &str, lease: Option<LeaseId>) -> Write {
    Write::Put {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
        lease,
    }
}

fn delete(key: &str) -> Write {
    Write::Delete {
        key: key.to_owned(),
    }
}

fn deleted(key: &str) -> Change {
    Change::Delete {
        key: key.to_owned(),
    }
}

async fn value(store: &Arc<dyn Store>, key: &str) -> Option<String> {
    let (found, _) = store.get(key).await.unwrap();
    found.map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
}
