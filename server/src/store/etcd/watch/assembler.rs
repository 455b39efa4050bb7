//! Owns the making of batches out of watch responses: fragments joined, revisions whole, progress believed or not.
//! Must not know: streams or time.

use bytes::Bytes;
use etcd_client::proto::{PbEvent, PbKeyValue, PbWatchResponse};

use super::super::failure::{self, Failure};
use crate::store::{Batch, Change, KeyValue, LeaseId, Revision};

/// What is known so far of the revision that is arriving.
#[derive(Debug)]
pub(super) struct Assembler {
    /// All up to here was given out.
    given: Revision,
    believes_progress: bool,
    /// Changes of the revision that is not known to be whole.
    pending: Vec<(Revision, Change)>,
}

impl Assembler {
    /// For a watch from a revision on.
    pub(super) fn new(from: Revision, believes_progress: bool) -> Self {
        Self {
            given: Revision(from.0.saturating_sub(1)),
            believes_progress,
            pending: Vec::new(),
        }
    }

    /// The revision a watch would have to begin with to miss nothing.
    pub(super) fn next_revision(&self) -> Revision {
        self.given.next()
    }

    /// Takes a response and gives a batch of the revisions that are whole now. `revision` is the one of
    /// its header, which counts only where there are no events and the server is one to be believed.
    pub(super) fn take(
        &mut self,
        response: PbWatchResponse,
        revision: Revision,
    ) -> Result<Option<Batch>, Failure> {
        let is_progress = response.events.is_empty() && !response.created;
        if is_progress {
            return Ok(self.progress(revision));
        }
        let mut last = None;
        for event in response.events {
            let (revision, change) = change(event)?;
            last = Some(revision);
            if let Some(change) = change
                && revision > self.given
            {
                self.pending.push((revision, change));
            }
        }
        // With more fragments to come, the last revision seen may go on in the next of them.
        let whole = match (last, response.fragment) {
            (Some(last), true) => Revision(last.0.saturating_sub(1)),
            (Some(last), false) => last,
            (None, _) => return Ok(None),
        };
        Ok(self.give(whole))
    }

    fn give(&mut self, whole: Revision) -> Option<Batch> {
        if whole <= self.given {
            return None;
        }
        let split = self
            .pending
            .partition_point(|(revision, _)| *revision <= whole);
        self.given = whole;
        Some(Batch {
            revision: whole,
            changes: self
                .pending
                .drain(..split)
                .map(|(_, change)| change)
                .collect(),
        })
    }

    fn progress(&mut self, revision: Revision) -> Option<Batch> {
        (self.believes_progress && self.pending.is_empty())
            .then(|| self.give(revision))
            .flatten()
    }
}

/// An event's revision, and the change if its key is one of ours.
fn change(event: PbEvent) -> Result<(Revision, Option<Change>), Failure> {
    let kv = event
        .kv
        .ok_or_else(|| Failure::Gone("event has no key".to_owned()))?;
    let revision = failure::from_wire(kv.mod_revision);
    let change = match event.r#type {
        0 => key_value(kv).map(Change::Put),
        1 => String::from_utf8(kv.key)
            .ok()
            .map(|key| Change::Delete { key }),
        other => return Err(Failure::Gone(format!("event has the unknown type {other}"))),
    };
    Ok((revision, change))
}

fn key_value(kv: PbKeyValue) -> Option<KeyValue> {
    Some(KeyValue {
        key: String::from_utf8(kv.key).ok()?,
        value: Bytes::from(kv.value),
        create_revision: failure::from_wire(kv.create_revision),
        mod_revision: failure::from_wire(kv.mod_revision),
        lease: (kv.lease != 0).then_some(LeaseId(kv.lease)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &[u8], revision: i64) -> PbEvent {
        PbEvent {
            r#type: 0,
            kv: Some(PbKeyValue {
                key: key.to_vec(),
                mod_revision: revision,
                ..PbKeyValue::default()
            }),
            prev_kv: None,
        }
    }

    fn response(events: Vec<PbEvent>, fragment: bool) -> PbWatchResponse {
        PbWatchResponse {
            events,
            fragment,
            ..PbWatchResponse::default()
        }
    }

    /// Revision and number of changes of the batch, if there is one.
    fn take(
        assembler: &mut Assembler,
        events: Vec<PbEvent>,
        fragment: bool,
    ) -> Option<(u64, usize)> {
        let batch = assembler.take(response(events, fragment), Revision(99));
        batch
            .unwrap()
            .map(|batch| (batch.revision.0, batch.changes.len()))
    }

    #[test]
    fn fragments_give_whole_revisions_only() {
        let mut assembler = Assembler::new(Revision(5), true);
        assert_eq!(
            take(&mut assembler, vec![put(b"a", 5), put(b"b", 6)], true),
            Some((5, 1))
        );
        assert_eq!(take(&mut assembler, vec![put(b"c", 6)], true), None);
        assert_eq!(assembler.next_revision(), Revision(6));
        assert_eq!(
            take(&mut assembler, vec![put(b"d", 6), put(b"e", 7)], false),
            Some((7, 4))
        );
        assert_eq!(assembler.next_revision(), Revision(8));
    }

    #[test]
    fn what_is_too_early_is_left_out() {
        let mut assembler = Assembler::new(Revision(5), false);
        assert_eq!(take(&mut assembler, vec![put(b"a", 4)], false), None);
        assert_eq!(
            take(&mut assembler, vec![put(b"a", 4), put(b"b", 5)], false),
            Some((5, 1))
        );
    }

    #[test]
    fn a_key_that_is_no_text_still_moves_the_revision_on() {
        let mut assembler = Assembler::new(Revision(5), false);
        assert_eq!(
            take(&mut assembler, vec![put(b"\xff", 5)], false),
            Some((5, 0))
        );
    }

    #[test]
    fn progress_counts_only_where_it_can_be_believed() {
        for (believes, wanted) in [(true, Some((99, 0))), (false, None)] {
            let mut assembler = Assembler::new(Revision(5), believes);
            assert_eq!(take(&mut assembler, Vec::new(), false), wanted);
        }
        let mut assembler = Assembler::new(Revision(100), true);
        assert_eq!(
            take(&mut assembler, Vec::new(), false),
            None,
            "never backwards"
        );
    }

    #[test]
    fn progress_in_the_middle_of_a_revision_is_not_believed() {
        let mut assembler = Assembler::new(Revision(5), true);
        assert_eq!(take(&mut assembler, vec![put(b"a", 5)], true), None);
        assert_eq!(take(&mut assembler, Vec::new(), false), None);
    }
}
