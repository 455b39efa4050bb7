//! Owns which nodes a stage exposes: a part of those it selects, the same nodes on every server and at
//! every retry. Must not know: which nodes there are, or what they are exposed to.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use crate::selector::Selector;

/// Decides which nodes are the first of a line of rollouts. It stays the same until one succeeds, so
/// that retries meet the same nodes, and is another for the next, so that not always the same ones go
/// first. Written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Salt(pub [u8; 16]);

/// A part of all nodes in hundredths of a percent: 0 to 10,000. Written as a number of percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

/// Where a node must be to belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// In a bucket below this one.
    Below(#[serde(with = "hex")] u64),
    /// Anywhere. Not a number, for no number is above all buckets.
    All,
}

/// Nodes that are exposed: data, so that a leader may take more of them where a percentage would take
/// none, and every server still agrees.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cohort {
    /// Who can belong.
    pub select: Selector,
    /// How many of them, by failure domain.
    pub domains: BTreeMap<String, Threshold>,
    /// How many of them in any other domain, such as one whose nodes were away when the stage began.
    pub elsewhere: Threshold,
}

/// Where a node stands in a line of rollouts: uniform over all numbers, fixed by salt and id.
#[must_use]
pub fn bucket(salt: &Salt, id: &str) -> u64 {
    let hash = Sha256::new()
        .chain_update(salt.0)
        .chain_update([0])
        .chain_update(id)
        .finalize();
    hash.iter()
        .take(8)
        .fold(0, |bucket, byte| bucket << 8 | u64::from(*byte))
}

impl Salt {
    /// The salt of the line of rollouts after the one that ended with this content.
    #[must_use]
    pub fn after(self, digest: &crate::digest::Digest) -> Self {
        let hash = Sha256::new()
            .chain_update(self.0)
            .chain_update(digest.to_string())
            .finalize();
        let mut next = [0; 16];
        next.iter_mut()
            .zip(hash)
            .for_each(|(byte, hashed)| *byte = hashed);
        Self(next)
    }
}

impl Percent {
    /// None.
    pub const ZERO: Self = Self(0);
    /// All.
    pub const ALL: Self = Self(10_000);

    /// From hundredths of a percent; not above 10,000.
    #[must_use]
    pub fn of_basis_points(points: u16) -> Option<Self> {
        (points <= Self::ALL.0).then_some(Self(points))
    }

    /// In hundredths of a percent.
    #[must_use]
    pub fn basis_points(self) -> u16 {
        self.0
    }

    /// How many of `count` that is at least, rounded up.
    #[must_use]
    pub fn at_least_of(self, count: u64) -> u64 {
        let points = u128::from(count) * u128::from(self.0);
        u64::try_from(points.div_ceil(u128::from(Self::ALL.0))).unwrap_or(u64::MAX)
    }
}

impl Threshold {
    /// Takes nobody.
    pub const NONE: Self = Self::Below(0);

    /// Takes this part of all nodes.
    #[must_use]
    pub fn of(percent: Percent) -> Self {
        if percent >= Percent::ALL {
            return Self::All;
        }
        let buckets = (u128::from(percent.0) << 64).div_ceil(u128::from(Percent::ALL.0));
        u64::try_from(buckets).map_or(Self::All, Self::Below)
    }

    /// Takes whoever is in these buckets, too.
    #[must_use]
    pub fn taking(self, bucket: u64) -> Self {
        self.max(bucket.checked_add(1).map_or(Self::All, Self::Below))
    }

    /// Whether it takes a node.
    #[must_use]
    pub fn takes(self, bucket: u64) -> bool {
        match self {
            Self::Below(end) => bucket < end,
            Self::All => true,
        }
    }
}

impl Cohort {
    /// Whether a node belongs.
    #[must_use]
    pub fn has(
        &self,
        salt: &Salt,
        id: &str,
        labels: &BTreeMap<String, String>,
        domain: &str,
    ) -> bool {
        let threshold = self.domains.get(domain).unwrap_or(&self.elsewhere);
        *threshold != Threshold::NONE
            && self.select.matches(id, labels)
            && threshold.takes(bucket(salt, id))
    }
}

/// Not what it should be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Wrong {
    /// Not a salt.
    #[error("not a salt of 32 hexadecimal digits: {0:?}")]
    Salt(String),
    /// Not a percentage.
    #[error("not a percentage from 0 to 100 with two digits after the point at most: {0}")]
    Percent(f64),
}

impl fmt::Display for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for Salt {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::Salt(text.chars().take(40).collect());
        if text.len() != 32 || text.starts_with('+') {
            return Err(wrong());
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| wrong())?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl TryFrom<f64> for Percent {
    type Error = Wrong;

    fn try_from(percent: f64) -> Result<Self, Wrong> {
        let points = percent * 100.0;
        // What is written with two digits is not always a whole number of hundredths in binary.
        let whole = points.round();
        if !(0.0..=10_000.0).contains(&whole) || (points - whole).abs() > 1e-6 {
            return Err(Wrong::Percent(percent));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 10,000"
        )]
        Ok(Self(whole as u16))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.0) / 100.0)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 100 {
            0 => serializer.serialize_u16(self.0 / 100),
            _ => serializer.serialize_f64(f64::from(self.0) / 100.0),
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer)?
            .try_into()
            .map_err(de::Error::custom)
    }
}

impl Serialize for Salt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Salt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Buckets as text: many readers of JSON round numbers of 64 bits.
pub(crate) mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(bucket: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{bucket:016x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_read_and_written_exactly() {
        for points in 0..=10_000 {
            let percent = Percent::of_basis_points(points).unwrap();
            let text = serde_json::to_string(&percent).unwrap();
            assert_eq!(
                serde_json::from_str::<Percent>(&text).unwrap(),
                percent,
                "{text}"
            );
        }
        for wrong in ["-1", "100.01", "0.001", "\"5\"", "1e300"] {
            assert!(serde_json::from_str::<Percent>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn thresholds_grow_with_the_percentage() {
        let mut before = Threshold::NONE;
        for points in 1..=10_000 {
            let next = Threshold::of(Percent(points));
            assert!(next > before, "{points}");
            before = next;
        }
        assert_eq!(before, Threshold::All);
        assert!(Threshold::All.takes(u64::MAX));
        assert!(!Threshold::of(Percent(9_999)).takes(u64::MAX));
        assert!(!Threshold::NONE.takes(0));
        assert_eq!(Threshold::NONE.taking(u64::MAX), Threshold::All);
        assert!(Threshold::NONE.taking(7).takes(7));
        assert!(!Threshold::NONE.taking(7).takes(8));
    }

    #[test]
    fn parts_of_few_are_rounded_up() {
        let five = Percent(500);
        assert_eq!(
            [0, 1, 20, 21].map(|count| five.at_least_of(count)),
            [0, 1, 1, 2]
        );
        assert_eq!(Percent::ALL.at_least_of(u64::MAX), u64::MAX);
    }
}
