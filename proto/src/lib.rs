//! The Bellwether contract: what discovery servers and proxies say to each other.
//!
//! Messages ([`wire`]), the words of the protocol ([`name`]), what is served ([`resource`]), and the
//! two halves of the protocol as pure state machines. No sockets, no tasks, no clock: time is an
//! argument. Rules of the protocol are cited by their number in `docs/xds-rules.md` (R1 to R114).
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod content;
pub mod encoding;
pub mod fields;
pub mod name;
pub mod plugins;
mod redact;
pub mod rejection;
pub mod resource;
pub mod session;
pub mod set;
pub mod snapshot;
pub mod step;
pub mod subscriber;
pub mod subscription;
pub mod type_url;
pub mod wire;
