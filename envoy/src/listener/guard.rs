//! Owns the rule that a host for which clients must show a certificate is only reached through the name
//! for which they do: a client that connects by another name has shown none, or one for somebody else.
//! APISIX answers 400 to such a request, Envoy 403. Must not know: TLS, routes.

use std::collections::BTreeMap;

use crate::route::re2;

use super::http_filter;
use super::tls::{Chain, FALLBACK};
use crate::wire::envoy::config::rbac::v3::{
    Permission, Policy, Principal, Rbac as Rules, permission, principal, rbac::Action,
};
use crate::wire::hcm::HttpFilter;
use crate::wire::http_filter::rbac::v3::Rbac;
use crate::wire::matcher::StringMatcher;
use crate::wire::matcher::string_matcher::MatchPattern;
use crate::wire::route::HeaderMatcher;
use crate::wire::route::header_matcher::HeaderMatchSpecifier;

/// What is asked for: by the `Host` of the request, or by the name that the connection was opened for.
#[derive(Clone, Copy)]
enum Asked {
    Host,
    ServerName,
}

/// Refuses requests for guarded hosts over connections for other names. `None`: no host is guarded.
pub(super) fn filter(chains: &[Chain]) -> Option<HttpFilter> {
    let all: Vec<&str> = chains
        .iter()
        .flat_map(|chain| chain.names.iter().map(String::as_str))
        .collect();
    let guarded = chains.iter().filter(|chain| chain.verifies);
    let policies: BTreeMap<String, Policy> = guarded
        .flat_map(|chain| &chain.names)
        .map(|name| (name.clone(), refused(name, &all)))
        .collect();
    if policies.is_empty() {
        return None;
    }
    let rules = Rules {
        action: Action::Deny.into(),
        policies,
    };
    let config = Rbac {
        rules: Some(rules),
        ..Rbac::default()
    };
    Some(http_filter("bellwether.client_certificates", &config))
}

/// The host is the certificate's, and the name of the connection is not.
fn refused(name: &str, all: &[&str]) -> Policy {
    let reached = asked(Asked::ServerName, name, all);
    let permission = and(vec![asked(Asked::Host, name, all), not(reached)]);
    Policy {
        permissions: vec![permission],
        principals: vec![Principal {
            identifier: Some(principal::Identifier::Any(true)),
        }],
    }
}

/// What is asked for is of this name, and of no other that is more specific.
fn asked(what: Asked, name: &str, all: &[&str]) -> Permission {
    let inner = all.iter().filter(|other| is_within(other, name));
    let others: Vec<Permission> = inner.map(|other| is(what, other)).collect();
    let mut rules = vec![is(what, name)];
    if !others.is_empty() {
        rules.push(not(or(others)));
    }
    and(rules)
}

/// Whether a name is a part of a wildcard.
fn is_within(name: &str, wildcard: &str) -> bool {
    if wildcard == FALLBACK {
        return name != FALLBACK;
    }
    let suffix = wildcard.strip_prefix('*');
    suffix.is_some_and(|suffix| name != wildcard && name.ends_with(suffix))
}

fn is(what: Asked, name: &str) -> Permission {
    let rule = match (what, name) {
        (_, FALLBACK) => permission::Rule::Any(true),
        (Asked::Host, name) => permission::Rule::Header(HeaderMatcher {
            name: ":authority".to_owned(),
            header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(host(name))),
            ..HeaderMatcher::default()
        }),
        (Asked::ServerName, name) => permission::Rule::RequestedServerName(StringMatcher {
            match_pattern: Some(match name.strip_prefix('*') {
                Some(suffix) => MatchPattern::Suffix(suffix.to_owned()),
                None => MatchPattern::Exact(name.to_owned()),
            }),
            ignore_case: true,
        }),
    };
    Permission { rule: Some(rule) }
}

/// As a client may write it: in any case, with a port, with a final dot.
fn host(name: &str) -> StringMatcher {
    let escaped = |text: &str| text.replace('.', r"\.");
    let pattern = match name.strip_prefix('*') {
        Some(suffix) => format!(".*{}", escaped(suffix)),
        None => escaped(name),
    };
    // A name has at most 253 characters, which is far from too large.
    re2::text(format!(r"(?i){pattern}\.?(:[0-9]*)?")).expect("a server's name is a small pattern")
}

fn and(rules: Vec<Permission>) -> Permission {
    let set = permission::Set { rules };
    Permission {
        rule: Some(permission::Rule::AndRules(set)),
    }
}

fn or(rules: Vec<Permission>) -> Permission {
    let set = permission::Set { rules };
    Permission {
        rule: Some(permission::Rule::OrRules(set)),
    }
}

fn not(rule: Permission) -> Permission {
    Permission {
        rule: Some(permission::Rule::NotRule(Box::new(rule))),
    }
}
