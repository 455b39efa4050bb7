//! Translates native resources into those of Envoy and of gRPC's xDS clients. Pure: no tasks, no clock.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod any;
pub mod plugin;
mod redact;
pub mod wire;
