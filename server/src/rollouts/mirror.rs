//! Owns a copy of a few keys that come and go: reports, the leader, a state. Must not know: what they say.
//!
//! Unlike the configuration, which outlives a store that contradicts itself, these count only as long as
//! the store vouches for them: they go when it says so, and nothing is concluded while it is away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::patient;
use crate::store::{Change, KeyValue, Revision, Store, StoreError};

/// What is waited after a failure before the store is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// The keys under a prefix.
#[derive(Clone, Debug, Default)]
pub(super) struct Mirrored {
    /// By key.
    pub(super) entries: BTreeMap<String, Heard>,
    /// The store's revision that it is of.
    pub(super) revision: Revision,
    /// Whether changes arrive.
    pub(super) live: bool,
}

/// A key, and when we learned of its value.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) kv: KeyValue,
    /// By our own clock; none if it was there before we looked: it may be of any age.
    pub(super) at: Option<Instant>,
}

/// What is followed.
#[derive(Clone, Debug)]
pub(super) enum Of {
    /// This one: not what has a longer name.
    Key(String),
    /// Everything that begins so.
    Range(String),
}

pub(super) type Mirror = watch::Receiver<Arc<Mirrored>>;

/// Follows it until nobody looks any more.
pub(super) fn mirror(store: Arc<dyn Store>, of: Of) -> Mirror {
    let (sender, mirror) = watch::channel(Arc::default());
    tokio::spawn(async move {
        loop {
            let error = tokio::select! {
                () = sender.closed() => return,
                error = follow(&store, &of, &sender) => error,
            };
            tracing::debug!(?of, %error, "can't follow for now");
            sender.send_modify(|mirrored| Arc::make_mut(mirrored).live = false);
            sleep(PAUSE).await;
        }
    });
    mirror
}

impl Of {
    fn has(&self, key: &str) -> bool {
        match self {
            Self::Key(one) => one == key,
            Self::Range(start) => key.starts_with(start),
        }
    }
}

/// What is there, and at which revision.
async fn read(store: &Arc<dyn Store>, of: &Of) -> Result<(Vec<KeyValue>, Revision), StoreError> {
    match of {
        Of::Key(key) => {
            let (found, revision) = patient(store.get(key)).await?;
            Ok((found.into_iter().collect(), revision))
        }
        Of::Range(prefix) => {
            let reading = patient(store.read(prefix)).await?;
            Ok((reading.entries, reading.revision))
        }
    }
}

/// Ends with what went wrong.
async fn follow(
    store: &Arc<dyn Store>,
    of: &Of,
    sender: &watch::Sender<Arc<Mirrored>>,
) -> StoreError {
    let (found, revision) = match read(store, of).await {
        Ok(read) => read,
        Err(error) => return error,
    };
    let (Of::Key(prefix) | Of::Range(prefix)) = of;
    let mut watch = match patient(store.watch(prefix, revision.next())).await {
        Ok(watch) => watch,
        Err(error) => return error,
    };
    sender.send_modify(|mirrored| {
        let known = std::mem::take(&mut Arc::make_mut(mirrored).entries);
        let entries = found.into_iter().map(|kv| {
            let same = known
                .get(&kv.key)
                .filter(|heard| heard.kv.mod_revision == kv.mod_revision);
            let at = same.and_then(|heard| heard.at);
            (kv.key.clone(), Heard { kv, at })
        });
        *mirrored = Arc::new(Mirrored {
            entries: entries.collect(),
            revision,
            live: true,
        });
    });
    loop {
        let batch = match watch.batches.recv().await {
            Some(Ok(batch)) => batch,
            Some(Err(error)) => return error,
            None => {
                return StoreError::Unavailable {
                    reason: "watch ended".to_owned(),
                };
            }
        };
        sender.send_modify(|mirrored| {
            let mirrored = Arc::make_mut(mirrored);
            mirrored.revision = mirrored.revision.max(batch.revision);
            for change in batch.changes {
                match change {
                    Change::Put(kv) if of.has(&kv.key) => {
                        let at = Some(Instant::now());
                        mirrored.entries.insert(kv.key.clone(), Heard { kv, at });
                    }
                    Change::Delete { key } => {
                        mirrored.entries.remove(&key);
                    }
                    Change::Put(_) => {}
                }
            }
        });
    }
}
