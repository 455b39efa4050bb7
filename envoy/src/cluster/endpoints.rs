//! Owns the endpoints of a cluster as Envoy and gRPC want them: each address once, with a weight, in
//! a locality, priorities without a gap. Must not know: how they are talked to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bellwether::wire::native;
use bellwether::wire::native::balancing::Policy;
use bellwether::wire::native::cluster::PassHost;

use super::Work;
use crate::wire::core::address::Address as AddressKind;
use crate::wire::core::socket_address::PortSpecifier;
use crate::wire::core::{Address, Locality, SocketAddress};
use crate::wire::endpoint::endpoint::HealthCheckConfig;
use crate::wire::endpoint::lb_endpoint::HostIdentifier;
use crate::wire::endpoint::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints};

/// Priorities of the endpoints of one cluster, as many as Envoy tells apart: 0 to 128.
const MOST_PRIORITIES: usize = 129;

/// How Envoy finds the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Discovery {
    /// All are there already.
    Eds,
    /// Names to resolve; every address that a name has is an endpoint.
    StrictDns,
    /// One name; a connection is made to whatever it means by then.
    LogicalDns,
}

/// Endpoints, and how they are found.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) discovery: Discovery,
    pub(super) message: ClusterLoadAssignment,
}

/// An endpoint that is in use.
struct Member<'a> {
    host: &'a str,
    port: u32,
    weight: u64,
    priority: i32,
}

/// Endpoints that become one locality.
struct Group<'a> {
    name: String,
    priority: u32,
    weight: u32,
    members: Vec<Member<'a>>,
}

impl Work<'_> {
    pub(super) fn assignment(&mut self, endpoints: &native::Endpoints) -> Assignment {
        let members = members(endpoints, self.policy());
        let named = members.iter().any(|member| ip(member.host).is_none());
        let discovery = match (named, members.len()) {
            (false, _) => Discovery::Eds,
            (true, 1) => Discovery::LogicalDns,
            (true, _) => Discovery::StrictDns,
        };
        let priorities: BTreeSet<i32> = members.iter().map(|member| member.priority).collect();
        if priorities.len() > MOST_PRIORITIES {
            let what = format!(
                "has {} priorities, and Envoy tells {MOST_PRIORITIES} apart: the lowest share one",
                priorities.len()
            );
            self.made.cannot(&self.id, what);
        }
        let groups = by_priority(members);
        let message = self.message(groups, |member| self.endpoint(member));
        Assignment { discovery, message }
    }

    /// gRPC's clients connect to addresses only, and reject an endpoint that is a name (A27).
    pub(super) fn grpc_assignment(
        &mut self,
        endpoints: &native::Endpoints,
    ) -> ClusterLoadAssignment {
        let mut members = members(endpoints, self.policy());
        let all = members.len();
        members.retain(|member| ip(member.host).is_some());
        if members.len() < all {
            let what = "leaves out endpoints with a host name, which gRPC clients don't resolve";
            self.made.cannot(&self.id, what);
        }
        let mut groups = by_priority(members);
        if self.policy() != Policy::ConsistentHash {
            groups = groups.into_iter().flat_map(by_weight).collect();
        }
        self.message(groups, |member| Endpoint {
            address: Some(address(member)),
            ..Endpoint::default()
        })
    }

    fn message(
        &self,
        groups: Vec<Group<'_>>,
        endpoint: impl Fn(&Member<'_>) -> Endpoint,
    ) -> ClusterLoadAssignment {
        let localities = groups.into_iter().map(|group| LocalityLbEndpoints {
            locality: Some(Locality {
                sub_zone: group.name,
                ..Locality::default()
            }),
            lb_endpoints: group
                .members
                .iter()
                .map(|member| LbEndpoint {
                    host_identifier: Some(HostIdentifier::Endpoint(endpoint(member))),
                    load_balancing_weight: u32::try_from(member.weight).ok(),
                    ..LbEndpoint::default()
                })
                .collect(),
            load_balancing_weight: Some(group.weight),
            priority: group.priority,
            ..LocalityLbEndpoints::default()
        });
        ClusterLoadAssignment {
            cluster_name: self.name.to_string(),
            endpoints: localities.collect(),
            policy: None,
        }
    }

    fn endpoint(&self, member: &Member<'_>) -> Endpoint {
        let active = self.native.health_check.as_ref();
        let port = active
            .and_then(|check| check.active.as_ref())
            .map_or(0, |active| active.port);
        let named = ip(member.host).is_none();
        // A name is probed by its name; so is what has a port of its own for probes.
        let probe = (active.is_some() && (port != 0 || named)).then(|| HealthCheckConfig {
            port_value: port,
            hostname: if named {
                member.host.to_owned()
            } else {
                String::new()
            },
            ..HealthCheckConfig::default()
        });
        Endpoint {
            address: Some(address(member)),
            health_check_config: probe,
            hostname: match self.pass_host {
                PassHost::Node => self.host_header(member.host, member.port),
                PassHost::Pass | PassHost::Rewrite => String::new(),
            },
        }
    }

    /// The endpoint's own Host, with the port where it is not the scheme's default (§3.4).
    fn host_header(&self, host: &str, port: u32) -> String {
        let host = match ip(host) {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            _ => host.to_owned(),
        };
        // Where the name is asked for in TLS too, it can't have a port.
        if port == self.default_port() || self.asks_by_endpoint {
            host
        } else {
            format!("{host}:{port}")
        }
    }

    pub(super) fn policy(&self) -> Policy {
        let policy = self.native.balancing.as_ref().map(|b| b.policy());
        policy.unwrap_or_default()
    }
}

/// The endpoints that get requests, each address once. Where an address stands twice its weights add
/// up, as they do where turns are taken; the higher priority counts.
fn members(endpoints: &native::Endpoints, policy: Policy) -> Vec<Member<'_>> {
    // APISIX asks no balancer where there is nothing to choose, so that the weight is not looked at.
    let alone = endpoints.endpoints.len() == 1 && policy != Policy::LeastConnections;
    let mut found: BTreeMap<(String, u32), Member<'_>> = BTreeMap::new();
    for endpoint in &endpoints.endpoints {
        let weight = endpoint.weight.max(u32::from(alone));
        let port = endpoint.port;
        if weight == 0 || port == 0 || port > u32::from(u16::MAX) || endpoint.host.is_empty() {
            continue;
        }
        let host = ip(&endpoint.host).map_or_else(|| endpoint.host.clone(), |ip| ip.to_string());
        let new = Member {
            host: &endpoint.host,
            port,
            weight: weight.into(),
            priority: endpoint.priority,
        };
        match found.get_mut(&(host.clone(), port)) {
            Some(old) if old.priority == new.priority => old.weight += new.weight,
            Some(old) if old.priority > new.priority => {}
            _ => drop(found.insert((host, port), new)),
        }
    }
    found.into_values().collect()
}

/// A locality for each priority, without a gap between priorities. gRPC's clients reject endpoints
/// without a locality, and a locality that stands twice.
fn by_priority(members: Vec<Member<'_>>) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<Reverse<i32>, Vec<Member<'_>>> = BTreeMap::new();
    for member in members {
        let group = groups.entry(Reverse(member.priority)).or_default();
        group.push(member);
    }
    // Those after the last that can be told share its turn.
    while groups.len() > MOST_PRIORITIES {
        let (Some((_, lowest)), Some(mut last)) = (groups.pop_last(), groups.last_entry()) else {
            break;
        };
        last.get_mut().extend(lowest);
    }
    let groups = groups.into_values().zip(0_u32..);
    groups
        .map(|(mut members, priority)| {
            scale(&mut members);
            Group {
                name: format!("priority-{priority}"),
                priority,
                weight: 1,
                members,
            }
        })
        .collect()
}

/// The same with a locality for each weight. Where turns are taken gRPC's clients don't look at the
/// weights of endpoints, but at those of localities they do (A27).
fn by_weight(group: Group<'_>) -> impl Iterator<Item = Group<'_>> {
    let mut groups: BTreeMap<u64, Vec<Member<'_>>> = BTreeMap::new();
    for member in group.members {
        groups.entry(member.weight).or_default().push(member);
    }
    let (name, priority) = (group.name, group.priority);
    groups.into_iter().map(move |(weight, members)| Group {
        name: format!("{name}-weight-{weight}"),
        priority,
        weight: u32::try_from(weight * members.len() as u64).unwrap_or(u32::MAX),
        members,
    })
}

/// The weights of a priority must not add up to more than a `uint32` holds.
fn scale(members: &mut [Member<'_>]) {
    let sum: u64 = members.iter().map(|member| member.weight).sum();
    let most = u64::from(u32::MAX) - members.len() as u64;
    let scale = sum.div_ceil(most).max(1);
    for member in members {
        member.weight = (member.weight / scale).max(1);
    }
}

fn address(member: &Member<'_>) -> Address {
    let host = ip(member.host).map_or_else(|| member.host.to_owned(), |ip| ip.to_string());
    Address {
        address: Some(AddressKind::SocketAddress(SocketAddress {
            address: host,
            port_specifier: Some(PortSpecifier::PortValue(member.port)),
            ..SocketAddress::default()
        })),
    }
}

/// The address that a host is, with or without brackets.
pub(super) fn ip(host: &str) -> Option<IpAddr> {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host).parse().ok()
}

/// The names that endpoints have, addresses left out.
pub(super) fn names(endpoints: &native::Endpoints) -> BTreeSet<&str> {
    let hosts = endpoints
        .endpoints
        .iter()
        .map(|endpoint| endpoint.host.as_str());
    hosts.filter(|host| ip(host).is_none()).collect()
}
