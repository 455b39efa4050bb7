//! Owns the hosts of routes: which there are, in which order they are tried for a request
//! (`docs/apisix.md` §2.4), and what Envoy calls them. Must not know: paths.

use crate::route::re2;
use crate::route::subject::PORT;

/// The host, or hosts, under which a route is filed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// The whole host, in lower case, without port.
    Exact(String),
    /// Whatever ends so; with the empty end, every host that a route names as `*`.
    Suffix(String),
    /// Routes without hosts.
    Any,
}

/// What a host of a route comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Scope(Scope),
    /// No request has it.
    Never,
}

/// Whether a host can have this letter (RFC 9110 §7.2); the agent refuses a request with another one.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte)
}

impl Host {
    /// Reads a host of a route.
    pub(crate) fn parse(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let (rest, suffix) = match lower.strip_prefix('*') {
            Some(rest) => (rest, true),
            None => (lower.as_str(), false),
        };
        let named = !rest.is_empty() || suffix;
        if !named || rest.contains('*') || !rest.bytes().all(is_letter) || rest.ends_with('.') {
            return Self::Never;
        }
        if suffix {
            return match rest.contains(':') && !rest.ends_with(']') {
                true => Self::Never,
                false => Self::Scope(Scope::Suffix(rest.to_owned())),
            };
        }
        match rest.contains(':') && !(rest.starts_with('[') && rest.ends_with(']')) {
            true => Self::Never,
            false => Self::Scope(Scope::Exact(rest.to_owned())),
        }
    }
}

impl Scope {
    /// What its requests' hosts end with.
    fn end(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Suffix(text) => text,
            Self::Any => "",
        }
    }

    /// Scopes that are tried for a request of this scope, the scope itself first: the longest wildcard,
    /// then shorter ones, then any host.
    pub(crate) fn chain(&self, exists: impl Fn(&Self) -> bool) -> Vec<Self> {
        let mut chain = Vec::new();
        if let Self::Exact(_) = self {
            chain.push(self.clone());
        }
        if *self != Self::Any {
            let end = self.end();
            let wildcards = (0..=end.len())
                .filter_map(|at| end.get(at..))
                .map(|end| Self::Suffix(end.to_owned()));
            chain.extend(wildcards.filter(&exists));
        } else if exists(&Self::Suffix(String::new())) {
            chain.push(Self::Suffix(String::new()));
        }
        chain.push(Self::Any);
        chain
    }

    /// Whether its virtual host is another one when the routes of `other` are.
    pub(crate) fn depends_on(&self, other: &Self) -> bool {
        match other {
            Self::Any => true,
            Self::Suffix(end) => {
                self.end().ends_with(end.as_str()) && (*self != Self::Any || end.is_empty())
            }
            // `*b.com` has the domain b.com where nobody else does.
            Self::Exact(host) => self.end() == host && *self != Self::Any,
        }
    }

    /// The name of its virtual host.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Exact(host) => host.clone(),
            Self::Suffix(end) => format!("*{end}"),
            Self::Any => "*".to_owned(),
        }
    }

    /// What Envoy compares a host with, which it has taken the port off. `*b.com` takes `b.com` too, and
    /// Envoy's wildcard does not. A final dot does not count.
    pub(crate) fn domains(&self, exists: impl Fn(&Self) -> bool) -> Vec<String> {
        match self {
            Self::Any => vec!["*".to_owned()],
            Self::Suffix(end) if end.is_empty() => vec!["*".to_owned()],
            Self::Exact(host) => vec![host.clone(), format!("{host}.")],
            Self::Suffix(end) => {
                let mut domains = vec![format!("*{end}"), format!("*{end}.")];
                if !exists(&Self::Exact(end.clone())) {
                    domains.extend([end.clone(), format!("{end}.")]);
                }
                domains
            }
        }
    }

    /// An expression for the Host of its requests; `None` for every one.
    pub(crate) fn regex(&self) -> Option<String> {
        let text = match self {
            Self::Any => return None,
            Self::Suffix(end) if end.is_empty() => return None,
            Self::Exact(host) => re2::literal(host),
            Self::Suffix(end) => format!("[^:]*{}", re2::literal(end)),
        };
        Some(format!("(?i:{text}){PORT}"))
    }
}

/// What stands in a federated name (A47) of an API listener, and in that of its routes.
const LISTENER: &str = "/envoy.config.listener.v3.Listener/";
const ROUTES: &str = "/envoy.config.route.v3.RouteConfiguration/";

/// Whether a name begins as federated ones do, and whether it is one of a listener.
pub(crate) fn is_federated(listener: &str) -> Option<bool> {
    let rest = listener.strip_prefix("xdstp:")?;
    let rest = rest.strip_prefix("//").and_then(|rest| {
        let (authority, id) = rest.split_once(LISTENER)?;
        (!authority.contains('/') && !id.is_empty() && !id.starts_with('?')).then_some(())
    });
    Some(rest.is_some())
}

/// The name of the routes of an API listener: its own. In a federated name stands the type.
pub(crate) fn routes_of(listener: &str) -> String {
    match is_federated(listener) {
        Some(true) => listener.replacen(LISTENER, ROUTES, 1),
        Some(false) | None => listener.to_owned(),
    }
}

/// The host of a gRPC target, which may have a port, or be federated.
pub(crate) fn of_target(target: &str) -> String {
    let target = match (is_federated(target), target.split_once(LISTENER)) {
        (Some(true), Some((_, id))) => id.split('?').next().unwrap_or(id),
        _ => target,
    };
    let end = match target.strip_prefix('[').and_then(|rest| rest.find(']')) {
        Some(bracket) => bracket + 2,
        None => target.find(':').unwrap_or(target.len()),
    };
    target.get(..end).unwrap_or(target).to_ascii_lowercase()
}
