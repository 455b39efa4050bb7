//! Owns which parts of a value a diff must not show. Must not know: where the diff goes.

use serde_json::{Map, Value};

/// Fields that hold a secret wherever they stand.
const SECRETS: [&str; 17] = [
    "access_token",
    "admin_key",
    "api_key",
    "apikey",
    "client_key",
    "client_secret",
    "keys",
    "passwd",
    "password",
    "private_key",
    "redis_password",
    "secret",
    "secret_access_key",
    "secret_key",
    "session_token",
    "sasl_password",
    "token",
];

/// Replaces the secrets of `value` by words that are equal on both sides of a diff exactly if the secrets
/// are. `side` says which side it is.
pub(super) fn redact(value: &Value, other: Option<&Value>, side: &str) -> Value {
    walk(value, other, side, false)
}

fn walk(value: &Value, other: Option<&Value>, side: &str, in_auth: bool) -> Value {
    match value {
        Value::Object(object) => {
            let shown = object.iter().map(|(name, part)| {
                let other = other.and_then(|other| other.get(name));
                let shown = match is_secret(name, in_auth, object) {
                    true => words(part, other, side),
                    false => walk(part, other, side, in_auth || name.contains("auth")),
                };
                (name.clone(), shown)
            });
            Value::Object(shown.collect())
        }
        Value::Array(items) => {
            let shown = items.iter().enumerate().map(|(index, item)| {
                walk(
                    item,
                    other.and_then(|other| other.get(index)),
                    side,
                    in_auth,
                )
            });
            Value::Array(shown.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// `key` is a secret in a certificate and in a plugin that authenticates; elsewhere it says what to hash or
/// count by.
fn is_secret(name: &str, in_auth: bool, around: &Map<String, Value>) -> bool {
    SECRETS.contains(&name) || (name == "key" && (in_auth || around.contains_key("cert")))
}

fn words(value: &Value, other: Option<&Value>, side: &str) -> Value {
    let text = match Some(value) == other {
        true => "[redacted]".to_owned(),
        false => format!("[redacted, {side}]"),
    };
    Value::String(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_words_and_changes_can_be_seen() {
        let old = json!({
            "plugins": {
                "key-auth": {"key": "hush1"},
                "basic-auth": {"username": "jack", "password": "hush2"},
                "limit-count": {"key": "remote_addr"},
            },
            "upstream": {"type": "chash", "key": "uri", "tls": {"client_key": "hush3"}},
        });
        let mut new = old.clone();
        new["plugins"]["key-auth"]["key"] = json!("hush4");
        let (a, b) = (
            redact(&old, Some(&new), "old"),
            redact(&new, Some(&old), "new"),
        );
        assert!(!format!("{a}{b}").contains("hush"), "{a} {b}");
        assert_eq!(a["plugins"]["key-auth"]["key"], "[redacted, old]");
        assert_eq!(b["plugins"]["key-auth"]["key"], "[redacted, new]");
        assert_eq!(a["plugins"]["basic-auth"], b["plugins"]["basic-auth"]);
        assert_eq!(a["plugins"]["limit-count"]["key"], "remote_addr");
        assert_eq!(a["upstream"]["key"], "uri");
        let ssl = redact(&json!({"cert": "c", "key": "hush"}), None, "new");
        assert_eq!(ssl["key"], "[redacted, new]");
    }
}
