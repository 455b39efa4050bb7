//! Owns the tests of leaders that die, stand still, or come too late.

use std::sync::Arc;
use std::time::Duration;

use bellwether_rollout::Release;
use bellwether_rollout::machine::{Command, Event, Step};
use bellwether_server::store::{Commit, Store};

use super::rig::{FLEET, Member, Nodes, TTL, leader, policy, start_of, two_releases};
use crate::harness::etcd::{Etcd, EtcdOptions};
use crate::harness::programs::eventually;
use crate::store::etcd_store;

const BAKE: Duration = Duration::from_secs(1);

fn author() -> String {
    "ann".to_owned()
}

/// Two servers; the one that leads is killed in this phase, and the other one brings it to its end.
async fn killed_in(phase: &'static str) {
    let etcd = Etcd::start(EtcdOptions::default()).await;
    let store: Arc<dyn Store> = Arc::new(etcd_store(&etcd));
    let target = two_releases(&store).await;
    let nodes = match phase {
        "exposing" | "paused" => Nodes::Hang,
        _ => Nodes::Healthy,
    };
    let first = Member::on(&etcd, "a", nodes).await;
    leader(std::slice::from_ref(&first)).await;
    let other = Member::on(&etcd, "b", nodes).await;
    let mut policy = policy(BAKE);
    policy.approvals = u32::from(phase == "pending");
    first.start(target, policy).await;
    let at = match phase {
        "paused" | "rolling back" => other.reaches("exposing").await,
        phase => other.reaches(phase).await,
    };
    if phase == "paused" {
        let (author, reason) = (author(), "look".to_owned());
        let pause = Command::Pause { author, reason };
        other.command(pause).await.unwrap();
    }
    first.kill(&other);
    if phase == "rolling back" {
        let (author, reason) = (author(), "no".to_owned());
        let abort = Command::Abort { author, reason };
        other.command(abort).await.unwrap();
    }
    let led = [other];
    leader(&led).await;
    let [other] = led;
    after(phase, &other, target).await;
    let over = other.reaches("over").await;
    assert!(over.at > at.at);
    let goes_back = phase == "rolling back";
    assert_eq!(over.state.stable == Some(target), !goes_back, "{phase}");
    let history = other.handle.line(FLEET).history(1_000).await.unwrap();
    let ends = history
        .iter()
        .flat_map(|record| &record.events)
        .filter(|event| matches!(event, Event::Ended { .. }));
    assert_eq!(ends.count(), 1, "{phase}");
}

/// What lets it go on where it waits for somebody.
async fn after(phase: &str, other: &Member, target: Release) {
    match phase {
        "exposing" => {
            other.nodes.send_replace(Nodes::Healthy);
        }
        "paused" => {
            let rollout = other.load().await.state.rollout.unwrap();
            assert_eq!(rollout.phase.name(), "paused");
            other.nodes.send_replace(Nodes::Healthy);
            let author = author();
            other.command(Command::Resume { author }).await.unwrap();
        }
        "pending" => {
            let (author, target) = ("bob".to_owned(), target.digest);
            let approve = Command::Approve { author, target };
            other.command(approve).await.unwrap();
        }
        _ => {}
    }
}

macro_rules! killed_in {
    ($($test:ident $phase:literal)*) => {
        $(#[tokio::test]
        async fn $test() {
            killed_in($phase).await;
        })*
    };
}

killed_in! {
    a_leader_killed_while_it_waits_for_approval_is_replaced "pending"
    a_leader_killed_before_the_first_stage_is_replaced "scheduled"
    a_leader_killed_while_nodes_are_exposed_is_replaced "exposing"
    a_leader_killed_while_a_stage_is_watched_is_replaced "baking"
    a_leader_killed_while_all_are_watched_is_replaced "soaking"
    a_leader_killed_while_it_is_paused_is_replaced "paused"
    a_leader_killed_on_the_way_back_is_replaced "rolling back"
}

/// A process that stood still and goes on does not know that time has passed. The store does.
#[tokio::test]
async fn a_leader_that_wakes_up_late_can_not_write() {
    let etcd = Etcd::start(EtcdOptions::default()).await;
    let store: Arc<dyn Store> = Arc::new(etcd_store(&etcd));
    let target = two_releases(&store).await;
    let stale = Member::on(&etcd, "a", Nodes::Healthy).await;
    leader(std::slice::from_ref(&stale)).await;
    let term = stale.handle.term().borrow().clone().unwrap();
    stale.hold(TTL * 4);
    let next = [Member::on(&etcd, "b", Nodes::Healthy).await];
    leader(&next).await;
    let [next] = next;
    // What the old one would do, with what it still believes.
    let line = next.handle.line(FLEET);
    let before = line.load().await.unwrap();
    let step = Step {
        state: bellwether_rollout::State {
            exposures: 99,
            ..before.state.clone()
        },
        events: Vec::new(),
    };
    let written = line.write(&before, &step, "a", vec![term.fence]).await;
    assert_eq!(written.unwrap(), Commit::Conflict);
    // Awake again, it is one that does not lead.
    next.start(target, policy(BAKE)).await;
    let over = next.reaches("over").await;
    assert_eq!(over.state.stable, Some(target));
    eventually("the old one to know", || async {
        let knows = stale.handle.leader()?;
        (knows.server == "b" && !stale.leads()).then_some(())
    })
    .await;
    let history = line.history(1_000).await.unwrap();
    assert!(
        history.iter().all(|record| record.who != "a"),
        "{history:?}"
    );
}

/// Its lease is gone while it runs: it stops at once, whatever its clock says.
#[tokio::test]
async fn a_leader_whose_key_goes_stops_and_stands_again() {
    let etcd = Etcd::start(EtcdOptions::default()).await;
    let store: Arc<dyn Store> = Arc::new(etcd_store(&etcd));
    let member = Member::on(&etcd, "a", Nodes::Healthy).await;
    leader(std::slice::from_ref(&member)).await;
    let old = member.handle.term().borrow().clone().unwrap();
    let (key, _) = store.get("/bellwether/leader").await.unwrap();
    store.revoke(key.unwrap().lease.unwrap()).await.unwrap();
    let new = eventually("another term", || async {
        let term = member.handle.term().borrow().clone()?;
        (term.fence != old.fence).then_some(term)
    })
    .await;
    assert!(new.since > old.since);
}

/// Who ends in order is not missed first.
#[tokio::test]
async fn a_leader_that_goes_in_order_is_replaced_at_once() {
    let etcd = Etcd::start(EtcdOptions::default()).await;
    let first = Member::on(&etcd, "a", Nodes::Healthy).await;
    leader(std::slice::from_ref(&first)).await;
    let other = [Member::on(&etcd, "b", Nodes::Healthy).await];
    let began = tokio::time::Instant::now();
    first.handle.stop().await;
    leader(&other).await;
    assert!(began.elapsed() < TTL, "{:?}", began.elapsed());
}

#[tokio::test]
async fn of_many_who_start_at_once_one_is_first_and_one_is_next() {
    let etcd = Etcd::start(EtcdOptions::default()).await;
    let store: Arc<dyn Store> = Arc::new(etcd_store(&etcd));
    two_releases(&store).await;
    let member = Member::on(&etcd, "a", Nodes::Hang).await;
    let mut releases = Vec::new();
    for seed in 3..9 {
        releases.push(super::rig::cut(&store, seed).await);
    }
    let starts = releases.iter().map(|release| {
        let (handle, release) = (member.handle.clone(), *release);
        tokio::spawn(async move {
            let start = start_of(release, policy(BAKE));
            handle.command(FLEET, &start, "ann").await
        })
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.unwrap().unwrap();
    }
    let state = member.load().await.state;
    let (first, next) = (state.rollout.unwrap(), state.queued.unwrap());
    assert_ne!(first.start.target, next.target);
    assert_eq!(state.rollouts, 1);
    // The same one twice: the second is told.
    let again = (0..4).map(|_| member.command(start_of(first.start.target, policy(BAKE))));
    for refused in futures_util::future::join_all(again).await {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("already being rolled out"), "{refused}");
    }
}
