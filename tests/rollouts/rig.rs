//! Owns servers that decide, each in a runtime of its own so that it can be killed or held, and a census
//! of nodes that do as they are told. Must not know: what is tested.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether::name::{ResourceId, TypeUrl};
use bellwether_rollout::assign::{Assignment, Role};
use bellwether_rollout::cohort::{Percent, bucket};
use bellwether_rollout::content::{Item, View};
use bellwether_rollout::evidence::{Base, Candidates, Counts, Evidence, Seen};
use bellwether_rollout::machine::Command;
use bellwether_rollout::policy::{OnFail, Policy, Stage};
use bellwether_rollout::state::Start;
use bellwether_rollout::{Millis, Node, Release, State, assign};
use bellwether_server::release::{Cut, Releases};
use bellwether_server::rollouts::{
    Config, Current, Drafts, FleetReport, Handle, Line, LineError, StagedFleet, start,
};
use bellwether_server::store::Store;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::harness::etcd::Etcd;
use crate::harness::programs::eventually;
use crate::store::Subject;

pub(crate) const FLEET: &str = "shop";

/// How long a leader is missed: short, for the tests' sake.
pub(crate) const TTL: Duration = Duration::from_secs(2);

/// How the nodes of a server take a release that is rolled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nodes {
    Healthy,
    /// They neither take it nor say no.
    Hang,
    Reject,
    Vanish,
    /// They won't have what they go back to.
    RejectBase,
}

/// A server.
pub(crate) struct Member {
    pub(crate) handle: Handle,
    pub(crate) nodes: watch::Sender<Nodes>,
    /// The nodes that are connected to it.
    pub(crate) homes: watch::Sender<Vec<String>>,
    pub(crate) fleets: watch::Sender<Arc<BTreeMap<String, StagedFleet>>>,
    runtime: Option<Runtime>,
}

impl Member {
    /// Over this etcd.
    pub(crate) async fn on(etcd: &Etcd, id: &str, nodes: Nodes) -> Self {
        Self::over(Arc::new(crate::store::etcd_store(etcd)), id, nodes).await
    }

    /// Over this store, with three nodes.
    pub(crate) async fn over(store: Arc<dyn Store>, id: &str, nodes: Nodes) -> Self {
        Self::with(store, id, nodes, StagedFleet::new(FLEET), None).await
    }

    /// The same, with this definition of the fleet, and somebody who cuts releases.
    pub(crate) async fn with(
        store: Arc<dyn Store>,
        id: &str,
        nodes: Nodes,
        fleet: StagedFleet,
        drafts: Option<Arc<dyn Drafts>>,
    ) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (does, do_as) = watch::channel(nodes);
        let (homes, home) = watch::channel(nodes_of(id, 3));
        let fleet = (FLEET.to_owned(), fleet);
        let (fleets, staged) = watch::channel(Arc::new(BTreeMap::from([fleet])));
        let id = id.to_owned();
        let starting = runtime.spawn(async move {
            let (seen, local) = watch::channel(Arc::default());
            let line = Line::new(store.clone(), FLEET);
            tokio::spawn(census(line, home, do_as, seen));
            start(Config {
                store,
                server: id,
                fleets: staged,
                local,
                drafts,
                leader_ttl: TTL,
                report_ttl: TTL,
            })
        });
        Self {
            handle: starting.await.unwrap(),
            nodes: does,
            homes,
            fleets,
            runtime: Some(runtime),
        }
    }

    /// As SIGKILL does. Its nodes go to another server.
    pub(crate) fn kill(mut self, other: &Self) {
        self.runtime.take().unwrap().shutdown_background();
        let nodes = self.homes.borrow().clone();
        other.homes.send_modify(|homes| homes.extend(nodes));
    }

    /// As SIGSTOP does, for that long: nothing of it runs, and its clock goes on.
    pub(crate) fn hold(&self, time: Duration) {
        let runtime = self.runtime.as_ref().unwrap();
        runtime.spawn(async move { std::thread::sleep(time) });
    }

    pub(crate) fn leads(&self) -> bool {
        let term = self.handle.term().borrow().clone();
        term.is_some_and(|term| tokio::time::Instant::now() < term.until)
    }

    pub(crate) async fn load(&self) -> Current {
        self.handle.line(FLEET).load().await.unwrap()
    }

    /// Waits for a phase, by its name; `over` if no rollout is under way.
    pub(crate) async fn reaches(&self, phase: &str) -> Current {
        reaches(&self.handle.line(FLEET), phase).await
    }

    pub(crate) async fn start(&self, release: Release, policy: Policy) -> Current {
        self.command(start_of(release, policy)).await.unwrap()
    }

    pub(crate) async fn command(&self, command: Command) -> Result<Current, LineError> {
        self.handle.command(FLEET, &command, "ann").await
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) async fn reaches(line: &Line, phase: &str) -> Current {
    eventually(&format!("phase {phase}"), || async {
        let current = line.load().await.ok()?;
        let is = current.state.rollout.as_ref();
        (is.map_or("over", |rollout| rollout.phase.name()) == phase).then_some(current)
    })
    .await
}

pub(crate) fn start_of(target: Release, policy: Policy) -> Command {
    Command::Start(Start {
        target,
        policy,
        author: "ann".to_owned(),
        reason: "a change".to_owned(),
    })
}

/// One node, then all; each watched for that long.
pub(crate) fn policy(bake: Duration) -> Policy {
    let first = Stage {
        min_nodes: 1,
        ..Stage::of("first", Percent::ZERO, bake)
    };
    Policy {
        name: "quick".to_owned(),
        domain: None,
        stages: vec![first, Stage::of("all", Percent::ALL, bake)],
        soak: bake,
        probation: Duration::from_millis(10),
        on_fail: OnFail::Rollback,
        approvals: 0,
    }
}

/// Cuts a release.
pub(crate) async fn cut(store: &Arc<dyn Store>, seed: u8) -> Release {
    let releases = Releases::new(store.clone(), FLEET);
    let item = Item {
        view: View::Native,
        id: ResourceId::new(TypeUrl::ROUTE, "routes/1".to_owned()),
        body: vec![seed; 10].into(),
        refers: Vec::new(),
        ttl: None,
    };
    let cut = Cut {
        author: "ann".to_owned(),
        reason: "a change".to_owned(),
        now: Millis(1),
        revision: 1,
    };
    let (header, _) = releases.create(vec![item], &cut).await.unwrap();
    Release {
        seq: header.seq,
        digest: header.digest,
    }
}

/// Makes the first release stable, as if it always was.
pub(crate) async fn stable(store: &Arc<dyn Store>, release: Release) {
    let line = Line::new(store.clone(), FLEET);
    let before = line.load().await.unwrap();
    let state = State {
        stable: Some(release),
        ..before.state.clone()
    };
    let step = bellwether_rollout::machine::Step {
        state,
        events: Vec::new(),
    };
    line.write(&before, &step, "the test", Vec::new())
        .await
        .unwrap();
}

/// A store on an etcd, with one release that is stable and one to come.
pub(crate) async fn two_releases(store: &Arc<dyn Store>) -> Release {
    let first = cut(store, 1).await;
    stable(store, first).await;
    cut(store, 2).await
}

pub(crate) async fn embedded() -> (Subject, Arc<dyn Store>) {
    let subject = Subject::embedded().await;
    let store = subject.store();
    (subject, store)
}

/// Nodes of a server.
pub(crate) fn nodes_of(server: &str, count: usize) -> Vec<String> {
    let each = (0..count).map(|index| format!("{server}-{index}"));
    each.collect()
}

/// Says what the nodes do, for as long as the server runs.
async fn census(
    line: Line,
    home: watch::Receiver<Vec<String>>,
    nodes: watch::Receiver<Nodes>,
    seen: watch::Sender<Arc<BTreeMap<String, FleetReport>>>,
) {
    loop {
        if let Ok(current) = line.load().await {
            let ids = home.borrow().clone();
            let report = report(&current, ids, *nodes.borrow());
            let all = BTreeMap::from([(FLEET.to_owned(), report)]);
            seen.send_if_modified(|known| {
                let changed = **known != all;
                *known = Arc::new(all.clone());
                changed
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn report(current: &Current, ids: Vec<String>, nodes: Nodes) -> FleetReport {
    let mut report = FleetReport {
        generation: current.at.0,
        nodes: ids.len() as u64,
        wanted: 20,
        ..FleetReport::default()
    };
    let Some(rollout) = &current.state.rollout else {
        return report;
    };
    let (mut seen, mut base, mut candidates) =
        (Seen::default(), Base::default(), Candidates::default());
    for id in ids {
        candidates.take(bucket(&rollout.salt, &id));
        let node = Node {
            id,
            ..Node::default()
        };
        match assign(&node, &current.state) {
            Assignment::Release(release, Role::Exposed) => {
                report.in_use.push(release.seq);
                count(&mut seen.exposed, nodes);
            }
            _ => {
                count(&mut seen.control, Nodes::Healthy);
                base.connected += 1;
                match nodes {
                    Nodes::RejectBase => base.rejected += 1,
                    _ => base.holding += 1,
                }
            }
        }
    }
    report.evidence = Evidence {
        exposure: rollout.exposure,
        complete: true,
        domains: [(String::new(), seen)].into(),
        candidates: [(String::new(), candidates)].into(),
        base,
    };
    report
}

fn count(counts: &mut Counts, nodes: Nodes) {
    counts.assigned += 1;
    match nodes {
        Nodes::Vanish => counts.missing += 1,
        _ => counts.connected += 1,
    }
    match nodes {
        Nodes::Healthy | Nodes::RejectBase => counts.stable += 1,
        Nodes::Reject => counts.rejected += 1,
        Nodes::Hang | Nodes::Vanish => {}
    }
}

/// The one that leads.
pub(crate) async fn leader(members: &[Member]) -> usize {
    eventually("a leader", || async {
        members.iter().position(Member::leads)
    })
    .await
}
