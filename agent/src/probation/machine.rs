//! Owns what is on probation in this process, and until when. Must not know: the disk, tasks; time is an
//! argument.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::content::Content;
use bellwether::name::ResourceId;

use super::record::{Phase, Record};
use super::{ProbationStatus, States};

/// The state machine of one process.
#[derive(Debug)]
pub(super) struct Probation {
    record: Record,
    /// How long something must live.
    length: Duration,
    /// Something is between [`Probation::before`] and [`Probation::after`].
    applying: bool,
    /// Counts what was in force, so that it can be told apart even without a name.
    edition: u64,
    /// Counts every change, also of what has no part in the name.
    changes: u64,
    /// How many there were when the last good was kept, if it was by this process or is what it started from.
    kept_at: Option<u64>,
    /// When what is on probation was last changed.
    clock: Instant,
    status: ProbationStatus,
}

impl Probation {
    /// A process that has just put in force what it started from, and the last good and whether that is it.
    pub(super) fn new(
        mut record: Record,
        content: Option<Content>,
        (last_good, is_last_good): (Option<Content>, bool),
        length: Duration,
        now: Instant,
    ) -> Self {
        let status = ProbationStatus {
            content,
            since: now,
            stable: is_last_good,
            on_probation: false,
            last_good,
            setbacks: Arc::default(),
            quarantine: Arc::default(),
        };
        // What it started from is in force.
        let _ = record.tried();
        let mut this = Self {
            record,
            length,
            applying: false,
            edition: 0,
            changes: 0,
            kept_at: is_last_good.then_some(0),
            clock: now,
            status,
        };
        this.tell();
        this
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    pub(super) fn status(&self) -> &ProbationStatus {
        &self.status
    }

    pub(super) fn set_length(&mut self, length: Duration) {
        self.length = length;
    }

    /// Something is about to be put in force. Whether the record must be on the disk first.
    pub(super) fn before(
        &mut self,
        content: Option<Content>,
        states: States,
        released: &[ResourceId],
        now: Instant,
    ) -> bool {
        self.applying = true;
        let is_released = self.releases(released);
        let begins = self.record.phase != Phase::Trying;
        if begins {
            self.clock = now;
        } else if self.record.crashes == 0 {
            return is_released;
        }
        let content = content.map(|content| content.to_string());
        self.record.tries(content.unwrap_or_default(), states);
        self.tell();
        true
    }

    /// It is in force, whatever of it was rejected. `released` is what is refused no more. Whether the
    /// record is to be written.
    pub(super) fn after(
        &mut self,
        content: Option<Content>,
        released: &[ResourceId],
        now: Instant,
    ) -> bool {
        self.changes += u64::from(std::mem::take(&mut self.applying));
        let tried = self.record.tried();
        if content != self.status.content || content.is_none() {
            self.edition += 1;
            self.clock = now;
            self.status.since = now;
            self.status.stable = content.is_some() && content == self.status.last_good;
            self.status.content = content;
        }
        self.releases(released) || tried
    }

    /// Whether any of it was refused.
    fn releases(&mut self, released: &[ResourceId]) -> bool {
        let quarantine = &mut self.record.quarantine;
        let any = released.iter().filter(|id| quarantine.remove(id).is_some());
        let changed = any.count() > 0;
        if changed {
            self.tell();
        }
        changed
    }

    /// When what is on probation will have lived long enough, if it stays as it is.
    pub(super) fn due(&self) -> Option<Instant> {
        let waits = self.record.phase == Phase::Trying && !self.applying;
        waits.then(|| self.clock + self.length)
    }

    /// What has lived long enough now: it is to be kept as the last good, unless it is that already.
    pub(super) fn ripe(&self, now: Instant) -> Option<Ripe> {
        self.due().filter(|due| *due <= now).map(|_| Ripe {
            edition: self.edition,
            content: self.status.content,
            changes: self.changes,
            is_kept: self.kept_at == Some(self.changes),
        })
    }

    /// It is kept. Whether the record is to be written: nothing else came meanwhile.
    pub(super) fn kept(&mut self, ripe: &Ripe, now: Instant) -> bool {
        self.status.last_good = ripe.content;
        self.kept_at = Some(ripe.changes);
        let is_still = self.edition == ripe.edition && self.ripe(now).is_some();
        let status = &mut self.status;
        status.stable = is_still || (status.content.is_some() && status.content == ripe.content);
        if is_still {
            self.record.settles();
        }
        self.tell();
        is_still
    }

    /// The process was told to stop. Whether the record is to be written.
    pub(super) fn stops(&mut self) -> bool {
        let before = self.record.phase;
        self.record.stops();
        self.record.phase != before
    }

    fn tell(&mut self) {
        let (status, record) = (&mut self.status, &self.record);
        status.on_probation = record.phase == Phase::Trying;
        if *status.setbacks != record.setbacks {
            status.setbacks = Arc::new(record.setbacks.clone());
        }
        if *status.quarantine != record.quarantine {
            status.quarantine = Arc::new(record.quarantine.clone());
        }
    }
}

/// Something that has lived long enough.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ripe {
    edition: u64,
    content: Option<Content>,
    changes: u64,
    pub(super) is_kept: bool,
}
