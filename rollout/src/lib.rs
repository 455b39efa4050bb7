//! Decides which node of a fleet gets which release, and when a rollout goes on, waits or goes back.
//! Pure: no tasks, no store, no clock, no randomness; time is an argument.
//!
//! - A [`State`] is everything that decides, for one fleet; it is what the store holds under one key.
//! - [`assign`] says which release a node gets by that state. Equal on every server.
//! - A [`Policy`] says in which stages a release reaches the nodes, and what must be seen before the next.
//! - [`Evidence`] is what was seen; a [`gate`] makes a verdict of it that has three values.
//! - A release's [`content`] is what proxies are sent, cut into parts that can be stored.
//! - The [`machine`] takes commands and evidence to the next state. Only the leader asks it.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod assign;
pub mod census;
pub mod cohort;
pub mod content;
pub mod digest;
pub mod evidence;
pub mod gate;
pub mod machine;
pub mod policy;
pub mod selector;
pub mod state;
pub mod time;

#[cfg(test)]
mod tests;

pub use self::assign::{Assignment, Node, assign};
pub use self::digest::Digest;
pub use self::evidence::Evidence;
pub use self::policy::Policy;
pub use self::selector::Selector;
pub use self::state::{Release, Rollout, State};
pub use self::time::Millis;
