//! Owns the counting of a staged fleet's nodes at this server: again and again while a rollout is under
//! way, now and then otherwise. Must not know: who reads the numbers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether_rollout::Millis;
use bellwether_rollout::census::{Census, Counted};
use bellwether_xds::nodes::Nodes;
use tokio::sync::watch;
use tokio::time::sleep;

use super::Others;
use super::fleet_view::FleetView;
use super::sight::sightings;
use super::stock::digest_in;

/// Between two counts while a rollout is under way.
const OFTEN: Duration = Duration::from_secs(1);

/// And otherwise: releases that nodes still have are kept.
const SELDOM: Duration = Duration::from_secs(10);

/// What was counted last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// The generation of the state that it was counted by.
    pub generation: u64,
    /// Nodes connected here.
    pub nodes: u64,
    /// The evidence, and who left.
    pub counted: Counted,
    /// Numbers of the releases that nodes were given.
    pub in_use: Vec<u64>,
}

/// Counts for as long as the fleet is served.
pub(super) async fn count(
    nodes: Nodes,
    mut views: watch::Receiver<Option<Arc<FleetView>>>,
    others: watch::Receiver<Arc<Others>>,
    counts: watch::Sender<Count>,
) {
    let mut census = Census::default();
    let began = Instant::now();
    loop {
        let Some(fleet) = views.borrow_and_update().clone() else {
            match views.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        };
        let (streams, reports) = nodes.of_group(&fleet.fleet).await;
        let now = Instant::now();
        let sightings = sightings(&fleet, &streams, &reports, now);
        let elapsed = now.saturating_duration_since(began).as_millis();
        let elapsed = Millis(u64::try_from(elapsed).unwrap_or(u64::MAX));
        let others = others.borrow().clone();
        let counted = census.count(&fleet.state, &sightings, &others.nodes, elapsed);
        let given = streams.iter().filter_map(|one| one.state.given.as_deref());
        let given = given.filter_map(digest_in);
        let given = given.chain(sightings.iter().filter_map(|one| one.node.current));
        let in_use = given.filter_map(|digest| fleet.seq_of(&digest));
        let in_use: BTreeSet<u64> = in_use.collect();
        counts.send_replace(Count {
            generation: fleet.generation,
            nodes: sightings.len() as u64,
            counted,
            in_use: in_use.into_iter().collect(),
        });
        let pause = match fleet.state.rollout {
            Some(_) => OFTEN,
            None => SELDOM,
        };
        tokio::select! {
            () = sleep(pause) => {}
            changed = changes_rollout(&mut views, &fleet) => if !changed {
                return;
            },
        }
    }
}

/// Until another exposure is under way than the one that was counted. `false`: it never will be.
async fn changes_rollout(
    views: &mut watch::Receiver<Option<Arc<FleetView>>>,
    counted: &FleetView,
) -> bool {
    let exposure = |fleet: &FleetView| fleet.state.rollout.as_ref().map(|one| one.exposure);
    let before = exposure(counted);
    let is_other =
        |view: &Option<Arc<FleetView>>| view.as_ref().is_some_and(|view| exposure(view) != before);
    views.wait_for(is_other).await.is_ok()
}
