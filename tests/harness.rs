//! Owns what the integration tests share: real components, installed once, started and always stopped.
//! Must not know: what any one test wants to show.
#![allow(dead_code, unreachable_pub)]

pub mod ask;
pub mod envoy;
pub mod etcd;
pub mod gate;
pub mod http;
pub mod install;
pub mod pki;
pub mod polyglot;
pub mod ports;
pub mod process;
pub mod programs;
pub mod publisher;
pub mod source;
pub mod stream;
pub mod supervised;
#[cfg(test)]
mod tests;
