//! Owns the one key that decides for a fleet, and its history: read, and written only by those who have
//! seen what they replace. Must not know: what is decided, or who leads.
//!
//! Every write of the key tells what happened in the same transaction, so that the history has all of
//! it and nothing that never was.

use std::sync::Arc;
use std::time::Duration;

use bellwether_rollout::cohort::Salt;
use bellwether_rollout::machine::{self, Command, Event, Refused, Step};
use bellwether_rollout::{Evidence, Millis, Release, State};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::patient;
use crate::clock::unix_ms;
use crate::keys;
use crate::release::Header;
use crate::store::{Commit, Guard, MAX_TXN_WRITES, Revision, Store, StoreError, Txn, Write};

/// Bytes of a state: it is read by every server at every step.
pub const MAX_STATE_BYTES: usize = 256 << 10;

/// Records kept of a fleet's history.
pub const MAX_RECORDS: usize = 1_000;

/// How often a command is tried again that another write came between.
const ATTEMPTS: u32 = 20;

/// What is waited, at most, before the first of these; more before each further one.
const STAND_BACK: Duration = Duration::from_millis(10);

/// The state key of one fleet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Line {
    store: Arc<dyn Store>,
    fleet: Arc<str>,
}

/// A state as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// What decides.
    pub state: State,
    /// The generation: when it was written. 0: there is none yet.
    pub at: Revision,
}

/// One step, as the history has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, by the clock of the server that wrote it.
    pub time: Millis,
    /// Who wanted it; a server, if it followed from what was seen.
    pub who: String,
    /// The rollout that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<u64>,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// Why a state can't be read, or a command not be done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LineError {
    /// The rules of rollouts.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store. Where it did not answer, what was asked may have been done.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such release.
    #[error("{fleet} has no release {seq}")]
    NoRelease {
        /// Whose.
        fleet: String,
        /// Which.
        seq: u64,
    },
    /// The release holds something else.
    #[error("release {fleet}@{seq} does not hold the content that was named")]
    OtherContent {
        /// Whose.
        fleet: String,
        /// Which.
        seq: u64,
    },
    /// It would be too large.
    #[error(
        "the state of {fleet} would have {bytes} bytes, at most {MAX_STATE_BYTES} are kept: use fewer pins, stages or failure domains"
    )]
    TooLarge {
        /// Whose.
        fleet: String,
        /// How many.
        bytes: usize,
    },
    /// What is in the store is no state.
    #[error("the state of {fleet} can't be read: {reason}")]
    Damaged {
        /// Whose.
        fleet: String,
        /// What is wrong.
        reason: String,
    },
    /// Others were always faster.
    #[error(
        "nothing was done in {0}: others wrote its state {ATTEMPTS} times meanwhile; try again"
    )]
    Busy(String),
}

impl Line {
    /// Of this fleet, in the store that the fleet is in.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, fleet: &str) -> Self {
        Self {
            store,
            fleet: fleet.into(),
        }
    }

    /// What decides now. A fleet without a state has one that nobody has written yet.
    ///
    /// # Errors
    /// The store fails, or there is something else.
    pub async fn load(&self) -> Result<Current, LineError> {
        let (entry, _) = patient(self.store.get(&keys::state(&self.fleet))).await?;
        match entry {
            Some(entry) => self.parse(&entry.value, entry.mod_revision),
            None => Ok(none_yet()),
        }
    }

    /// A state as the store has it.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(&self, value: &[u8], at: Revision) -> Result<Current, LineError> {
        let state = serde_json::from_slice(value).map_err(|error| LineError::Damaged {
            fleet: self.fleet.to_string(),
            reason: error.to_string(),
        })?;
        Ok(Current { state, at })
    }

    /// Writes the next state in place of `before`, and what happened on the way, if the key is as it was
    /// and all of `guards` hold.
    ///
    /// # Errors
    /// It is too large, or the store fails; where that does not answer, it may have been written.
    pub async fn write(
        &self,
        before: &Current,
        step: &Step,
        who: &str,
        guards: Vec<Guard>,
    ) -> Result<Commit, LineError> {
        let value = json(&step.state);
        if value.len() > MAX_STATE_BYTES {
            return Err(LineError::TooLarge {
                fleet: self.fleet.to_string(),
                bytes: value.len(),
            });
        }
        let mut writes = vec![put(keys::state(&self.fleet), value)];
        if !step.events.is_empty() {
            let record = Record {
                time: Millis(unix_ms()),
                who: who.to_owned(),
                rollout: step.events.iter().find_map(Event::rollout),
                events: step.events.clone(),
            };
            // Only one write follows on any state, so no two records have the same key.
            let id = format!("{:015}-{:020}", record.time.0, before.at.0);
            writes.push(put(keys::audit_range(&self.fleet) + &id, json(&record)));
        }
        let guards = [self.guard(before.at)].into_iter().chain(guards).collect();
        Ok(patient(self.store.commit(Txn { guards, writes })).await?)
    }

    /// That the state is as it was.
    #[must_use]
    pub fn guard(&self, at: Revision) -> Guard {
        Guard {
            key: keys::state(&self.fleet),
            mod_revision: at,
        }
    }

    /// Does what a person wants. `evidence` is what servers last said; only a promotion needs it.
    ///
    /// # Errors
    /// It can't be, and why.
    pub async fn command(
        &self,
        command: &Command,
        who: &str,
        evidence: &Evidence,
    ) -> Result<Current, LineError> {
        for attempt in 1..=ATTEMPTS {
            let before = self.load().await?;
            let now = Millis(unix_ms());
            let step = machine::command(&before.state, command.clone(), evidence, now)?;
            // Whoever deletes releases has not seen that this one is wanted.
            let mut guards = Vec::new();
            if let Some(release) = wanted(command) {
                guards.push(self.exists(release).await?);
            }
            match self.write(&before, &step, who, guards).await? {
                Commit::Applied(at) => {
                    log(&self.fleet, who, &step.events);
                    let state = step.state;
                    return Ok(Current { state, at });
                }
                Commit::Conflict => {
                    tokio::time::sleep((STAND_BACK * attempt).mul_f64(rand::random())).await;
                }
            }
        }
        Err(LineError::Busy(self.fleet.to_string()))
    }

    /// That a release is there, with this content, and stays.
    async fn exists(&self, release: Release) -> Result<Guard, LineError> {
        let (fleet, seq) = (self.fleet.to_string(), release.seq);
        let key = keys::release(&self.fleet, seq);
        let (entry, _) = patient(self.store.get(&key)).await?;
        let entry = entry.ok_or(LineError::NoRelease {
            fleet: fleet.clone(),
            seq,
        })?;
        let header: Result<Header, _> = serde_json::from_slice(&entry.value);
        match header {
            Ok(header) if header.digest == release.digest => Ok(Guard {
                key,
                mod_revision: entry.mod_revision,
            }),
            _ => Err(LineError::OtherContent { fleet, seq }),
        }
    }

    /// The last of what happened, oldest first, no more than `most`.
    ///
    /// # Errors
    /// The store fails.
    pub async fn history(&self, most: usize) -> Result<Vec<Record>, LineError> {
        let range = keys::audit_range(&self.fleet);
        let mut entries = patient(self.store.read(&range)).await?.entries;
        // Clocks of servers differ; the store's order is that in which it happened.
        entries.sort_by_key(|entry| entry.create_revision);
        let records = entries.iter().rev().take(most);
        let mut records: Vec<Record> = records
            .filter_map(|entry| serde_json::from_slice(&entry.value).ok())
            .collect();
        records.reverse();
        Ok(records)
    }

    /// Forgets what is older than the last [`MAX_RECORDS`].
    ///
    /// # Errors
    /// The store fails.
    pub async fn trim(&self) -> Result<usize, LineError> {
        let range = keys::audit_range(&self.fleet);
        let entries = patient(self.store.read(&range)).await?.entries;
        let old = entries.len().saturating_sub(MAX_RECORDS);
        let keys: Vec<String> = entries.into_iter().take(old).map(|kv| kv.key).collect();
        for group in keys.chunks(MAX_TXN_WRITES) {
            let deletes = group.iter().map(|key| Write::Delete { key: key.clone() });
            let txn = Txn {
                guards: Vec::new(),
                writes: deletes.collect(),
            };
            patient(self.store.commit(txn)).await?;
        }
        Ok(keys.len())
    }
}

/// A state that nobody has written yet.
#[must_use]
pub fn none_yet() -> Current {
    Current {
        state: State::new(Salt(rand::random())),
        at: Revision(0),
    }
}

/// Says in the log what happened.
pub(super) fn log(fleet: &str, who: &str, events: &[Event]) {
    for event in events {
        let rollout = event.rollout();
        tracing::info!(fleet, who, rollout, "{event}");
    }
}

/// The release that a command brings into use.
fn wanted(command: &Command) -> Option<Release> {
    match command {
        Command::Start(start) | Command::Supersede(start) => Some(start.target),
        Command::Pin(pin) => Some(pin.release),
        Command::Adopt { release, .. } => Some(*release),
        Command::Return(back) => back.to,
        Command::Approve { .. }
        | Command::Pause { .. }
        | Command::Resume { .. }
        | Command::Promote { .. }
        | Command::Abort { .. }
        | Command::Unpin { .. }
        | Command::Hold(_)
        | Command::Unhold
        | Command::DropPlanned
        | Command::Unquarantine { .. } => None,
    }
}

fn put(key: String, value: Bytes) -> Write {
    Write::Put {
        key,
        value,
        lease: None,
    }
}

fn json(value: &impl Serialize) -> Bytes {
    // Of plain numbers, text and maps by text.
    serde_json::to_vec(value).unwrap_or_default().into()
}
