//! The Bellwether discovery server: the only client of the store. It compiles configuration into
//! snapshots and streams them to proxies.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod admin;
pub mod admission;
mod adopt;
pub mod app;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod fleet;
pub mod fleets;
mod json;
pub mod keys;
pub mod lane;
pub mod metrics;
pub mod program;
pub mod publish;
pub mod release;
pub mod rollouts;
pub mod schema;
pub mod settings;
pub mod staged;
pub mod store;
pub mod views;
