//! The translation as a whole.

use std::collections::BTreeMap;

use bellwether::name::{ResourceId, TypeUrl};
use bellwether::resource::Resource;
use bellwether::snapshot::{Changes, Snapshot};
use bellwether::wire::native;
use prost::Message;

use crate::settings::Settings;
use crate::translator::{Client, Translator};
use crate::wire::cluster::Cluster;
use crate::wire::core::socket_address::PortSpecifier;
use crate::wire::endpoint::ClusterLoadAssignment;
use crate::wire::endpoint::lb_endpoint::HostIdentifier;
use crate::wire::hcm::HttpConnectionManager;
use crate::wire::listener::Listener;
use crate::wire::tls::{DownstreamTlsContext, Secret, UpstreamTlsContext};

mod clusters;
mod following;
mod grpc;
mod listeners;
mod property;

/// A fleet, and what is made of it for one kind of client.
struct Bench {
    native: Snapshot,
    translator: Translator,
    made: Snapshot,
}

impl Bench {
    fn new(client: Client) -> Self {
        Self::with(client, Settings::default())
    }

    fn with(client: Client, settings: Settings) -> Self {
        let mut bench = Self {
            native: Snapshot::default(),
            translator: Translator::new(client, settings),
            made: Snapshot::default(),
        };
        bench.change(Vec::new(), Vec::new());
        bench
    }

    /// What changed for the client, by type and name.
    fn change(&mut self, upserts: Vec<Resource>, removals: Vec<ResourceId>) -> Changes {
        let changes = Changes { upserts, removals };
        self.native = self.native.next("native", changes).unwrap();
        let made = self.translator.update(&self.native);
        self.made = self.made.next("made", made.clone()).unwrap();
        made
    }

    fn put(&mut self, upserts: Vec<Resource>) -> Changes {
        self.change(upserts, Vec::new())
    }

    fn get<M: Message + Default>(&self, type_url: &TypeUrl, name: &str) -> Option<M> {
        let set = self.made.published(type_url)?.set();
        let resource = set.get(&name.into())?;
        Some(M::decode(resource.body()).unwrap())
    }

    fn refers(&self, type_url: &TypeUrl, name: &str) -> Vec<String> {
        let set = self.made.published(type_url).unwrap().set();
        let resource = set.get(&name.into()).unwrap();
        resource.refers().iter().map(ToString::to_string).collect()
    }

    fn cluster(&self, name: &str) -> Cluster {
        self.get(&TypeUrl::ENVOY_CLUSTER, name).unwrap()
    }

    fn endpoints(&self, name: &str) -> Option<ClusterLoadAssignment> {
        self.get(&TypeUrl::ENVOY_ENDPOINTS, name)
    }

    fn listener(&self, name: &str) -> Option<Listener> {
        self.get(&TypeUrl::ENVOY_LISTENER, name)
    }

    fn unsupported(&self) -> Vec<String> {
        let all = self.translator.unsupported();
        all.map(|one| format!("{} {}", one.resource, one.what))
            .collect()
    }
}

fn cluster(
    name: &str,
    message: native::Cluster,
    endpoints: Vec<native::Endpoint>,
) -> Vec<Resource> {
    let message = native::Cluster {
        endpoints: name.to_owned(),
        ..message
    };
    let mut refers = vec![ResourceId::new(TypeUrl::ENDPOINTS, name)];
    let certificate = message
        .tls
        .as_ref()
        .map(|tls| tls.client_certificate.clone());
    if let Some(certificate) = certificate.filter(|name| !name.is_empty()) {
        refers.push(ResourceId::new(TypeUrl::CERTIFICATE, certificate.as_str()));
    }
    let id = ResourceId::new(TypeUrl::CLUSTER, name);
    vec![nodes(name, endpoints), Resource::new(id, &message, refers)]
}

fn nodes(name: &str, endpoints: Vec<native::Endpoint>) -> Resource {
    let id = ResourceId::new(TypeUrl::ENDPOINTS, name);
    let message = native::Endpoints {
        endpoints,
        service_name: String::new(),
    };
    Resource::new(id, &message, Vec::new())
}

fn node(host: &str, port: u32, weight: u32, priority: i32) -> native::Endpoint {
    native::Endpoint {
        host: host.into(),
        port,
        weight,
        priority,
        zone: String::new(),
    }
}

fn certificate(name: &str, snis: &[&str], message: native::Certificate) -> Resource {
    let message = native::Certificate {
        snis: snis.iter().map(|sni| (*sni).to_owned()).collect(),
        key_pairs: vec![native::KeyPair {
            certificate: format!("certificate of {name}"),
            private_key: format!("key of {name}"),
        }],
        ..message
    };
    Resource::new(
        ResourceId::new(TypeUrl::CERTIFICATE, name),
        &message,
        Vec::new(),
    )
}

fn route(name: &str, to: &str, hosts: &[&str]) -> Resource {
    let message = native::Route {
        id: name.rsplit('/').next().unwrap().to_owned(),
        paths: vec!["/*".to_owned()],
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        action: Some(native::route::Action::Cluster(to.to_owned())),
        ..native::Route::default()
    };
    let refers = vec![ResourceId::new(TypeUrl::CLUSTER, to)];
    Resource::new(ResourceId::new(TypeUrl::ROUTE, name), &message, refers)
}

/// Each group of endpoints: its priority, and each address with its weight.
fn groups(message: &ClusterLoadAssignment) -> Vec<(u32, BTreeMap<String, u32>)> {
    let one = |group: &crate::wire::endpoint::LocalityLbEndpoints| {
        assert!(group.locality.is_some() && group.load_balancing_weight == Some(1));
        let members = group.lb_endpoints.iter().map(|member| {
            let HostIdentifier::Endpoint(endpoint) = member.host_identifier.clone().unwrap();
            let crate::wire::core::address::Address::SocketAddress(socket) =
                endpoint.address.unwrap().address.unwrap();
            let PortSpecifier::PortValue(port) = socket.port_specifier.unwrap();
            let weight = member.load_balancing_weight.unwrap();
            (format!("{} {port}", socket.address), weight)
        });
        (group.priority, members.collect())
    };
    message.endpoints.iter().map(one).collect()
}

fn manager(listener: &Listener, chain: usize) -> HttpConnectionManager {
    let filter = listener.filter_chains[chain].filters.last().unwrap();
    let crate::wire::listener::filter::ConfigType::TypedConfig(any) =
        filter.config_type.clone().unwrap();
    any.unpack().unwrap()
}

fn unpack<M: prost::Name + Default>(socket: &crate::wire::core::TransportSocket) -> M {
    let crate::wire::core::transport_socket::ConfigType::TypedConfig(any) =
        socket.config_type.clone().unwrap();
    any.unpack()
        .unwrap_or_else(|| panic!("{} is no {}", any.type_url, M::full_name()))
}

fn upstream_tls(cluster: &Cluster) -> UpstreamTlsContext {
    unpack(cluster.transport_socket.as_ref().unwrap())
}

fn downstream_tls(listener: &Listener, chain: usize) -> DownstreamTlsContext {
    unpack(
        listener.filter_chains[chain]
            .transport_socket
            .as_ref()
            .unwrap(),
    )
}

fn names(changes: &Changes) -> (Vec<String>, Vec<String>) {
    let mut upserts: Vec<_> = changes.upserts.iter().map(|r| r.id().to_string()).collect();
    let mut removals: Vec<_> = changes.removals.iter().map(ToString::to_string).collect();
    upserts.sort();
    removals.sort();
    (upserts, removals)
}

fn secret(bench: &Bench, name: &str) -> Option<Secret> {
    bench.get(&TypeUrl::ENVOY_SECRET, name)
}
