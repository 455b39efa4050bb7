//! The integration tests of the whole, one binary. Real servers, real stores, real clients.
#![allow(clippy::unwrap_used)]

mod admin;
mod cli;
mod clients;
mod conformance;
mod envoy;
mod fleets;
mod fuzz;
mod grpc_xds;
mod harness;
mod hostile;
mod identity;
mod lane;
mod main_job;
mod probation;
mod proxy;
mod quickstart;
mod readme;
mod releases;
mod rollouts;
mod services;
mod session_model;
mod sim;
mod store;
mod stories;
mod tidy;
mod warming_model;
mod wire_compat;
