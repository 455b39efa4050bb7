//! Rollouts as an operator lives through them: real servers on a real etcd, real agents and Envoys, the
//! command line. Each is told in `docs/rollouts.md`. Must not know: how anything is decided.

mod dying;
mod envoys;
mod lagging;
mod modes;
mod outages;
mod rejected;
mod restored;
mod rig;
mod watched;
