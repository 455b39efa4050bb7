//! Owns an agent that somebody starts again whenever it ends, as in production. Must not know: why it ends.

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::harness::programs::{Agent, PATIENCE, eventually};

/// An agent under a supervisor.
pub(super) struct Supervised {
    pub(super) agent: Agent,
    pub(super) restarts: usize,
    /// What the processes that ended said.
    pub(super) logs: String,
}

impl Supervised {
    pub(super) fn new(agent: Agent) -> Self {
        Self {
            agent,
            restarts: 0,
            logs: String::new(),
        }
    }

    /// Waits until `look` gives something, and starts the agent whenever it ended.
    pub(super) async fn until<T>(&mut self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.agent.has_ended() {
                self.logs.push_str(&self.agent.log());
                self.restarts += 1;
                assert!(self.restarts < 10, "an endless loop: {}", self.logs);
                self.agent.restart().await;
            }
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < deadline, "waited in vain for: {what}");
            sleep(PATIENCE / 10_000).await;
        }
    }
}

/// The agent's own word on its probation.
pub(super) async fn probation(agent: &Agent) -> Value {
    agent.page("/config_dump").await.json()["probation"].clone()
}

/// Waits until what is in force is the last good, and nothing is on probation.
pub(super) async fn is_stable(agent: &Agent) {
    eventually("the configuration to be stable", || async {
        let state = probation(agent).await;
        (state["stable"] == true && state["on_probation"] == false).then_some(())
    })
    .await;
}
