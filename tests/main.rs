//! Integration tests of the whole, in one binary: they start real servers, real etcd, real proxies.
#![allow(clippy::unwrap_used)]

mod harness;
mod store;
