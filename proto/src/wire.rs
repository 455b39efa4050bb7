//! Owns the generated wire messages. Must not know: what anybody does with them.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::use_self,
    clippy::large_enum_variant,
    clippy::doc_markdown
)]

include!(concat!(env!("OUT_DIR"), "/wire.rs"));

pub use self::bellwether::v1 as native;
pub use self::envoy::config::core::v3 as core;
pub use self::envoy::service::discovery::v3 as discovery;
pub use self::envoy::service::status::v3 as status;
