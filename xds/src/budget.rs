//! Owns the memory that the requests of one connection may take together. Must not know: what takes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tonic::Status;

/// Bytes of requests of which the end has not come yet, over all streams of a connection: four of the
/// largest at once.
const UNFINISHED_BYTES: usize = 64 << 20;

/// Bytes of the names that all streams of a connection subscribe to: some million names, for relays of
/// many nodes.
const NAME_BYTES: usize = 128 << 20;

/// What a connection has left. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Budgets {
    /// For requests that are still coming.
    pub(crate) unfinished: Budget,
    /// For names that are subscribed.
    pub(crate) names: Budget,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            unfinished: Budget::new(UNFINISHED_BYTES, "requests that are not finished"),
            names: Budget::new(NAME_BYTES, "names that are subscribed"),
        }
    }
}

/// So many bytes for one purpose.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    limit: usize,
    purpose: &'static str,
    taken: Arc<AtomicUsize>,
}

impl Budget {
    fn new(limit: usize, purpose: &'static str) -> Self {
        Self {
            limit,
            purpose,
            taken: Arc::default(),
        }
    }

    /// A stream's share, which is nothing yet.
    pub(crate) fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            held: 0,
        }
    }
}

/// What one stream has of it. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    pub(crate) held: usize,
}

impl Share {
    /// From now on it is this much.
    ///
    /// # Errors
    /// There is not enough left; it stays what it was.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Status> {
        let Budget {
            limit,
            purpose,
            taken,
        } = &self.budget;
        let change = |taken: usize| {
            let taken = (taken - self.held).checked_add(bytes)?;
            (taken <= *limit || bytes <= self.held).then_some(taken)
        };
        let changed = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
        if changed.is_err() {
            return Err(Status::resource_exhausted(format!(
                "the streams of this connection hold more than {limit} bytes of {purpose}"
            )));
        }
        self.held = bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_stream_takes_another_has_not() {
        let budget = Budget::new(10, "things");
        let (mut one, mut two) = (budget.share(), budget.share());
        one.hold(6).unwrap();
        two.hold(4).unwrap();
        let refused = one.hold(7).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert_eq!(one.held, 6, "it keeps what it had");
        assert!(two.hold(usize::MAX).is_err());
        two.hold(1).unwrap();
        one.hold(9).unwrap();
        drop(one);
        two.hold(10).unwrap();
    }
}
