//! Owns reading routes and services. Must not know: how the two are merged.

use bellwether::wire::native;
use prost::Message;
use serde_json::Value;

use super::plugins;
use super::upstream;
use crate::catalog::address;
use crate::catalog::expression;
use crate::catalog::invalid::{Invalid, quoted};
use crate::catalog::read::{
    Fields, Read, boolean, integer, list_of, one_of, some_of, string, switch, text,
};
use crate::catalog::spec::{Choice, Code, Plugins, Remark, RouteSpec, ServiceSpec};

/// Bytes of a path, as APISIX has it.
const PATH_BYTES_MAX: usize = 4096;

/// What APISIX can match.
const METHODS: [&str; 10] = [
    "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PURGE",
];

/// At least one of these makes a route complete. A plugin config alone does not.
const ENOUGH: [&str; 6] = [
    "plugins",
    "upstream",
    "upstream_id",
    "service_id",
    "script",
    "script_id",
];

/// Reads a route.
pub(super) fn route(fields: Fields<'_>) -> Read<RouteSpec> {
    if !ENOUGH.into_iter().any(|field| fields.has(field)) {
        return Err(Invalid::new(
            "needs at least one of upstream, upstream_id, service_id, plugins",
        ));
    }
    let paths = fields
        .one_or_many("uri", "uris", path)?
        .ok_or_else(|| Invalid::new("needs uri or uris"))?;
    let hosts = fields.one_or_many("host", "hosts", |value| address::host_pattern(text(value)?))?;
    let remote = fields.one_or_many("remote_addr", "remote_addrs", |value| {
        address::network(text(value)?).map(str::to_owned)
    })?;
    let has_hosts = hosts.is_some();
    let own = native::Route {
        display_name: fields.or("name", String::new(), string)?,
        paths,
        hosts: any_if_any(hosts.unwrap_or_default()),
        methods: fields.or("methods", Vec::new(), methods)?,
        remote_addresses: remote.unwrap_or_default(),
        condition: fields.optional("vars", expression::parse)?.flatten(),
        priority: fields.or("priority", 0, |value| integer(value, i64::MIN, i64::MAX))?,
        timeouts: fields.optional("timeout", upstream::timeouts)?,
        ..native::Route::default()
    };
    let (upstream, remarks) = target(fields)?;
    Ok(RouteSpec {
        own: own.encode_to_vec().into(),
        enabled: fields.or("status", true, switch)?,
        has_hosts,
        websocket: fields.optional("enable_websocket", boolean)?,
        plugins: fields.or("plugins", Plugins::default(), plugins::plugins)?,
        plugin_config: fields.optional("plugin_config_id", address::id)?,
        service: fields.optional("service_id", address::id)?,
        upstream,
        code: code(fields),
        remarks,
    })
}

/// Reads a service.
pub(super) fn service(fields: Fields<'_>) -> Read<ServiceSpec> {
    let host = |value| address::host_pattern(text(value)?);
    let hosts = fields.optional("hosts", |value| some_of(value, host))?;
    let (upstream, remarks) = target(fields)?;
    Ok(ServiceSpec {
        name: fields.or("name", "", text)?.into(),
        hosts: any_if_any(hosts.unwrap_or_default()),
        websocket: fields.optional("enable_websocket", boolean)?,
        plugins: fields.or("plugins", Plugins::default(), plugins::plugins)?,
        upstream,
        code: code(fields),
        remarks,
    })
}

/// Where the requests go. APISIX looks at `upstream_id` first, so it wins over `upstream` beside it.
fn target(fields: Fields<'_>) -> Read<(Option<Choice>, Vec<Remark>)> {
    let protocol = fields.optional("service_protocol", |value| {
        one_of(value, &[("grpc", true), ("http", false)])
    })?;
    let default_scheme = protocol.map(|grpc| if grpc { "grpc" } else { "http" });
    let shared = fields.optional("upstream_id", address::id)?;
    let inline = fields.optional("upstream", |value| {
        upstream::upstream(value, default_scheme)
    })?;
    let mut remarks = Vec::new();
    if shared.is_some() && inline.is_some() {
        remarks.push(Remark::BothUpstreams);
    }
    if protocol == Some(true) && (shared.is_some() || inline.is_none()) {
        remarks.push(Remark::ServiceProtocol);
    }
    let choice = match (shared, inline) {
        (Some(id), _) => Some(Choice::Shared(id)),
        (None, Some(upstream)) => Some(Choice::Inline(Box::new(upstream))),
        (None, None) => None,
    };
    Ok((choice, remarks))
}

fn code(fields: Fields<'_>) -> Option<Code> {
    if fields.has("filter_func") {
        Some(Code::FilterFunc)
    } else if fields.has("script") || fields.has("script_id") {
        Some(Code::Script)
    } else {
        None
    }
}

/// A path pattern. `*` alone means what `/*` means, for every path starts with a slash.
fn path(value: &Value) -> Read<String> {
    let path = text(value)?;
    if path.is_empty() || path.len() > PATH_BYTES_MAX {
        return Err(Invalid::new(format!(
            "must have 1 to {PATH_BYTES_MAX} bytes"
        )));
    }
    if path.starts_with('*') {
        return Ok(format!("/{path}"));
    }
    if !path.starts_with('/') {
        return Err(Invalid::new(format!(
            "{} does not start with a slash, so no request can match it",
            quoted(path)
        )));
    }
    Ok(path.to_owned())
}

fn methods(value: &Value) -> Read<Vec<String>> {
    list_of(value, |value| {
        let method = text(value)?.to_ascii_uppercase();
        if METHODS.contains(&method.as_str()) {
            Ok(method)
        } else {
            Err(Invalid::new(format!(
                "{} is none of {}",
                quoted(&method),
                METHODS.join(", ")
            )))
        }
    })
}

/// A list with `*` in it means any host, which the contract says with an empty list.
fn any_if_any(hosts: Vec<String>) -> Vec<String> {
    if hosts.iter().any(|host| host == "*") {
        Vec::new()
    } else {
        hosts
    }
}
