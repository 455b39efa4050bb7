//! Owns `key-auth` and `basic-auth`, and what every plugin that authenticates says to the upstream.
//! Must not know: tokens.
//!
//! Envoy's filters name whom they authenticated by what was presented. A second filter, which takes
//! that name as its key, puts the consumer's own name in its place.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use crate::wire::core::{DataSource, data_source::Specifier};
use crate::wire::http_filter::api_key_auth::v3::{ApiKeyAuth, Credential, Forwarding, KeySource};
use crate::wire::http_filter::basic_auth::v3::BasicAuth;

use super::chain::{self, Effect};
use super::config::{Options, Read};
use super::consumers::Consumers;
use super::value::header_name;

/// The header that tells the upstream who asks. Whatever a client sends in it is replaced.
pub(super) const CONSUMER: &str = "x-consumer-username";

/// What APISIX says of a consumer besides. It is not sent, and never let through from a client.
const UNSAID: [&str; 2] = ["x-credential-identifier", "x-consumer-custom-id"];

/// What Envoy takes off a key before it looks it up.
const BEARER: &str = "Bearer ";

/// Whether a plugin says who asks.
pub(super) fn is_auth(plugin: &str) -> bool {
    matches!(plugin, "key-auth" | "basic-auth" | "jwt-auth")
}

/// Nobody can authenticate.
pub(super) fn nobody() -> Effect {
    let body = r#"{"message":"Missing related consumer"}"#;
    chain::answer("nobody", 401, body, Vec::new())
}

/// Options that all of them have and none can honour, or that change nothing that matters.
pub(super) fn common(options: &mut Options, notes: &mut Vec<String>) -> Read<()> {
    options.refuse("anonymous_consumer", "who does not authenticate is refused")?;
    if options.text("realm")?.is_some() {
        notes.push("realm is not sent".to_owned());
    }
    Ok(())
}

/// Headers about a consumer that must not come from a client.
pub(super) fn sanitize(also: &[&str]) -> Effect {
    let names = UNSAID.iter().chain(also);
    chain::requests("headers", names.map(|name| chain::remove(name)).collect())
}

/// A filter that puts the name of a consumer in place of what its credential is called.
pub(super) fn names(by_key: &BTreeMap<String, String>) -> Effect {
    let message = ApiKeyAuth {
        credentials: credentials(by_key),
        key_sources: vec![KeySource {
            header: CONSUMER.to_owned(),
            ..Default::default()
        }],
        forwarding: Some(Forwarding {
            header: CONSUMER.to_owned(),
            hide_credentials: false,
        }),
    };
    chain::filter("names", &message)
}

fn credentials(by_key: &BTreeMap<String, String>) -> Vec<Credential> {
    by_key
        .iter()
        .map(|(key, client)| Credential {
            key: key.clone(),
            client: client.clone(),
        })
        .collect()
}

/// Adds a key of a consumer. Two that share one can't be told apart.
pub(super) fn insert(
    by_key: &mut BTreeMap<String, String>,
    key: String,
    consumer: &str,
) -> Read<()> {
    if key.starts_with(BEARER) {
        return Err(format!(
            "a key of consumer {consumer} begins with \"Bearer \""
        ));
    }
    match by_key.insert(key, consumer.to_owned()) {
        Some(other) if other != consumer => Err(format!(
            "consumers {other} and {consumer} have the same credential"
        )),
        _ => Ok(()),
    }
}

/// A key in a header or a query parameter.
pub(super) fn key_auth(
    options: &mut Options,
    consumers: &Consumers,
    notes: &mut Vec<String>,
) -> Read<Vec<Effect>> {
    common(options, notes)?;
    let header = options
        .text("header")?
        .unwrap_or_else(|| "apikey".to_owned());
    let query = options
        .text("query")?
        .unwrap_or_else(|| "apikey".to_owned());
    let hide = options.flag("hide_credentials", false)?;
    header_name(&header)?;
    if query.is_empty() {
        return Err("option query is empty".to_owned());
    }
    let mut by_key = BTreeMap::new();
    for credential in consumers.of("key-auth")? {
        let key = credential.options()?.text("key")?;
        let key = credential.secret("key", key)?;
        insert(&mut by_key, key, &credential.consumer)?;
    }
    if by_key.is_empty() {
        return Ok(vec![nobody()]);
    }
    let from_header = KeySource {
        header,
        ..Default::default()
    };
    let from_query = KeySource {
        query,
        ..Default::default()
    };
    let message = ApiKeyAuth {
        credentials: credentials(&by_key),
        key_sources: vec![from_header, from_query],
        forwarding: Some(Forwarding {
            header: CONSUMER.to_owned(),
            hide_credentials: hide,
        }),
    };
    Ok(vec![chain::filter("", &message), sanitize(&[])])
}

/// A user's name and password.
pub(super) fn basic_auth(
    options: &mut Options,
    consumers: &Consumers,
    notes: &mut Vec<String>,
) -> Read<Vec<Effect>> {
    common(options, notes)?;
    let hide = options.flag("hide_credentials", false)?;
    let mut users = BTreeMap::new();
    let mut by_name = BTreeMap::new();
    for credential in consumers.of("basic-auth")? {
        let mut options = credential.options()?;
        let name = credential.secret("username", options.text("username")?)?;
        let password = credential.secret("password", options.text("password")?)?;
        let is_odd = |letter: char| letter == ':' || letter.is_control() || letter.is_whitespace();
        if name.contains(is_odd) || name.starts_with('#') {
            return Err(credential.wrong("has a username that can't stand in a list of users"));
        }
        let hash = STANDARD.encode(Sha1::digest(password.as_bytes()));
        if users
            .insert(name.clone(), hash.clone())
            .is_some_and(|other| other != hash)
        {
            return Err(credential.wrong("has a username that is used twice"));
        }
        insert(&mut by_name, name, &credential.consumer)?;
    }
    if users.is_empty() {
        return Ok(vec![nobody()]);
    }
    let lines: Vec<String> = users
        .iter()
        .map(|(name, hash)| format!("{name}:{{SHA}}{hash}"))
        .collect();
    let message = BasicAuth {
        users: Some(DataSource {
            specifier: Some(Specifier::InlineString(lines.join("\n"))),
        }),
        forward_username_header: CONSUMER.to_owned(),
        ..Default::default()
    };
    let hidden: &[&str] = if hide { &["authorization"] } else { &[] };
    Ok(vec![
        chain::filter("", &message),
        names(&by_name),
        sanitize(hidden),
    ])
}
