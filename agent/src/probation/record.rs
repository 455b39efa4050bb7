//! Owns what is noted of attempts from one process to the next, and what a process concludes from it when
//! it starts. Must not know: the clock, where it is kept, what a configuration holds.

use std::collections::BTreeMap;

use bellwether::name::{ResourceId, TypeUrl};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{CRASHES_MAX, Failure, Setback, States};
use crate::held::Held;

/// Setbacks that are remembered: as many as are reported.
const SETBACKS_MAX: usize = 8;

/// How things stood when the note was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// What is in force is the last good.
    #[default]
    Settled,
    /// Something else is in force, or is just being put in force.
    Trying,
    /// It was, when the process was told to stop.
    Stopped,
    /// A process died of it; nothing else than the last good was put in force since.
    Crashed,
}

/// What to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    LastGood,
    Candidate,
    Nothing,
}

/// The note.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) phase: Phase,
    /// Crashes in a row, until something is stable or is given up.
    pub(super) crashes: u32,
    /// The name of what is tried, as far as it is known; empty: it is not.
    pub(super) content: String,
    /// What was put in force since the process started, over what it started from. Noted only once
    /// there was a crash, as is what follows.
    #[serde(with = "states")]
    pub(super) tried: States,
    /// What is just being put in force.
    #[serde(with = "states")]
    pub(super) changing: States,
    pub(super) setbacks: Vec<Setback>,
    /// What is not tried again.
    #[serde(with = "states")]
    pub(super) quarantine: States,
}

impl Record {
    /// Reads what [`Record::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // Names and numbers can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// A process starts. `hung` is what the watchdog said before it ended the last one. Whether that one
    /// has crashed; then this must be on the disk before any configuration is read.
    pub(super) fn woke(&mut self, hung: Option<&str>) -> bool {
        if self.phase != Phase::Trying {
            return false;
        }
        self.phase = Phase::Crashed;
        if self.crashes > 0 {
            // The one of this row, which is told anew.
            self.setbacks.pop();
        }
        self.crashes += 1;
        let gives_up = self.crashes >= CRASHES_MAX;
        let (tried, changing) = (
            std::mem::take(&mut self.tried),
            std::mem::take(&mut self.changing),
        );
        let suspects = if changing.is_empty() { tried } else { changing };
        let how = hung.unwrap_or("the process ended without being told to");
        let (failure, reason) = match (gives_up, hung) {
            (true, _) if suspects.is_empty() => (
                Failure::CrashLoop,
                format!("{how}; nothing can be named that it was tried with"),
            ),
            (true, _) => (
                Failure::CrashLoop,
                format!("{how}; not tried again: {}", listed(&suspects)),
            ),
            (false, None) => (Failure::Crashed, how.to_owned()),
            (false, Some(_)) => (Failure::Hung, how.to_owned()),
        };
        self.setbacks.push(Setback {
            content: std::mem::take(&mut self.content),
            failure,
            times: self.crashes,
            reason,
        });
        let surplus = self.setbacks.len().saturating_sub(SETBACKS_MAX);
        self.setbacks.drain(..surplus);
        if gives_up {
            self.quarantine.extend(suspects);
            self.crashes = 0;
        }
        true
    }

    /// What to start from, once [`Record::woke`] was asked: after a clean stop the newest, after a crash
    /// the last good. Without a last good, what crashed is tried again until it is given up.
    pub(super) fn origin(&self, has_last_good: bool, has_candidate: bool) -> Origin {
        let newest_first = self.phase == Phase::Stopped && self.crashes == 0;
        let given_up = self.phase == Phase::Crashed && self.crashes == 0;
        match (has_last_good, has_candidate) {
            (_, true) if newest_first => Origin::Candidate,
            (true, _) => Origin::LastGood,
            (false, true) if !given_up => Origin::Candidate,
            (false, _) => Origin::Nothing,
        }
    }

    /// A process died, and nothing was put in force since but the last good.
    pub(super) fn has_crashed(&self) -> bool {
        self.phase == Phase::Crashed
    }

    /// The last crash was of this, as somebody knows better now.
    pub(super) fn name_crash(&mut self, content: String) {
        if let Some(last) = self.setbacks.last_mut() {
            last.content = content;
        }
    }

    /// What is part of the last good is not to blame.
    pub(super) fn forgive(&mut self, last_good: &Held) {
        let kept = |id: &ResourceId| last_good.version(id).map(str::to_owned);
        self.quarantine.retain(|id, state| *state != kept(id));
    }

    /// Something is about to be put in force that will be called `content`.
    pub(super) fn tries(&mut self, content: String, changing: States) {
        self.phase = Phase::Trying;
        self.content = content;
        self.changing = changing;
    }

    /// It is in force. Whether that is worth a note.
    pub(super) fn tried(&mut self) -> bool {
        let changed = std::mem::take(&mut self.changing);
        let is_noted = self.crashes > 0 && !changed.is_empty();
        self.tried.extend(changed);
        is_noted
    }

    /// What is in force has lived long enough.
    pub(super) fn settles(&mut self) {
        *self = Self {
            quarantine: std::mem::take(&mut self.quarantine),
            ..Self::default()
        };
    }

    /// The process was told to stop.
    pub(super) fn stops(&mut self) {
        if self.phase == Phase::Trying {
            self.phase = Phase::Stopped;
        }
    }
}

/// Names for people; the first of many.
fn listed(states: &States) -> String {
    const SHOWN: usize = 5;
    let name = |(id, state): (&ResourceId, &Option<String>)| match state {
        Some(_) => id.to_string(),
        None => format!("removal of {id}"),
    };
    let shown: Vec<_> = states.iter().take(SHOWN).map(name).collect();
    match states.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// How states are written: a list, since keys of JSON are texts.
mod states {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Named {
        r#type: String,
        name: String,
        version: Option<String>,
    }

    pub(super) fn serialize<S: Serializer>(states: &States, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(states.iter().map(|(id, version)| Named {
            r#type: id.type_url.to_string(),
            name: id.name.to_string(),
            version: version.clone(),
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<States, D::Error> {
        let named = Vec::<Named>::deserialize(from)?;
        let entry = |one: Named| {
            let type_url = TypeUrl::from(one.r#type.as_str());
            (ResourceId::new(type_url, one.name), one.version)
        };
        Ok(named.into_iter().map(entry).collect::<BTreeMap<_, _>>())
    }
}
