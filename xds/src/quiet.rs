//! Owns how often the log is told of what strangers can do as often as they like. Must not know: what
//! that is.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines in one stretch of time: enough for whoever looks for one node of many.
const LINES: u32 = 100;

/// The stretch of time.
const STRETCH: Duration = Duration::from_secs(10);

/// Counts lines, and those that were not written.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    // Held to count only.
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    since: Option<Instant>,
    said: u32,
    unsaid: u64,
}

impl Quiet {
    /// Whether there may be a line now; and how many were left out before it.
    pub(crate) fn line(&self, now: Instant) -> Option<u64> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted
            .since
            .is_none_or(|since| now.duration_since(since) > STRETCH)
        {
            (counted.since, counted.said) = (Some(now), 0);
        }
        if counted.said >= LINES {
            counted.unsaid += 1;
            return None;
        }
        counted.said += 1;
        Some(std::mem::take(&mut counted.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let (quiet, now) = (Quiet::default(), Instant::now());
        let said = (0..1000).filter(|_| quiet.line(now).is_some()).count();
        assert_eq!(said, LINES as usize);
        let later = now + STRETCH * 2;
        assert_eq!(quiet.line(later), Some(1000 - u64::from(LINES)));
        assert_eq!(quiet.line(later), Some(0));
    }
}
