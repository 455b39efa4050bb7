//! Owns what is said of the connection to a store. Must not know: how it is found out, who reads it.

use serde::{Deserialize, Serialize};

/// The connection to the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Which store, in hex; empty before the first contact.
    pub id: String,
    /// What it does.
    pub state: StoreState,
    /// Why, in words, when it is not live.
    pub reason: String,
    /// Unix time in milliseconds of the last change of `state`.
    pub since_ms: u64,
    /// How often everything was read again since the start.
    pub resyncs: u64,
}

/// What the connection to the store does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreState {
    /// Before the first sync.
    #[default]
    Connecting,
    /// Changes arrive as they are made.
    Live,
    /// Not reachable; the last configuration is served, and the connection is being sought.
    Disconnected,
    /// What the store says contradicts what it said; the last configuration is served until an
    /// operator decides.
    Frozen,
}
