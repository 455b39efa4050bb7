//! The Bellwether agent: a thin proxy that serves HTTP by what a discovery server streams to it.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod admin;
pub mod app;
pub mod apply;
pub mod config;
pub mod disk;
#[cfg(debug_assertions)]
pub mod fault;
pub mod held;
pub mod metrics;
pub mod probation;
pub mod program;
pub mod proxy;
pub mod readiness;
pub mod report;
pub mod save;
pub mod subscribe;
pub mod table;
pub mod upstream;
pub mod variable;
pub mod watchdog;
