//! Owns what was seen of the nodes of a fleet, in numbers that add up over servers. Must not know: what
//! follows from them.
//!
//! Gauges, not counters of events: a node that comes back is not counted twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::MAX_MIN_NODES;

/// What one server saw, or all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Evidence {
    /// The exposure that it is of; see [`crate::state::Rollout::exposure`].
    pub exposure: u64,
    /// Whether every live server has spoken of this exposure, and lately. What is missing is not zero.
    pub complete: bool,
    /// By failure domain.
    pub domains: BTreeMap<String, Seen>,
    /// Whom the stage could take that begins next, by failure domain.
    pub candidates: BTreeMap<String, Candidates>,
    /// Nodes that are to have the base, whatever their domain.
    pub base: Base,
}

/// The nodes of one failure domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seen {
    /// Those that get the target.
    pub exposed: Counts,
    /// Those that do not (yet).
    pub control: Counts,
}

/// How many nodes are where. Each node is in one of `stable`, `rejected`, `unable` and `failed`, or in
/// none of them yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Connected when the exposure began.
    #[serde(skip_serializing_if = "is_zero")]
    pub assigned: u64,
    /// Connected now.
    #[serde(skip_serializing_if = "is_zero")]
    pub connected: u64,
    /// Gone for longer than a reconnect takes.
    #[serde(skip_serializing_if = "is_zero")]
    pub missing: u64,
    /// In force, and alive for the probation since.
    #[serde(skip_serializing_if = "is_zero")]
    pub stable: u64,
    /// Would not have it, because it is wrong.
    #[serde(skip_serializing_if = "is_zero")]
    pub rejected: u64,
    /// Can't have it, for reasons of their own: too old, no memory. Told, but nothing goes back for it.
    #[serde(skip_serializing_if = "is_zero")]
    pub unable: u64,
    /// Had it, and went back by themselves, or died of it again and again.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed: u64,
    /// Requests served in the last window.
    #[serde(skip_serializing_if = "is_zero")]
    pub requests: u64,
    /// Of these, those that ended in an error of the proxy's or its upstreams' making.
    #[serde(skip_serializing_if = "is_zero")]
    pub errors: u64,
}

/// Whom a stage could take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Candidates {
    /// How many it selects.
    pub eligible: u64,
    /// The lowest buckets among them, in order, no more than [`MAX_MIN_NODES`].
    pub lowest: Vec<u64>,
}

/// Nodes that are to have the base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Base {
    /// Connected now.
    pub connected: u64,
    /// Have it in force.
    pub holding: u64,
    /// Rejected it.
    pub rejected: u64,
}

/// Reports are small: what is nothing is not written.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Evidence {
    /// What all servers saw, of what each of them did.
    #[must_use]
    pub fn sum(exposure: u64, complete: bool, reports: impl IntoIterator<Item = Self>) -> Self {
        let mut sum = Self {
            exposure,
            complete,
            ..Self::default()
        };
        for report in reports
            .into_iter()
            .filter(|report| report.exposure == exposure)
        {
            sum.complete &= report.complete;
            for (domain, seen) in report.domains {
                let all = sum.domains.entry(domain).or_default();
                all.exposed.add(seen.exposed);
                all.control.add(seen.control);
            }
            for (domain, more) in report.candidates {
                sum.candidates.entry(domain).or_default().add(more);
            }
            sum.base.connected += report.base.connected;
            sum.base.holding += report.base.holding;
            sum.base.rejected += report.base.rejected;
        }
        sum
    }

    /// Those exposed, over all domains.
    #[must_use]
    pub fn exposed(&self) -> Counts {
        self.total(|seen| seen.exposed)
    }

    /// Those that are not, over all domains.
    #[must_use]
    pub fn control(&self) -> Counts {
        self.total(|seen| seen.control)
    }

    fn total(&self, which: impl Fn(&Seen) -> Counts) -> Counts {
        let mut total = Counts::default();
        self.domains
            .values()
            .for_each(|seen| total.add(which(seen)));
        total
    }
}

impl Counts {
    /// Those that have said what becomes of them.
    #[must_use]
    pub fn answered(self) -> u64 {
        self.stable + self.rejected + self.unable + self.failed
    }

    fn add(&mut self, more: Self) {
        self.assigned += more.assigned;
        self.connected += more.connected;
        self.missing += more.missing;
        self.stable += more.stable;
        self.rejected += more.rejected;
        self.unable += more.unable;
        self.failed += more.failed;
        self.requests += more.requests;
        self.errors += more.errors;
    }
}

impl Candidates {
    /// With one more node.
    pub fn take(&mut self, bucket: u64) {
        self.add(Self {
            eligible: 1,
            lowest: vec![bucket],
        });
    }

    fn add(&mut self, more: Self) {
        self.eligible += more.eligible;
        self.lowest.extend(more.lowest);
        self.lowest.sort_unstable();
        self.lowest.truncate(MAX_MIN_NODES as usize);
    }
}
