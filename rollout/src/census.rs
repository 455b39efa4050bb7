//! Owns the count of a fleet's nodes at one server: who is exposed, what became of them, who is gone.
//! Must not know: how nodes are seen, or what follows from their number.
//!
//! A node that is gone stays in the count for as long as the rollout lasts, unless another server has
//! found it: whoever dies of a release does not say so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::assign::{Node, Role, assign};
use crate::cohort::bucket;
use crate::digest::Digest;
use crate::evidence::{Base, Candidates, Counts, Evidence};
use crate::policy::Stage;
use crate::state::{Phase, Rollout, State};
use crate::time::Millis;

/// How long a node may be gone until it is missing: longer than it takes to reconnect, and than it takes
/// another server to say that it is there.
pub const GRACE: Duration = Duration::from_secs(15);

/// How long a node must be gone until another server's word is taken that it has it. That word may be as
/// old as it takes to be counted, written and read, and the node gone from there as well.
const SETTLED: Duration = Duration::from_secs(8);

/// Nodes that are told to other servers as gone. More than these are only counted.
pub const MAX_DEPARTED: usize = 256;

/// How often a process must have begun anew with the release for it to have failed there. Once or twice is
/// somebody's work.
const RESTARTS: u32 = 3;

/// How far apart two beginnings are at least: what is reported of one beginning differs by less.
const APART: Duration = Duration::from_secs(1);

/// A connected node, as of now.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// A hash of its id.
    pub id: u64,
    /// What decides about it.
    pub node: Node,
    /// What it has answered for in full.
    pub holds: Option<Digest>,
    /// Whether it has lived for the probation with what it holds.
    pub stable: bool,
    /// The release of which it rejected something that the other one does not have.
    pub rejected: Option<Digest>,
    /// The release that it went back from by itself, or died of.
    pub failed: Option<Digest>,
    /// How long its process has lived with what it holds; `None`: it does not say.
    pub lived: Option<Duration>,
    /// Requests in its last window.
    pub requests: u64,
    /// Of these, those that failed.
    pub errors: u64,
}

/// What one server counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// In numbers that add up over servers.
    pub evidence: Evidence,
    /// Nodes that are gone, for other servers to find; see [`MAX_DEPARTED`].
    pub departed: Vec<u64>,
    /// Of the nodes that others told as gone, those that are here.
    pub found: Vec<u64>,
}

/// What other servers say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// Nodes that are gone there.
    pub departed: BTreeSet<u64>,
    /// Nodes that are there, of those that were told as gone.
    pub found: BTreeSet<u64>,
}

/// A node that was seen while the rollout was under way.
#[derive(Clone, Debug)]
struct Tracked {
    domain: String,
    exposed: bool,
    seen: Millis,
    /// What it holds, since when, and how often it has begun anew with that.
    life: Option<Life>,
}

/// A node's process, and what it lives with.
#[derive(Clone, Copy, Debug)]
struct Life {
    holds: Digest,
    began: Millis,
    restarts: u32,
}

impl Life {
    /// What is known now, after what was known before.
    fn of(sighting: &Sighting, before: Option<Self>, now: Millis) -> Option<Self> {
        let (Some(holds), Some(lived)) = (sighting.holds, sighting.lived) else {
            return before;
        };
        let lived = u64::try_from(lived.as_millis()).unwrap_or(u64::MAX);
        let began = Millis(now.0.saturating_sub(lived));
        let restarts = match before.filter(|before| before.holds == holds) {
            None => 0,
            Some(before) if began.since(before.began) > APART => before.restarts + 1,
            // The same life, told a little later.
            Some(before) => return Some(before),
        };
        Some(Self {
            holds,
            began,
            restarts,
        })
    }

    /// Whether its process does not stay up with this.
    fn dies_of(&self, release: Digest) -> bool {
        self.holds == release && self.restarts >= RESTARTS
    }
}

/// The count of one fleet at one server.
#[derive(Clone, Debug, Default)]
pub struct Census {
    rollout: u64,
    exposure: u64,
    /// Nodes of each domain when the exposure began: exposed, and not.
    assigned: BTreeMap<String, (u64, u64)>,
    nodes: BTreeMap<u64, Tracked>,
}

impl Census {
    /// Counts. To be asked again and again while a rollout is under way.
    pub fn count(
        &mut self,
        state: &State,
        sightings: &[Sighting],
        elsewhere: &Elsewhere,
        now: Millis,
    ) -> Counted {
        let Some(rollout) = &state.rollout else {
            *self = Self::default();
            return Counted::default();
        };
        if self.rollout != rollout.id {
            *self = Self::default();
            self.rollout = rollout.id;
        }
        let mut evidence = Evidence {
            exposure: rollout.exposure,
            complete: true,
            candidates: candidates(rollout, state, sightings),
            ..Evidence::default()
        };
        let begins = self.exposure != rollout.exposure;
        if begins {
            self.exposure = rollout.exposure;
            self.assigned.clear();
        }
        for sighting in sightings {
            let role = assign(&sighting.node, state).role();
            match role.filter(|role| *role != Role::Pinned) {
                Some(role) => self.see(rollout, sighting, role, (begins, now), &mut evidence),
                // It is here, and proves nothing from now on.
                None => drop(self.nodes.remove(&sighting.id)),
            }
        }
        for (domain, (exposed, control)) in &self.assigned {
            let seen = evidence.domains.entry(domain.clone()).or_default();
            seen.exposed.assigned = *exposed;
            seen.control.assigned = *control;
        }
        let departed = self.miss(&mut evidence, elsewhere, now);
        let here = sightings.iter().map(|sighting| sighting.id);
        let found = here.filter(|id| elsewhere.departed.contains(id));
        Counted {
            departed,
            found: found.take(MAX_DEPARTED).collect(),
            evidence,
        }
    }

    /// Counts one node that is here.
    fn see(
        &mut self,
        rollout: &Rollout,
        sighting: &Sighting,
        role: Role,
        (begins, now): (bool, Millis),
        evidence: &mut Evidence,
    ) {
        if role == Role::Control {
            add_base(&mut evidence.base, sighting, rollout);
        }
        if !matches!(role, Role::Control | Role::Exposed) {
            return;
        }
        let exposed = role == Role::Exposed;
        let target = rollout.start.target.digest;
        let domain = rollout.domain(&sighting.node.labels).to_owned();
        let before = self.nodes.get(&sighting.id).and_then(|known| known.life);
        let life = Life::of(sighting, before, now);
        let dies = life.is_some_and(|life| life.dies_of(target));
        let seen = evidence.domains.entry(domain.clone()).or_default();
        let assigned = match begins {
            true => self.assigned.entry(domain.clone()).or_default(),
            false => &mut (0, 0),
        };
        let (counts, assigned) = match exposed {
            true => (&mut seen.exposed, &mut assigned.0),
            false => (&mut seen.control, &mut assigned.1),
        };
        add(counts, sighting, dies, exposed.then_some(target));
        *assigned += 1;
        let tracked = Tracked {
            domain,
            exposed,
            seen: now,
            life,
        };
        self.nodes.insert(sighting.id, tracked);
    }

    /// Who is gone. Those that others have found are theirs from now on.
    fn miss(&mut self, evidence: &mut Evidence, elsewhere: &Elsewhere, now: Millis) -> Vec<u64> {
        self.nodes.retain(|id, tracked| {
            now.since(tracked.seen) < SETTLED || !elsewhere.found.contains(id)
        });
        let gone = self.nodes.iter().filter(|(_, one)| one.seen != now);
        let mut departed = Vec::new();
        for (id, tracked) in gone {
            if departed.len() < MAX_DEPARTED {
                departed.push(*id);
            }
            if now.since(tracked.seen) < GRACE {
                continue;
            }
            let seen = evidence.domains.entry(tracked.domain.clone()).or_default();
            match tracked.exposed {
                true => seen.exposed.missing += 1,
                false => seen.control.missing += 1,
            }
        }
        departed
    }
}

/// What became of a node that is to have `target`; of others only how they do is counted.
fn add(counts: &mut Counts, sighting: &Sighting, dies: bool, target: Option<Digest>) {
    counts.connected += 1;
    counts.requests += sighting.requests;
    counts.errors += sighting.errors;
    let Some(target) = target else {
        return;
    };
    if dies || sighting.failed == Some(target) {
        counts.failed += 1;
    } else if sighting.rejected == Some(target) {
        counts.rejected += 1;
    } else if sighting.holds == Some(target) && sighting.stable {
        counts.stable += 1;
    }
}

fn add_base(base: &mut Base, sighting: &Sighting, rollout: &Rollout) {
    let Some(release) = rollout.base else {
        // There is nothing to hold.
        base.connected += 1;
        base.holding += 1;
        return;
    };
    base.connected += 1;
    if sighting.rejected == Some(release.digest) {
        base.rejected += 1;
    } else if sighting.holds == Some(release.digest) {
        base.holding += 1;
    }
}

/// The stage that begins next, if one is left.
#[must_use]
pub fn next_stage(rollout: &Rollout) -> Option<&Stage> {
    let next = match rollout.phase {
        Phase::Pending | Phase::Scheduled => rollout.stage,
        _ => rollout.stage + 1,
    };
    rollout.start.policy.stages.get(next)
}

/// Whom the stage could take that begins next.
fn candidates(
    rollout: &Rollout,
    state: &State,
    sightings: &[Sighting],
) -> BTreeMap<String, Candidates> {
    let mut all: BTreeMap<String, Candidates> = BTreeMap::new();
    let Some(stage) = next_stage(rollout) else {
        return all;
    };
    for sighting in sightings {
        let node = &sighting.node;
        let is_pinned = assign(node, state).role() == Some(Role::Pinned);
        let kept_back = node.fresh && !rollout.enroll_fresh && rollout.base.is_some();
        if is_pinned || kept_back || !stage.select.matches(&node.id, &node.labels) {
            continue;
        }
        let domain = rollout.domain(&node.labels).to_owned();
        all.entry(domain)
            .or_default()
            .take(bucket(&rollout.salt, &node.id));
    }
    all
}
