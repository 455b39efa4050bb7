//! Owns the tests of what people want, as the store and its history have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bellwether_rollout::Release;
use bellwether_rollout::machine::Command;
use bellwether_rollout::state::Pin;
use bellwether_server::rollouts::line::{MAX_RECORDS, MAX_STATE_BYTES};
use bellwether_server::rollouts::{Drafts, Line, LineError, StagedFleet};
use bellwether_server::store::{Store, Write};

use super::rig::{FLEET, Member, Nodes, cut, embedded, policy, start_of, two_releases};

const BAKE: Duration = Duration::from_millis(300);

#[tokio::test]
async fn only_what_is_there_is_rolled_out() {
    let (_folder, store) = embedded().await;
    let target = two_releases(&store).await;
    let member = Member::over(store, "a", Nodes::Healthy).await;
    let none = Release { seq: 9, ..target };
    let error = member.command(start_of(none, policy(BAKE))).await;
    assert_eq!(error.unwrap_err().to_string(), "shop has no release 9");
    let other = Release { seq: 1, ..target };
    let error = member.command(start_of(other, policy(BAKE))).await;
    assert!(matches!(error, Err(LineError::OtherContent { seq: 1, .. })));
}

#[tokio::test]
async fn a_state_that_would_be_too_large_is_refused() {
    let (_folder, store) = embedded().await;
    let target = two_releases(&store).await;
    let line = Line::new(store, FLEET);
    let mut pinned = 0;
    let error = loop {
        let ids: Vec<String> = (0..180).map(|id| format!("node-{pinned}-{id}")).collect();
        let pin = Command::Pin(Pin {
            select: format!("node in ({})", ids.join(",")).parse().unwrap(),
            release: target,
            author: "ann".to_owned(),
            reason: "to look at".to_owned(),
            until: None,
        });
        match line.command(&pin, "ann", &Default::default()).await {
            Ok(_) => pinned += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, LineError::TooLarge { bytes, .. } if *bytes > MAX_STATE_BYTES));
    assert_eq!(line.load().await.unwrap().state.pins.len(), pinned);
}

#[tokio::test]
async fn history_is_bounded_and_in_order() {
    let (_folder, store) = embedded().await;
    let target = cut(&store, 1).await;
    let line = Line::new(store.clone(), FLEET);
    let old = (0..MAX_RECORDS + 20).map(|index| Write::Put {
        key: format!("/bellwether/shop/audit/{index:015}-{index:020}"),
        value: r#"{"time":1,"who":"ann","events":[]}"#.into(),
        lease: None,
    });
    let old: Vec<Write> = old.collect();
    for group in old.chunks(100) {
        crate::store::apply(&store, group.to_vec()).await;
    }
    line.command(&start_of(target, policy(BAKE)), "bob", &Default::default())
        .await
        .unwrap();
    assert_eq!(line.trim().await.unwrap(), 21);
    let records = line.history(MAX_RECORDS * 2).await.unwrap();
    assert_eq!(records.len(), MAX_RECORDS);
    assert_eq!(records.last().unwrap().who, "bob");
    assert_eq!(line.history(1).await.unwrap()[0].rollout, Some(1));
}

/// Keys that changed once, and have been quiet since.
#[derive(Debug)]
struct Quiet {
    store: Arc<dyn Store>,
    asked: AtomicU8,
}

#[async_trait::async_trait]
impl Drafts for Quiet {
    async fn cut_if_quiet(&self, fleet: &str, quiet: Duration) -> Result<Option<Release>, String> {
        assert_eq!((fleet, quiet), (FLEET, Duration::from_secs(7)));
        Ok(match self.asked.fetch_add(1, Ordering::SeqCst) {
            1 => Some(cut(&self.store, 9).await),
            _ => None,
        })
    }
}

#[tokio::test]
async fn what_is_cut_of_quiet_keys_is_rolled_out_by_the_fleets_policy() {
    let (_folder, store) = embedded().await;
    two_releases(&store).await;
    let drafts = Arc::new(Quiet {
        store: store.clone(),
        asked: AtomicU8::new(0),
    });
    let fleet = StagedFleet {
        policy: Some(policy(BAKE)),
        cut_after: Some(Duration::from_secs(7)),
        ..StagedFleet::new(FLEET)
    };
    let member = Member::with(store, "a", Nodes::Healthy, fleet, Some(drafts)).await;
    let stable = crate::harness::programs::eventually("release 3 to be stable", || async {
        let stable = member.load().await.state.stable?;
        (stable.seq == 3).then_some(stable)
    });
    stable.await;
    let history = member.handle.line(FLEET).history(100).await.unwrap();
    let first = history[0].events[0].to_string();
    assert_eq!(first, "release 3 is rolled out: keys were quiet for 7 s");
}
