//! Owns whether this server leads, and what to do next about it. Pure: time and answers are arguments.
//! Must not know: the store, or what a leader does.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::{LeaseId, Revision};

/// Where the election stands for this server.
#[derive(Clone, Debug)]
pub(super) struct Election {
    ttl: Duration,
    phase: Phase,
    /// Whether the store says that nobody leads.
    vacant: bool,
    /// Nothing is tried before; after a failure.
    not_before: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing to lose.
    Out,
    /// It has a lease, and stands for election.
    Candidate { lease: LeaseId, renewed: Instant },
    /// The key is its own.
    Leading {
        lease: LeaseId,
        fence: Revision,
        since: Instant,
        renewed: Instant,
    },
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask for a lease.
    Grant,
    /// Write the key, if nobody has.
    Stand(LeaseId),
    /// Keep the lease alive.
    Renew(LeaseId),
    /// Nothing before then, unless something is heard; without a time, nothing at all.
    Wait(Option<Instant>),
}

/// A time during which this server, by its own clock, leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reign {
    /// The revision that its key was written at.
    pub(super) fence: Revision,
    /// From when.
    pub(super) since: Instant,
    /// Nothing is decided after.
    pub(super) until: Instant,
}

/// What is waited after a failure.
const PAUSE: Duration = Duration::from_millis(500);

impl Election {
    pub(super) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            phase: Phase::Out,
            vacant: false,
            not_before: None,
        }
    }

    pub(super) fn next(&self, now: Instant) -> Next {
        if let Some(wait) = self.not_before.filter(|wait| *wait > now) {
            return Next::Wait(Some(wait));
        }
        match self.phase {
            Phase::Out if self.vacant => Next::Grant,
            Phase::Out => Next::Wait(None),
            Phase::Candidate { lease, .. } => Next::Stand(lease),
            Phase::Leading { lease, renewed, .. } => match renewed + self.ttl / 3 {
                due if due <= now => Next::Renew(lease),
                due => Next::Wait(Some(due)),
            },
        }
    }

    /// Whether it leads: only as long as it is sure that nobody else can.
    pub(super) fn reign(&self, now: Instant) -> Option<Reign> {
        let Phase::Leading {
            fence,
            since,
            renewed,
            ..
        } = self.phase
        else {
            return None;
        };
        let until = renewed + self.ttl * 2 / 3;
        (now < until).then_some(Reign {
            fence,
            since,
            until,
        })
    }

    /// The lease that it has.
    pub(super) fn lease(&self) -> Option<LeaseId> {
        match self.phase {
            Phase::Out => None,
            Phase::Candidate { lease, .. } | Phase::Leading { lease, .. } => Some(lease),
        }
    }

    /// There is a lease; it was asked for at `asked`.
    pub(super) fn granted(&mut self, lease: LeaseId, asked: Instant) {
        self.phase = Phase::Candidate {
            lease,
            renewed: asked,
        };
    }

    /// The key was written at this revision.
    pub(super) fn elected(&mut self, fence: Revision, now: Instant) {
        if let Phase::Candidate { lease, renewed } = self.phase {
            self.vacant = false;
            self.phase = Phase::Leading {
                lease,
                fence,
                since: now,
                renewed,
            };
        }
    }

    /// The lease was kept alive; that was asked for at `asked`.
    pub(super) fn renewed(&mut self, asked: Instant) {
        if let Phase::Leading { renewed, since, .. } = &mut self.phase {
            // It was not sure for a while: whatever was under way has ended.
            if asked >= *renewed + self.ttl * 2 / 3 {
                *since = asked;
            }
            *renewed = asked;
        }
    }

    /// Somebody else was elected, the lease is no more, or it was given back.
    pub(super) fn lost(&mut self) {
        self.phase = Phase::Out;
        self.vacant = false;
    }

    /// The store did not answer. What was asked for may have happened.
    pub(super) fn failed(&mut self, now: Instant) {
        self.not_before = Some(now + PAUSE);
        // A key that was written all the same goes with its lease.
        if matches!(self.phase, Phase::Candidate { .. }) {
            self.phase = Phase::Out;
        }
    }

    /// The store, at this revision, has the key as it was written at `key`, or none.
    pub(super) fn seen(&mut self, at: Revision, key: Option<Revision>) {
        match self.phase {
            Phase::Leading { fence, .. } if at >= fence && key != Some(fence) => {
                self.lost();
                self.vacant = key.is_none();
            }
            Phase::Leading { .. } => {}
            Phase::Out | Phase::Candidate { .. } => self.vacant = key.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(9);
    const SECOND: Duration = Duration::from_secs(1);

    fn leading(now: Instant) -> Election {
        let mut election = Election::new(TTL);
        assert_eq!(election.next(now), Next::Wait(None), "nothing is known yet");
        election.seen(Revision(4), None);
        assert_eq!(election.next(now), Next::Grant);
        election.granted(LeaseId(1), now);
        assert_eq!(election.next(now), Next::Stand(LeaseId(1)));
        assert_eq!(election.reign(now), None);
        election.elected(Revision(7), now);
        election
    }

    #[test]
    fn a_leader_is_sure_for_two_thirds_of_its_lease() {
        let now = Instant::now();
        let mut election = leading(now);
        // It has not heard of its own election yet.
        election.seen(Revision(6), None);
        assert_eq!(election.next(now), Next::Wait(Some(now + 3 * SECOND)));
        assert_eq!(election.next(now + 3 * SECOND), Next::Renew(LeaseId(1)));
        election.failed(now + 3 * SECOND);
        assert!(election.reign(now + 5 * SECOND).is_some());
        assert_eq!(election.reign(now + 6 * SECOND), None);
        assert_eq!(election.next(now + 6 * SECOND), Next::Renew(LeaseId(1)));
        // It was away, and the lease is still there.
        election.renewed(now + 7 * SECOND);
        let reign = election.reign(now + 7 * SECOND).unwrap();
        assert_eq!(reign.since, now + 7 * SECOND, "as if it began anew");
        assert_eq!(reign.fence, Revision(7));
    }

    #[test]
    fn who_is_replaced_stops_at_once_and_stands_again_when_nobody_leads() {
        let now = Instant::now();
        let mut election = leading(now);
        election.seen(Revision(9), Some(Revision(8)));
        assert_eq!(election.reign(now), None);
        assert_eq!(election.next(now), Next::Wait(None));
        election.seen(Revision(10), None);
        assert_eq!(election.next(now), Next::Grant);
        election.failed(now);
        assert_eq!(election.next(now), Next::Wait(Some(now + PAUSE)));
        assert_eq!(election.next(now + PAUSE), Next::Grant);
    }

    #[test]
    fn whose_lease_is_gone_is_out() {
        let now = Instant::now();
        let mut election = leading(now);
        election.lost();
        assert_eq!((election.reign(now), election.lease()), (None, None));
        assert_eq!(election.next(now), Next::Wait(None));
    }

    #[test]
    fn a_candidate_whom_nobody_answered_begins_anew() {
        let now = Instant::now();
        let mut election = Election::new(TTL);
        election.seen(Revision(1), None);
        election.granted(LeaseId(1), now);
        election.failed(now);
        assert_eq!(election.next(now + PAUSE), Next::Grant);
    }
}
