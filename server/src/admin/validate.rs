//! Owns what a value must satisfy before it is stored: its schema, then what proxies could not use.
//! Must not know: HTTP, the store.

use serde_json::Value;

use super::answer::Problem;
use super::target::Entry;
use crate::catalog;
use crate::keys::{Item, Kind};
use crate::schema;

/// Checks a value that is about to be stored.
///
/// # Errors
/// 400 with the field and the reason.
pub(crate) fn check(entry: &Entry, value: &Value) -> Result<(), Problem> {
    schema::validate(entry.subject(), value).map_err(Problem::invalid)?;
    match entry {
        Entry::Item(item) => catalog::check(item, value),
        Entry::Credential { .. } => catalog::check_credential(value),
    }
    .map_err(Problem::invalid)
}

/// Everything a value refers to: what the catalog resolves, and what only other proxies use.
pub(crate) fn references(kind: Kind, value: &Value) -> Vec<Item> {
    let mut found = catalog::references(kind, value);
    let others = [
        (Kind::StreamRoute, &value["protocol"]["superior_id"]),
        (Kind::Proto, &value["plugins"]["grpc-transcode"]["proto_id"]),
    ];
    for (kind, id) in others {
        match id {
            Value::String(id) => found.push(Item::new(kind, id.as_str())),
            Value::Number(id) => found.push(Item::new(kind, id.to_string())),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
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
                "upstreams/5",
                "upstreams/u",
                "ssls/c",
                "plugin_configs/p",
                "protos/x"
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
