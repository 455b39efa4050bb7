//! Owns what a server says of its nodes to the others, and that it fits in one small key. Must not know:
//! how nodes are watched, or what follows.

mod fit;
pub(super) mod publish;
pub(super) mod replicas;

use std::collections::BTreeMap;

use bellwether_rollout::{Evidence, Millis};
use serde::{Deserialize, Serialize};

pub use self::replicas::{Replica, Replicas};

/// Bytes of a report: with twenty servers and one a second it is what a store bears for hours.
pub const MAX_REPORT_BYTES: usize = 8 << 10;

/// Releases in use that a server names for one fleet.
pub const MAX_IN_USE: usize = 32;

/// Nodes that left, of one fleet, that a server names.
pub const MAX_DEPARTED: usize = 256;

/// What a server saw of one fleet in staged mode. Kept up by whoever watches its nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetReport {
    /// The generation of the fleet's state that this server knows: the `mod_revision` of its key.
    pub generation: u64,
    /// Nodes of the fleet that are connected to this server, in any role.
    pub nodes: u64,
    /// What was seen of them. `exposure` 0: no rollout is under way, so there is nothing to see.
    pub evidence: Evidence,
    /// How many of the lowest buckets of candidates are of use: the `min_nodes` of the stage that begins
    /// next. The lists in `evidence` are cut to it.
    #[serde(skip)]
    pub wanted: usize,
    /// Numbers of the releases that its nodes have, or are being given. The first [`MAX_IN_USE`] are told;
    /// where there are more, nothing is deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub in_use: Vec<u64>,
    /// Nodes, by a hash that is the same on every server, that were exposed here, left, and may be with
    /// another server now. They count as missing until one says that it has them. The first
    /// [`MAX_DEPARTED`] are told.
    #[serde(with = "hashes", skip_serializing_if = "Vec::is_empty")]
    pub departed: Vec<u64>,
    /// Those that others named as departed and that are connected here.
    #[serde(with = "hashes", skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<u64>,
}

/// What the leader says of a fleet beside what it saw of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    /// What each gate last said that is asked elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateTold>,
    /// Why it can't decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What a gate last said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateTold {
    /// Its name.
    pub name: String,
    /// `pass`, `fail` or `inconclusive`.
    pub verdict: String,
    /// Why, if it did not pass.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Everything that one server says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Who.
    pub server: String,
    /// When, by its clock.
    pub time: Millis,
    /// By fleet. Not every fleet is in every report, where there is not room for all.
    pub fleets: BTreeMap<String, FleetReport>,
    /// By fleet; only of the leader.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<String, Told>,
}

impl FleetReport {
    /// Whether a rollout is under way.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.evidence.exposure != 0
    }
}

/// Hashes in one text, 16 digits each: as numbers they would take a third more.
mod hashes {
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(clippy::ptr_arg, reason = "serde asks so")]
    pub(super) fn serialize<S: Serializer>(
        hashes: &Vec<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text: String = hashes.iter().map(|hash| format!("{hash:016x}")).collect();
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u64>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let each = text.as_bytes().chunks(16).map(|digits| {
            let digits = std::str::from_utf8(digits).map_err(de::Error::custom)?;
            u64::from_str_radix(digits, 16).map_err(de::Error::custom)
        });
        each.collect()
    }
}
