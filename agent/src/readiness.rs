//! Owns what the agent still waits for before it is ready. Must not know: what becomes ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Names what is pending. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    pending: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Readiness {
    /// The agent is not ready before what this returns is dropped.
    pub fn block(&self, what: impl Into<String>) -> Block {
        let what = what.into();
        *self.lock().entry(what.clone()).or_insert(0) += 1;
        Block {
            readiness: self.clone(),
            what,
        }
    }

    /// What is pending; nothing if the agent is ready.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, usize>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that is pending until this is dropped.
#[derive(Debug)]
#[must_use = "dropped, it is pending no more"]
pub struct Block {
    readiness: Readiness,
    what: String,
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut pending = self.readiness.lock();
        if let Some(count) = pending.get_mut(&self.what) {
            *count -= 1;
            if *count == 0 {
                pending.remove(&self.what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_when_nothing_is_pending() {
        let readiness = Readiness::default();
        assert!(readiness.pending().is_empty());
        let first = readiness.block("first snapshot");
        let again = readiness.block("first snapshot");
        let _listener = readiness.block("a listener");
        drop(first);
        assert_eq!(readiness.pending(), ["a listener", "first snapshot"]);
        drop(again);
        assert_eq!(readiness.pending(), ["a listener"]);
    }
}
