//! Owns a discovery port in this process, with snapshots that a test sets. Must not know: stores, servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bellwether::name::{ResourceId, TypeUrl};
use bellwether::resource::Resource;
use bellwether::snapshot::Snapshot;
use bellwether_xds::nodes::{Identity, Nodes};
use bellwether_xds::{Discovery, Groups, Observer, serve};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Endpoint;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::harness::stream::Stream;

/// Counts what leaves.
#[derive(Default)]
pub(super) struct Sent(AtomicUsize);

impl Sent {
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Observer for Sent {
    fn sent(&self, _: &Identity, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The port, and where snapshots are put in.
pub(super) struct Rig {
    pub(super) groups: Groups,
    pub(super) url: String,
    pub(super) sent: Arc<Sent>,
    _stop: watch::Sender<bool>,
}

impl Rig {
    /// Nodes are of the group that they name.
    pub(super) async fn start() -> Self {
        let groups = Groups::by_cluster();
        let sent = Arc::<Sent>::default();
        let (stop, going_down) = watch::channel(false);
        let discovery = Discovery {
            admission: Arc::new(groups.clone()),
            observer: sent.clone(),
            nodes: Nodes::start(),
            going_down,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, discovery));
        Self {
            groups,
            url,
            sent,
            _stop: stop,
        }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(self.url.clone()).unwrap()
    }

    pub(super) async fn stream<Q, R>(&self, path: &str) -> Stream<Q, R>
    where
        Q: Message + Default + 'static,
        R: Message + Default + std::fmt::Debug + 'static,
    {
        Stream::dial(self.endpoint(), path, None).await.unwrap()
    }

    /// One request, one answer.
    pub(super) async fn call<Q, R>(&self, path: &str, request: Q) -> Result<R, Status>
    where
        Q: Message + Default + Send + Sync + 'static,
        R: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = tonic::client::Grpc::new(self.endpoint().connect().await.unwrap());
        grpc.ready().await.unwrap();
        let path = path.parse::<PathAndQuery>().unwrap();
        let codec = ProstCodec::<Q, R>::default();
        let answer = grpc.unary(Request::new(request), path, codec).await?;
        Ok(answer.into_inner())
    }
}

/// A resource whose body says nothing but itself.
pub(super) fn resource(type_url: &TypeUrl, name: &str, body: &str) -> Resource {
    let id = ResourceId::new(type_url.clone(), name);
    Resource::from_encoded(id, body.as_bytes(), Vec::new())
}

/// A snapshot under a version of its own.
pub(super) fn snapshot(version: &str, resources: Vec<Resource>) -> Snapshot {
    Snapshot::default().replace(version, resources).unwrap()
}
