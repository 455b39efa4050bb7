//! Owns what a value must satisfy before it is stored: its schema, then what proxies could not use.
//! Must not know: HTTP, the store.

use serde_json::Value;

use super::answer::Problem;
use super::target::Entry;
use crate::keys::{Item, Kind};
use crate::schema;

/// Checks a value that is about to be stored.
///
/// # Errors
/// 400 with the field and the reason.
pub(crate) fn check(entry: &Entry, value: &Value) -> Result<(), Problem> {
    schema::validate(entry.subject(), value).map_err(Problem::invalid)?;
    match entry {
        Entry::Item(item) => compiles(item, value),
        Entry::Credential { .. } => Ok(()),
    }
}

/// What a schema can't say.
fn compiles(item: &Item, value: &Value) -> Result<(), Problem> {
    if item.kind == Kind::Ssl {
        let count = |field: &str| value[field].as_array().map_or(0, Vec::len);
        if count("certs") != count("keys") {
            return Err(Problem::invalid("mismatched number of certs and keys"));
        }
    }
    Ok(())
}

/// Everything a value refers to.
pub(crate) fn references(kind: Kind, value: &Value) -> Vec<Item> {
    let mut found = Vec::new();
    let mut add = |kind, value: &Value| match value {
        Value::String(id) => found.push(Item::new(kind, id.as_str())),
        Value::Number(id) => found.push(Item::new(kind, id.to_string())),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
    };
    add(Kind::Service, &value["service_id"]);
    add(Kind::Upstream, &value["upstream_id"]);
    add(Kind::PluginConfig, &value["plugin_config_id"]);
    add(Kind::ConsumerGroup, &value["group_id"]);
    add(Kind::StreamRoute, &value["protocol"]["superior_id"]);
    add(Kind::Ssl, &value["upstream"]["tls"]["client_cert_id"]);
    if kind == Kind::Upstream {
        add(Kind::Ssl, &value["tls"]["client_cert_id"]);
    }
    add(Kind::Proto, &value["plugins"]["grpc-transcode"]["proto_id"]);
    let rules = value["plugins"]["traffic-split"]["rules"].as_array();
    for rule in rules.into_iter().flatten() {
        for target in rule["weighted_upstreams"].as_array().into_iter().flatten() {
            add(Kind::Upstream, &target["upstream_id"]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_found_wherever_they_stand() {
        let found = |kind, value: Value| -> Vec<String> {
            references(kind, &value)
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        let route = json!({
            "service_id": 1,
            "upstream_id": "u",
            "plugin_config_id": "p",
            "upstream": {"tls": {"client_cert_id": "c"}},
            "plugins": {
                "traffic-split": {"rules": [{"weighted_upstreams": [{"upstream_id": 5}, {"weight": 1}]}]},
                "grpc-transcode": {"proto_id": "x"},
            },
        });
        assert_eq!(
            found(Kind::Route, route),
            [
                "services/1",
                "upstreams/u",
                "plugin_configs/p",
                "ssls/c",
                "protos/x",
                "upstreams/5"
            ]
        );
        assert_eq!(
            found(Kind::Consumer, json!({"group_id": "g"})),
            ["consumer_groups/g"]
        );
        assert_eq!(
            found(Kind::Upstream, json!({"tls": {"client_cert_id": 3}})),
            ["ssls/3"]
        );
        assert_eq!(
            found(Kind::Route, json!({"uri": "/", "plugins": []})),
            [""; 0]
        );
    }
}
