//! Owns turning the value of a key into its parsed form: one reader a kind, defaults applied.
//! Must not know: which other keys exist, or what is served.

mod certificate;
mod checks;
mod consumer;
mod nodes;
mod plugins;
mod route;
mod upstream;

use serde_json::Value;

pub(super) use self::plugins::split_upstreams;
use super::invalid::Invalid;
use super::read::{Fields, Read};
use super::spec::Spec;
use crate::keys::Kind;

/// Bytes of one value. etcd refuses requests over 1.5 MiB unless it is told otherwise.
const VALUE_BYTES_MAX: usize = 2 << 20;

/// What a value is read as.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape<'a> {
    /// An item of a kind, with the id in its key.
    Item(Kind, &'a str),
    /// A consumer's credential.
    Credential,
}

/// Reads the bytes of a value.
pub(super) fn bytes(shape: Shape<'_>, bytes: &[u8]) -> Read<Spec> {
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(Invalid::new(format!(
            "has {} bytes, more than {VALUE_BYTES_MAX}",
            bytes.len()
        )));
    }
    // Bounded in depth by serde_json itself; of two fields with one name the later wins.
    let json: Value = serde_json::from_slice(bytes)
        .map_err(|error| Invalid::new(format!("is not JSON: {error}")))?;
    value(shape, &json)
}

/// Reads a value that is JSON already.
pub(super) fn value(shape: Shape<'_>, value: &Value) -> Read<Spec> {
    let fields = Fields::of(value)?;
    let Shape::Item(kind, id) = shape else {
        return consumer::credential(fields).map(Spec::Credential);
    };
    Ok(match kind {
        Kind::Route => Spec::Route(Box::new(route::route(fields)?)),
        Kind::Service => Spec::Service(Box::new(route::service(fields)?)),
        Kind::Upstream => Spec::Upstream(Box::new(upstream::upstream(value, None)?)),
        Kind::Ssl => Spec::Ssl(Box::new(certificate::ssl(fields)?)),
        Kind::Consumer => Spec::Consumer(Box::new(consumer::consumer(fields, id)?)),
        Kind::ConsumerGroup => Spec::ConsumerGroup(fields.required("plugins", plugins::plugins)?),
        Kind::PluginConfig => Spec::PluginConfig(fields.required("plugins", plugins::plugins)?),
        Kind::GlobalRule => Spec::GlobalRule(fields.required("plugins", plugins::plugins)?),
        Kind::PluginMetadata | Kind::StreamRoute | Kind::Proto | Kind::Secret => Spec::Counted,
    })
}
