//! A property test of make before break (R83 to R87) against a client that does what Envoy does: it
//! follows all clusters and listeners, asks for the endpoints and routes that they name, uses a cluster
//! only when its endpoints have come after it, and acknowledges clusters only when all are warm.
//!
//! Whatever is published in whatever order, in delta as in state of the world: no route that the client
//! is given names a cluster that it can't use, none is taken from it that a route still names, and in
//! the end it has everything. Time stands still meanwhile, so nothing is sent because a patience ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bellwether::encoding::Transport;
use bellwether::name::{ResourceId, TypeUrl};
use bellwether::resource::Resource;
use bellwether::session::{ACK_PATIENCE, Outgoing, Session};
use bellwether::snapshot::{Changes, Snapshot};
use bellwether::wire::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use proptest::prelude::*;
use prost::Message;

const CDS: TypeUrl = TypeUrl::ENVOY_CLUSTER;
const EDS: TypeUrl = TypeUrl::ENVOY_ENDPOINTS;
const LDS: TypeUrl = TypeUrl::ENVOY_LISTENER;
const RDS: TypeUrl = TypeUrl::ENVOY_ROUTES;

/// What may happen. Numbers stand for names and versions.
#[derive(Clone, Debug)]
enum Act {
    /// Route configuration `.0` names these clusters; those that are missing are made, and those that
    /// nothing names any more are removed.
    Route(u8, BTreeSet<u8>),
    Cluster(u8),
    Endpoints(u8),
    Listener(u8),
    Serve,
    /// The client takes the next response.
    Take,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let some = || proptest::collection::btree_set(0..5_u8, 0..4);
    let act = prop_oneof![
        3 => (0..2_u8, some()).prop_map(|(r, c)| Act::Route(r, c)),
        1 => (0..5_u8).prop_map(Act::Cluster),
        1 => (0..5_u8).prop_map(Act::Endpoints),
        1 => (0..2_u8).prop_map(Act::Listener),
        6 => Just(Act::Serve),
        8 => Just(Act::Take),
    ];
    proptest::collection::vec(act, 1..100)
}

/// What is published: a name, its content, and what it refers to.
type Content = BTreeMap<(TypeUrl, String), (String, Vec<String>)>;

/// A response in either variant, without what the client does not look at.
#[derive(Debug)]
struct Response {
    type_url: TypeUrl,
    nonce: String,
    /// Name and content.
    resources: Vec<(String, String)>,
    removed: Vec<String>,
}

#[derive(Default)]
struct Envoy {
    clusters: BTreeMap<String, String>,
    /// Clusters whose endpoints have not come since they last changed.
    warming: BTreeSet<String>,
    endpoints: BTreeMap<String, String>,
    listeners: BTreeMap<String, String>,
    routes: BTreeMap<String, String>,
    /// The answer to clusters that are not all warm.
    owed: Option<String>,
    named: BTreeMap<TypeUrl, BTreeSet<String>>,
    nonces: BTreeMap<TypeUrl, String>,
    inbox: Vec<Response>,
}

struct World {
    transport: Transport,
    session: Session,
    now: Instant,
    snapshot: Snapshot,
    content: Content,
    count: u64,
    envoy: Envoy,
}

/// Names in a content, after the arrow: `3->a,b`.
fn referred(content: &str) -> BTreeSet<String> {
    let (_, names) = content.split_once("->").unwrap_or_default();
    let names = names.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

impl World {
    fn new(transport: Transport) -> Self {
        let mut world = Self {
            transport,
            session: Session::new(transport),
            now: Instant::now(),
            snapshot: Snapshot::default(),
            content: Content::new(),
            count: 0,
            envoy: Envoy::default(),
        };
        world.listener(0);
        world.route(0, &BTreeSet::from([0]));
        world.route(1, &BTreeSet::new());
        world.listener(1);
        world.ask(&CDS, BTreeSet::new());
        world.settle();
        world.ask(&LDS, BTreeSet::new());
        world.settle();
        world
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Route(route, clusters) => self.route(route, &clusters),
            Act::Cluster(n) if self.has(&CDS, &format!("c{n}")) => self.cluster(n),
            Act::Endpoints(n) if self.has(&CDS, &format!("c{n}")) => self.endpoints(n),
            Act::Listener(n) => self.listener(n),
            Act::Cluster(_) | Act::Endpoints(_) => {}
            Act::Serve => self.serve(),
            Act::Take => self.take(),
        }
    }

    fn has(&self, type_url: &TypeUrl, name: &str) -> bool {
        self.content
            .contains_key(&(type_url.clone(), name.to_owned()))
    }

    fn put(&mut self, type_url: &TypeUrl, name: String, refers: Vec<String>) {
        self.count += 1;
        let body = format!("{}->{}", self.count, refers.join(","));
        let key = (type_url.clone(), name);
        self.content.insert(key, (body, refers));
    }

    fn cluster(&mut self, n: u8) {
        self.put(&CDS, format!("c{n}"), vec![format!("c{n}")]);
        self.publish();
    }

    fn endpoints(&mut self, n: u8) {
        self.put(&EDS, format!("c{n}"), vec![]);
        self.publish();
    }

    fn listener(&mut self, n: u8) {
        if !self.has(&RDS, &format!("r{n}")) {
            self.put(&RDS, format!("r{n}"), vec![]);
        }
        self.put(&LDS, format!("l{n}"), vec![format!("r{n}")]);
        self.publish();
    }

    fn route(&mut self, n: u8, clusters: &BTreeSet<u8>) {
        let names: Vec<String> = clusters.iter().map(|c| format!("c{c}")).collect();
        for name in &names {
            if !self.has(&CDS, name) {
                self.put(&CDS, name.clone(), vec![name.clone()]);
                self.put(&EDS, name.clone(), vec![]);
            }
        }
        self.put(&RDS, format!("r{n}"), names);
        let of_routes = self.content.iter().filter(|((t, _), _)| *t == RDS);
        let used: BTreeSet<String> = of_routes.flat_map(|(_, (_, to))| to.clone()).collect();
        self.content
            .retain(|(t, name), _| !(*t == CDS || *t == EDS) || used.contains(name));
        self.publish();
    }

    fn publish(&mut self) {
        let resources = self.content.iter().map(|((type_url, name), (body, to))| {
            let child = match type_url {
                t if *t == CDS => EDS,
                t if *t == LDS => RDS,
                _ => CDS,
            };
            let refers = to
                .iter()
                .map(|to| ResourceId::new(child.clone(), to.as_str()));
            let id = ResourceId::new(type_url.clone(), name.as_str());
            Resource::from_encoded(id, body.as_bytes(), refers.collect())
        });
        let Changes { upserts, removals } = self.snapshot.changes_to(resources.collect());
        let changes = Changes { upserts, removals };
        let label = self.count.to_string();
        self.snapshot = self.snapshot.next(label, changes).unwrap();
        self.session.on_snapshot(Arc::new(self.snapshot.clone()));
    }

    fn serve(&mut self) {
        while let Some(out) = self.session.poll(self.now) {
            let response = self.read(out);
            self.envoy.inbox.push(response);
        }
    }

    fn read(&self, out: Outgoing) -> Response {
        let bytes = [out.payload, out.nonce].concat();
        let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
        match self.transport {
            Transport::Delta => {
                let response = DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap();
                let resources = response.resources.into_iter();
                Response {
                    type_url: TypeUrl::from(response.type_url),
                    nonce: response.nonce,
                    resources: resources
                        .map(|it| (it.name, text(&it.resource.unwrap().value)))
                        .collect(),
                    removed: response.removed_resources,
                }
            }
            Transport::Sotw => {
                let response = DiscoveryResponse::decode(bytes.as_slice()).unwrap();
                let type_url = TypeUrl::from(response.type_url);
                let bodies: Vec<String> = response
                    .resources
                    .iter()
                    .map(|any| text(&any.value))
                    .collect();
                // Real resources name themselves; here content is unique.
                let resources = bodies.into_iter().map(|body| (self.name_of(&body), body));
                Response {
                    nonce: response.nonce,
                    resources: resources.collect(),
                    removed: Vec::new(),
                    type_url,
                }
            }
        }
    }

    /// Endpoints carry their cluster's name, and everything else is numbered: a table of all that ever was.
    fn name_of(&self, body: &str) -> String {
        let sets = self
            .snapshot
            .types()
            .flat_map(|published| published.set().iter());
        let mut all = sets.filter(|it| &it.body()[..] == body.as_bytes());
        match all.next() {
            Some(resource) => resource.name().to_string(),
            // It is about to leave: only clusters do, and they refer to endpoints of their own name.
            None => referred(body).into_iter().next().unwrap(),
        }
    }

    fn take(&mut self) {
        if self.envoy.inbox.is_empty() {
            return;
        }
        let response = self.envoy.inbox.remove(0);
        let type_url = response.type_url.clone();
        self.envoy
            .nonces
            .insert(type_url.clone(), response.nonce.clone());
        if type_url == CDS {
            self.envoy.owed = Some(response.nonce.clone());
            self.take_clusters(response);
            let names = self.envoy.clusters.keys().cloned().collect();
            self.ask(&EDS, names);
        } else if type_url == EDS {
            for (name, body) in response.resources {
                // Those of a cluster that is gone were on their way.
                if self.envoy.clusters.contains_key(&name) {
                    self.envoy.warming.remove(&name);
                    self.envoy.endpoints.insert(name, body);
                }
            }
            self.answer(&EDS);
        } else if type_url == LDS {
            let removes = self.transport == Transport::Sotw;
            merge(&mut self.envoy.listeners, response, removes);
            self.answer(&LDS);
            let to = self
                .envoy
                .listeners
                .values()
                .flat_map(|body| referred(body));
            let names = to.collect();
            self.ask(&RDS, names);
        } else {
            merge(&mut self.envoy.routes, response, false);
            for (name, body) in &self.envoy.routes {
                for cluster in referred(body) {
                    let there = self.envoy.clusters.contains_key(&cluster);
                    let warm = there && !self.envoy.warming.contains(&cluster);
                    // One that was warm serves on while its next version warms.
                    let was_warm = there && self.envoy.endpoints.contains_key(&cluster);
                    assert!(
                        warm || was_warm,
                        "{name} names {cluster}, which is not there"
                    );
                }
            }
            self.answer(&RDS);
        }
        if self.envoy.warming.is_empty()
            && let Some(nonce) = self.envoy.owed.take()
        {
            self.envoy.nonces.insert(CDS, nonce);
            self.answer(&CDS);
        }
    }

    fn take_clusters(&mut self, response: Response) {
        let before = self.envoy.clusters.clone();
        merge(
            &mut self.envoy.clusters,
            response,
            self.transport == Transport::Sotw,
        );
        for (name, body) in &self.envoy.clusters {
            if before.get(name) != Some(body) {
                self.envoy.warming.insert(name.clone());
            }
        }
        for gone in before
            .keys()
            .filter(|name| !self.envoy.clusters.contains_key(*name))
        {
            self.envoy.warming.remove(gone);
            self.envoy.endpoints.remove(gone);
            let mut routes = self.envoy.routes.values();
            let named = routes.any(|body| referred(body).contains(gone));
            assert!(!named, "{gone} is removed while a route names it");
        }
    }

    fn answer(&mut self, type_url: &TypeUrl) {
        let nonce = self.envoy.nonces.get(type_url).cloned().unwrap_or_default();
        self.say(type_url, &nonce, &[], &[]);
    }

    /// Asks for these names; nothing is said if they are asked for already.
    fn ask(&mut self, type_url: &TypeUrl, names: BTreeSet<String>) {
        let before = self.envoy.named.insert(type_url.clone(), names.clone());
        if before.as_ref() == Some(&names) {
            return;
        }
        let before = before.unwrap_or_default();
        let more: Vec<String> = names.difference(&before).cloned().collect();
        let less: Vec<String> = before.difference(&names).cloned().collect();
        let nonce = match self.transport {
            Transport::Delta => String::new(),
            Transport::Sotw => self.envoy.nonces.get(type_url).cloned().unwrap_or_default(),
        };
        self.say(type_url, &nonce, &more, &less);
    }

    fn say(&mut self, type_url: &TypeUrl, nonce: &str, more: &[String], less: &[String]) {
        let named = self.envoy.named.get(type_url).into_iter().flatten();
        match self.transport {
            Transport::Delta => self.session.on_request(DeltaDiscoveryRequest {
                type_url: type_url.to_string(),
                resource_names_subscribe: more.to_vec(),
                resource_names_unsubscribe: less.to_vec(),
                response_nonce: nonce.to_owned(),
                ..DeltaDiscoveryRequest::default()
            }),
            Transport::Sotw => self.session.on_sotw_request(DiscoveryRequest {
                type_url: type_url.to_string(),
                resource_names: named.cloned().collect(),
                response_nonce: nonce.to_owned(),
                ..DiscoveryRequest::default()
            }),
        }
        .unwrap();
    }

    fn settle(&mut self) {
        loop {
            self.serve();
            if self.envoy.inbox.is_empty() {
                return;
            }
            self.take();
        }
    }

    fn check(&self) {
        let of = |type_url: &TypeUrl| -> BTreeMap<String, String> {
            let all = self.content.iter().filter(|((t, _), _)| t == type_url);
            all.map(|((_, name), (body, _))| (name.clone(), body.clone()))
                .collect()
        };
        assert_eq!(self.envoy.clusters, of(&CDS));
        assert_eq!(self.envoy.listeners, of(&LDS));
        assert_eq!(self.envoy.routes, of(&RDS));
        assert_eq!(self.envoy.endpoints, of(&EDS));
        assert!(self.envoy.warming.is_empty() && self.envoy.owed.is_none());
        assert!(self.session.in_sync());
    }
}

fn merge(held: &mut BTreeMap<String, String>, response: Response, whole: bool) {
    if whole {
        held.clear();
    }
    held.extend(response.resources);
    for name in response.removed {
        held.remove(&name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_route_is_given_to_envoy_before_it_can_use_its_clusters(acts in acts(), delta in any::<bool>()) {
        let transport = if delta { Transport::Delta } else { Transport::Sotw };
        let mut world = World::new(transport);
        for act in acts {
            world.act(act);
        }
        world.settle();
        // A cluster that went before its endpoints were asked for is never warm: that answer is waited
        // for as long as any.
        for _ in 0..3 {
            world.now += ACK_PATIENCE;
            world.settle();
        }
        world.check();
    }
}
