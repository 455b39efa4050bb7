//! The Bellwether agent: a thin proxy that serves HTTP by what a discovery server streams to it.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod admin;
pub mod metrics;
pub mod proxy;
pub mod readiness;
pub mod table;
pub mod upstream;
pub mod variable;
