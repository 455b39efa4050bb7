//! Owns the generated messages of Envoy's resources. Must not know: what anybody does with them.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::use_self,
    clippy::large_enum_variant,
    clippy::doc_markdown
)]

include!(concat!(env!("OUT_DIR"), "/wire.rs"));

pub use prost_types::{Duration, Struct, Value};

pub use self::envoy::config::cluster::v3 as cluster;
pub use self::envoy::config::core::v3 as core;
pub use self::envoy::config::endpoint::v3 as endpoint;
pub use self::envoy::config::listener::v3 as listener;
pub use self::envoy::config::route::v3 as route;
pub use self::envoy::extensions::filters::http as http_filter;
pub use self::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
pub use self::envoy::extensions::transport_sockets::tls::v3 as tls;
pub use self::envoy::r#type::matcher::v3 as matcher;
pub use self::envoy::r#type::v3 as types;
