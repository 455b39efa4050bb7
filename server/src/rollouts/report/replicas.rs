//! Owns what all live servers said of their nodes, and how far it can be relied on. Must not know: what
//! follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bellwether_rollout::Evidence;
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::mirror::{Mirror, Mirrored};
use super::{FleetReport, MAX_IN_USE, Report, Told};
use crate::keys;

/// Evidence that is older is none, while a rollout is under way.
pub(crate) const STALE: Duration = Duration::from_secs(15);

/// The live servers.
#[derive(Clone, Debug, Default)]
pub struct Replicas {
    servers: BTreeMap<String, Replica>,
    /// Whether the store tells of changes.
    live: bool,
}

/// One server.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    /// The last that it said of each fleet.
    pub fleets: BTreeMap<String, Said>,
    /// What it says as the leader.
    pub told: BTreeMap<String, Told>,
    /// When it last said something, by our clock; none if it was before we listened.
    pub heard: Option<Instant>,
    revision: crate::store::Revision,
}

/// What a server said of a fleet.
#[derive(Clone, Debug)]
pub struct Said {
    /// What.
    pub report: Arc<FleetReport>,
    /// When, by our clock; none if it was before we listened.
    pub heard: Option<Instant>,
}

impl Replicas {
    /// By their ids.
    #[must_use]
    pub fn servers(&self) -> &BTreeMap<String, Replica> {
        &self.servers
    }

    /// Whether the store tells of changes.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// What all saw of this exposure. It is complete only if every live server has spoken of it since
    /// `since`, and lately.
    #[must_use]
    pub fn evidence(&self, fleet: &str, exposure: u64, since: Instant, now: Instant) -> Evidence {
        let fresh = |said: &Said| {
            let is_of_it = said.report.evidence.exposure == exposure;
            let lately = |at: Instant| at >= since && now.duration_since(at) < STALE;
            is_of_it && said.heard.is_some_and(lately)
        };
        let of_fleet = || {
            let servers = self.servers.values();
            servers.map(|replica| replica.fleets.get(fleet))
        };
        let complete =
            self.live && !self.servers.is_empty() && of_fleet().all(|said| said.is_some_and(fresh));
        let reports = of_fleet()
            .flatten()
            .map(|said| said.report.evidence.clone());
        Evidence::sum(exposure, complete, reports)
    }

    /// What is known right now, of any age: for people.
    #[must_use]
    pub fn glance(&self, fleet: &str, exposure: u64) -> Evidence {
        let now = Instant::now();
        let past = now.checked_sub(STALE).unwrap_or(now);
        self.evidence(fleet, exposure, past, now)
    }

    /// Releases that nodes have. None: not all servers have said it.
    #[must_use]
    pub fn in_use(&self, fleet: &str) -> Option<BTreeSet<u64>> {
        let mut all = BTreeSet::new();
        for replica in self.servers.values() {
            let said = replica.fleets.get(fleet)?;
            if said.report.in_use.len() > MAX_IN_USE {
                return None;
            }
            all.extend(&said.report.in_use);
        }
        self.live.then_some(all)
    }

    /// Nodes that other servers than `me` miss, by their hashes.
    #[must_use]
    pub fn departed(&self, fleet: &str, me: &str) -> BTreeSet<u64> {
        self.of_others(fleet, me, |report| &report.departed)
    }

    /// Nodes that other servers than `me` have, and somebody missed.
    #[must_use]
    pub fn found(&self, fleet: &str, me: &str) -> BTreeSet<u64> {
        self.of_others(fleet, me, |report| &report.found)
    }

    fn of_others(
        &self,
        fleet: &str,
        me: &str,
        which: impl Fn(&FleetReport) -> &Vec<u64>,
    ) -> BTreeSet<u64> {
        let others = self.servers.iter().filter(|(id, _)| *id != me);
        let said = others.filter_map(|(_, replica)| replica.fleets.get(fleet));
        said.flat_map(|said| which(&said.report).clone()).collect()
    }

    /// What the leader says of a fleet, by the servers' word.
    #[must_use]
    pub fn told(&self, leader: &str, fleet: &str) -> Option<&Told> {
        self.servers.get(leader)?.told.get(fleet)
    }

    fn update(&mut self, mirrored: &Mirrored) {
        self.live = mirrored.live;
        let mut before = std::mem::take(&mut self.servers);
        for (key, heard) in &mirrored.entries {
            let Some(id) = key.strip_prefix(&keys::replicas_range()) else {
                continue;
            };
            let mut replica = before.remove(id).unwrap_or_default();
            if replica.revision != heard.kv.mod_revision {
                replica.revision = heard.kv.mod_revision;
                replica.take(&heard.kv.value, heard.at);
            }
            self.servers.insert(id.to_owned(), replica);
        }
    }
}

impl Replica {
    /// A server whose words we can't read is live, and has said nothing.
    fn take(&mut self, value: &[u8], heard: Option<Instant>) {
        let report: Report = serde_json::from_slice(value).unwrap_or_default();
        for (fleet, report) in report.fleets {
            let report = Arc::new(report);
            self.fleets.insert(fleet, Said { report, heard });
        }
        self.told = report.told;
        self.heard = heard;
    }
}

/// Keeps up what all live servers say.
pub(in super::super) fn follow(mut mirror: Mirror) -> watch::Receiver<Arc<Replicas>> {
    let (sender, replicas) = watch::channel(Arc::default());
    tokio::spawn(async move {
        loop {
            let mirrored = mirror.borrow_and_update().clone();
            sender.send_modify(|known: &mut Arc<Replicas>| Arc::make_mut(known).update(&mirrored));
            tokio::select! {
                changed = mirror.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    });
    replicas
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::super::mirror::Heard;
    use super::*;
    use crate::store::{KeyValue, Revision};

    fn heard(server: &str, fleets: &[(&str, u64)], at: u64, when: Option<Instant>) -> Heard {
        let of = |exposure: u64| FleetReport {
            evidence: Evidence {
                exposure,
                complete: true,
                ..Evidence::default()
            },
            in_use: vec![exposure],
            departed: vec![at],
            ..FleetReport::default()
        };
        let report = Report {
            server: server.to_owned(),
            fleets: fleets
                .iter()
                .map(|(name, exposure)| ((*name).to_owned(), of(*exposure)))
                .collect(),
            ..Report::default()
        };
        let kv = KeyValue {
            key: keys::replica(server),
            value: Bytes::from(serde_json::to_vec(&report).unwrap()),
            create_revision: Revision(1),
            mod_revision: Revision(at),
            lease: None,
        };
        Heard { kv, at: when }
    }

    fn with(replicas: &mut Replicas, all: Vec<Heard>, live: bool) {
        let entries = all.into_iter().map(|one| (one.kv.key.clone(), one));
        replicas.update(&Mirrored {
            entries: entries.collect(),
            revision: Revision(9),
            live,
        });
    }

    #[test]
    fn what_is_missing_old_or_of_another_exposure_is_not_complete() {
        let now = Instant::now();
        let since = now - Duration::from_secs(5);
        let complete = |replicas: &Replicas| replicas.evidence("f", 3, since, now).complete;
        let mut all = Replicas::default();
        assert!(!complete(&all), "nobody has spoken");
        let a = heard("a", &[("f", 3)], 1, Some(now));
        let others = [
            (heard("b", &[("f", 3)], 2, Some(now)), true),
            (heard("b", &[("f", 2)], 3, Some(now)), false),
            (heard("b", &[("f", 3)], 4, None), false),
            (
                heard("b", &[("f", 3)], 5, Some(now - Duration::from_secs(6))),
                false,
            ),
            (heard("b", &[("f", 3)], 6, Some(now)), true),
        ];
        for (index, (b, want)) in others.into_iter().enumerate() {
            with(&mut all, vec![a.clone(), b], true);
            assert_eq!(complete(&all), want, "{index}");
        }
        assert!(!all.evidence("f", 3, since, now + STALE).complete);
        let silent = heard("c", &[], 7, Some(now));
        with(&mut all, vec![a.clone(), silent], true);
        assert!(!complete(&all));
        with(&mut all, vec![a], false);
        assert!(!complete(&all), "the store is away");
    }

    #[test]
    fn a_fleet_that_had_no_room_this_time_is_as_it_was() {
        let now = Instant::now();
        let mut all = Replicas::default();
        with(&mut all, vec![heard("a", &[("f", 3)], 1, Some(now))], true);
        with(&mut all, vec![heard("a", &[("g", 1)], 2, Some(now))], true);
        assert!(all.evidence("f", 3, now, now).complete);
        assert_eq!(all.in_use("f"), Some([3].into()));
        assert_eq!(all.departed("f", "b"), [1].into());
        assert_eq!(all.departed("f", "a"), BTreeSet::new());
        with(&mut all, vec![], true);
        assert!(all.servers().is_empty(), "its lease is over");
    }
}
