//! Owns what is said of servers that can't be followed: once when that begins, now and then while it
//! lasts, and once when it is over. Must not know: what is done about it.

use std::time::{Duration, Instant};

use tonic::Status;
use tracing::{debug, info, warn};

/// How often an outage that lasts is mentioned. A fleet of thousands says the same at once.
const REMINDER: Duration = Duration::from_secs(300);

/// The time in which no server is followed. It begins with the process.
#[derive(Debug, Default)]
pub(super) struct Outage {
    followed: bool,
    mentioned: Option<Instant>,
}

impl Outage {
    /// A server was lost, or could not be followed.
    pub(super) fn failed(&mut self, server: &str, why: &Status, now: Instant) {
        let (code, reason) = (why.code(), why.message());
        if self.is_to_be_mentioned(now) {
            warn!(
                server,
                ?code,
                reason,
                "no discovery server; traffic is served by what is in force"
            );
        } else {
            debug!(server, ?code, reason, "still no discovery server");
        }
    }

    /// A server answers.
    pub(super) fn ended(&mut self, server: &str) {
        if !self.followed {
            info!(server, "following the discovery server");
        }
        self.followed = true;
        self.mentioned = None;
    }

    fn is_to_be_mentioned(&mut self, now: Instant) -> bool {
        self.followed = false;
        let due = self
            .mentioned
            .is_none_or(|last| now.saturating_duration_since(last) >= REMINDER);
        if due {
            self.mentioned = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_mentioned_once_and_then_now_and_then() {
        let began = Instant::now();
        let mut outage = Outage::default();
        let mentioned: Vec<u64> = (0..1_000)
            .filter(|seconds| outage.is_to_be_mentioned(began + Duration::from_secs(*seconds)))
            .collect();
        assert_eq!(mentioned, [0, 300, 600, 900]);
        outage.ended("a");
        assert!(outage.is_to_be_mentioned(began), "the next one is another");
    }
}
