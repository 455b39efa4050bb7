//! Owns reading upstreams, shared or inline. Must not know: who refers to them, or whether the client
//! certificate that they name exists.

use bellwether::wire::native::balancing::{HashOn, Policy};
use bellwether::wire::native::cluster::{PassHost, Scheme};
use bellwether::wire::native::{
    Balancing, Cluster, Endpoints, KeepalivePool, Timeouts, UpstreamTls,
};
use prost::Message;
use serde_json::Value;

use super::{certificate, checks, nodes};
use crate::catalog::address;
use crate::catalog::invalid::{Invalid, quoted};
use crate::catalog::read::{
    Fields, Read, boolean, count, one_of, seconds_as_ms, some_seconds_as_ms, string, text,
};
use crate::catalog::spec::{Remark, UpstreamSpec};
use crate::keys::is_service;

/// A scheme of an upstream, as far as the contract has it.
#[derive(Clone, Copy)]
enum Speaks {
    Http(Scheme),
    Foreign(&'static str),
}

const SCHEMES: [(&str, Speaks); 8] = [
    ("http", Speaks::Http(Scheme::Http)),
    ("https", Speaks::Http(Scheme::Https)),
    ("grpc", Speaks::Http(Scheme::Grpc)),
    ("grpcs", Speaks::Http(Scheme::Grpcs)),
    ("tcp", Speaks::Foreign("tcp")),
    ("tls", Speaks::Foreign("tls")),
    ("udp", Speaks::Foreign("udp")),
    ("kafka", Speaks::Foreign("kafka")),
];

const POLICIES: [(&str, Policy); 4] = [
    ("roundrobin", Policy::RoundRobin),
    ("chash", Policy::ConsistentHash),
    ("least_conn", Policy::LeastConnections),
    ("ewma", Policy::Ewma),
];

const HASH_ON: [(&str, HashOn); 5] = [
    ("vars", HashOn::Variable),
    ("header", HashOn::Header),
    ("cookie", HashOn::Cookie),
    ("consumer", HashOn::Consumer),
    ("vars_combinations", HashOn::VariableCombination),
];

/// The discovery system that this server is itself.
const DISCOVERY: &str = "bellwether";

/// Variables that `hash_on: vars` may name, besides `arg_*`.
const HASH_VARIABLES: [&str; 10] = [
    "uri",
    "server_name",
    "server_addr",
    "request_uri",
    "remote_port",
    "remote_addr",
    "query_string",
    "host",
    "hostname",
    "mqtt_client_id",
];

/// Reads an upstream. `default_scheme` is what an old route says with `service_protocol`.
pub(super) fn upstream(value: &Value, default_scheme: Option<&str>) -> Read<UpstreamSpec> {
    let fields = Fields::of(value)?;
    let mut remarks = Vec::new();
    let speaks = match (fields.get("scheme"), default_scheme) {
        (None, Some("grpc")) => Speaks::Http(Scheme::Grpc),
        _ => fields.or("scheme", Speaks::Http(Scheme::Http), |value| {
            one_of(value, &SCHEMES)
        })?,
    };
    let (scheme, foreign_scheme) = match speaks {
        Speaks::Http(scheme) => (scheme, None),
        Speaks::Foreign(name) => (Scheme::Http, Some(name)),
    };
    let endpoints = nodes::endpoints(fields, default_port(scheme))?;
    let service = match endpoints {
        Some(_) => None,
        None => discovered(fields, &mut remarks)?,
    };
    let (tls, client_certificate) = fields
        .optional("tls", |value| tls(Fields::of(value)?))?
        .unwrap_or_default();
    let cluster = Cluster {
        endpoints: String::new(),
        balancing: Some(balancing(fields, &mut remarks)?),
        scheme: scheme.into(),
        pass_host: 0,
        upstream_host: String::new(),
        retries: fields.optional("retries", |value| count(value, 0, u32::MAX))?,
        retry_timeout_ms: fields.or("retry_timeout", 0, seconds_as_ms)?,
        timeouts: fields.optional("timeout", timeouts)?,
        keepalive_pool: fields.optional("keepalive_pool", |value| keepalive(Fields::of(value)?))?,
        tls,
        health_check: fields.optional("checks", |value| checks::checks(Fields::of(value)?))?,
        display_name: fields.or("name", String::new(), string)?,
    };
    Ok(UpstreamSpec {
        cluster: with_host(fields, cluster)?.encode_to_vec().into(),
        endpoints: Endpoints {
            endpoints: endpoints.unwrap_or_default(),
            service_name: String::new(),
        }
        .encode_to_vec()
        .into(),
        service,
        client_certificate,
        foreign_scheme,
        remarks,
    })
}

/// The service whose instances are the endpoints, if they are registered here.
fn discovered(fields: Fields<'_>, remarks: &mut Vec<Remark>) -> Read<Option<Box<str>>> {
    let system = fields
        .required("discovery_type", text)
        .map_err(incomplete)?;
    let service = fields.required("service_name", text).map_err(incomplete)?;
    if system != DISCOVERY {
        remarks.push(Remark::Discovery(system.into()));
        return Ok(None);
    }
    if !is_service(service) {
        let reason = format!(
            "{} is no service's name: letters, digits and -_.: are, no dot first",
            quoted(service)
        );
        return Err(Invalid::new(reason).within("service_name"));
    }
    Ok(Some(service.into()))
}

/// All three are required, and none may be zero.
pub(super) fn timeouts(value: &Value) -> Read<Timeouts> {
    let fields = Fields::of(value)?;
    Ok(Timeouts {
        connect_ms: fields.required("connect", some_seconds_as_ms)?,
        send_ms: fields.required("send", some_seconds_as_ms)?,
        read_ms: fields.required("read", some_seconds_as_ms)?,
    })
}

fn default_port(scheme: Scheme) -> u32 {
    match scheme {
        Scheme::Http | Scheme::Grpc => 80,
        Scheme::Https | Scheme::Grpcs => 443,
    }
}

fn incomplete(error: Invalid) -> Invalid {
    if error.reason() == "is missing" {
        Invalid::new("needs nodes, or service_name and discovery_type")
    } else {
        error
    }
}

fn with_host(fields: Fields<'_>, cluster: Cluster) -> Read<Cluster> {
    let words = [
        ("pass", PassHost::Pass),
        ("node", PassHost::Node),
        ("rewrite", PassHost::Rewrite),
    ];
    let pass_host = fields.or("pass_host", PassHost::Pass, |value| one_of(value, &words))?;
    let upstream_host = match pass_host {
        // Whatever stands there is not used, so it can't be wrong.
        PassHost::Pass | PassHost::Node => String::new(),
        PassHost::Rewrite => fields.required("upstream_host", |value| {
            let host = text(value)?;
            if host.contains('*') {
                return Err(Invalid::new("is a pattern, not a host"));
            }
            address::host_pattern(host)?;
            Ok(host.to_owned())
        })?,
    };
    Ok(Cluster {
        pass_host: pass_host.into(),
        upstream_host,
        ..cluster
    })
}

fn balancing(fields: Fields<'_>, remarks: &mut Vec<Remark>) -> Read<Balancing> {
    let name = fields.or("type", "roundrobin", text)?;
    let policy = POLICIES.into_iter().find(|(known, _)| *known == name);
    let Some((_, policy)) = policy else {
        remarks.push(Remark::Balancing(quoted(name).into()));
        return Ok(Balancing::default());
    };
    let mut balancing = Balancing {
        policy: policy.into(),
        ..Balancing::default()
    };
    if policy == Policy::ConsistentHash {
        let hash_on = fields.or("hash_on", HashOn::Variable, |value| one_of(value, &HASH_ON))?;
        balancing.hash_on = hash_on.into();
        if hash_on != HashOn::Consumer {
            balancing.hash_key = fields.required("key", |value| hash_key(hash_on, value))?;
        }
    }
    Ok(balancing)
}

fn hash_key(hash_on: HashOn, value: &Value) -> Read<String> {
    let key = text(value)?;
    let good = match hash_on {
        HashOn::Variable => {
            HASH_VARIABLES.contains(&key)
                || key.strip_prefix("arg_").is_some_and(|arg| !arg.is_empty())
        }
        HashOn::Header | HashOn::Cookie => {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            !key.is_empty() && key.bytes().all(good)
        }
        HashOn::VariableCombination => !key.is_empty(),
        HashOn::Consumer => true,
    };
    if good {
        Ok(key.to_owned())
    } else {
        Err(Invalid::new(format!("{} can't be hashed on", quoted(key))))
    }
}

fn keepalive(fields: Fields<'_>) -> Read<KeepalivePool> {
    Ok(KeepalivePool {
        size: fields.or("size", 320, |value| count(value, 1, u32::MAX))?,
        idle_timeout_ms: fields.or("idle_timeout", 60_000, seconds_as_ms)?,
        requests: fields.or("requests", 1000, |value| count(value, 1, u32::MAX))?,
    })
}

/// TLS towards the endpoints, and the id of the certificate to present, if it is a key of its own.
type Tls = (Option<UpstreamTls>, Option<Box<str>>);

fn tls(fields: Fields<'_>) -> Read<Tls> {
    let id = fields.optional("client_cert_id", address::id)?;
    let certificate = fields.optional("client_cert", certificate::chain)?;
    let key = fields.optional("client_key", certificate::private_key)?;
    if id.is_some() && (certificate.is_some() || key.is_some()) {
        return Err(
            Invalid::new("can't stand beside client_cert and client_key").within("client_cert_id"),
        );
    }
    let client_key_pair = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let pair = certificate::key_pair(certificate, key);
            Some(pair.map_err(|error| error.within("client_key"))?)
        }
        (None, None) => None,
        _ => return Err(Invalid::new("client_cert and client_key need each other")),
    };
    let tls = UpstreamTls {
        client_certificate: String::new(),
        client_key_pair,
        verify: fields.or("verify", false, boolean)?,
    };
    Ok((Some(tls), id))
}
