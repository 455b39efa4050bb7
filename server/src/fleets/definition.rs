//! Owns what a fleet is defined by, as it stands under its key. Must not know: which fleets there are.

use std::time::Duration;

use bellwether_rollout::policy::{Policy, Written, preset};
use serde::{Deserialize, Serialize};

use crate::json;
use crate::keys::{Layout, Prefix, RESERVED};

/// Characters of a fleet's name. It is part of keys and of paths.
const NAME_CHARS_MAX: usize = 64;

/// Releases that are kept at least, besides those in use.
const KEPT_RELEASES: usize = 50;

/// A policy that nobody has named.
const DEFAULT_POLICY: &str = "safe";

/// A fleet as people define it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// What the keys of its configuration start with.
    pub prefix: Prefix,
    /// The store that it is in, by the name that servers know it by; none: where this definition is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// How a change reaches its nodes.
    #[serde(default)]
    pub mode: Mode,
    /// Which keys under the prefix are read.
    #[serde(default, skip_serializing_if = "is_apisix")]
    pub layout: Layout,
    /// The policy of rollouts that name none: a preset's name, or a whole policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyChoice>,
    /// How long nothing must have changed until a release is cut by itself and rolled out; none: people
    /// cut releases.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "humantime_serde"
    )]
    pub release_after: Option<Duration>,
    /// Releases that are kept, besides those in use.
    #[serde(default = "kept_releases", skip_serializing_if = "is_default_kept")]
    pub keep_releases: usize,
}

/// How a change of configuration reaches the nodes of a fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Every node at once, as fast as the wire allows.
    #[default]
    Direct,
    /// As releases, each rolled out in stages. The keys are a draft.
    Staged,
}

/// A policy by its name, or in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PolicyChoice {
    /// That of a preset.
    Named(String),
    /// Everything.
    Written(Box<Written>),
}

/// Why a definition is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadDefinition(pub String);

impl Definition {
    /// A fleet in direct mode.
    #[must_use]
    pub fn direct(prefix: Prefix) -> Self {
        Self {
            prefix,
            store: None,
            mode: Mode::Direct,
            layout: Layout::Apisix,
            policy: None,
            release_after: None,
            keep_releases: KEPT_RELEASES,
        }
    }

    /// Reads what is stored, or what somebody wants to be.
    ///
    /// # Errors
    /// It is no JSON, has fields that nobody knows, or a policy that is none.
    pub fn parse(text: &[u8]) -> Result<Self, BadDefinition> {
        let value = json::strict(text).map_err(|error| BadDefinition(error.to_string()))?;
        let definition: Self = serde_json::from_value(value)
            .map_err(|error| BadDefinition(format!("not a fleet: {error}")))?;
        definition.policy()?;
        Ok(definition)
    }

    /// The policy of rollouts that name none, with every stage in full.
    ///
    /// # Errors
    /// There is no preset of that name, or it is no policy.
    pub fn policy(&self) -> Result<Policy, BadDefinition> {
        match &self.policy {
            None => named(DEFAULT_POLICY),
            Some(PolicyChoice::Named(name)) => named(name),
            Some(PolicyChoice::Written(written)) => (**written)
                .clone()
                .expanded()
                .map_err(|bad| BadDefinition(bad.to_string())),
        }
    }
}

fn named(name: &str) -> Result<Policy, BadDefinition> {
    preset(name).ok_or_else(|| {
        BadDefinition(format!(
            "there is no policy {name:?}: there are safe, fast and emergency, or give one in full"
        ))
    })
}

/// Whether a fleet can be called so.
///
/// # Errors
/// It can't, and why.
pub fn check_name(name: &str) -> Result<(), BadDefinition> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(plain) {
        return Err(BadDefinition(format!(
            "a fleet's name has 1 to {NAME_CHARS_MAX} letters, digits, dots, dashes and underscores"
        )));
    }
    if RESERVED.contains(&name) {
        return Err(BadDefinition(format!(
            "no fleet can be called {name:?}: the server's own keys are under that name"
        )));
    }
    Ok(())
}

fn kept_releases() -> usize {
    KEPT_RELEASES
}

fn is_apisix(layout: &Layout) -> bool {
    *layout == Layout::Apisix
}

fn is_default_kept(kept: &usize) -> bool {
    *kept == KEPT_RELEASES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Definition, String> {
        Definition::parse(text.as_bytes()).map_err(|bad| bad.to_string())
    }

    #[test]
    fn a_definition_reads_back() {
        let direct = read(r#"{"prefix": "/shop/"}"#).unwrap();
        assert_eq!(direct, Definition::direct(Prefix::new("/shop").unwrap()));
        let staged = r#"{"prefix":"/shop","mode":"staged","policy":"fast","release_after":"30s","keep_releases":3}"#;
        let read_back = read(staged).unwrap();
        assert_eq!(read_back.policy().unwrap().name, "fast");
        assert_eq!(read_back.release_after, Some(Duration::from_secs(30)));
        let written = serde_json::to_string(&read_back).unwrap();
        assert_eq!(read(&written).unwrap(), read_back);
        let own = r#"{"prefix":"/shop","policy":{"name":"mine","strategy":{"percentage":{"percent":10}}}}"#;
        assert_eq!(read(own).unwrap().policy().unwrap().stages.len(), 2);
    }

    #[test]
    fn what_is_no_definition_says_why() {
        for (text, reason) in [
            ("{}", "missing field `prefix`"),
            (r#"{"prefix": "shop"}"#, "must start with a slash"),
            (r#"{"prefix": "/bellwether/x"}"#, "lies under /bellwether"),
            (
                r#"{"prefix": "/shop", "mode": "slow"}"#,
                "unknown variant `slow`",
            ),
            (
                r#"{"prefix": "/shop", "policy": "slow"}"#,
                "there is no policy \"slow\"",
            ),
            (
                r#"{"prefix": "/shop", "colour": 1}"#,
                "unknown field `colour`",
            ),
            (r#"{"prefix": "/shop", "prefix": "/shop"}"#, "prefix"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        for name in ["", "a b", "fleets", "leader", "a/b", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name("shop-1.eu_x").is_ok());
    }
}
