//! Owns the choice among endpoints of one priority (`docs/apisix.md` §3.2).
//! Must not know: priorities, connections.

use std::sync::Arc;

use bellwether::wire::native::balancing::Policy;
use rand::RngExt;

use crate::upstream::Tried;
use crate::upstream::peer::Peer;
use crate::upstream::ring::Ring;
use crate::upstream::turns::Turns;

/// An endpoint that takes requests.
#[derive(Debug)]
pub(super) struct Member {
    /// Its position among the upstream's peers.
    pub(super) peer: u32,
    /// Not 0.
    pub(super) weight: u32,
    /// Host, nul, port: what consistent hashing knows it by.
    pub(super) id: String,
}

#[derive(Debug)]
pub(super) struct Balancer {
    /// (peer, weight)
    members: Box<[(u32, u32)]>,
    choice: Choice,
}

#[derive(Debug)]
enum Choice {
    RoundRobin(Turns),
    ConsistentHash(Ring),
    LeastConnections,
    Ewma,
}

impl Balancer {
    pub(super) fn new(policy: Policy, members: &[Member], turn: usize, limit: usize) -> Self {
        let choice = match policy {
            Policy::RoundRobin => {
                let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
                Choice::RoundRobin(Turns::new(&weights, turn, limit))
            }
            Policy::ConsistentHash => {
                let members = members.iter().map(|m| (m.id.as_str(), m.weight));
                Choice::ConsistentHash(Ring::new(members, limit))
            }
            Policy::LeastConnections => Choice::LeastConnections,
            Policy::Ewma => Choice::Ewma,
        };
        Self {
            members: members.iter().map(|m| (m.peer, m.weight)).collect(),
            choice,
        }
    }

    /// The position of round robin.
    pub(super) fn turn(&self) -> Option<usize> {
        match &self.choice {
            Choice::RoundRobin(turns) => Some(turns.position()),
            Choice::ConsistentHash(_) | Choice::LeastConnections | Choice::Ewma => None,
        }
    }

    /// A peer that was not tried yet.
    pub(super) fn pick(
        &self,
        peers: &[Arc<Peer>],
        tried: &Tried,
        key: impl FnOnce() -> String,
    ) -> Option<u32> {
        let peer_of = |member: u32| self.members.get(member as usize).map(|(peer, _)| *peer);
        let free = |member: u32| peer_of(member).is_some_and(|peer| !tried.contains(peer));
        match &self.choice {
            Choice::RoundRobin(turns) => turns.take(free).and_then(peer_of),
            Choice::ConsistentHash(ring) => ring
                .walk(&key())
                .find(|member| free(*member))
                .and_then(peer_of),
            Choice::LeastConnections => self.least_connections(peers, tried),
            Choice::Ewma => self.ewma(peers, tried),
        }
    }

    /// The least of (1 + in flight) / weight. Compared as products, so that nothing is rounded.
    /// The first of equals is taken, from a beginning that is chosen at random.
    fn least_connections(&self, peers: &[Arc<Peer>], tried: &Tried) -> Option<u32> {
        let load = |peer: u32| {
            let in_flight = peers.get(peer as usize).map_or(0, |peer| peer.in_flight());
            in_flight as u64 + 1
        };
        let begin = rand::rng().random_range(0..self.members.len().max(1));
        let (before, after) = self.members.split_at(begin.min(self.members.len()));
        let all = after.iter().chain(before);
        all.filter(|(peer, _)| !tried.contains(*peer))
            .map(|(peer, weight)| (*peer, u64::from(*weight), load(*peer)))
            .reduce(|best, next| {
                if next.2.saturating_mul(best.1) < best.2.saturating_mul(next.1) {
                    next
                } else {
                    best
                }
            })
            .map(|(peer, _, _)| peer)
    }

    /// Of two, chosen at random, the one that answered faster of late. Weights are not looked at.
    fn ewma(&self, peers: &[Arc<Peer>], tried: &Tried) -> Option<u32> {
        let all = self.members.iter().map(|(peer, _)| *peer);
        let free: Vec<u32> = all.filter(|peer| !tried.contains(*peer)).collect();
        let score = |peer: u32| peers.get(peer as usize).map_or(0, |peer| peer.score());
        match free.as_slice() {
            [] => None,
            [only] => Some(*only),
            several => {
                let mut random = rand::rng();
                let first = random.random_range(0..several.len());
                let step = random.random_range(1..several.len());
                let first = *several.get(first)?;
                let position = several.iter().position(|peer| *peer == first)?;
                let second = *several.get((position + step) % several.len())?;
                Some(if score(second) < score(first) {
                    second
                } else {
                    first
                })
            }
        }
    }
}
