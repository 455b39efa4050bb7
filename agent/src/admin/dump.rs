//! Owns how resources in force look as JSON, without their secrets. Must not know: HTTP.

use bellwether::name::{TypeUrl, Version};
use bellwether::wire::native::{
    Certificate, Cluster, Consumer, Endpoints, GlobalRule, Plugin, Route, route,
};
use bytes::Bytes;
use prost::Message;
use serde_json::{Map, Value, json};

use crate::table::Table;

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";

/// Everything in force, and what of it this proxy can't run.
pub(super) fn table(table: &Table) -> Map<String, Value> {
    let mut resources = Map::new();
    for (type_url, of_type) in table.resources() {
        let entries = of_type
            .into_iter()
            .map(|(name, body)| {
                json!({
                    "name": name.as_str(),
                    "version": Version::of(body).to_string(),
                    "resource": resource(&type_url, body),
                })
            })
            .collect();
        resources.insert(type_url.short().to_owned(), Value::Array(entries));
    }
    let mut dump = Map::new();
    dump.insert("unsupported".to_owned(), unsupported(table));
    dump.insert("resources".to_owned(), Value::Object(resources));
    dump
}

/// Routes and global rules that answer 503, with the plugins that are the reason; and health checks,
/// which are not made: their clusters are taken to be healthy.
fn unsupported(table: &Table) -> Value {
    let routes: Vec<Value> = table
        .unsupported_routes()
        .map(|(name, plugins)| json!({"route": name.as_str(), "plugins": plugins}))
        .collect();
    let rules: Vec<Value> = table
        .unsupported_rules()
        .map(|(name, plugins)| json!({"global_rule": name.as_str(), "plugins": plugins}))
        .collect();
    let mut checks: Vec<&str> = table
        .upstreams()
        .filter(|upstream| upstream.cluster.has_health_check)
        .map(|upstream| upstream.cluster.name.as_str())
        .collect();
    checks.sort_unstable();
    json!({"routes": routes, "global_rules": rules, "health_checks": checks})
}

fn resource(type_url: &TypeUrl, body: &Bytes) -> Value {
    if *type_url == TypeUrl::ROUTE {
        Route::decode(body.clone()).map_or(Value::Null, |message| of_route(&message))
    } else if *type_url == TypeUrl::CLUSTER {
        Cluster::decode(body.clone()).map_or(Value::Null, |message| of_cluster(&message))
    } else if *type_url == TypeUrl::ENDPOINTS {
        Endpoints::decode(body.clone()).map_or(Value::Null, |message| of_endpoints(&message))
    } else if *type_url == TypeUrl::CERTIFICATE {
        Certificate::decode(body.clone()).map_or(Value::Null, |message| of_certificate(&message))
    } else if *type_url == TypeUrl::CONSUMER {
        Consumer::decode(body.clone()).map_or(Value::Null, |message| of_consumer(&message))
    } else {
        GlobalRule::decode(body.clone()).map_or(
            Value::Null,
            |message| json!({"plugins": plugins(&message.plugins)}),
        )
    }
}

fn of_route(message: &Route) -> Value {
    json!({
        "id": message.id,
        "display_name": message.display_name,
        "service_id": message.service_id,
        "paths": message.paths,
        "hosts": message.hosts,
        "methods": message.methods,
        "remote_addresses": message.remote_addresses,
        // Written by an operator about requests, but a comparison may be with a token.
        "condition": message.condition.is_some(),
        "priority": message.priority,
        "created": message.created,
        "plugins": plugins(&message.plugins),
        "websocket": message.websocket,
        "action": match &message.action {
            Some(route::Action::Cluster(name)) => json!({"cluster": name}),
            Some(route::Action::Respond(respond)) => {
                json!({"respond": {"status": respond.status, "reason": respond.reason}})
            }
            None => Value::Null,
        },
    })
}

fn of_cluster(message: &Cluster) -> Value {
    let balancing = message.balancing.clone().unwrap_or_default();
    json!({
        "display_name": message.display_name,
        "endpoints": message.endpoints,
        "policy": balancing.policy().as_str_name(),
        "scheme": message.scheme().as_str_name(),
        "pass_host": message.pass_host().as_str_name(),
        "upstream_host": message.upstream_host,
        "retries": message.retries,
        "retry_timeout_ms": message.retry_timeout_ms,
        "tls": message.tls.as_ref().map(|tls| json!({
            "verify": tls.verify,
            "client_certificate": tls.client_certificate,
            "client_key_pair": tls.client_key_pair.as_ref().map(|_| REDACTED),
        })),
        "health_check": message.health_check.is_some(),
    })
}

fn of_endpoints(message: &Endpoints) -> Value {
    message
        .endpoints
        .iter()
        .map(|endpoint| {
            json!({
                "host": endpoint.host,
                "port": endpoint.port,
                "weight": endpoint.weight,
                "priority": endpoint.priority,
            })
        })
        .collect()
}

fn of_certificate(message: &Certificate) -> Value {
    json!({
        "usage": message.usage().as_str_name(),
        "snis": message.snis,
        "protocols": message.protocols,
        "key_pairs": message
            .key_pairs
            .iter()
            .map(|pair| json!({"certificate": pair.certificate, "private_key": REDACTED}))
            .collect::<Vec<_>>(),
    })
}

fn of_consumer(message: &Consumer) -> Value {
    json!({
        "username": message.username,
        "group_id": message.group_id,
        "labels": message.labels,
        "plugins": plugins(&message.plugins),
        "credentials": message.credentials.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(),
    })
}

fn plugins(plugins: &[Plugin]) -> Value {
    plugins
        .iter()
        .map(|plugin| json!({"name": plugin.name, "config": REDACTED}))
        .collect()
}
