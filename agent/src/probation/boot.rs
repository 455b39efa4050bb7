//! Owns the first thing that an agent does: to count a crash of the process before, and to choose what to
//! start from. Must not know: how it is put in force.

use std::fmt::Display;

use bellwether::content::Content;
use bellwether::snapshot::Position;
use tracing::{error, info, warn};

use super::States;
use super::record::{Origin, Record};
use crate::disk::{Disk, DiskError, Kept};
use crate::held::Held;

/// What an agent starts with.
#[derive(Debug)]
pub struct Boot {
    /// To be put in force; `None` if there is nothing.
    pub held: Option<Held>,
    /// The newest position seen, which outlives what was in force.
    pub position: Option<Position>,
    pub(super) record: Record,
    pub(super) is_last_good: bool,
    /// The name of the last good configuration, whether it is started from or not.
    pub(super) last_good: Option<Content>,
}

/// Reads the state folder. What is damaged in it is said, and the agent starts from what is left.
#[must_use]
pub fn boot(disk: &Disk) -> Boot {
    let mut record = said(load_record(disk), "can't read what was noted of attempts").unwrap_or_default();
    let hung = disk.hung();
    let blind = record.content.is_empty() || record.crashes == 0;
    let crashed = record.woke(hung.as_deref());
    if crashed {
        note(disk, &record);
    }
    if hung.is_some() {
        disk.forget_hung();
    }
    // Only now is anything read that is larger than a note.
    let last_good = said(disk.load(Kept::LastGood), "can't start from the last good configuration");
    let candidate = said(disk.load(Kept::Candidate), "can't start from the newest configuration");
    let (last_good, candidate) = (last_good.flatten(), candidate.flatten());
    let before = record.clone();
    let content_of = |held: &Option<Held>| held.as_ref().and_then(Held::content);
    if crashed {
        if let Some(content) = content_of(&candidate)
            && blind
            && Some(content) != content_of(&last_good)
        {
            record.name_crash(content.to_string());
        }
        tell(&record);
    }
    record.forgive(last_good.as_ref().unwrap_or(&Held::default()));
    let position_of = |held: &Option<Held>| held.as_ref().and_then(|held| held.position);
    let position = Position::newest(position_of(&last_good), position_of(&candidate));
    let last_good_content = content_of(&last_good);
    let origin = record.origin(last_good.is_some(), candidate.is_some());
    let mut held = match origin {
        Origin::LastGood => last_good,
        Origin::Candidate => candidate,
        Origin::Nothing => None,
    };
    if let Some(held) = &mut held {
        held.position = position;
    }
    let content = content_of(&held);
    let is_last_good = content.is_some() && content == last_good_content;
    if origin == Origin::Candidate && !is_last_good {
        let content = content.map(|content| content.to_string());
        let states = match record.crashes {
            0 => States::new(),
            _ => held.iter().flat_map(Held::iter).map(|(id, one)| (id.clone(), Some(one.version.clone()))).collect(),
        };
        record.tries(content.unwrap_or_default(), states);
    }
    if record != before {
        note(disk, &record);
    }
    if crashed && origin != Origin::Candidate {
        // What is not to be started from is not kept.
        let kept = held.clone().unwrap_or_else(|| Held::at(position));
        said(disk.save(Kept::Candidate, &kept), "can't replace the configuration that failed");
    }
    info!(?origin, "read the state folder");
    Boot {
        held,
        position,
        record,
        is_last_good: is_last_good || origin == Origin::LastGood,
        last_good: last_good_content,
    }
}

fn load_record(disk: &Disk) -> Result<Record, String> {
    match disk.load_attempt().map_err(|error| error.to_string())? {
        Some(bytes) => Record::decode(&bytes),
        None => Ok(Record::default()),
    }
}

/// Says it loudly: this is the node that nobody watches.
fn tell(record: &Record) {
    if let Some(setback) = record.setbacks.last() {
        warn!(
            failure = ?setback.failure,
            times = setback.times,
            content = setback.content,
            reason = setback.reason,
            "the agent did not survive a configuration; starting from one that is known to be good"
        );
    }
}

/// Without the note the agent goes on: a proxy that takes no configuration is worse than one that would
/// not know what it died of.
pub(super) fn note(disk: &Disk, record: &Record) {
    let saved: Result<(), DiskError> = disk.save_attempt(&record.encode());
    said(saved, "can't note what is attempted; a crash of it would not be known");
}

fn said<T, E: Display>(result: Result<T, E>, what: &'static str) -> Option<T> {
    result
        .inspect_err(|error| error!(%error, "{what}"))
        .ok()
}
