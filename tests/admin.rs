//! Owns the tests of the Admin API: real HTTP, a real store. Must not know: the router's inside.

pub(crate) mod api;
mod own;
mod patches;
mod races;
mod reading;
mod settings;
mod statuses;
mod writes;
