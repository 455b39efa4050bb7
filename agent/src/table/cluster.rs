//! Owns clusters and endpoints, checked (`docs/apisix.md` §3). Must not know: connections.

use std::net::IpAddr;
use std::time::Duration;

use bellwether::name::Name;
use bellwether::wire::native::balancing::{HashOn, Policy};
use bellwether::wire::native::cluster::{PassHost, Scheme};
use bellwether::wire::native::{self, UpstreamTls};
use bytes::Bytes;
use http::HeaderValue;

use crate::table::timeouts::Timeouts;
use crate::table::{Limits, Reason};
use crate::variable::{Variable, View};

/// Idle connections that APISIX keeps to an endpoint if nothing is said (§1.5).
const DEFAULT_POOL_SIZE: u32 = 320;
/// How long one stays idle (§1.5).
const DEFAULT_POOL_IDLE: Duration = Duration::from_secs(60);
/// Requests on one connection (§1.5).
const DEFAULT_POOL_REQUESTS: u32 = 1_000;

/// A cluster in force.
#[derive(Debug)]
pub struct Cluster {
    /// Its resource name.
    pub name: Name,
    /// The resource as it was sent, for `/config_dump`.
    pub body: Bytes,
    /// Its endpoints' resource name.
    pub endpoints: Name,
    /// How one of them is chosen.
    pub policy: Policy,
    /// What [`Policy::ConsistentHash`] hashes.
    pub hash_key: HashKey,
    /// What is spoken to them.
    pub scheme: Scheme,
    /// Which Host they see.
    pub host: Host,
    /// Further attempts after the first, if said.
    pub retries: Option<u32>,
    /// No attempt begins later than this after the first.
    pub retry_timeout: Option<Duration>,
    /// Limits on one attempt.
    pub timeouts: Timeouts,
    /// Idle connections to keep.
    pub pool: Pool,
    /// TLS towards the endpoints, if the scheme wants it.
    pub tls: Option<UpstreamTls>,
    /// Whether it asks for health checks, which this proxy does not make.
    pub has_health_check: bool,
}

/// Which Host an endpoint sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// The client's.
    Pass,
    /// The endpoint's own.
    Node,
    /// This one.
    Rewrite(HeaderValue),
}

/// Limits on the idle connections to one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// How many.
    pub size: usize,
    /// For how long.
    pub idle: Duration,
    /// For how many requests.
    pub requests: u32,
}

/// What is hashed to choose an endpoint. Where nothing comes of it, the client's address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// One variable.
    Variable(Variable),
    /// Text with variables in it: `$remote_addr$uri`, `${arg_a ?? none}`.
    Combination(Box<[Part]>),
}

/// A part of a combination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text that stands for itself.
    Text(Box<str>),
    /// A variable, and what stands in for it.
    Variable(Variable, Box<str>),
}

impl Cluster {
    pub(super) fn compile(
        name: &Name,
        body: &Bytes,
        message: native::Cluster,
    ) -> Result<Self, Reason> {
        if message.endpoints.is_empty() {
            return Err(Reason::new("endpoints", "is empty"));
        }
        let balancing = message.balancing.unwrap_or_default();
        let policy = Policy::try_from(balancing.policy)
            .map_err(|_| Reason::new("balancing.policy", "is not known to this proxy"))?;
        let scheme = Scheme::try_from(message.scheme)
            .map_err(|_| Reason::new("scheme", "is not known to this proxy"))?;
        Ok(Self {
            name: name.clone(),
            body: Bytes::copy_from_slice(body),
            endpoints: Name::from(message.endpoints),
            policy,
            hash_key: hash_key(policy, &balancing)?,
            scheme,
            host: host(message.pass_host, &message.upstream_host)?,
            retries: message.retries,
            retry_timeout: Some(Duration::from_millis(message.retry_timeout_ms))
                .filter(|limit| !limit.is_zero()),
            timeouts: message.timeouts.map(Timeouts::from).unwrap_or_default(),
            pool: pool(message.keepalive_pool),
            has_health_check: message.health_check.is_some(),
            tls: match scheme {
                Scheme::Http | Scheme::Grpc => None,
                Scheme::Https | Scheme::Grpcs => Some(message.tls.unwrap_or_default()),
            },
        })
    }

    /// Whether endpoints speak HTTP/2.
    #[must_use]
    pub fn http2(&self) -> bool {
        match self.scheme {
            Scheme::Http | Scheme::Https => false,
            Scheme::Grpc | Scheme::Grpcs => true,
        }
    }

    /// The port that a Host does not name.
    #[must_use]
    pub fn default_port(&self) -> u16 {
        match self.scheme {
            Scheme::Http | Scheme::Grpc => 80,
            Scheme::Https | Scheme::Grpcs => 443,
        }
    }
}

fn host(pass_host: i32, upstream_host: &str) -> Result<Host, Reason> {
    match PassHost::try_from(pass_host) {
        Ok(PassHost::Pass) => Ok(Host::Pass),
        Ok(PassHost::Node) => Ok(Host::Node),
        Ok(PassHost::Rewrite) if upstream_host.is_empty() => {
            Err(Reason::new("upstream_host", "is empty"))
        }
        Ok(PassHost::Rewrite) => match upstream_host.parse::<http::uri::Authority>() {
            Ok(_) => HeaderValue::from_str(upstream_host)
                .map(Host::Rewrite)
                .map_err(|error| Reason::new("upstream_host", error)),
            Err(error) => Err(Reason::new("upstream_host", error)),
        },
        Err(_) => Err(Reason::new("pass_host", "is not known to this proxy")),
    }
}

fn pool(message: Option<native::KeepalivePool>) -> Pool {
    let message = message.unwrap_or_default();
    let or = |value: u32, default| if value == 0 { default } else { value };
    Pool {
        size: or(message.size, DEFAULT_POOL_SIZE) as usize,
        idle: match message.idle_timeout_ms {
            0 => DEFAULT_POOL_IDLE,
            set => Duration::from_millis(set),
        },
        requests: or(message.requests, DEFAULT_POOL_REQUESTS),
    }
}

fn hash_key(policy: Policy, balancing: &native::Balancing) -> Result<HashKey, Reason> {
    match policy {
        Policy::RoundRobin | Policy::LeastConnections | Policy::Ewma => {
            return Ok(HashKey::Variable(Variable::RemoteAddr));
        }
        Policy::ConsistentHash => {}
    }
    let key = balancing.hash_key.as_str();
    let field = || Reason::new("balancing.hash_key", "is empty");
    let variable = |name: &str| {
        Variable::parse(name)
            .map(HashKey::Variable)
            .map_err(|error| Reason::new("balancing.hash_key", error))
    };
    match HashOn::try_from(balancing.hash_on) {
        Ok(HashOn::Consumer) => Ok(HashKey::Variable(Variable::Absent)),
        Ok(_) if key.is_empty() => Err(field()),
        Ok(HashOn::Variable) => variable(key),
        Ok(HashOn::Header) => variable(&format!("http_{}", key.to_ascii_lowercase())),
        Ok(HashOn::Cookie) => variable(&format!("cookie_{key}")),
        Ok(HashOn::VariableCombination) => combination(key)
            .map(HashKey::Combination)
            .map_err(|error| Reason::new("balancing.hash_key", error)),
        Err(_) => Err(Reason::new(
            "balancing.hash_on",
            "is not known to this proxy",
        )),
    }
}

fn combination(template: &str) -> Result<Box<[Part]>, crate::variable::NeedsBody> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(dollar) = rest.find('$') {
        if dollar > 0 {
            parts.push(Part::Text(rest[..dollar].into()));
        }
        rest = &rest[dollar + 1..];
        let (inner, after) = match rest.strip_prefix('{').and_then(|r| r.split_once('}')) {
            Some(braced) => braced,
            None => {
                let end = rest
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                rest.split_at(end)
            }
        };
        rest = after;
        let (name, default) = inner.split_once("??").unwrap_or((inner, ""));
        let variable = Variable::parse(name.trim())?;
        parts.push(Part::Variable(variable, default.trim().into()));
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.into()));
    }
    Ok(parts.into())
}

impl HashKey {
    /// The text to hash for a request (§3.2).
    #[must_use]
    pub fn of(&self, view: &View<'_>) -> String {
        let resolved = match self {
            Self::Variable(variable) => view.get(variable).map(std::borrow::Cow::into_owned),
            Self::Combination(parts) => combine(parts, view),
        };
        resolved.unwrap_or_else(|| view.client.ip().to_canonical().to_string())
    }
}

fn combine(parts: &[Part], view: &View<'_>) -> Option<String> {
    let mut found = false;
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Variable(variable, default) => match view.get(variable) {
                Some(value) => {
                    found = true;
                    text.push_str(&value);
                }
                None => text.push_str(default),
            },
        }
    }
    found.then_some(text)
}

/// Endpoints in force.
#[derive(Debug)]
pub struct Endpoints {
    /// The resource as it was sent, for `/config_dump`.
    pub body: Bytes,
    /// Each with an address of its own.
    pub endpoints: Box<[Endpoint]>,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// An IP address without brackets, or a host name.
    pub host: Box<str>,
    /// The host, if it is an address.
    pub ip: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// 0 takes no new requests.
    pub weight: u32,
    /// Higher first.
    pub priority: i32,
}

impl Endpoints {
    pub(super) fn compile(
        body: &Bytes,
        message: native::Endpoints,
        limits: &Limits,
    ) -> Result<Self, Reason> {
        let count = message.endpoints.len();
        limits.check("endpoints", count, limits.endpoints_per_cluster)?;
        let endpoints = message
            .endpoints
            .into_iter()
            .enumerate()
            .map(|(index, endpoint)| compile_endpoint(index, endpoint))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            body: Bytes::copy_from_slice(body),
            endpoints,
        })
    }
}

fn compile_endpoint(index: usize, endpoint: native::Endpoint) -> Result<Endpoint, Reason> {
    let field = |name: &str| format!("endpoints[{index}].{name}");
    let native::Endpoint {
        host,
        port,
        weight,
        priority,
        zone: _,
    } = endpoint;
    let port = u16::try_from(port)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| Reason::new(field("port"), format!("{port} is no port")))?;
    let ip = host
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(&host)
        .parse::<IpAddr>()
        .ok();
    let valid = !host.is_empty()
        && host.len() <= LONGEST_HOST
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if ip.is_none() && !valid {
        return Err(Reason::new(
            field("host"),
            format!("{host:?} is no address and no host name"),
        ));
    }
    Ok(Endpoint {
        host: ip.map_or_else(|| host.into(), |ip| ip.to_string().into()),
        ip,
        port,
        weight,
        priority,
    })
}

/// Bytes of a name in the domain name system (RFC 1035).
const LONGEST_HOST: usize = 253;
