//! Owns what the log says of a fleet's configuration: how often that it changed, and which keys are worth
//! a line. Must not know: how configuration comes about.

use std::time::{Duration, Instant};

use crate::fleet::KeyProblem;

/// Between two lines about changes. A single change is said at once; what comes faster is added up.
const PAUSE: Duration = Duration::from_secs(1);

/// What was compiled since the last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Compiled {
    /// The newest revision.
    pub(super) revision: u64,
    /// Snapshots made.
    pub(super) snapshots: usize,
    /// Keys changed.
    pub(super) keys: usize,
    /// Resources changed.
    pub(super) resources: usize,
    /// What it cost.
    pub(super) took: Duration,
}

/// Decides when to say what.
#[derive(Debug, Default)]
pub(super) struct Journal {
    unsaid: Compiled,
    said_at: Option<Instant>,
}

impl Journal {
    /// Remembers one more snapshot.
    pub(super) fn add(&mut self, revision: u64, keys: usize, resources: usize, took: Duration) {
        self.unsaid.revision = revision;
        self.unsaid.snapshots += 1;
        self.unsaid.keys += keys;
        self.unsaid.resources += resources;
        self.unsaid.took += took;
    }

    /// When there is something to say; `None` if everything was said.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let due = self.said_at.map_or(now, |said_at| said_at + PAUSE);
        (self.unsaid.snapshots > 0).then_some(due)
    }

    /// What to say now, if anything.
    pub(super) fn take(&mut self, now: Instant) -> Option<Compiled> {
        self.due(now).filter(|due| *due <= now)?;
        self.said_at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// Problems that were not known before. Both are in key order, and each key comes once: a prefix may have
/// as many bad keys as good ones.
pub(super) fn fresh<'a>(
    problems: &'a [KeyProblem],
    known: &'a [KeyProblem],
) -> impl Iterator<Item = &'a KeyProblem> {
    let mut known = known.iter().peekable();
    problems.iter().filter(move |problem| {
        while known.next_if(|known| known.key < problem.key).is_some() {}
        known.peek() != Some(problem)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_change_is_said_at_once_and_a_flood_once_a_pause() {
        let start = Instant::now();
        let mut journal = Journal::default();
        assert_eq!(journal.due(start), None);
        journal.add(1, 1, 3, Duration::from_millis(1));
        assert_eq!(journal.take(start).unwrap().revision, 1);
        for revision in 2..1000 {
            journal.add(revision, 1, 3, Duration::from_millis(1));
            assert_eq!(journal.take(start), None);
        }
        assert_eq!(journal.due(start), Some(start + PAUSE));
        let said = journal.take(start + PAUSE).unwrap();
        assert_eq!((said.revision, said.snapshots), (999, 998));
        assert_eq!((said.keys, said.resources), (998, 2994));
        assert_eq!(journal.due(start), None);
    }

    #[test]
    fn a_problem_is_fresh_once() {
        let problem = |key: &str, revision| KeyProblem {
            key: key.into(),
            reason: "bad".into(),
            revision,
            last_good: false,
        };
        let known = [problem("a", 1), problem("c", 1), problem("d", 1)];
        let now = [
            problem("b", 2),
            problem("c", 2),
            problem("d", 1),
            problem("e", 2),
        ];
        let keys: Vec<_> = fresh(&now, &known).map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["b", "c", "e"]);
        assert_eq!(fresh(&now, &[]).count(), 4);
        assert_eq!(fresh(&[], &known).count(), 0);
    }
}
