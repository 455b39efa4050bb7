//! Owns one line about a resource, for tables. Must not know: where it comes from.

use serde_json::Value;

use crate::keys::Kind;

/// What matters most of a resource.
pub(super) fn summary(kind: Kind, value: &Value) -> String {
    let parts = match kind {
        Kind::Route => vec![
            texts(&value["methods"], ","),
            texts(&value["host"], ",") + &texts(&value["hosts"], ","),
            texts(&value["uri"], ",") + &texts(&value["uris"], ","),
            backend(value),
            plugins(value),
            off(value),
        ],
        Kind::Service | Kind::StreamRoute => {
            vec![texts(&value["hosts"], ","), backend(value), plugins(value)]
        }
        Kind::Upstream => vec![upstream(value)],
        Kind::Ssl => vec![
            texts(&value["sni"], ",") + &texts(&value["snis"], ","),
            off(value),
        ],
        Kind::Consumer => vec![named("group", &value["group_id"]), plugins(value)],
        Kind::ConsumerGroup | Kind::PluginConfig | Kind::GlobalRule => vec![plugins(value)],
        Kind::PluginMetadata | Kind::Proto | Kind::Secret => Vec::new(),
    };
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

fn texts(value: &Value, between: &str) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => items
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(between),
        Value::Null | Value::Bool(_) | Value::Object(_) => String::new(),
    }
}

fn named(name: &str, id: &Value) -> String {
    match texts(id, ",") {
        id if id.is_empty() => id,
        id => format!("{name} {id}"),
    }
}

fn backend(value: &Value) -> String {
    let to = [
        named("service", &value["service_id"]),
        named("upstream", &value["upstream_id"]),
        value.get("upstream").map(upstream).unwrap_or_default(),
    ];
    let to: Vec<String> = to.into_iter().filter(|part| !part.is_empty()).collect();
    match to.is_empty() {
        true => String::new(),
        false => format!("-> {}", to.join(", ")),
    }
}

fn upstream(value: &Value) -> String {
    let kind = value["type"].as_str().unwrap_or("roundrobin");
    if let Some(service) = value["service_name"].as_str() {
        let discovery = value["discovery_type"].as_str().unwrap_or("?");
        return format!("{kind} {discovery}:{service}");
    }
    let nodes = match &value["nodes"] {
        Value::Object(nodes) => nodes.len(),
        Value::Array(nodes) => nodes.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    };
    format!(
        "{kind} of {nodes} node{}",
        if nodes == 1 { "" } else { "s" }
    )
}

fn plugins(value: &Value) -> String {
    let names: Vec<&str> = value["plugins"]
        .as_object()
        .map(|plugins| plugins.keys().map(String::as_str).collect())
        .unwrap_or_default();
    match names.is_empty() {
        true => String::new(),
        false => format!("[{}]", names.join(" ")),
    }
}

fn off(value: &Value) -> String {
    match value["status"].as_i64() {
        Some(0) => "(off)".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_what_matters() {
        for (kind, value, line) in [
            (
                Kind::Route,
                json!({"uri": "/a", "hosts": ["x", "y"], "methods": ["GET"], "upstream_id": 1, "plugins": {"cors": {}}, "status": 0}),
                "GET x,y /a -> upstream 1 [cors] (off)",
            ),
            (
                Kind::Route,
                json!({"uris": ["/a"], "service_id": "s", "upstream": {"type": "chash", "nodes": {"a:1": 1}}}),
                "/a -> service s, chash of 1 node",
            ),
            (
                Kind::Upstream,
                json!({"service_name": "s", "discovery_type": "dns"}),
                "roundrobin dns:s",
            ),
            (Kind::Ssl, json!({"snis": ["a", "b"]}), "a,b"),
            (Kind::Consumer, json!({"group_id": "g"}), "group g"),
            (Kind::Route, Value::Null, ""),
        ] {
            assert_eq!(summary(kind, &value), line);
        }
    }
}
