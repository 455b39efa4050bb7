//! Owns the shape of every kind of configuration: one JSON Schema (draft 2020-12) each, strict, for what
//! the Admin API accepts. Must not know: HTTP, the store, or what references point to.
//!
//! Reading is more tolerant than this: what is already in the store goes through the catalog, which skips
//! fields it does not know.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Map, Value};

use crate::keys::Kind;

mod explain;
#[cfg(test)]
mod tests;

/// What has a schema: a kind of item, or a consumer's credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// An item of configuration.
    Item(Kind),
    /// `consumers/{username}/credentials/{id}`
    Credential,
}

impl Subject {
    /// What one of them is called in messages.
    #[must_use]
    pub fn singular(self) -> &'static str {
        match self {
            Self::Item(kind) => kind.singular(),
            Self::Credential => "credential",
        }
    }

    fn source(self) -> &'static str {
        match self {
            Self::Item(Kind::Route) => include_str!("schema/route.json"),
            Self::Item(Kind::Service) => include_str!("schema/service.json"),
            Self::Item(Kind::Upstream) => include_str!("schema/upstream.json"),
            Self::Item(Kind::Ssl) => include_str!("schema/ssl.json"),
            Self::Item(Kind::Consumer) => include_str!("schema/consumer.json"),
            Self::Item(Kind::ConsumerGroup) => include_str!("schema/consumer_group.json"),
            Self::Item(Kind::PluginConfig) => include_str!("schema/plugin_config.json"),
            Self::Item(Kind::GlobalRule) => include_str!("schema/global_rule.json"),
            Self::Item(Kind::PluginMetadata) => include_str!("schema/plugin_metadata.json"),
            Self::Item(Kind::StreamRoute) => include_str!("schema/stream_route.json"),
            Self::Item(Kind::Proto) => include_str!("schema/proto.json"),
            Self::Item(Kind::Secret) => include_str!("schema/secret.json"),
            Self::Credential => include_str!("schema/credential.json"),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.singular())
    }
}

/// Why a value is not what its schema wants. Names the field and the reason, never a value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Violation(String);

/// A schema and its compiled form.
struct Compiled {
    schema: Value,
    validator: Validator,
}

/// Compiled once; the sources are part of the binary, and a test compiles each.
static COMPILED: LazyLock<BTreeMap<Subject, Compiled>> = LazyLock::new(|| {
    Kind::ALL
        .into_iter()
        .map(Subject::Item)
        .chain([Subject::Credential])
        .map(|subject| (subject, compile(subject)))
        .collect()
});

fn compile(subject: Subject) -> Compiled {
    let shared: Value = serde_json::from_str(include_str!("schema/shared.json"))
        .expect("the shared schema is part of the source and is JSON");
    let mut schema: Map<String, Value> = serde_json::from_str(subject.source())
        .expect("a schema is part of the source and is a JSON object");
    schema.insert("$defs".to_owned(), shared);
    let schema = Value::Object(schema);
    let validator = jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .with_format("ip-range", is_ip_range)
        .should_validate_formats(true)
        .build(&schema)
        .expect("a schema is part of the source and compiles");
    Compiled { schema, validator }
}

fn compiled(subject: Subject) -> &'static Compiled {
    COMPILED
        .get(&subject)
        .expect("the map is made from every subject")
}

/// The schema itself, self-contained.
#[must_use]
pub fn schema(subject: Subject) -> &'static Value {
    &compiled(subject).schema
}

/// Checks a value.
///
/// A string that refers to a secret or to the environment (`$secret://…`, `$env://…`) satisfies every rule
/// for strings, as in APISIX: what it stands for is not known here.
///
/// # Errors
/// The first violation.
pub fn validate(subject: Subject, value: &Value) -> Result<(), Violation> {
    let compiled = compiled(subject);
    compiled
        .validator
        .iter_errors(value)
        .find(|error| !explain::is_secret_reference(error))
        .map_or(Ok(()), |error| {
            Err(Violation(explain::explain(&compiled.schema, &error)))
        })
}

/// An address, or a network in CIDR notation.
fn is_ip_range(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || text.parse::<ipnet::IpNet>().is_ok()
}
