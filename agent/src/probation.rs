//! Owns whether what is in force can be trusted: it is on probation until this process has lived with it
//! for a while, and is the last good then. Must not know: what a configuration means, the proxy.
//!
//! What survives the process is one small file, `attempt`, that is on the disk before anything new is put
//! in force. It is written when something new begins, not at every change; a process that dies meanwhile
//! without being told to is a crash. The next process counts it before it reads any configuration, and
//! starts from the last good one. From the first crash on, each change is written down before it is put
//! in force, so that after [`CRASHES_MAX`] crashes in a row it is known, by name, what set this agent
//! apart from its last good: exactly these versions are refused from then on, and so are removals, until one
//! of them is mended or the file is deleted. A process that died in the middle of a change died of that one;
//! a process that died later, of all that it tried.

mod boot;
mod guard;
mod keeper;
mod machine;
mod metrics;
mod quarantine;
mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bellwether::content::Content;
use bellwether::name::ResourceId;
use serde::{Deserialize, Serialize};

pub use boot::{Boot, boot};
pub use guard::Guard;
pub use keeper::{Ask, Keeper};
pub use metrics::register;

/// Crashes in a row after which what was tried is not tried again. Fewer would take two unlucky kills for
/// a bad configuration; each more is another outage.
pub const CRASHES_MAX: u32 = 3;

/// Why a resource is refused that this agent died of.
pub const REFUSAL: &str = "this agent died 3 times of a configuration that held this";

/// What names stood for: a version, or nothing (the resource was removed).
pub type States = BTreeMap<ResourceId, Option<String>>;

/// How a configuration failed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The process ended without being told to.
    Crashed,
    /// It ended so often that what was tried is not tried again.
    CrashLoop,
    /// The watchdog ended it.
    Hung,
}

/// A configuration that this agent could not live with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setback {
    /// The name of all that was in force or was being put in force; empty: not known.
    pub content: String,
    /// What happened last.
    pub failure: Failure,
    /// How many times in a row.
    pub times: u32,
    /// For people.
    pub reason: String,
}

/// What the rest of the agent may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbationStatus {
    /// The name of all that is in force; `None` if nobody can tell.
    pub content: Option<Content>,
    /// Since when exactly this is in force.
    pub since: Instant,
    /// Whether it would be served after a crash.
    pub stable: bool,
    /// Whether the end of this process would count as a crash.
    pub on_probation: bool,
    /// The name of the last good configuration; `None` if there is none, or nobody can tell.
    pub last_good: Option<Content>,
    /// What failed, and was not followed by anything stable since; the newest last.
    pub setbacks: Arc<Vec<Setback>>,
    /// What is refused.
    pub quarantine: Arc<States>,
}

impl ProbationStatus {
    /// For `/config_dump`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let name = |content: Option<Content>| content.map(|content| content.to_string());
        let refused = self.quarantine.iter().map(|(id, version)| {
            serde_json::json!({
                "type": id.type_url.short(),
                "name": id.name.as_str(),
                // Absent: that it is removed.
                "version": version,
            })
        });
        serde_json::json!({
            "content": name(self.content),
            "in_force_seconds": self.since.elapsed().as_secs(),
            "stable": self.stable,
            "on_probation": self.on_probation,
            "last_good": name(self.last_good),
            "setbacks": *self.setbacks,
            "quarantined": refused.collect::<Vec<_>>(),
        })
    }
}
