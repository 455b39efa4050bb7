//! Owns the settings of a fleet: what Envoy and gRPC need to know and APISIX's keys don't say.
//! Must not know: where settings are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::route::host::is_federated;

/// Listeners of a fleet. More are more sockets than one proxy is meant to have.
const MOST_LISTENERS: usize = 64;
/// API listeners that are named besides the hosts of routes.
const MOST_GRPC_LISTENERS: usize = 1_000;
/// Rules for user agents.
const MOST_USER_AGENTS: usize = 100;
/// Proxies in front of the fleet.
const MOST_TRUSTED_HOPS: u32 = 32;
/// Bytes of a name.
const LONGEST_NAME: usize = 256;

/// Settings of a fleet. What is left out has APISIX's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where Envoys listen. Left out: 0.0.0.0:9080 for HTTP, and 0.0.0.0:9443 for HTTPS as soon as
    /// there is a certificate for servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listeners: Option<Vec<Listener>>,
    /// Which of APISIX's routers is followed (`docs/apisix.md` §2.1).
    pub router: Router,
    /// Take a path segment that begins with a colon literally.
    pub literal_colon: bool,
    /// How many proxies in front of Envoy are trusted to append to `X-Forwarded-For`. With 0 the
    /// client is who connects.
    pub trusted_hops: u32,
    /// The file in which each Envoy finds the certificate authorities to trust, for upstreams whose
    /// endpoints are to be verified. `/etc/ssl/certs/ca-certificates.crt` where Debian is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_ca_file: Option<String>,
    /// What programs with gRPC's own xDS client may dial as `xds:///NAME`, besides the exact hosts
    /// of routes.
    pub grpc_listeners: BTreeSet<String>,
    /// What kind of client a user agent is, by the start of its `user_agent_name`; the longest wins.
    pub user_agents: BTreeMap<String, Kind>,
}

/// A socket that Envoys listen on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// The name of the resource, and of its statistics.
    pub name: String,
    /// An IP address.
    #[serde(default = "any_address")]
    pub address: IpAddr,
    /// A TCP port.
    pub port: u16,
    /// Whether it speaks TLS, with the certificates of `ssls`.
    #[serde(default)]
    pub tls: bool,
}

/// The routers of `docs/apisix.md` §2.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Router {
    /// The host first, then the path. APISIX 3's default.
    #[default]
    HostUri,
    /// The path alone; hosts are a predicate.
    Uri,
    /// The same; a colon is a parameter.
    UriWithParameter,
}

/// What a client can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The native types only.
    Native,
    /// Envoy's types besides.
    Envoy,
    /// What gRPC's own xDS clients accept of them.
    Grpc,
}

/// Why settings can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Where.
    pub field: String,
    /// What is wrong and what to do.
    pub problem: String,
}

fn any_address() -> IpAddr {
    IpAddr::V4(Ipv4Addr::UNSPECIFIED)
}

impl Settings {
    /// Reads and checks settings.
    ///
    /// # Errors
    /// The text is no JSON object, or a field is not as it must be.
    pub fn parse(json: &[u8]) -> Result<Self, Invalid> {
        let value: serde_json::Value =
            serde_json::from_slice(json).map_err(|error| invalid("settings", error.to_string()))?;
        if !value.is_object() {
            return Err(invalid("settings", "not a JSON object"));
        }
        let settings: Self = serde_json::from_value(value)
            .map_err(|error| invalid("settings", error.to_string()))?;
        settings.check()?;
        Ok(settings)
    }

    /// Whether it can be served.
    ///
    /// # Errors
    /// Names the first field that can't.
    pub fn check(&self) -> Result<(), Invalid> {
        let listeners = self.listeners.as_deref().unwrap_or_default();
        at_most("listeners", listeners.len(), MOST_LISTENERS)?;
        let mut names = BTreeSet::new();
        let mut sockets = BTreeSet::new();
        for (index, listener) in listeners.iter().enumerate() {
            let field = |name: &str| format!("listeners[{index}].{name}");
            name(&field("name"), &listener.name)?;
            if !names.insert(&listener.name) {
                return Err(invalid(field("name"), "two listeners have this name"));
            }
            if listener.port == 0 {
                return Err(invalid(field("port"), "0 is no port"));
            }
            if !sockets.insert((listener.address, listener.port)) {
                return Err(invalid(field("port"), "two listeners have this address"));
            }
        }
        at_most(
            "trusted_hops",
            self.trusted_hops as usize,
            MOST_TRUSTED_HOPS as usize,
        )?;
        at_most(
            "grpc_listeners",
            self.grpc_listeners.len(),
            MOST_GRPC_LISTENERS,
        )?;
        for listener in &self.grpc_listeners {
            name("grpc_listeners", listener)?;
            if is_federated(listener) == Some(false) {
                let problem = format!(
                    "{listener:?} is not like xdstp://AUTHORITY/envoy.config.listener.v3.Listener/HOST"
                );
                return Err(invalid("grpc_listeners", problem));
            }
        }
        if let Some(file) = &self.trusted_ca_file {
            name("trusted_ca_file", file)?;
        }
        at_most("user_agents", self.user_agents.len(), MOST_USER_AGENTS)?;
        for agent in self.user_agents.keys() {
            name("user_agents", agent)?;
        }
        Ok(())
    }

    /// What kind of client a user agent is. gRPC's clients call themselves `gRPC C++`, `gRPC Java`,
    /// `gRPC Go` and the like (A27), this project's agent `bellwether-agent`.
    #[must_use]
    pub fn kind(&self, user_agent: &str) -> Kind {
        let told = self
            .user_agents
            .iter()
            .filter(|(start, _)| user_agent.starts_with(start.as_str()))
            .max_by_key(|(start, _)| start.len());
        match told {
            Some((_, kind)) => *kind,
            None if user_agent.to_ascii_lowercase().starts_with("grpc") => Kind::Grpc,
            None if user_agent.starts_with("bellwether") => Kind::Native,
            None => Kind::Envoy,
        }
    }
}

fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Invalid {
    Invalid {
        field: field.into(),
        problem: problem.into(),
    }
}

fn at_most(field: &str, count: usize, most: usize) -> Result<(), Invalid> {
    if count > most {
        return Err(invalid(field, format!("{count} are more than {most}")));
    }
    Ok(())
}

fn name(field: &str, text: &str) -> Result<(), Invalid> {
    if text.is_empty() || text.len() > LONGEST_NAME {
        let problem = format!("has {} bytes, not 1 to {LONGEST_NAME}", text.len());
        return Err(invalid(field, problem));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid(field, "has a control character"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_said_is_apisix_default() {
        let settings = Settings::parse(b"{}").unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.listeners, None);
        assert_eq!(settings.router, Router::HostUri);
    }

    #[test]
    fn settings_survive_being_written_and_read() {
        let text = br#"{"listeners":[{"name":"web","port":80},{"name":"tls","address":"::","port":443,"tls":true}],
            "router":"uri-with-parameter","trusted_hops":1,"grpc_listeners":["greeter"],"user_agents":{"my-proxy":"native"}}"#;
        let settings = Settings::parse(text).unwrap();
        let written = serde_json::to_vec(&settings).unwrap();
        assert_eq!(Settings::parse(&written), Ok(settings));
    }

    #[test]
    fn a_problem_names_its_field() {
        for (text, field) in [
            (
                r#"{"listeners":[{"name":"","port":80}]}"#,
                "listeners[0].name",
            ),
            (
                r#"{"listeners":[{"name":"a","port":0}]}"#,
                "listeners[0].port",
            ),
            (
                r#"{"listeners":[{"name":"a","port":1},{"name":"a","port":2}]}"#,
                "listeners[1].name",
            ),
            (
                r#"{"listeners":[{"name":"a","port":1},{"name":"b","port":1}]}"#,
                "listeners[1].port",
            ),
            (r#"{"trusted_hops":33}"#, "trusted_hops"),
            (r#"{"grpc_listeners":[""]}"#, "grpc_listeners"),
            (r#"{"user_agents":{"":"grpc"}}"#, "user_agents"),
            (r#"{"lisners":[]}"#, "settings"),
            ("[]", "settings"),
        ] {
            assert_eq!(
                Settings::parse(text.as_bytes()).unwrap_err().field,
                field,
                "{text}"
            );
        }
        let unknown = Settings::parse(br#"{"lisners":[]}"#).unwrap_err();
        assert!(unknown.problem.contains("lisners"), "{unknown}");
    }

    #[test]
    fn a_user_agent_says_what_a_client_reads() {
        let settings = Settings::parse(
            br#"{"user_agents":{"gRPC Go":"native","my":"grpc","my-envoy":"envoy"}}"#,
        )
        .unwrap();
        for (agent, kind) in [
            ("envoy", Kind::Envoy),
            ("gRPC C-core", Kind::Grpc),
            ("gRPC Go", Kind::Native),
            ("grpc-node", Kind::Grpc),
            ("my-thing", Kind::Grpc),
            ("my-envoy", Kind::Envoy),
            ("bellwether-agent", Kind::Native),
            ("", Kind::Envoy),
        ] {
            assert_eq!(settings.kind(agent), kind, "{agent}");
        }
    }
}
