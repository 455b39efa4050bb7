//! Owns when leases end. Must not know: which keys go with them, or the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::LeaseId;

/// The shortest lease. etcd's own is 2 s with its default election timeout.
const MIN_TTL_SECONDS: u64 = 1;

/// The longest lease, etcd's own limit: about 285 years.
const MAX_TTL_SECONDS: u64 = 9_000_000_000;

/// All leases and when each ends.
#[derive(Debug, Default)]
pub(super) struct Leases {
    ends: BTreeMap<i64, (u64, Instant)>,
    order: BTreeSet<(Instant, i64)>,
}

/// Leases are counted in whole seconds and never end earlier than was asked for.
pub(super) fn whole_seconds(ttl: Duration) -> u64 {
    let seconds = u64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(MAX_TTL_SECONDS);
    seconds.clamp(MIN_TTL_SECONDS, MAX_TTL_SECONDS)
}

impl Leases {
    /// Starts all leases anew.
    pub(super) fn started(granted: &BTreeMap<i64, u64>, now: Instant) -> Self {
        let mut leases = Self::default();
        for (lease, seconds) in granted {
            leases.grant(LeaseId(*lease), *seconds, now);
        }
        leases
    }

    /// Starts a lease.
    pub(super) fn grant(&mut self, lease: LeaseId, seconds: u64, now: Instant) {
        self.end(lease);
        let at = now + Duration::from_secs(seconds);
        self.ends.insert(lease.0, (seconds, at));
        self.order.insert((at, lease.0));
    }

    /// Starts a lease anew; the time it now has, or `None` if there is none.
    pub(super) fn keep_alive(&mut self, lease: LeaseId, now: Instant) -> Option<Duration> {
        let (seconds, _) = *self.ends.get(&lease.0)?;
        self.grant(lease, seconds, now);
        Some(Duration::from_secs(seconds))
    }

    /// Forgets a lease.
    pub(super) fn end(&mut self, lease: LeaseId) {
        if let Some((_, at)) = self.ends.remove(&lease.0) {
            self.order.remove(&(at, lease.0));
        }
    }

    /// When the next one ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Those that have ended, at most so many.
    pub(super) fn ended(&self, now: Instant, most: usize) -> Vec<LeaseId> {
        self.order
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(most)
            .map(|(_, lease)| LeaseId(*lease))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_unless_it_is_kept_alive() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut leases = Leases::started(&BTreeMap::from([(1, 10), (2, 20)]), start);
        assert_eq!(leases.next_end(), Some(at(10)));
        assert_eq!(leases.ended(at(9), 9), []);
        assert_eq!(
            leases.keep_alive(LeaseId(1), at(9)),
            Some(Duration::from_secs(10))
        );
        assert_eq!(leases.ended(at(18), 9), []);
        assert_eq!(leases.ended(at(20), 9), [LeaseId(1), LeaseId(2)]);
        assert_eq!(leases.ended(at(20), 1), [LeaseId(1)]);
        leases.end(LeaseId(1));
        leases.end(LeaseId(2));
        assert_eq!(leases.keep_alive(LeaseId(1), at(21)), None);
        assert_eq!(leases.next_end(), None);
    }

    #[test]
    fn times_are_whole_seconds_within_limits() {
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1001)), 2);
        assert_eq!(whole_seconds(Duration::MAX), MAX_TTL_SECONDS);
    }
}
