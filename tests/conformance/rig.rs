//! Owns a real discovery server on a loopback socket, whose snapshots the test publishes. Must not know:
//! what clients say.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::rejection::Rejected;
use bellwether::resource::Resource;
use bellwether::session::Mark;
use bellwether::snapshot::{Changes, Position, Snapshot};
use bellwether_xds::nodes::{Identity, Nodes};
use bellwether_xds::{Admission, Discovery, Groups, Observer, Peer, Status};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::script::{Script, Variant, tick};

pub const CDS: TypeUrl = TypeUrl::ENVOY_CLUSTER;
pub const EDS: TypeUrl = TypeUrl::ENVOY_ENDPOINTS;
pub const LDS: TypeUrl = TypeUrl::ENVOY_LISTENER;
pub const RDS: TypeUrl = TypeUrl::ENVOY_ROUTES;
pub const SDS: TypeUrl = TypeUrl::ENVOY_SECRET;

/// The group of nodes that say nothing of themselves.
pub const EVERYBODY: &str = "";

/// A server and what it serves. Dropping it ends it.
#[derive(Debug)]
pub struct Rig {
    pub address: SocketAddr,
    pub nodes: Nodes,
    pub seen: Seen,
    groups: Groups,
    world: Mutex<Snapshot>,
    newest: watch::Sender<u64>,
    going_down: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

/// What the server tells its owner, a line each.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// How many lines begin like this.
    pub fn count(&self, start: &str) -> usize {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| line.starts_with(start)).count()
    }
}

impl Observer for Seen {
    fn connected(&self, node: &Identity) {
        self.add(format!("connected {}", node.id));
    }

    fn acked(&self, _: &Identity, type_url: &TypeUrl, _: &Mark, resources: usize) {
        self.add(format!("acked {} {resources}", type_url.short()));
    }

    fn nacked(&self, _: &Identity, type_url: &TypeUrl, _: &Mark, rejected: &[(Name, Rejected)]) {
        let rejected = rejected
            .iter()
            .map(|(name, why)| format!("{name}: {}", why.reason));
        let rejected: Vec<_> = rejected.collect();
        let text = rejected.join("; ");
        self.add(format!("nacked {} {text}", type_url.short()));
    }

    fn disconnected(&self, node: &Identity) {
        self.add(format!("disconnected {}", node.id));
    }

    fn refused(&self, _: &Peer, status: &Status) {
        self.add(format!("refused {:?} {}", status.code(), status.message()));
    }
}

impl Rig {
    /// An empty one, which serves everybody the same.
    pub async fn start() -> Self {
        let rig = Self::of(Groups::by(|_, _| EVERYBODY.to_owned())).await;
        rig.publish(&[]);
        rig
    }

    /// One with this in it.
    pub async fn with(world: &[(TypeUrl, &str, &str)]) -> Self {
        let rig = Self::start().await;
        rig.publish(world);
        rig
    }

    /// One that has nothing for anybody yet.
    pub async fn of(groups: Groups) -> Self {
        Self::admitting(groups.clone(), groups).await
    }

    /// The same, where somebody else says who gets what.
    pub async fn admitting(groups: Groups, admission: impl Admission) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (going_down, is_going_down) = watch::channel(false);
        let seen = Seen::default();
        let nodes = Nodes::start();
        let discovery = Discovery {
            admission: Arc::new(admission),
            observer: Arc::new(seen.clone()),
            nodes: nodes.clone(),
            going_down: is_going_down,
        };
        let serving = tokio::spawn(async {
            bellwether_xds::serve(listener, discovery).await.unwrap();
        });
        Self {
            address,
            nodes,
            seen,
            groups,
            world: Mutex::default(),
            newest: watch::channel(0).0,
            going_down,
            serving,
        }
    }

    /// Publishes `(type, name, body)`; a body of `""` removes. What follows an arrow in a body is what
    /// it refers to: `"v1->a,b"`.
    pub fn publish(&self, changes: &[(TypeUrl, &str, &str)]) {
        self.publish_to(EVERYBODY, changes);
    }

    /// The same to one group only.
    pub fn publish_to(&self, group: &str, changes: &[(TypeUrl, &str, &str)]) {
        let mut next = Changes::default();
        for (type_url, name, body) in changes {
            if body.is_empty() {
                next.removals.push(ResourceId::new(type_url.clone(), *name));
            } else {
                next.upserts.push(resource(type_url, name, body));
            }
        }
        self.change(group, next);
    }

    /// Publishes any resources.
    pub fn upsert(&self, upserts: Vec<Resource>) {
        let removals = Vec::new();
        self.change(EVERYBODY, Changes { upserts, removals });
    }

    fn change(&self, group: &str, mut changes: Changes) {
        let revision = *self.newest.borrow() + 1;
        changes.upserts.push(tick(revision));
        let mut world = self.world.lock().unwrap();
        *world = world.next(revision.to_string(), changes).unwrap();
        self.groups.set(group, world.clone());
        self.newest.send_replace(revision);
    }

    /// What this server has, before anything was ever published: a store that may have been wiped.
    pub fn set_blank(&self) {
        let position = Position {
            store: 1,
            revision: 1,
        };
        self.groups.set(EVERYBODY, Snapshot::default().at(position));
    }

    /// An aggregated stream on a connection of its own; nothing is said yet.
    pub async fn open<V: Variant>(&self) -> Script<V> {
        self.open_at(V::AGGREGATED).await
    }

    /// A stream of any method.
    pub async fn open_at<V: Variant>(&self, path: &str) -> Script<V> {
        Script::open(self.address, path, self.newest.subscribe()).await
    }

    /// Tells the server that it goes down.
    pub fn go_down(&self) {
        self.going_down.send_replace(true);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A resource; what follows an arrow in the body is what it refers to.
pub fn resource(type_url: &TypeUrl, name: &str, body: &str) -> Resource {
    let child = match type_url {
        t if *t == CDS => EDS,
        t if *t == LDS => RDS,
        t if *t == TypeUrl::ROUTE => TypeUrl::CLUSTER,
        _ => CDS,
    };
    let to = body.split_once("->").map(|(_, to)| to).unwrap_or_default();
    let names = to.split(',').filter(|name| !name.is_empty());
    let refers = names.map(|name| ResourceId::new(child.clone(), name));
    let id = ResourceId::new(type_url.clone(), name);
    Resource::from_encoded(id, body.as_bytes(), refers.collect())
}
