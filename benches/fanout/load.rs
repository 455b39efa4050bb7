//! Owns the load: nodes with a connection each, that follow every native type as agents do and
//! acknowledge everything. Must not know: how it is measured.

use std::time::Instant;

use bellwether::name::TypeUrl;
use bellwether::subscriber::Subscriber;
use bellwether::wire::core::Node;
use bellwether::wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::Streaming;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

const METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// All nodes of the run.
pub(crate) struct Fleet {
    nodes: usize,
    /// One instant for each node that has put a change in force.
    changes: mpsc::Receiver<Instant>,
    _tasks: JoinSet<()>,
}

/// When a change was in force.
pub(crate) struct Times {
    pub(crate) first: Instant,
    pub(crate) last: Instant,
}

impl Fleet {
    /// Connects `nodes` nodes, and returns when each holds `routes` routes.
    pub(crate) async fn connect(server: &str, nodes: usize, routes: usize, at_once: usize) -> Self {
        let (told, mut ready) = mpsc::channel(nodes);
        let (changed, changes) = mpsc::channel(nodes);
        let mut tasks = JoinSet::new();
        let mut waiting = 0;
        for n in 0..nodes {
            let one = Member::open(server, n).await;
            tasks.spawn(one.follow(routes, told.clone(), changed.clone()));
            waiting += 1;
            if waiting == at_once {
                ready.recv().await.expect("nodes go on");
                waiting -= 1;
            }
        }
        for _ in 0..waiting {
            ready.recv().await.expect("nodes go on");
        }
        Self {
            nodes,
            changes,
            _tasks: tasks,
        }
    }

    /// Waits until every node has the next change.
    pub(crate) async fn next_change(&mut self) -> Times {
        let first = self.changes.recv().await.expect("nodes go on");
        let mut last = first;
        for _ in 1..self.nodes {
            last = last.max(self.changes.recv().await.expect("nodes go on"));
        }
        Times { first, last }
    }
}

/// One node.
struct Member {
    subscriber: Subscriber,
    outbox: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Member {
    async fn open(server: &str, n: usize) -> Self {
        let node = Node {
            id: format!("node-{n}"),
            ..Node::default()
        };
        let mut subscriber = Subscriber::new(node, &TypeUrl::NATIVE);
        let endpoint = Endpoint::from_shared(server.to_owned()).expect("a URL");
        let channel = endpoint
            .tcp_nodelay(true)
            .connect()
            .await
            .expect("the server accepts");
        let (outbox, requests) = mpsc::channel(16);
        for request in subscriber.connect() {
            outbox
                .try_send(request)
                .expect("there is room for one of each type");
        }
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.expect("the connection is there");
        let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
        let request = tonic::Request::new(ReceiverStream::new(requests));
        let opened = grpc
            .streaming(request, PathAndQuery::from_static(METHOD), codec)
            .await;
        let responses = opened.expect("the server opens the stream").into_inner();
        Self {
            subscriber,
            outbox,
            responses,
        }
    }

    async fn follow(
        mut self,
        routes: usize,
        ready: mpsc::Sender<()>,
        changed: mpsc::Sender<Instant>,
    ) {
        let mut held = 0;
        while let Ok(Some(response)) = self.responses.message().await {
            let update = self
                .subscriber
                .on_response(response)
                .expect("the server talks no nonsense");
            let offered = update.offers.len();
            let is_routes = update.type_url == TypeUrl::ROUTE;
            let ack = self
                .subscriber
                .applied(&update, std::collections::BTreeMap::new());
            let in_force = Instant::now();
            if self
                .outbox
                .send(ack.expect("the stream is open"))
                .await
                .is_err()
            {
                return;
            }
            if !is_routes {
                continue;
            }
            // Whoever listens may have heard enough.
            if held >= routes && offered > 0 {
                let _ = changed.send(in_force).await;
            } else if held < routes {
                held += offered;
                if held >= routes {
                    let _ = ready.send(()).await;
                }
            }
        }
    }
}
