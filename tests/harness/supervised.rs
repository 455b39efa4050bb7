//! Owns an agent that somebody starts again whenever it ends, as in production. Must not know: why it ends.

use tokio::time::{Instant, sleep};

use super::programs::{Agent, PATIENCE};

/// An agent under a supervisor.
pub struct Supervised {
    pub agent: Agent,
    pub restarts: usize,
    /// What the processes that ended said.
    pub logs: String,
}

impl Supervised {
    pub fn new(agent: Agent) -> Self {
        Self {
            agent,
            restarts: 0,
            logs: String::new(),
        }
    }

    /// Waits until `look` gives something, and starts the agent whenever it ended.
    pub async fn until<T>(&mut self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
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
