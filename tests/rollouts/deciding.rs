//! Owns the tests of decisions: by what all servers say, written with what happened, and none without
//! the store.

use std::sync::Arc;
use std::time::Duration;

use bellwether_rollout::machine::{Command, Event, Outcome, Return};
use bellwether_rollout::state::{Pause, Phase};
use bellwether_server::store::Store;

use super::rig::{
    FLEET, Member, Nodes, cut, embedded, leader, nodes_of, policy, stable, two_releases,
};
use crate::harness::etcd::{Etcd, EtcdOptions};
use crate::harness::programs::eventually;
use crate::store::etcd_store;

const BAKE: Duration = Duration::from_millis(300);

async fn etcd() -> (Etcd, Arc<dyn Store>) {
    let etcd = Etcd::start(EtcdOptions::default()).await;
    let store: Arc<dyn Store> = Arc::new(etcd_store(&etcd));
    (etcd, store)
}

async fn outcomes(member: &Member) -> Vec<Outcome> {
    let records = member.handle.line(FLEET).history(1_000).await.unwrap();
    let events = records.into_iter().flat_map(|record| record.events);
    let ends = events.filter_map(|event| match event {
        Event::Ended { outcome, .. } => Some(outcome),
        _ => None,
    });
    ends.collect()
}

#[tokio::test]
async fn one_server_alone_takes_a_release_to_all() {
    let (_folder, store) = embedded().await;
    let target = two_releases(&store).await;
    let member = Member::over(store.clone(), "a", Nodes::Healthy).await;
    member.start(target, policy(BAKE)).await;
    let over = member.reaches("over").await;
    assert_eq!(over.state.stable, Some(target));
    assert_eq!(outcomes(&member).await, [Outcome::Succeeded]);
    member.handle.stop().await;
    let left = store.read("/bellwether/replicas/").await.unwrap();
    assert!(
        left.entries.is_empty(),
        "a server that goes takes its report along"
    );
    assert!(store.get("/bellwether/leader").await.unwrap().0.is_none());
}

/// The first release of a fleet: there is nothing to go back to, and nodes have nothing.
#[tokio::test]
async fn the_first_release_is_rolled_out_as_any_other() {
    let (_folder, store) = embedded().await;
    let target = cut(&store, 1).await;
    let member = Member::over(store, "a", Nodes::Healthy).await;
    member.start(target, policy(BAKE)).await;
    assert_eq!(member.reaches("over").await.state.stable, Some(target));
}

#[tokio::test]
async fn three_servers_decide_as_one_and_tell_it_in_the_same_write() {
    let (_etcd, store) = etcd().await;
    let target = two_releases(&store).await;
    let members = [
        Member::on(&_etcd, "a", Nodes::Healthy).await,
        Member::on(&_etcd, "b", Nodes::Healthy).await,
        Member::on(&_etcd, "c", Nodes::Healthy).await,
    ];
    members[1].start(target, policy(BAKE)).await;
    let over = members[2].reaches("over").await;
    assert_eq!(over.state.stable, Some(target));
    let leading = members.iter().filter(|member| member.leads()).count();
    assert_eq!(leading, 1);
    let records = store.read("/bellwether/shop/audit/").await.unwrap().entries;
    let last = records.iter().map(|record| record.mod_revision).max();
    assert_eq!(last, Some(over.at), "told in the write itself");
    let history = members[0].handle.line(FLEET).history(1_000).await.unwrap();
    let counted: Vec<u64> = history
        .iter()
        .flat_map(|record| &record.events)
        .filter_map(|event| match event {
            Event::Counted { nodes, .. } => Some(*nodes),
            _ => None,
        })
        .collect();
    assert_eq!(counted, [1, 9], "of all servers' nodes");
    assert_eq!(history[0].who, "ann");
}

#[tokio::test]
async fn a_rejection_at_any_server_takes_all_back() {
    let (etcd, store) = etcd().await;
    let target = two_releases(&store).await;
    let members = [
        Member::on(&etcd, "a", Nodes::Reject).await,
        Member::on(&etcd, "b", Nodes::Reject).await,
    ];
    members[0].start(target, policy(BAKE)).await;
    let over = eventually("the end", || async {
        let current = members[1].load().await;
        (current.state.rollout.is_none()).then_some(current)
    })
    .await;
    assert_ne!(over.state.stable, Some(target));
    assert_eq!(over.state.quarantined, [target.digest]);
    assert_eq!(
        outcomes(&members[0]).await,
        [Outcome::RolledBack { stragglers: 0 }]
    );
    let refused = members[0]
        .command(super::rig::start_of(target, policy(BAKE)))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("quarantined"), "{refused}");
}

#[tokio::test]
async fn canaries_that_vanish_or_hang_promote_nothing() {
    let (_folder, store) = embedded().await;
    let target = two_releases(&store).await;
    let member = Member::over(store.clone(), "a", Nodes::Hang).await;
    // Of fewer nodes nobody can tell that it is no chance.
    member.homes.send_replace(nodes_of("a", 40));
    let mut slow = policy(BAKE);
    slow.stages[0].min_nodes = 5;
    slow.stages[0].deadline = Duration::from_secs(4);
    member.start(target, slow.clone()).await;
    let paused = member.reaches("paused").await.state.rollout.unwrap();
    let is_coverage = |phase: &Phase| {
        matches!(
            phase,
            Phase::Paused {
                why: Pause::Coverage,
                ..
            }
        )
    };
    assert!(is_coverage(&paused.phase), "{:?}", paused.phase);
    // It is watched while it waits.
    member.nodes.send_replace(Nodes::Vanish);
    let over = member.reaches("over").await;
    assert_eq!(over.state.quarantined, [target.digest]);
}

/// A server that has a lease and does not speak is missed, not forgotten.
#[tokio::test]
async fn a_server_that_does_not_speak_of_it_stops_all() {
    let (etcd, store) = etcd().await;
    let target = two_releases(&store).await;
    let member = Member::on(&etcd, "a", Nodes::Healthy).await;
    leader(std::slice::from_ref(&member)).await;
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    let put = bellwether_server::store::Write::Put {
        key: "/bellwether/replicas/silent".to_owned(),
        value: r#"{"server":"silent","time":1,"fleets":{}}"#.into(),
        lease: Some(lease),
    };
    crate::store::apply(&store, vec![put]).await;
    member.start(target, policy(BAKE)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let current = member.load().await.state.rollout.unwrap();
    assert_eq!(current.phase.name(), "scheduled", "nobody is exposed");
    store.revoke(lease).await.unwrap();
    assert_eq!(member.reaches("over").await.state.stable, Some(target));
}

#[tokio::test]
async fn without_etcd_all_stays_as_it_is_and_goes_on_after() {
    let (mut etcd, store) = etcd().await;
    let target = two_releases(&store).await;
    let members = [
        Member::on(&etcd, "a", Nodes::Healthy).await,
        Member::on(&etcd, "b", Nodes::Healthy).await,
    ];
    members[0]
        .start(target, policy(Duration::from_secs(2)))
        .await;
    let before = members[0].reaches("baking").await;
    etcd.kill();
    eventually("nobody leads", || async {
        let nobody = members.iter().all(|member| !member.leads());
        nobody.then_some(())
    })
    .await;
    // Its time is over, and nobody says so.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(members[0].handle.line(FLEET).load().await.is_err());
    etcd.restart().await;
    let over = members[1].reaches("over").await;
    assert_eq!(over.state.stable, Some(target));
    let history = members[0].handle.line(FLEET).history(1_000).await.unwrap();
    let stages = history
        .iter()
        .flat_map(|record| &record.events)
        .filter(|event| matches!(event, Event::Exposing { .. }));
    assert_eq!(stages.count(), 2, "every stage once");
    assert!(over.at > before.at);
}

#[tokio::test]
async fn back_is_at_once() {
    let (_folder, store) = embedded().await;
    let target = two_releases(&store).await;
    let member = Member::over(store.clone(), "a", Nodes::Healthy).await;
    member.start(target, policy(BAKE)).await;
    let first = member.load().await.state.stable.unwrap();
    member.reaches("over").await;
    let back = |to| {
        Command::Return(Return {
            to,
            now: false,
            quarantine: false,
            author: "ann".to_owned(),
            reason: "slow".to_owned(),
        })
    };
    let going = member.command(back(None)).await.unwrap();
    assert_eq!(going.state.stable, Some(first), "from that write on");
    let over = member.reaches("over").await;
    assert_eq!(over.state.last_good, [target]);
    // Where nodes won't have what they go back to, a person must look.
    member.nodes.send_replace(Nodes::RejectBase);
    member.command(back(Some(target))).await.unwrap();
    eventually("stuck", || async {
        let rollout = member.load().await.state.rollout?;
        matches!(rollout.phase, Phase::RollingBack { stuck: true, .. }).then_some(())
    })
    .await;
}

/// Whoever has no fleet in staged mode does not pay for it.
#[tokio::test]
async fn without_staged_fleets_nothing_is_written() {
    let (_folder, store) = embedded().await;
    let member = Member::over(store.clone(), "a", Nodes::Healthy).await;
    leader(std::slice::from_ref(&member)).await;
    member.fleets.send_replace(Arc::default());
    eventually("nothing is left", || async {
        let all = store.read("/bellwether/").await.unwrap();
        all.entries.is_empty().then_some(())
    })
    .await;
    let before = store.get("/x").await.unwrap().1;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(store.get("/x").await.unwrap().1, before);
    let fleet = bellwether_server::rollouts::StagedFleet::new(FLEET);
    let fleets = [(FLEET.to_owned(), fleet)];
    member.fleets.send_replace(Arc::new(fleets.into()));
    leader(std::slice::from_ref(&member)).await;
    let first = cut(&store, 1).await;
    stable(&store, first).await;
}
