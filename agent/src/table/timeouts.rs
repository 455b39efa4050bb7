//! Owns the limits on one attempt to forward a request. Must not know: who measures them.

use std::time::Duration;

use bellwether::wire::native;

/// nginx's default for each of the three.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long to wait for an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, with the TLS handshake.
    pub connect: Duration,
    /// Between two successive writes.
    pub send: Duration,
    /// Between two successive reads.
    pub read: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: DEFAULT_TIMEOUT,
            send: DEFAULT_TIMEOUT,
            read: DEFAULT_TIMEOUT,
        }
    }
}

impl From<native::Timeouts> for Timeouts {
    fn from(message: native::Timeouts) -> Self {
        Self {
            connect: or_default(message.connect_ms),
            send: or_default(message.send_ms),
            read: or_default(message.read_ms),
        }
    }
}

/// The longest time that is told from "for ever"; a clock does not overflow on it.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

fn or_default(milliseconds: u64) -> Duration {
    match milliseconds {
        0 => DEFAULT_TIMEOUT,
        set => Duration::from_millis(set).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_nginx_default_and_nothing_overflows() {
        let timeouts = Timeouts::from(native::Timeouts {
            connect_ms: 0,
            send_ms: 1_500,
            read_ms: u64::MAX,
        });
        assert_eq!(timeouts.connect, DEFAULT_TIMEOUT);
        assert_eq!(timeouts.send, Duration::from_millis(1_500));
        assert_eq!(timeouts.read, LONGEST);
    }
}
