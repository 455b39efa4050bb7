//! Owns the tests of who decides and what is written, on real stores, with nodes that are made up.
//! Must not know: how real nodes are watched.

mod commands;
mod deciding;
mod gates;
mod leading;
mod rig;
mod told;
