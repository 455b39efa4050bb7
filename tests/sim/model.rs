//! Owns the simulated world: its servers, nodes and the streams between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::encoding::Transport;
use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::resource::Resource;
use bellwether::session::{ACK_PATIENCE, Session};
use bellwether::snapshot::{Changes, Position, Snapshot};
use bellwether::subscriber::Subscriber;
use bellwether::wire::core::Node;
use bellwether::wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use prost::Message;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const ROUTE: TypeUrl = TypeUrl::ROUTE;
const CLUSTER: TypeUrl = TypeUrl::CLUSTER;
const TYPES: [TypeUrl; 2] = [CLUSTER, ROUTE];

/// How large a world is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) nodes: usize,
    pub(super) servers: usize,
    pub(super) steps: usize,
}

/// What a resource says: a body that some nodes reject, and the cluster a route goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Body {
    text: String,
}

impl Body {
    fn is_bad_for(&self, node: usize) -> bool {
        // "bad3" is rejected by every third node, "bad1" by all.
        self.text
            .strip_prefix("bad")
            .and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok())
            .is_some_and(|every| node.is_multiple_of(every))
    }

    fn cluster(&self) -> Option<Name> {
        self.text.split_once("->").map(|(_, to)| to.into())
    }
}

/// The streams are ordered and lossless until they break; answers may be lost, doubled or late all the
/// same, because a correct server must not depend on them.
struct Stream {
    session: Session,
    server: usize,
    to_server: VecDeque<DeltaDiscoveryRequest>,
    to_node: VecDeque<DeltaDiscoveryResponse>,
    /// The version of each resource last rejected on this stream and not replaced since.
    rejected: BTreeMap<(TypeUrl, Name), String>,
}

struct SimNode {
    subscriber: Subscriber,
    table: BTreeMap<(TypeUrl, Name), Body>,
    stream: Option<Stream>,
    /// Clusters it never had because it rejected each version it was offered.
    refused: BTreeSet<Name>,
    /// The newest version of each type that brought something.
    seen: BTreeMap<TypeUrl, u64>,
}

/// Everything there is.
pub(super) struct World {
    rng: StdRng,
    now: Instant,
    shape: Shape,
    history: Vec<Arc<Snapshot>>,
    content: BTreeMap<(TypeUrl, Name), Body>,
    /// How far each server has come in the history.
    servers: Vec<usize>,
    nodes: Vec<SimNode>,
    counts: BTreeMap<&'static str, u64>,
}

impl World {
    pub(super) fn new(seed: u64, shape: Shape) -> Self {
        let mut world = Self {
            rng: StdRng::seed_from_u64(seed),
            now: Instant::now(),
            shape,
            history: vec![Arc::new(Snapshot::default().at(Position {
                store: 1,
                revision: 0,
            }))],
            content: BTreeMap::new(),
            servers: vec![0; shape.servers],
            nodes: (0..shape.nodes).map(|_| fresh_node()).collect(),
            counts: BTreeMap::new(),
        };
        for _ in 0..10 {
            world.publish();
        }
        world.servers.fill(10);
        world
    }

    pub(super) fn counts(&self) -> String {
        format!("{:?}", self.counts)
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_insert(0) += 1;
    }

    /// One thing happens.
    pub(super) fn step(&mut self) {
        // So little that nobody's patience ends but by `outwait`.
        self.now += Duration::from_micros(self.rng.random_range(0..20));
        let node = self.rng.random_range(0..self.shape.nodes);
        match self.rng.random_range(0..1000) {
            0..4 => self.publish(),
            4..20 => self.catch_up(),
            20..40 => self.disconnect(node),
            40..48 => self.restart_node(node),
            48..140 => self.disturb_answers(node),
            140 if self.rng.random_bool(0.1) => self.outwait(),
            142 if self.rng.random_bool(0.2) => self.restart_server(),
            _ => self.run_node(node),
        }
    }

    /// Changes one to three resources so that every reference resolves.
    fn publish(&mut self) {
        self.count("published");
        let mut changes = BTreeMap::new();
        for _ in 0..self.rng.random_range(1..=3) {
            let cluster = Name::from(format!("c{}", self.rng.random_range(0..8)));
            let route = Name::from(format!("r{}", self.rng.random_range(0..12)));
            let version = self.rng.random_range(0..1_000_000);
            let mood = self.mood();
            if self.rng.random_bool(0.3) {
                let body = Body {
                    text: format!("{mood} {version}"),
                };
                changes.insert((CLUSTER, cluster), Some(body));
            } else if self.rng.random_bool(0.25) {
                changes.insert((ROUTE, route), None);
            } else {
                let body = Body {
                    text: format!("{mood} {version} ->{cluster}"),
                };
                let target = (CLUSTER, cluster.clone());
                if !self.content.contains_key(&target) {
                    let body = Body {
                        text: format!("good {version}"),
                    };
                    changes.insert(target, Some(body));
                }
                changes.insert((ROUTE, route), Some(body));
            }
        }
        self.remove_unused_clusters(&mut changes);
        self.commit(changes);
    }

    fn mood(&mut self) -> &'static str {
        match self.rng.random_range(0..20) {
            0 => "bad1",
            1 | 2 => "bad3",
            _ => "good",
        }
    }

    /// Now and then clusters that no route uses any more go away, together with what freed them.
    fn remove_unused_clusters(&mut self, changes: &mut BTreeMap<(TypeUrl, Name), Option<Body>>) {
        if !self.rng.random_bool(0.5) {
            return;
        }
        let mut next = self.content.clone();
        for (id, body) in changes.iter() {
            match body {
                Some(body) => drop(next.insert(id.clone(), body.clone())),
                None => drop(next.remove(id)),
            }
        }
        let used: Vec<Name> = next.values().filter_map(Body::cluster).collect();
        for (id, _) in next
            .iter()
            .filter(|((t, name), _)| *t == CLUSTER && !used.contains(name))
        {
            changes.insert(id.clone(), None);
        }
    }

    fn commit(&mut self, changes: BTreeMap<(TypeUrl, Name), Option<Body>>) {
        let mut next = Changes::default();
        for ((type_url, name), body) in changes {
            let id = ResourceId::new(type_url.clone(), name.clone());
            match body {
                Some(body) => {
                    let refers = body.cluster().map(|to| ResourceId::new(CLUSTER, to));
                    let refers = refers.into_iter().collect();
                    next.upserts
                        .push(Resource::from_encoded(id, body.text.as_bytes(), refers));
                    self.content.insert((type_url, name), body);
                }
                None => {
                    next.removals.push(id);
                    self.content.remove(&(type_url, name));
                }
            }
        }
        let position = Position {
            store: 1,
            revision: self.history.len() as u64,
        };
        let newest = &self.history[self.history.len() - 1];
        let snapshot = newest
            .next(position.to_string(), next)
            .expect("references resolve");
        self.history.push(Arc::new(snapshot.at(position)));
    }

    /// A server learns of something newer, not always of the newest.
    fn catch_up(&mut self) {
        let server = self.rng.random_range(0..self.servers.len());
        self.servers[server] = self
            .rng
            .random_range(self.servers[server]..self.history.len());
        let snapshot = self.history[self.servers[server]].clone();
        for node in &mut self.nodes {
            if let Some(stream) = node
                .stream
                .as_mut()
                .filter(|stream| stream.server == server)
            {
                stream.session.on_snapshot(snapshot.clone());
            }
        }
    }

    fn disconnect(&mut self, node: usize) {
        self.count("disconnected");
        self.nodes[node].stream = None;
    }

    fn restart_server(&mut self) {
        self.count("server restarted");
        let server = self.rng.random_range(0..self.servers.len());
        for node in &mut self.nodes {
            node.stream.take_if(|stream| stream.server == server);
        }
    }

    /// A node loses its memory; its table comes back from disk, or does not.
    fn restart_node(&mut self, at: usize) {
        self.count("node restarted");
        let old = std::mem::replace(&mut self.nodes[at], fresh_node());
        if self.rng.random_bool(0.5) {
            let node = &mut self.nodes[at];
            for ((type_url, name), body) in &old.table {
                let version = bellwether::name::Version::of(body.text.as_bytes()).to_string();
                node.subscriber.restore(type_url, name.clone(), version);
            }
            node.subscriber.see_position(old.subscriber.position());
            node.table = old.table;
            node.refused = old.refused;
            node.seen = old.seen;
        }
    }

    fn disturb_answers(&mut self, node: usize) {
        let Some(stream) = &mut self.nodes[node].stream else {
            return;
        };
        // The first requests are part of the stream's opening; they are never lost without it.
        let is_answer = |request: &DeltaDiscoveryRequest| !request.response_nonce.is_empty();
        if stream.to_server.is_empty() || !stream.to_server.iter().all(is_answer) {
            return;
        }
        let what = match self.rng.random_range(0..3) {
            0 => {
                // A rejection that takes longer than the server's patience may cost the node the
                // clusters of its last good routes; that it may not get lost is TCP's promise.
                let at = stream.to_server.len() - 1;
                if stream.to_server[at].error_detail.is_some() {
                    return;
                }
                stream.to_server.remove(at);
                "answers lost"
            }
            1 => {
                let again = stream.to_server[0].clone();
                stream.to_server.push_back(again);
                "answers doubled"
            }
            _ => {
                stream.to_server.rotate_left(1);
                "answers reordered"
            }
        };
        self.count(what);
    }

    /// A node connects, or one side of its stream takes what has arrived.
    fn run_node(&mut self, node: usize) {
        if self.nodes[node].stream.is_none() {
            return self.connect(node);
        }
        if self.rng.random_bool(0.5) {
            self.run_server_side(node);
        } else {
            self.run_node_side(node);
        }
    }

    fn connect(&mut self, node: usize) {
        self.count("connected");
        let server = self.rng.random_range(0..self.servers.len());
        let mut session = Session::new(Transport::Delta);
        session.on_snapshot(self.history[self.servers[server]].clone());
        let node = &mut self.nodes[node];
        node.stream = Some(Stream {
            session,
            server,
            to_server: node.subscriber.connect().into(),
            to_node: VecDeque::new(),
            rejected: BTreeMap::new(),
        });
    }

    fn run_server_side(&mut self, at: usize) {
        let now = self.now;
        let Some(stream) = &mut self.nodes[at].stream else {
            return;
        };
        if let Some(request) = stream.to_server.pop_front() {
            stream
                .session
                .on_request(request)
                .expect("a subscriber is never refused");
        }
        let mut sent = 0;
        while let Some(out) = stream.session.poll(now) {
            let bytes = [out.payload, out.nonce].concat();
            stream
                .to_node
                .push_back(DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap());
            sent += 1;
        }
        *self.counts.entry("responses").or_insert(0) += sent;
    }

    fn run_node_side(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(stream) = &mut node.stream else {
            return;
        };
        let Some(response) = stream.to_node.pop_front() else {
            return;
        };
        let update = node
            .subscriber
            .on_response(response)
            .expect("a session talks no nonsense");
        let position = Position::parse(&update.label).expect("labels are positions");
        if !update.offers.is_empty() {
            let before = node.seen.insert(update.type_url.clone(), position.revision);
            assert!(
                before <= Some(position.revision),
                "node {at} was taken back from {before:?} to {position}"
            );
        }
        let mut rejected = BTreeMap::new();
        for offer in &update.offers {
            let id = (update.type_url.clone(), offer.name.clone());
            let body = Body {
                text: String::from_utf8(offer.body.to_vec()).unwrap(),
            };
            let before = stream.rejected.remove(&id);
            assert_ne!(
                before.as_ref(),
                Some(&offer.version),
                "{id:?} is offered again to node {at}"
            );
            if body.is_bad_for(at) {
                rejected.insert(offer.name.clone(), "bad".to_owned());
                if id.0 == CLUSTER && !node.table.contains_key(&id) {
                    node.refused.insert(offer.name.clone());
                }
                stream.rejected.insert(id, offer.version.clone());
            } else {
                node.refused.remove(&offer.name);
                node.table.insert(id, body);
            }
        }
        for name in &update.removals {
            node.table.remove(&(update.type_url.clone(), name.clone()));
            stream
                .rejected
                .remove(&(update.type_url.clone(), name.clone()));
        }
        let nacked = !rejected.is_empty();
        stream
            .to_server
            .extend(node.subscriber.applied(&update, rejected));
        self.check_references(at);
        if nacked {
            self.count("nacks");
        }
    }

    /// R85: whatever is in force, a route's cluster is too, unless the node rejected that cluster.
    fn check_references(&self, at: usize) {
        let node = &self.nodes[at];
        for ((type_url, route), body) in &node.table {
            let Some(cluster) = body.cluster() else {
                continue;
            };
            let id = (CLUSTER, cluster.clone());
            assert!(
                node.table.contains_key(&id) || node.refused.contains(&cluster),
                "{type_url:?} {route} of node {at} is in force without its cluster {cluster}"
            );
        }
    }

    /// Everybody catches up, and all that was said is heard.
    pub(super) fn quiesce(&mut self) {
        self.servers.fill(self.history.len() - 1);
        let newest = self.history[self.history.len() - 1].clone();
        for at in 0..self.nodes.len() {
            if self.nodes[at].stream.is_none() {
                self.connect(at);
            }
            let stream = self.nodes[at].stream.as_mut().expect("just connected");
            stream.session.on_snapshot(newest.clone());
        }
        for _ in 0..3 {
            self.outwait();
            for at in 0..self.nodes.len() {
                self.run_server_side(at);
            }
        }
    }

    /// Everything that is under way arrives; then answers that were lost are no longer waited for.
    fn outwait(&mut self) {
        self.count("outwaited");
        for at in (0..self.nodes.len())
            .filter(|at| self.nodes[*at].stream.is_some())
            .collect::<Vec<_>>()
        {
            self.drain(at);
        }
        self.now += ACK_PATIENCE;
    }

    fn drain(&mut self, at: usize) {
        while self.is_busy(at) {
            self.run_server_side(at);
            self.run_node_side(at);
        }
    }

    fn is_busy(&mut self, at: usize) -> bool {
        let stream = self.nodes[at].stream.as_ref().expect("connected");
        !stream.to_server.is_empty() || !stream.to_node.is_empty()
    }

    pub(super) fn check_converged(&self) {
        for (at, node) in self.nodes.iter().enumerate() {
            for (id, body) in &self.content {
                if body.is_bad_for(at) {
                    // The last good one or nothing, never the bad one.
                    assert_ne!(
                        node.table.get(id),
                        Some(body),
                        "node {at} took a bad {id:?}"
                    );
                } else {
                    assert_eq!(node.table.get(id), Some(body), "node {at} lacks {id:?}");
                }
            }
            let keeps_last_good = TYPES.iter().any(|t| {
                self.content
                    .iter()
                    .any(|((of, _), body)| of == t && body.is_bad_for(at))
            });
            for id in node.table.keys() {
                assert!(
                    self.content.contains_key(id) || (keeps_last_good && id.0 == CLUSTER),
                    "node {at} still has {id:?}"
                );
            }
        }
    }
}

fn fresh_node() -> SimNode {
    SimNode {
        subscriber: Subscriber::new(Node::default(), &TYPES),
        table: BTreeMap::new(),
        stream: None,
        refused: BTreeSet::new(),
        seen: BTreeMap::new(),
    }
}
