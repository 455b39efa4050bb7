//! Owns the pace at which nodes get what is new: each that asks is given its turn. Must not know: who
//! asks, or for what.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One line of nodes that wait for their turn. A turn that nobody comes to is not given again.
#[derive(Debug)]
pub(super) struct Pacer {
    /// Which line it is.
    pub(super) line: u64,
    began: Instant,
    /// When the next turn is, in microseconds since it began.
    next: AtomicU64,
}

impl Pacer {
    pub(super) fn new(line: u64, now: Instant) -> Self {
        Self {
            line,
            began: now,
            next: AtomicU64::new(0),
        }
    }

    /// When the turn of one more is, if there are `pace` turns a second over all of `servers`.
    pub(super) fn turn(&self, pace: u32, servers: u32, now: Instant) -> Instant {
        if pace == 0 {
            return now;
        }
        let apart = 1_000_000 * u64::from(servers.max(1)) / u64::from(pace);
        let elapsed = now.saturating_duration_since(self.began).as_micros();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let after = |next: u64| next.max(elapsed).saturating_add(apart);
        let taken = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                Some(after(next))
            });
        let (Ok(turn) | Err(turn)) = taken;
        self.began + Duration::from_micros(turn.max(elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_as_far_apart_as_the_pace_wants() {
        let start = Instant::now();
        let pacer = Pacer::new(1, start);
        let at = |pace, servers, now: Instant| pacer.turn(pace, servers, now) - start;
        assert_eq!(at(10, 1, start), Duration::ZERO);
        assert_eq!(at(10, 1, start), Duration::from_millis(100));
        assert_eq!(at(10, 2, start), Duration::from_millis(200));
        assert_eq!(at(10, 2, start), Duration::from_millis(400));
        // Turns that nobody took are not made up for.
        let late = start + Duration::from_secs(60);
        assert_eq!(at(10, 1, late), Duration::from_secs(60));
        assert_eq!(at(10, 1, late), Duration::from_millis(60_100));
        assert_eq!(at(0, 1, late), Duration::from_secs(60));
    }
}
