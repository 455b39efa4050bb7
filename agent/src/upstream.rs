//! Owns a cluster together with its endpoints: which one a request goes to, and the connections to
//! each. Must not know: routes, clients.

use std::sync::Arc;

use bellwether::wire::native::balancing::Policy;
use rand::RngExt;

use crate::metrics::UpstreamStats;
use crate::table::Limits;
use crate::table::cluster::{Cluster, Endpoint};
use crate::table::identity::Certificate;

mod balance;
mod connect;
pub mod peer;
pub mod request_body;
mod resolve;
mod ring;
pub(crate) mod tls;
mod turns;

use self::balance::{Balancer, Member};
pub use self::connect::{ConnectError, Sender};
pub use self::peer::{Lease, Peer};

/// A cluster, ready to forward to.
#[derive(Debug)]
pub struct Upstream {
    /// Its settings.
    pub cluster: Arc<Cluster>,
    /// Counters, kept when the cluster or its endpoints change.
    pub stats: Arc<UpstreamStats>,
    /// All endpoints, also those of weight 0.
    peers: Box<[Arc<Peer>]>,
    /// By falling priority (§3.3).
    groups: Box<[Group]>,
    tls: Option<tls::ClientTls>,
}

#[derive(Debug)]
struct Group {
    priority: i32,
    balancer: Balancer,
}

/// The endpoints that a request was sent to already, by their position.
#[derive(Debug, Default)]
pub struct Tried(Vec<u32>);

impl Tried {
    fn contains(&self, peer: u32) -> bool {
        self.0.contains(&peer)
    }
}

impl Upstream {
    /// Puts a cluster and its endpoints together. What did not change is taken from `previous`:
    /// connections to endpoints that are still there, the turn of round robin, counters.
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        endpoints: &[Endpoint],
        certificate: Option<&Arc<Certificate>>,
        previous: Option<&Self>,
        limits: &Limits,
    ) -> Self {
        let tls = cluster
            .tls
            .as_ref()
            .map(|message| tls::ClientTls::new(message, certificate, cluster.http2()));
        let same_wire = previous.filter(|old| {
            old.cluster.scheme == cluster.scheme
                && match (&old.tls, &tls) {
                    (None, None) => true,
                    (Some(old), Some(new)) => old.is_like(new),
                    _ => false,
                }
        });
        let known: std::collections::HashMap<(&str, u16), &Arc<Peer>> = same_wire
            .into_iter()
            .flat_map(|old| old.peers.iter())
            .map(|peer| ((peer.host(), peer.port()), peer))
            .collect();
        let peers: Box<[Arc<Peer>]> = endpoints
            .iter()
            .map(
                |endpoint| match known.get(&(&*endpoint.host, endpoint.port)) {
                    Some(peer) => Arc::clone(peer),
                    None => Arc::new(Peer::new(endpoint)),
                },
            )
            .collect();
        let groups = groups(&cluster, endpoints, previous, limits);
        Self {
            stats: previous.map(|old| old.stats.clone()).unwrap_or_default(),
            tls: match same_wire.and_then(|old| old.tls.clone()) {
                Some(same) => Some(same),
                None => tls,
            },
            cluster,
            peers,
            groups,
        }
    }

    /// Chooses an endpoint that the request was not sent to yet (§3.2, §3.3), and marks it.
    /// `hash` is asked only by a policy that hashes.
    pub fn pick(&self, tried: &mut Tried, hash: impl FnOnce() -> String) -> Option<&Arc<Peer>> {
        let mut hash = Some(hash);
        let mut key = None;
        for group in &self.groups {
            let picked = group.balancer.pick(&self.peers, tried, || {
                key.get_or_insert_with(|| hash.take().map(|hash| hash()).unwrap_or_default())
                    .clone()
            });
            if let Some(index) = picked {
                tried.0.push(index);
                return self.peers.get(index as usize);
            }
        }
        None
    }

    /// Whether no request can be sent anywhere: no endpoints, or several and all of weight 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Further attempts after the first (§3.4).
    #[must_use]
    pub fn retries(&self) -> u32 {
        let fallback = || {
            u32::try_from(self.peers.len())
                .unwrap_or(u32::MAX)
                .saturating_sub(1)
        };
        self.cluster.retries.unwrap_or_else(fallback)
    }

    /// All endpoints.
    #[must_use]
    pub fn peers(&self) -> &[Arc<Peer>] {
        &self.peers
    }

    /// Closes connections that were idle for too long.
    pub fn sweep(&self) {
        for peer in &self.peers {
            peer.sweep(self.cluster.pool.idle);
        }
    }
}

fn groups(
    cluster: &Cluster,
    endpoints: &[Endpoint],
    previous: Option<&Upstream>,
    limits: &Limits,
) -> Box<[Group]> {
    // APISIX asks no balancer where there is nothing to choose, so that the weight is not looked at.
    let alone = endpoints.len() == 1 && cluster.policy != Policy::LeastConnections;
    let mut by_priority = std::collections::BTreeMap::<i32, Vec<Member>>::new();
    for (index, endpoint) in (0_u32..).zip(endpoints) {
        let weight = endpoint.weight.max(u32::from(alone));
        if weight > 0 {
            by_priority
                .entry(endpoint.priority)
                .or_default()
                .push(Member {
                    peer: index,
                    weight,
                    id: format!("{}\0{}", endpoint.host, endpoint.port),
                });
        }
    }
    by_priority
        .into_iter()
        .rev()
        .map(|(priority, members)| {
            let turn = previous
                .and_then(|old| old.groups.iter().find(|group| group.priority == priority))
                .and_then(|group| group.balancer.turn())
                // A fleet that starts together must not begin with the same endpoint everywhere.
                .unwrap_or_else(|| rand::rng().random_range(0..usize::from(u16::MAX)));
            Group {
                priority,
                balancer: Balancer::new(cluster.policy, &members, turn, limits.balancer_points),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
