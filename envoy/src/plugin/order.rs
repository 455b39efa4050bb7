//! Owns the order in which plugins run: APISIX's phases and priorities. Must not know: what they do.

use std::cmp::Reverse;

use bellwether::name::Name;

use super::chain::Effect;
use super::{Part, Unsupported};

/// When a plugin looks at a request. All of the first phase run before any of the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// APISIX's `rewrite`.
    Rewrite,
    /// APISIX's `access`.
    Access,
}

/// One plugin's part.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// The global rule it stands in. Global rules run before a route's own plugins, both phases.
    pub(super) rule: Option<Name>,
    pub(super) phase: Phase,
    pub(super) priority: i64,
    pub(super) plugin: String,
    pub(super) effects: Vec<Effect>,
}

impl Step {
    pub(super) fn unsupported(&self, reason: String) -> Unsupported {
        Unsupported {
            plugin: self.plugin.clone(),
            rule: self.rule.clone(),
            reason,
        }
    }
}

/// The priority and the phase of a plugin in APISIX, or `None` if it can't be run.
pub(super) fn of(plugin: &str) -> Option<(i64, Phase)> {
    Some(match plugin {
        "request-id" => (12_015, Phase::Rewrite),
        "fault-injection" => (11_000, Phase::Rewrite),
        "cors" => (4_000, Phase::Rewrite),
        "ip-restriction" => (3_000, Phase::Access),
        "basic-auth" => (2_520, Phase::Rewrite),
        "jwt-auth" => (2_510, Phase::Rewrite),
        "key-auth" => (2_500, Phase::Rewrite),
        "proxy-rewrite" => (1_008, Phase::Rewrite),
        "limit-count" => (1_002, Phase::Access),
        "limit-req" => (1_001, Phase::Access),
        "traffic-split" => (966, Phase::Access),
        "redirect" => (900, Phase::Rewrite),
        "response-rewrite" => (899, Phase::Rewrite),
        _ => return None,
    })
}

/// Sorts as APISIX runs them; a higher priority is first.
pub(super) fn sort(parts: &mut [Part]) {
    parts.sort_by_cached_key(|Part { step, .. }| {
        let own = step.rule.is_none();
        let name = (step.rule.clone(), step.plugin.clone());
        (own, step.phase, Reverse(step.priority), name)
    });
}
