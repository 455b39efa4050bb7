//! Owns windows of requests: each is what was served from one moment to another. Must not know: who reads
//! them, the clock.

use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::Totals;

/// The window that is open, and the last whole one.
#[derive(Debug)]
pub(super) struct Window {
    began: Instant,
    before: Totals,
    last: Option<Closed>,
}

/// A whole window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) length: Duration,
    pub(super) served: Totals,
}

impl Window {
    /// The first one begins.
    pub(super) fn new(totals: Totals, now: Instant) -> Self {
        Self {
            began: now,
            before: totals,
            last: None,
        }
    }

    /// Ends the window if it is `whole`, and begins the next. A report that comes earlier because something
    /// changed repeats the last one.
    pub(super) fn close(&mut self, totals: Totals, now: Instant, whole: Duration) {
        let length = now.saturating_duration_since(self.began);
        if length >= whole {
            self.last = Some(Closed {
                length,
                served: totals.since(&self.before),
            });
            (self.began, self.before) = (now, totals);
        }
    }

    pub(super) fn last(&self) -> Option<&Closed> {
        self.last.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_window_is_whole_or_none() {
        let (metrics, began) = (Metrics::default(), Instant::now());
        let whole = Duration::from_secs(10);
        let mut window = Window::new(metrics.totals(), began);
        metrics.served(Duration::from_millis(1), http::StatusCode::OK);
        window.close(metrics.totals(), began + whole / 2, whole);
        assert_eq!(window.last(), None);
        metrics.served(Duration::from_millis(1), http::StatusCode::BAD_GATEWAY);
        window.close(metrics.totals(), began + whole, whole);
        let last = *window.last().unwrap();
        assert_eq!((last.served.requests(), last.served.errors), (2, 1));
        assert_eq!(last.length, whole);
        window.close(metrics.totals(), began + whole * 2, whole);
        assert_eq!(window.last().unwrap().served.requests(), 0);
    }
}
