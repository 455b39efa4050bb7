//! Owns what every stream of a staged fleet goes by: the state, and the releases that it names. It is
//! replaced as a whole, never changed. Must not know: how either came here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::content::Content;
use bellwether::snapshot::{Position, Snapshot};
use bellwether_rollout::assign::Role;
use bellwether_rollout::content::View;
use bellwether_rollout::{Assignment, Digest, Node, Release, State, assign};
use bellwether_xds::nodes::Identity;
use bellwether_xds::{Choice, Choose, Directive, Standing};
use tokio::sync::watch;

use super::Others;
use super::pacer::Pacer;
use super::stock::{Ready, digest_in};

/// How old the proof may be that this server knows the newest state, for it to expose a node. A server
/// that lags could hand out what was taken back since.
pub(super) const PROOF: Duration = Duration::from_secs(5);

/// How soon a node is looked at again that could not be exposed for want of proof.
const AGAIN: Duration = Duration::from_millis(250);

/// How often nodes report while a rollout is under way.
const REPORT_EVERY: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Clone, Debug)]
pub struct FleetView {
    /// The fleet's name.
    pub fleet: Arc<str>,
    /// Up to where in the store's history the state is known to be this.
    pub position: Position,
    /// The order of decisions: the revision at which the state was last written.
    pub generation: u64,
    /// What decides.
    pub state: Arc<State>,
    /// When this server first saw the rollout that is under way. Nodes that come later with nothing are
    /// new to it.
    pub(super) rollout_seen: Option<Instant>,
    /// What each kind of client gets of each release, by content.
    pub(super) releases: BTreeMap<Digest, Offered>,
    /// Which release an agent has that has this in force.
    pub(super) contents: BTreeMap<Content, Digest>,
    /// Nothing at all, for nodes that have nothing, while there is no release.
    pub(super) blank: Arc<Snapshot>,
    /// When it was last proven that this is the newest state.
    pub(super) proven: watch::Receiver<Option<Instant>>,
    pub(super) pacer: Arc<Pacer>,
    pub(super) others: watch::Receiver<Arc<Others>>,
}

/// A release as it is served.
#[derive(Clone, Debug)]
pub(super) struct Offered {
    pub(super) ready: Arc<Ready>,
    /// With the position as of now.
    pub(super) snapshots: BTreeMap<View, Arc<Snapshot>>,
}

/// What is known of a node that a release is chosen for.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) identity: &'a Identity,
    /// When its stream began.
    pub(super) connected: Instant,
    /// What its stream was given last.
    pub(super) given: Option<&'a str>,
}

impl FleetView {
    /// What decides about a node.
    pub(super) fn node(&self, known: &Known<'_>) -> Node {
        let identity = known.identity;
        let said = identity.said.content;
        let said = said.and_then(|content| self.contents.get(&content).copied());
        let came_later = self.rollout_seen.is_some_and(|seen| known.connected > seen);
        Node {
            id: identity.id.clone(),
            labels: identity.known_labels().clone(),
            current: known.given.and_then(digest_in).or(said),
            fresh: identity.is_fresh && came_later,
        }
    }

    /// The release that a node with this in force has.
    pub(super) fn release_of(&self, content: Content) -> Option<Digest> {
        self.contents.get(&content).copied()
    }

    /// Whether a release is at hand.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.releases.contains_key(digest)
    }

    /// The number of a release, if it is at hand.
    pub(super) fn seq_of(&self, digest: &Digest) -> Option<u64> {
        Some(self.releases.get(digest)?.ready.release.seq)
    }

    /// What a kind of client gets of a release, if it is at hand.
    pub(super) fn snapshot(&self, digest: &Digest, view: View) -> Option<&Arc<Snapshot>> {
        self.releases.get(digest)?.snapshots.get(&view)
    }

    fn is_proven(&self, now: Instant) -> bool {
        let proven = *self.proven.borrow();
        proven.is_some_and(|at| now.saturating_duration_since(at) < PROOF)
    }

    fn give(&self, release: Release, view: View) -> Choice {
        match self.snapshot(&release.digest, view) {
            Some(snapshot) => Choice::Snapshot(snapshot.clone()),
            // It is still being read.
            None => Choice::Keep,
        }
    }

    /// A node that is to be exposed waits for proof and for its turn. One that has nothing does so with
    /// what all others have.
    fn expose(
        &self,
        release: Release,
        view: View,
        (node, standing): (&Node, &mut Standing),
        now: Instant,
    ) -> Choice {
        if node.current == Some(release.digest) {
            return self.give(release, view);
        }
        let base = self.state.rollout.as_ref().and_then(|rollout| rollout.base);
        let has_nothing = node.current.is_none() && node.fresh;
        let wait = |until| match base.filter(|_| has_nothing) {
            Some(base) => self.give(base, view),
            None => Choice::KeepUntil(until),
        };
        if !self.is_proven(now) {
            return wait(now + AGAIN);
        }
        let line = self.pacer.line;
        let turn = match standing.turn {
            Some((of, turn)) if of == line => turn,
            _ => {
                let stage = self.state.rollout.as_ref().and_then(|one| one.current());
                let pace = stage.map_or(0, |stage| stage.pace);
                let servers = self.others.borrow().servers;
                self.pacer.turn(pace, servers, now)
            }
        };
        standing.turn = Some((line, turn));
        match turn <= now {
            true => self.give(release, view),
            false => wait(turn),
        }
    }
}

/// What one kind of client goes by.
#[derive(Debug)]
pub(super) struct Chooser {
    pub(super) fleet: Arc<FleetView>,
    pub(super) view: View,
}

impl Choose for Chooser {
    fn choose(&self, identity: &Identity, standing: &mut Standing, now: Instant) -> Choice {
        let fleet = &self.fleet;
        let node = fleet.node(&Known {
            identity,
            connected: standing.connected,
            given: standing.given.as_deref(),
        });
        match assign(&node, &fleet.state) {
            Assignment::Keep => Choice::Keep,
            Assignment::Nothing => Choice::Snapshot(fleet.blank.clone()),
            Assignment::Release(release, Role::Exposed) => {
                fleet.expose(release, self.view, (&node, standing), now)
            }
            Assignment::Release(release, _) => fleet.give(release, self.view),
        }
    }

    fn directive(&self, identity: &Identity, standing: &Standing) -> Directive {
        let fleet = &self.fleet;
        let node = fleet.node(&Known {
            identity,
            connected: standing.connected,
            given: standing.given.as_deref(),
        });
        let release = assign(&node, &fleet.state).release();
        let release = release.and_then(|release| fleet.releases.get(&release.digest));
        let rollout = fleet.state.rollout.as_ref();
        Directive {
            position: Some(Position {
                store: fleet.position.store,
                revision: fleet.generation,
            }),
            release: release.map_or_else(String::new, |one| one.ready.name.to_string()),
            probation: rollout.map_or(Duration::ZERO, |one| one.start.policy.probation),
            report_every: rollout.map_or(Duration::ZERO, |_| REPORT_EVERY),
        }
    }
}
