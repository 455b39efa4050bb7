//! Owns reading `nodes` in both its forms. Must not know: how an endpoint is chosen.

use bellwether::wire::native::Endpoint;
use serde_json::Value;

use crate::catalog::address;
use crate::catalog::read::{Fields, Read, count, integer, list_of, text};

/// The endpoints, or `None` if there is no `nodes`. An empty list is fine: it answers 503.
pub(super) fn endpoints(fields: Fields<'_>, default_port: u32) -> Read<Option<Vec<Endpoint>>> {
    fields.optional("nodes", |value| match value {
        Value::Object(_) => map(Fields::of(value)?, default_port),
        _ => list_of(value, |value| element(Fields::of(value)?, default_port)),
    })
}

/// `{"host:port": weight}`. A map has no order, so ours is by address: another spelling of the same
/// map must not be a change.
fn map(nodes: Fields<'_>, default_port: u32) -> Read<Vec<Endpoint>> {
    let mut endpoints = nodes
        .entries()
        .map(|(address, weight)| {
            let entry = || {
                let (host, port) = address::host_and_port(address)?;
                Ok(Endpoint {
                    host,
                    port: port.unwrap_or(default_port),
                    weight: count(weight, 0, u32::MAX)?,
                    priority: 0,
                    zone: String::new(),
                })
            };
            entry().map_err(|error: crate::catalog::Invalid| error.within_entry(address))
        })
        .collect::<Read<Vec<_>>>()?;
    endpoints.sort_by(|a, b| (&a.host, a.port).cmp(&(&b.host, b.port)));
    Ok(endpoints)
}

/// `{"host", "port", "weight", "priority"}`. 2.x wants a port, 3.x does not.
fn element(node: Fields<'_>, default_port: u32) -> Read<Endpoint> {
    let priority = node.or("priority", 0, |value| {
        integer(value, i64::from(i32::MIN), i64::from(i32::MAX))
    })?;
    Ok(Endpoint {
        host: node.required("host", |value| address::endpoint_host(text(value)?))?,
        port: node.or("port", default_port, |value| {
            count(value, 1, u32::from(u16::MAX))
        })?,
        weight: node.required("weight", |value| count(value, 0, u32::MAX))?,
        priority: i32::try_from(priority).expect("it is within the bounds of i32"),
        zone: String::new(),
    })
}
