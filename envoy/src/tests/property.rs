//! Any fleet, however it came to be: what is made of it step by step is what is made of it at once,
//! and it is consistent.

use std::collections::BTreeMap;

use bellwether::wire::native::balancing::Policy;
use bellwether::wire::native::cluster::{PassHost, Scheme};
use bellwether::wire::native::{Certificate, Cluster, Route, UpstreamTls};
use proptest::prelude::*;

use super::*;

/// Names of each type; few, so that they are met again.
const NAMES: u8 = 4;

/// Something that an author does.
#[derive(Clone, Debug)]
enum Edit {
    Cluster(u8, Box<Cluster>, Vec<native::Endpoint>),
    Nodes(u8, Vec<native::Endpoint>),
    DropCluster(u8),
    Certificate(u8, Vec<String>, bool),
    DropCertificate(u8),
    Route(u8, u8, Box<Route>),
    DropRoute(u8),
    Settings(u8),
}

fn endpoints() -> impl Strategy<Value = Vec<native::Endpoint>> {
    let host = prop_oneof![
        Just("10.0.0.1"),
        Just("10.0.0.2"),
        Just("::1"),
        Just("[::1]"),
        Just("a.example.com"),
        Just("b"),
    ];
    let weight = prop_oneof![Just(0_u32), 1_u32..5, Just(u32::MAX)];
    let one = (host, 1_u32..3, weight, -1_i32..2);
    let node = one.prop_map(|(host, port, weight, priority)| node(host, port, weight, priority));
    prop::collection::vec(node, 0..5)
}

fn clusters() -> impl Strategy<Value = Cluster> {
    let policy = prop_oneof![
        Just(Policy::RoundRobin),
        Just(Policy::ConsistentHash),
        Just(Policy::LeastConnections),
        Just(Policy::Ewma),
    ];
    let scheme = prop_oneof![
        Just(Scheme::Http),
        Just(Scheme::Https),
        Just(Scheme::Grpc),
        Just(Scheme::Grpcs)
    ];
    let pass = prop_oneof![
        Just(PassHost::Pass),
        Just(PassHost::Node),
        Just(PassHost::Rewrite)
    ];
    let certificate = prop::option::of(0..NAMES);
    (policy, scheme, pass, any::<bool>(), certificate).prop_map(
        |(policy, scheme, pass, verify, certificate)| Cluster {
            balancing: Some(native::Balancing {
                policy: policy.into(),
                hash_key: "uri".into(),
                ..native::Balancing::default()
            }),
            scheme: scheme.into(),
            pass_host: pass.into(),
            upstream_host: "a.example.com".into(),
            tls: Some(UpstreamTls {
                verify,
                client_certificate: certificate.map_or_else(String::new, |n| format!("ssls/{n}")),
                ..UpstreamTls::default()
            }),
            ..Cluster::default()
        },
    )
}

fn routes() -> impl Strategy<Value = Route> {
    let path = prop_oneof![Just("/*"), Just("/a"), Just("/a/*"), Just("/:id")];
    let host = prop_oneof![Just("a.com"), Just("*.a.com"), Just("b.com")];
    let plugin = prop_oneof![
        Just(None),
        Just(Some("serverless-pre-function")),
        Just(Some("cors"))
    ];
    let hosts = prop::collection::vec(host, 0..3);
    (prop::collection::vec(path, 1..3), hosts, plugin, 0_i64..3).prop_map(
        |(paths, hosts, plugin, priority)| Route {
            paths: paths.into_iter().map(str::to_owned).collect(),
            hosts: hosts.into_iter().map(str::to_owned).collect(),
            priority,
            plugins: plugin
                .into_iter()
                .map(|name| native::Plugin {
                    name: name.to_owned(),
                    config: "{}".to_owned(),
                })
                .collect(),
            ..Route::default()
        },
    )
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let sni = prop_oneof![
        Just("a.com"),
        Just("*.a.com"),
        Just("*"),
        Just("*x"),
        Just("b.com")
    ];
    let snis = prop::collection::vec(sni.prop_map(str::to_owned), 1..4);
    let n = 0..NAMES;
    let edit = prop_oneof![
        (n.clone(), clusters(), endpoints()).prop_map(|(n, c, e)| Edit::Cluster(n, Box::new(c), e)),
        (n.clone(), endpoints()).prop_map(|(n, e)| Edit::Nodes(n, e)),
        n.clone().prop_map(Edit::DropCluster),
        (n.clone(), snis, any::<bool>()).prop_map(|(n, s, c)| Edit::Certificate(n, s, c)),
        n.clone().prop_map(Edit::DropCertificate),
        (n.clone(), n.clone(), routes()).prop_map(|(n, c, r)| Edit::Route(n, c, Box::new(r))),
        n.prop_map(Edit::DropRoute),
        (0_u8..3).prop_map(Edit::Settings),
    ];
    prop::collection::vec(edit, 1..24)
}

fn settings(which: u8) -> Settings {
    let text: &[u8] = match which {
        0 => b"{}",
        1 => br#"{"grpc_listeners":["greeter"],"router":"uri","trusted_ca_file":"/ca"}"#,
        _ => br#"{"listeners":[{"name":"https","port":443,"tls":true}],"trusted_hops":1}"#,
    };
    Settings::parse(text).unwrap()
}

/// What authors have written so far.
#[derive(Default)]
struct Desired {
    clusters: BTreeMap<u8, (Cluster, Vec<native::Endpoint>)>,
    certificates: BTreeMap<u8, (Vec<String>, bool)>,
    routes: BTreeMap<u8, (u8, Route)>,
}

impl Desired {
    /// As resources; what refers to something that is not there is left out, as the catalog does.
    fn resources(&self) -> Vec<Resource> {
        let mut all = Vec::new();
        for (n, (snis, clients)) in &self.certificates {
            let snis: Vec<&str> = snis.iter().map(String::as_str).collect();
            let message = Certificate {
                client_validation: clients.then(native::ClientValidation::default),
                ..Certificate::default()
            };
            all.push(certificate(&format!("ssls/{n}"), &snis, message));
        }
        for (n, (message, endpoints)) in &self.clusters {
            let mut message = message.clone();
            let tls = message.tls.as_mut().unwrap();
            let known = |n: &u8| tls.client_certificate == format!("ssls/{n}");
            if !self.certificates.keys().any(known) {
                tls.client_certificate.clear();
            }
            all.extend(cluster(
                &format!("upstreams/{n}"),
                message,
                endpoints.clone(),
            ));
        }
        for (n, (to, message)) in &self.routes {
            if !self.clusters.contains_key(to) {
                continue;
            }
            let cluster = format!("upstreams/{to}");
            let message = Route {
                id: n.to_string(),
                action: Some(native::route::Action::Cluster(cluster.clone())),
                ..message.clone()
            };
            let refers = vec![ResourceId::new(TypeUrl::CLUSTER, cluster)];
            let id = ResourceId::new(TypeUrl::ROUTE, format!("routes/{n}"));
            all.push(Resource::new(id, &message, refers));
        }
        all
    }

    fn edit(&mut self, edit: &Edit) {
        match edit.clone() {
            Edit::Cluster(n, message, endpoints) => {
                self.clusters.insert(n, (*message, endpoints));
            }
            Edit::Nodes(n, endpoints) => {
                if let Some((_, old)) = self.clusters.get_mut(&n) {
                    *old = endpoints;
                }
            }
            Edit::DropCluster(n) => drop(self.clusters.remove(&n)),
            Edit::Certificate(n, snis, clients) => {
                self.certificates.insert(n, (snis, clients));
            }
            Edit::DropCertificate(n) => drop(self.certificates.remove(&n)),
            Edit::Route(n, to, message) => {
                self.routes.insert(n, (to, *message));
            }
            Edit::DropRoute(n) => drop(self.routes.remove(&n)),
            Edit::Settings(_) => {}
        }
    }
}

/// The next native snapshot, with exactly these resources.
fn follow(native: &Snapshot, wanted: Vec<Resource>) -> Snapshot {
    let gone = native
        .types()
        .flat_map(|published| published.set().iter())
        .map(|resource| resource.id().clone())
        .filter(|id| !wanted.iter().any(|resource| resource.id() == id))
        .collect();
    let changes = Changes {
        upserts: wanted,
        removals: gone,
    };
    native.next("native", changes).unwrap()
}

/// Every type with its version, the empty ones left out.
fn content(snapshot: &Snapshot) -> BTreeMap<String, String> {
    snapshot
        .types()
        .filter(|published| !published.set().is_empty())
        .map(|published| {
            let version = published.set().version().to_string();
            (published.type_url().to_string(), version)
        })
        .collect()
}

fn check(client: Client, edits: &[Edit]) {
    let mut desired = Desired::default();
    let mut native = Snapshot::default();
    let mut now = settings(0);
    let mut translator = Translator::new(client, now.clone());
    let mut made = Snapshot::default();
    for edit in edits {
        desired.edit(edit);
        if let Edit::Settings(which) = edit {
            now = settings(*which);
            let changes = translator.configure(now.clone());
            made = made.next("settings", changes).unwrap();
        }
        native = follow(&native, desired.resources());
        let changes = translator.update(&native);
        // Nothing is said twice: what is an upsert is different.
        for upsert in &changes.upserts {
            let old = made.published(upsert.type_url());
            let old = old.and_then(|published| published.set().get(upsert.name()));
            assert!(
                old.is_none_or(|old| **old != *upsert),
                "{} is the same",
                upsert.id()
            );
        }
        made = made.next("made", changes).unwrap();

        let mut fresh = Translator::new(client, now.clone());
        let all = fresh.update(&native);
        let at_once = Snapshot::default().next("at once", all).unwrap();
        assert_eq!(content(&made), content(&at_once));
        assert_eq!(translator.len(), fresh.len());
        let said = |t: &Translator| t.unsupported().cloned().collect::<Vec<_>>();
        assert_eq!(said(&translator), said(&fresh));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn step_by_step_is_as_at_once_for_envoy(edits in edits()) {
        check(Client::Envoy, &edits);
    }

    #[test]
    fn step_by_step_is_as_at_once_for_grpc(edits in edits()) {
        check(Client::Grpc, &edits);
    }
}
