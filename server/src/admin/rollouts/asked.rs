//! Owns the bodies of what people ask of rollouts. Must not know: what is done about it.

use bellwether_rollout::policy::Written;
use bellwether_rollout::{Digest, Policy};
use serde::Deserialize;
use serde_json::Value;

use super::super::answer::Problem;

/// Characters of a reason, or of an author's name.
const TEXT_MAX: usize = 1_000;

/// Who it was, if nobody says.
const SOMEBODY: &str = "admin";

/// A release as people name it: `shop@42`, `"42"` or `42`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Named {
    Number(u64),
    Text(String),
}

impl Named {
    pub(super) fn of(&self, fleet: &str) -> Result<u64, Problem> {
        let text = match self {
            Self::Number(number) => return Ok(*number),
            Self::Text(text) => text,
        };
        let (other, seq) = text.rsplit_once('@').unwrap_or((fleet, text));
        if other != fleet {
            return Err(Problem::Refused(format!(
                "{text:?} is a release of another fleet than {fleet:?}"
            )));
        }
        seq.parse()
            .map_err(|_| Problem::Refused(format!("not the name of a release: {text:?}")))
    }
}

/// `POST …/rollout`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StartAsked {
    pub(super) release: Named,
    #[serde(default)]
    pub(super) digest: Option<Digest>,
    #[serde(default)]
    pub(super) policy: Option<Value>,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) author: String,
    #[serde(default)]
    pub(super) supersede: bool,
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// What needs no more than a name and a reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reasoned {
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) author: String,
}

/// `POST …/rollout/approve`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Approval {
    #[serde(default)]
    pub(super) author: String,
    #[serde(default)]
    pub(super) digest: Option<Digest>,
}

/// `POST …/rollback`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Back {
    #[serde(default)]
    pub(super) release: Option<Named>,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) author: String,
    #[serde(default)]
    pub(super) now: bool,
    #[serde(default)]
    pub(super) quarantine: bool,
    #[serde(default)]
    pub(super) policy: Option<Value>,
}

/// `POST …/pins`: a node, a label (`k=v`), or a whole selector.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PinAsked {
    pub(super) select: String,
    pub(super) release: Named,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) author: String,
    /// Seconds.
    #[serde(default)]
    pub(super) ttl: Option<u64>,
}

/// `DELETE …/pins`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnpinAsked {
    pub(super) select: String,
    #[serde(default)]
    pub(super) author: String,
}

/// `PUT …/hold`. Times are Unix time in milliseconds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HoldAsked {
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) author: String,
    #[serde(default)]
    pub(super) from: Option<u64>,
    #[serde(default)]
    pub(super) until: Option<u64>,
}

/// `DELETE …/hold`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnholdAsked {
    #[serde(default)]
    pub(super) author: String,
    /// Not the one in force, but those to come.
    #[serde(default)]
    pub(super) planned: bool,
}

/// A policy as a person writes it.
pub(super) fn policy(written: &Value) -> Result<Policy, Problem> {
    let written: Written = serde_json::from_value(written.clone())
        .map_err(|error| Problem::Refused(format!("not a policy: {error}")))?;
    written
        .expanded()
        .map_err(|error| Problem::Refused(error.to_string()))
}

pub(super) fn author(text: &str) -> Result<String, Problem> {
    match text.trim() {
        "" => Ok(SOMEBODY.to_owned()),
        text => short(text),
    }
}

pub(super) fn reason(text: &str) -> Result<String, Problem> {
    match text.trim() {
        "" => Err(Problem::Refused("say why: a reason is missing".to_owned())),
        text => short(text),
    }
}

fn short(text: &str) -> Result<String, Problem> {
    match text.chars().count() {
        0..=TEXT_MAX => Ok(text.to_owned()),
        _ => Err(Problem::Refused(format!(
            "reason and author have at most {TEXT_MAX} characters each"
        ))),
    }
}
