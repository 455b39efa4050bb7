//! Owns what an instance says of itself: a closed set of fields, and nothing that is configuration.
//! Must not know: where it is kept, who else there is.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bellwether::wire::native;
use serde::{Deserialize, Serialize};

/// Bytes of a host name: the limit of DNS.
const HOST_BYTES_MAX: usize = 253;

/// Bytes of a zone's name.
const ZONE_BYTES_MAX: usize = 63;

/// The largest weight: a thousand of them add up to less than proxies count to.
const WEIGHT_MAX: u32 = 1_000_000;

/// What may be noted of an instance. It is kept by every server, and no proxy sees it.
const META_ENTRIES_MAX: usize = 16;

/// Bytes of one note, its name included.
const META_BYTES_MAX: usize = 320;

/// One address of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Value", try_from = "Value")]
pub struct Instance {
    /// An IP address without brackets, or a name to resolve.
    pub host: String,
    /// Never 0.
    pub port: u16,
    /// How many requests it gets beside others. 0: none.
    pub weight: u32,
    /// Where it is, or empty.
    pub zone: String,
    /// Whether it says that it can do its work.
    pub healthy: bool,
    /// What people and programs note of it.
    pub meta: BTreeMap<String, String>,
}

/// Why a value is no instance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadInstance {
    /// Not an object, or with fields that an instance does not have.
    #[error("{0}; whatever is no field of an instance is configuration")]
    Fields(String),
    /// No address.
    #[error("address {0:?} is not HOST:PORT")]
    Address(String),
    /// Too much.
    #[error("{what} is over {most}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much is fine.
        most: usize,
    },
}

/// How it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Value {
    address: String,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    zone: String,
    #[serde(default)]
    health: Health,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    meta: BTreeMap<String, String>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    #[default]
    Healthy,
    Unhealthy,
}

fn one() -> u32 {
    1
}

impl Instance {
    /// One that says nothing but where it is.
    ///
    /// # Errors
    /// The address is not `HOST:PORT`.
    pub fn at(address: &str) -> Result<Self, BadInstance> {
        let (host, port) = host_and_port(address)?;
        Ok(Self {
            host,
            port,
            weight: one(),
            zone: String::new(),
            healthy: true,
            meta: BTreeMap::new(),
        })
    }

    /// Reads the value of a key.
    ///
    /// # Errors
    /// It is no instance, or has fields that none has.
    pub fn parse(value: &[u8]) -> Result<Self, BadInstance> {
        let value: Value = serde_json::from_slice(value)
            .map_err(|error| BadInstance::Fields(error.to_string()))?;
        Self::try_from(value)
    }

    /// The value of a key.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Of plain numbers and text.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `HOST:PORT`, an IPv6 address in brackets.
    #[must_use]
    pub fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// As proxies are told of it. `look`: whether its health is looked at.
    pub(super) fn endpoint(&self, look: bool) -> native::Endpoint {
        native::Endpoint {
            host: self.host.clone(),
            port: self.port.into(),
            weight: if self.healthy || !look {
                self.weight
            } else {
                0
            },
            priority: 0,
            zone: self.zone.clone(),
        }
    }
}

impl TryFrom<Value> for Instance {
    type Error = BadInstance;

    fn try_from(value: Value) -> Result<Self, BadInstance> {
        let over = |is: usize, most: usize, what| match is > most {
            true => Err(BadInstance::TooMuch { what, most }),
            false => Ok(()),
        };
        let weight = usize::try_from(value.weight).unwrap_or(usize::MAX);
        over(weight, WEIGHT_MAX as usize, "weight")?;
        over(value.zone.len(), ZONE_BYTES_MAX, "bytes of zone")?;
        over(value.meta.len(), META_ENTRIES_MAX, "entries of meta")?;
        for (name, text) in &value.meta {
            let bytes = name.len() + text.len();
            over(bytes, META_BYTES_MAX, "bytes of an entry of meta")?;
        }
        Ok(Self {
            weight: value.weight,
            zone: value.zone,
            healthy: value.health == Health::Healthy,
            meta: value.meta,
            ..Self::at(&value.address)?
        })
    }
}

impl From<Instance> for Value {
    fn from(instance: Instance) -> Self {
        Self {
            address: instance.address(),
            weight: instance.weight,
            zone: instance.zone,
            health: match instance.healthy {
                true => Health::Healthy,
                false => Health::Unhealthy,
            },
            meta: instance.meta,
        }
    }
}

fn host_and_port(address: &str) -> Result<(String, u16), BadInstance> {
    let bad = || BadInstance::Address(address.chars().take(HOST_BYTES_MAX).collect());
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| *port != 0 && digits);
    let port = port.ok_or_else(bad)?;
    let bracketed = host.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
    if let Some(inner) = bracketed {
        let ip: IpAddr = inner.parse().map_err(|_| bad())?;
        return Ok((ip.to_string(), port));
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.bytes().all(good) {
        return Err(bad());
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Instance, String> {
        Instance::parse(value.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_value_is_what_it_was_written_from() {
        let least = read(r#"{"address":"10.0.0.1:80"}"#).unwrap();
        assert_eq!(least, Instance::at("10.0.0.1:80").unwrap());
        assert_eq!((least.weight, least.healthy), (1, true));
        let most =
            r#"{"address":"[::1]:80","weight":0,"zone":"a","health":"unhealthy","meta":{"v":"2"}}"#;
        let most = read(most).unwrap();
        assert_eq!((most.host.as_str(), most.port), ("::1", 80));
        for instance in [least, most] {
            assert_eq!(Instance::parse(&instance.encode()), Ok(instance));
        }
    }

    #[test]
    fn what_no_instance_has_is_refused() {
        for (value, reason) in [
            (
                r#"{"address":"a:1","timeout":3}"#,
                "unknown field `timeout`",
            ),
            (r#"{"address":"a:1","timeout":3}"#, "is configuration"),
            (r#"{"weight":3}"#, "missing field `address`"),
            (r#"{"address":"a"}"#, "address \"a\" is not HOST:PORT"),
            (r#"{"address":"a:0"}"#, "is not HOST:PORT"),
            (r#"{"address":"a:+1"}"#, "is not HOST:PORT"),
            (r#"{"address":"a b:1"}"#, "is not HOST:PORT"),
            (r#"{"address":"[a]:1"}"#, "is not HOST:PORT"),
            (r#"{"address":"::1:1"}"#, "is not HOST:PORT"),
            (r#"{"address":"a:1","weight":-1}"#, "invalid value"),
            (
                r#"{"address":"a:1","weight":1000001}"#,
                "weight is over 1000000",
            ),
            (r#"{"address":"a:1","health":"so-so"}"#, "unknown variant"),
            ("users", "expected value"),
        ] {
            let said = read(value).unwrap_err();
            assert!(said.contains(reason), "{value}: {said}");
        }
    }
}
