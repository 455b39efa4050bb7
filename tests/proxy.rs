//! Owns the tests of the data path: the agent's proxy in process, its table made by edits, real sockets
//! and real upstreams. Must not know: that a control plane exists.

mod balancing;
mod failures;
mod forwarding;
mod limits;
pub(crate) mod rig;
mod streaming;
mod tls;
