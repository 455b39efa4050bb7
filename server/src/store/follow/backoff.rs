//! Owns how long to wait before the next try. Must not know: what is tried.

use std::time::Duration;

/// The shortest wait: an etcd that was only restarted is back within it.
const FIRST: Duration = Duration::from_millis(100);

/// The longest: a cluster that was away for hours is found again within it.
pub(super) const LONGEST: Duration = Duration::from_secs(10);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Twice the time of the last failure, between a half and the whole of it, so that servers that
    /// lost the same member don't come back together. `random` is between 0 and 1.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let most = FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        most.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_start_anew() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..9).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(
            waits,
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        assert_eq!(backoff.next(0.0), LONGEST / 2);
        backoff.reset();
        assert_eq!(backoff.next(0.0), FIRST / 2);
    }
}
