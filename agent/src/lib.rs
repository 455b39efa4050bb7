//! The Bellwether agent: a thin proxy that serves HTTP by what a discovery server streams to it.
#![cfg_attr(test, allow(clippy::unwrap_used))]
