//! Owns how long to wait before the next server is tried. Must not know: why the last one failed.

use std::time::Duration;

/// The longest first pause; it doubles each time every server has failed.
const BASE: Duration = Duration::from_millis(100);

/// No pause is longer. Thousands of agents that wait for one server spread over this much.
const MAX: Duration = Duration::from_secs(10);

/// Exponential backoff with full jitter, over a list of servers: another server is tried almost at
/// once, the same one only after a pause.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause before the next attempt.
    pub(super) fn next(&mut self, servers: usize) -> Duration {
        let longest = self.longest(servers);
        self.failures = self.failures.saturating_add(1);
        longest.mul_f64(rand::random())
    }

    /// A server has answered.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    fn longest(&self, servers: usize) -> Duration {
        let rounds = self.failures / u32::try_from(servers.max(1)).unwrap_or(u32::MAX);
        BASE.saturating_mul(1 << rounds.min(20)).min(MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_each_round_over_all_servers_and_are_bounded() {
        let mut backoff = Backoff::default();
        let mut longest = Vec::new();
        for _ in 0..6 {
            longest.push(backoff.longest(2).as_millis());
            assert!(backoff.next(2) <= MAX);
        }
        assert_eq!(longest, [100, 100, 200, 200, 400, 400]);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.longest(2), MAX);
        backoff.reset();
        assert_eq!(backoff.longest(2), BASE);
    }
}
