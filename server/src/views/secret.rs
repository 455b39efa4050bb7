//! Owns where the settings of plugins, and the headers of probes, may hold secrets. Must not know: who is
//! not to see them, or what becomes of a plugin.
//!
//! A plugin that is not named here may hold anything, so it counts as a secret.

use serde_json::{Map, Value};

/// Plugins whose settings have no place for a secret, or only for what every caller is told. Sorted.
const OPEN: [&str; 24] = [
    "api-breaker",
    "brotli",
    "client-control",
    "consumer-restriction",
    "cors",
    "fault-injection",
    "grpc-web",
    "gzip",
    "ip-restriction",
    "limit-conn",
    "limit-req",
    "mocking",
    "prometheus",
    "proxy-buffering",
    "proxy-cache",
    "proxy-control",
    "real-ip",
    "redirect",
    "referer-restriction",
    "request-id",
    "request-validation",
    "response-rewrite",
    "ua-restriction",
    "uri-blocker",
];

/// Plugins that ask who calls. Their secrets are a consumer's, and these fields of it.
const AUTH: [&str; 3] = ["basic-auth", "jwt-auth", "key-auth"];
const PROOFS: [&str; 4] = ["key", "password", "private_key", "secret"];

/// Plugins whose secrets, if they have any, are in fields and headers that are named like ones. Sorted.
const SEARCHED: [&str; 4] = [
    "limit-count",
    "proxy-mirror",
    "proxy-rewrite",
    "traffic-split",
];

/// Fields and headers whose names have one of these words hold a secret.
const WORDS: [&str; 12] = [
    "apikey",
    "auth",
    "client_key",
    "cookie",
    "credential",
    "passwd",
    "password",
    "private_key",
    "secret",
    "session",
    "signature",
    "token",
];

/// Whether a plugin's settings may hold a secret.
pub(super) fn is_in_plugin(name: &str, settings: &str) -> bool {
    if AUTH.contains(&name) {
        // What is a consumer's may stand in a route by mistake.
        let fields = serde_json::from_str::<Map<String, Value>>(settings);
        return fields.map_or(true, |fields| {
            PROOFS.iter().any(|one| fields.contains_key(*one))
        });
    }
    if OPEN.binary_search(&name).is_ok() {
        // Limits can be kept in a store with a password, and versions of APISIX differ in which.
        return name.starts_with("limit-") && is_in_settings(settings);
    }
    SEARCHED.binary_search(&name).is_err() || is_in_settings(settings)
}

/// Whether a line `Name: value` of a request's head holds one.
pub(super) fn is_in_header(line: &str) -> bool {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    is_named_secret(name) && !value.trim().is_empty()
}

fn is_in_settings(settings: &str) -> bool {
    match serde_json::from_str::<Value>(settings) {
        Ok(value) => is_in_value(&value),
        Err(_) => true,
    }
}

fn is_in_value(value: &Value) -> bool {
    match value {
        Value::Object(fields) => is_in_fields(fields),
        Value::Array(items) => items.iter().any(is_in_value),
        Value::String(text) => is_in_text(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn is_in_fields(fields: &Map<String, Value>) -> bool {
    fields.iter().any(|(name, value)| {
        let says_something = match value {
            Value::String(text) => !text.is_empty() && !is_variable(text),
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            Value::Null | Value::Bool(_) => false,
            Value::Number(_) => true,
        };
        (says_something && is_named_secret(name)) || is_in_value(value)
    })
}

/// A query with a secret (`?api_key=…`), a header as one text, or an address with a password.
fn is_in_text(text: &str) -> bool {
    let named = text.match_indices(['=', ':']).any(|(at, _)| {
        let before = text[..at].rsplit(|c: char| !is_of_name(c)).next();
        before.is_some_and(is_named_secret)
    });
    let has_user = text
        .split_once("://")
        .is_some_and(|(_, rest)| rest.split('/').next().unwrap_or_default().contains('@'));
    named || has_user
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

fn is_named_secret(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase().replace('-', "_");
    let joined = name.replace('_', "");
    WORDS.iter().any(|word| name.contains(word)) || joined.contains("apikey") || joined == "xkey"
}

/// `$http_authorization` is where a secret is, not the secret.
fn is_variable(text: &str) -> bool {
    let name = text.strip_prefix('$');
    name.is_some_and(|name| !name.is_empty() && name.chars().all(is_of_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted() {
        assert!(OPEN.is_sorted() && SEARCHED.is_sorted() && WORDS.is_sorted());
    }

    #[test]
    fn secrets_are_found_where_they_can_be() {
        for (name, settings, expected) in [
            ("prometheus", "{}", false),
            (
                "key-auth",
                r#"{"header":"apikey","hide_credentials":true}"#,
                false,
            ),
            ("key-auth", r#"{"key":"x"}"#, true),
            ("basic-auth", r#"{"username":"x","password":"y"}"#, true),
            ("jwt-auth", r#"{"cookie":"jwt"}"#, false),
            (
                "limit-count",
                r#"{"count":1,"key":"remote_addr","policy":"local"}"#,
                false,
            ),
            (
                "limit-count",
                r#"{"policy":"redis","redis_password":"x"}"#,
                true,
            ),
            ("limit-req", r#"{"redis_password":"x"}"#, true),
            (
                "limit-count",
                r#"{"policy":"redis","redis_password":""}"#,
                false,
            ),
            (
                "proxy-rewrite",
                r#"{"uri":"/a?zone=eu","headers":{"X-Zone":"eu"}}"#,
                false,
            ),
            (
                "proxy-rewrite",
                r#"{"headers":{"set":{"Authorization":"Basic x"}}}"#,
                true,
            ),
            ("proxy-rewrite", r#"{"headers":{"X-Api-Key":"x"}}"#, true),
            (
                "proxy-rewrite",
                r#"{"headers":{"add":["X-Token: x"]}}"#,
                true,
            ),
            (
                "proxy-rewrite",
                r#"{"headers":{"set":{"X-Token":"$http_token"}}}"#,
                false,
            ),
            (
                "proxy-rewrite",
                r#"{"headers":{"remove":["Authorization","Cookie"]}}"#,
                false,
            ),
            ("proxy-rewrite", r#"{"uri":"/a?api_key=x"}"#, true),
            ("proxy-mirror", r#"{"host":"http://u:p@a.com"}"#, true),
            ("proxy-mirror", r#"{"host":"http://127.0.0.1:9797"}"#, false),
            (
                "traffic-split",
                r#"{"rules":[{"upstream":{"nodes":{"a:1":1}}}]}"#,
                false,
            ),
            (
                "traffic-split",
                r#"{"rules":[{"upstream":{"tls":{"client_key":"x"}}}]}"#,
                true,
            ),
            ("openid-connect", "{}", true),
            ("csrf", r#"{"key":"x"}"#, true),
            ("proxy-rewrite", "no json", true),
        ] {
            assert_eq!(is_in_plugin(name, settings), expected, "{name} {settings}");
        }
        for (line, expected) in [
            ("Authorization: Bearer x", true),
            ("X-API-KEY: x", true),
            ("User-Agent: probe", false),
            ("Host: a.com", false),
        ] {
            assert_eq!(is_in_header(line), expected, "{line}");
        }
    }
}
