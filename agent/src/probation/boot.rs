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
    let noted = said(load_record(disk), "can't read what was noted of attempts");
    let is_damaged = noted.is_none();
    let mut record = noted.unwrap_or_default();
    let is_first = record.crashes == 0;
    let crashed = count(disk, &mut record);
    // Only now is anything read that is larger than a note.
    let kept = |kept, what| said(disk.load(kept), what).flatten();
    let last_good = kept(
        Kept::LastGood,
        "can't start from the last good configuration",
    );
    let candidate = kept(Kept::Candidate, "can't start from the newest configuration");
    let before = record.clone();
    let last_good_content = content_of(&last_good);
    if crashed {
        // The first time, nobody noted more than how it began.
        if let Some(content) = content_of(&candidate)
            && is_first
            && Some(content) != last_good_content
        {
            record.name_crash(content.to_string());
        }
        tell(&record);
    }
    record.forgive(last_good.as_ref().unwrap_or(&Held::default()));
    let position_of = |held: &Option<Held>| held.as_ref().and_then(|held| held.position);
    let position = Position::newest(position_of(&last_good), position_of(&candidate));
    let origin = record.origin(last_good.is_some(), candidate.is_some());
    let mut held = match origin {
        // The same configuration, with what is newer and has no part in its name.
        Origin::LastGood if !record.has_crashed() && is_named_alike(&last_good, &candidate) => {
            candidate
        }
        Origin::LastGood => last_good,
        Origin::Candidate => candidate,
        Origin::Nothing => None,
    };
    held.iter_mut().for_each(|held| held.position = position);
    let content = content_of(&held);
    let is_last_good =
        origin == Origin::LastGood || (content.is_some() && content == last_good_content);
    if let Some(held) = held.as_ref().filter(|_| !is_last_good) {
        tries(&mut record, held);
    }
    if is_damaged || record != before {
        note(disk, &record);
    }
    if crashed && origin != Origin::Candidate {
        // What is not to be started from is not kept.
        let instead = held.clone().unwrap_or_else(|| Held::at(position));
        let replaced = disk.save(Kept::Candidate, &instead);
        said(replaced, "can't replace the configuration that failed");
    }
    info!(?origin, "read the state folder");
    Boot {
        held,
        position,
        record,
        is_last_good,
        last_good: last_good_content,
    }
}

/// Whether the process before has crashed; then that is on the disk.
fn count(disk: &Disk, record: &mut Record) -> bool {
    let hung = disk.hung();
    let crashed = record.woke(hung.as_deref());
    if crashed {
        note(disk, record);
    }
    if hung.is_some() {
        disk.forget_hung();
    }
    crashed
}

fn content_of(held: &Option<Held>) -> Option<Content> {
    held.as_ref().and_then(Held::content)
}

fn is_named_alike(one: &Option<Held>, other: &Option<Held>) -> bool {
    content_of(one).is_some() && content_of(one) == content_of(other)
}

/// What is not the last good is on probation from its first moment.
fn tries(record: &mut Record, held: &Held) {
    let content = held.content().map(|content| content.to_string());
    let mut states = States::new();
    if record.crashes > 0 {
        let all = held.iter();
        states.extend(all.map(|(id, one)| (id.clone(), Some(one.version.clone()))));
    }
    record.tries(content.unwrap_or_default(), states);
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
    said(
        saved,
        "can't note what is attempted; a crash of it would not be known",
    );
}

fn said<T, E: Display>(result: Result<T, E>, what: &'static str) -> Option<T> {
    result.inspect_err(|error| error!(%error, "{what}")).ok()
}
