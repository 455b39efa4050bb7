//! Owns what a key of a hand-written Go gateway is. Must not know: what follows from it.

use serde::{Deserialize, Serialize};

/// Which keys under a fleet's prefix are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Those of APISIX.
    #[default]
    Apisix,
    /// Those of hand-written Go gateways besides: `service@<lease>@<name>` and
    /// `route@<lease>@<method>@<path>`, the lease in decimal.
    GoGateway,
}

/// A key of a hand-written Go gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayKey {
    /// An address of a service.
    Service {
        /// Under which it is registered.
        lease: i64,
        /// The service.
        name: String,
    },
    /// Requests that go to a service.
    Route {
        /// Under which it is registered.
        lease: i64,
        /// As it is written.
        method: String,
        /// As it is written.
        path: String,
    },
    /// It begins like one of these, and is none.
    Bad(&'static str),
}

impl GatewayKey {
    /// Which instance of its service a lease stands for.
    #[must_use]
    pub fn instance(lease: i64) -> String {
        format!("lease@{lease}")
    }

    /// The lease of an instance that a Go gateway registered.
    #[must_use]
    pub fn lease(instance: &str) -> Option<i64> {
        decimal(instance.strip_prefix("lease@")?)
    }
}

pub(super) fn decimal(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}
