//! Owns `ip-restriction`. Must not know: how Envoy learns a client's address (the listener's settings).

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::wire::core::CidrRange;
use crate::wire::envoy::config::rbac::v3::{
    Permission, Policy, Principal, Rbac as Rules, permission::Rule, principal::Identifier,
    rbac::Action,
};
use crate::wire::http_filter::rbac::v3::Rbac;

use super::chain::{self, Effect};
use super::config::{Options, Read};

/// Who may, or who may not.
pub(super) fn ip_restriction(options: &mut Options, notes: &mut Vec<String>) -> Read<Vec<Effect>> {
    let (action, option, list) = match (options.texts("whitelist")?, options.texts("blacklist")?) {
        (Some(list), None) => (Action::Allow, "whitelist", list),
        (None, Some(list)) => (Action::Deny, "blacklist", list),
        _ => return Err("exactly one of whitelist and blacklist must be there".to_owned()),
    };
    if list.is_empty() {
        return Err(format!("option {option} is empty"));
    }
    options.only(
        "response_code",
        &serde_json::json!(403),
        "Envoy answers 403",
    )?;
    if options.text("message")?.is_some() {
        notes.push("message is not sent; Envoy says \"RBAC: access denied\"".to_owned());
    }
    let principals = list
        .iter()
        .map(|text| range(text).ok_or_else(|| format!("option {option}: {text:?} is no address")))
        .map(|range| {
            Ok(Principal {
                identifier: Some(Identifier::RemoteIp(range?)),
            })
        });
    let policy = Policy {
        permissions: vec![Permission {
            rule: Some(Rule::Any(true)),
        }],
        principals: principals.collect::<Read<_>>()?,
    };
    let rules = Rules {
        action: action.into(),
        policies: BTreeMap::from([(option.to_owned(), policy)]),
    };
    Ok(vec![chain::filter(
        "",
        &Rbac {
            rules: Some(rules),
            ..Default::default()
        },
    )])
}

fn range(text: &str) -> Option<CidrRange> {
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().ok()?.trunc(),
    };
    Some(CidrRange {
        address_prefix: net.network().to_string(),
        prefix_len: Some(u32::from(net.prefix_len())),
    })
}
