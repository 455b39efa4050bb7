//! Owns what is seen of each node of a staged fleet: its stream and its reports, put together. Must not know:
//! what follows from it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::content::Content;
use bellwether::name::{Name, TypeUrl, Version};
use bellwether::wire::native::{NodeReport, setback};
use bellwether_rollout::Digest;
use bellwether_rollout::census::Sighting;
use bellwether_xds::nodes::{Identity, Reported, Seen, StreamState};
use sha2::{Digest as _, Sha256};

use super::fleet_view::{FleetView, Known};
use super::stock::digest_in;

/// How long a node that reports may say nothing before it counts as gone although its stream is up: a
/// process can hang and still answer pings.
const SILENCE: Duration = Duration::from_secs(20);

/// What nodes call themselves that report. Without a report there is nothing to promote on.
const REPORTERS: &str = "bellwether-agent";

/// A hash of a node's id, the same on every server.
pub(super) fn hash(id: &str) -> u64 {
    let digest = Sha256::digest(id.as_bytes());
    digest
        .iter()
        .take(8)
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// The streams of one node: of those by its id, the newest, and what else it has on that connection. A
/// client can follow each type on a stream of its own.
struct Together<'a> {
    newest: &'a Seen,
    streams: Vec<&'a Seen>,
}

impl<'a> Together<'a> {
    fn of(streams: &'a [Seen]) -> BTreeMap<&'a str, Self> {
        let mut nodes: BTreeMap<&str, Self> = BTreeMap::new();
        for stream in streams {
            let known = nodes.entry(&stream.identity.id).or_insert(Self {
                newest: stream,
                streams: Vec::new(),
            });
            if stream.connected > known.newest.connected {
                known.newest = stream;
            }
        }
        for stream in streams {
            if let Some(node) = nodes.get_mut(stream.identity.id.as_str())
                && node.newest.identity.address == stream.identity.address
            {
                node.streams.push(stream);
            }
        }
        nodes
    }

    fn states(&self) -> impl Iterator<Item = &'a StreamState> {
        self.streams.iter().map(|stream| &stream.state)
    }

    /// What all of its streams were given last, if that is the same.
    fn given(&self) -> Option<&'a str> {
        let given = self.newest.state.given.as_deref();
        given.filter(|_| self.states().all(|one| one.given.as_deref() == given))
    }

    /// Since when all of them have answered for it.
    fn answered(&self) -> Option<Instant> {
        let each: Option<Vec<Instant>> = self.states().map(|one| one.answered).collect();
        each?.into_iter().max()
    }
}

/// Every node once.
pub(super) fn sightings(
    fleet: &FleetView,
    streams: &[Seen],
    reports: &[(Arc<Identity>, Reported)],
    now: Instant,
) -> Vec<Sighting> {
    let mut last: BTreeMap<&str, &Reported> = BTreeMap::new();
    for (identity, reported) in reports {
        let known = last.entry(identity.id.as_str()).or_insert(reported);
        if reported.at > known.at {
            *known = reported;
        }
    }
    let each = Together::of(streams).into_iter();
    each.filter_map(|(id, node)| {
        let reported = last.get(id).copied();
        let silent =
            reported.is_some_and(|reported| now.saturating_duration_since(reported.at) > SILENCE);
        (!silent).then(|| sighting(fleet, &node, reported, now))
    })
    .collect()
}

fn sighting(
    fleet: &FleetView,
    streams: &Together<'_>,
    reported: Option<&Reported>,
    now: Instant,
) -> Sighting {
    let identity = &streams.newest.identity;
    let given = streams.given();
    let node = fleet.node(&Known {
        identity,
        connected: streams.newest.connected,
        given,
    });
    let given = given.and_then(digest_in);
    let answered = streams.answered();
    let holds = given.filter(|_| answered.is_some());
    let rollout = fleet.state.rollout.as_ref();
    let probation = rollout.map_or(Duration::ZERO, |one| one.start.policy.probation);
    let report = reported.map(|reported| &*reported.report);
    let reports = identity.user_agent.starts_with(REPORTERS);
    let since = answered.unwrap_or(now);
    let stable = match (holds, report) {
        (Some(held), Some(report)) => {
            let has = in_force(fleet, report) == Some(held);
            let lived = Duration::from_millis(report.in_force_ms);
            has && (report.stable || lived >= probation)
        }
        (Some(_), None) => !reports && now.saturating_duration_since(since) >= probation,
        (None, _) => false,
    };
    let window = report.and_then(|report| {
        let health = report.health.as_ref()?;
        // All of it must be of what is in force now.
        (report.in_force_ms >= health.window_ms).then_some(health)
    });
    Sighting {
        id: hash(&identity.id),
        node,
        holds,
        stable,
        rejected: rejected(fleet, streams),
        failed: report.and_then(|report| failed(fleet, report)),
        lived: reported.and_then(|reported| lived(fleet, reported, holds?, now)),
        requests: window.map_or(0, |window| window.requests),
        errors: window.map_or(0, |window| window.errors),
    }
}

/// How long a node's process has lived with what it holds, as of now.
fn lived(fleet: &FleetView, reported: &Reported, holds: Digest, now: Instant) -> Option<Duration> {
    let report = &reported.report;
    let told = Duration::from_millis(report.in_force_ms);
    let since = now.saturating_duration_since(reported.at);
    (in_force(fleet, report) == Some(holds)).then_some(told + since)
}

/// The release of which any stream of a node rejects something; of several, the one being tried.
fn rejected(fleet: &FleetView, streams: &Together<'_>) -> Option<Digest> {
    let target = fleet.state.rollout.as_ref();
    let target = target.map(|rollout| rollout.start.target.digest);
    let each = streams.states().filter_map(|state| {
        let given = digest_in(state.given.as_deref()?)?;
        rejects(fleet, state, &given).then_some(given)
    });
    each.max_by_key(|digest| Some(*digest) == target)
}

fn in_force(fleet: &FleetView, report: &NodeReport) -> Option<Digest> {
    fleet.release_of(Content::parse(&report.content)?)
}

/// The release that a node could not live with, if it is one of those at hand.
fn failed(fleet: &FleetView, report: &NodeReport) -> Option<Digest> {
    let gave_up = report.setbacks.iter().rev().filter(|setback| {
        matches!(
            setback.kind(),
            setback::Kind::CrashLoop | setback::Kind::Hung | setback::Kind::Reverted
        )
    });
    let mut releases = gave_up.filter_map(|setback| {
        let content = Content::parse(&setback.content)?;
        fleet.release_of(content)
    });
    releases.next()
}

/// Whether a node rejects something of what it was given that the other release of the rollout does not
/// have. What it rejects of both says nothing about either.
fn rejects(fleet: &FleetView, state: &StreamState, given: &Digest) -> bool {
    let other = fleet.state.rollout.as_ref().and_then(|rollout| {
        let target = rollout.start.target.digest;
        match target == *given {
            true => rollout.base.map(|base| base.digest),
            false => Some(target),
        }
    });
    let of_types = state.types.iter().flat_map(|status| {
        let rejected = status.rejected.iter();
        rejected.map(|(name, why)| (&status.type_url, name, why.version))
    });
    of_types
        .into_iter()
        .filter(|(type_url, name, version)| has(fleet, given, type_url, name, *version))
        .any(|(type_url, name, version)| {
            !other.is_some_and(|other| has(fleet, &other, type_url, name, version))
        })
}

/// Whether a release holds this for any kind of client.
fn has(
    fleet: &FleetView,
    release: &Digest,
    type_url: &TypeUrl,
    name: &Name,
    version: Version,
) -> bool {
    let offered = fleet.releases.get(release).into_iter();
    let mut snapshots = offered.flat_map(|offered| offered.snapshots.values());
    snapshots.any(|snapshot| {
        let published = snapshot.published(type_url);
        let resource = published.and_then(|published| published.set().get(name));
        resource.is_some_and(|resource| resource.version() == version)
    })
}
