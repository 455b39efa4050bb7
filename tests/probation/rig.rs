//! Owns what an agent is asked about its probation. Must not know: what it is tried with.

use serde_json::Value;

use crate::harness::programs::{Agent, eventually};

/// The agent's own word on its probation.
pub(super) async fn probation(agent: &Agent) -> Value {
    agent.page("/config_dump").await.json()["probation"].clone()
}

/// Waits until what is in force is the last good, and nothing is on probation.
pub(crate) async fn is_stable(agent: &Agent) {
    eventually("the configuration to be stable", || async {
        let state = probation(agent).await;
        (state["stable"] == true && state["on_probation"] == false).then_some(())
    })
    .await;
}
