//! Owns the tests with a real Envoy: that it takes whatever is translated for it, and that it answers as
//! the agent does. Must not know: how the translation is done.

mod changes;
mod guarded;
mod nasty;
mod plugins;
mod random;
mod rejecting;
mod rig;
mod routing;
mod served;
mod table;
mod table_vars;
mod unfit;
mod whole;
