//! Translates native resources into those of Envoy and of gRPC's xDS clients. Pure: no tasks, no clock.
//!
//! A [`Translator`] follows the snapshots of a fleet and says, for one kind of client, what is
//! different in Envoy's types. What it says is a function of the last snapshot and the settings
//! alone: the way there leaves no trace, so all replicas say the same.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod any;
mod cluster;
mod listener;
mod made;
mod native;
mod plugin;
mod redact;
mod route;
mod secret;
pub mod settings;
#[cfg(test)]
mod tests;
mod translator;
pub mod wire;

pub use self::cluster::assignment;
pub use self::made::Unsupported;
pub use self::settings::Settings;
pub use self::translator::{Client, Translator};
