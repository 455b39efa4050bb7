//! Owns the fuzz targets: one for each decoder of outside bytes. Each has a corpus in
//! `fuzz/corpus/<target>/`, kept in the repository. Must not know: what the bytes should mean.
//!
//! Rust's fuzzers need nightly; this one runs on the stable toolchain, under `cargo test`, for a bounded
//! time. `BELLWETHER_FUZZ_SECONDS=600 cargo test --test integration fuzz::` looks longer, and
//! `BELLWETHER_FUZZ_SEED=…` repeats what a failure printed.

mod catalog;
mod driver;
mod last_good;
mod mutate;
mod protocol;
mod resources;
