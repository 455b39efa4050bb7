//! Owns a proxy in process with a table of its own. Must not know: what any one test wants to show.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bellwether::name::{Name, TypeUrl};
use bellwether::wire::native;
use bellwether_agent::admin::Admin;
use bellwether_agent::metrics::Metrics;
use bellwether_agent::proxy::{Proxy, ProxyConfig};
use bellwether_agent::readiness::Readiness;
use bellwether_agent::table::{Edit, Limits, Matching, Table};
use prometheus_client::registry::Registry;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::harness::http::Connection;

/// A proxy that serves.
pub(crate) struct Rig {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) readiness: Readiness,
    table: Arc<ArcSwap<Table>>,
    drain: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(ProxyConfig::default()).await
    }

    pub(crate) async fn with(config: ProxyConfig) -> Self {
        let table = Table::empty(Limits::default(), Matching::default());
        let table = Arc::new(ArcSwap::new(table));
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry, table.clone());
        let proxy = Proxy::new(table.clone(), config, metrics);
        let (drain, draining) = watch::channel(false);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pages = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = pages.local_addr().unwrap();
        let readiness = Readiness::default();
        let served = Admin::new(
            readiness.clone(),
            table.clone(),
            Arc::new(registry),
            Vec::new(),
        );
        tokio::spawn(served.serve(pages, draining.clone()));
        let serving = tokio::spawn(async move { proxy.serve(listener, draining).await });
        Self {
            address,
            admin,
            readiness,
            table,
            drain,
            serving,
        }
    }

    /// Puts changes in force at once.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut Edit)) {
        let mut edit = self.table.load_full().edit();
        change(&mut edit);
        self.table.store(edit.finish());
    }

    /// A route over all paths, to a cluster over these endpoints of weight 1.
    pub(crate) fn forward_to(&self, endpoints: &[SocketAddr]) {
        self.forward(endpoints, |_| {}, |_| {});
    }

    /// The same, but for what the two change.
    pub(crate) fn forward(
        &self,
        endpoints: &[SocketAddr],
        cluster: impl FnOnce(&mut native::Cluster),
        route: impl FnOnce(&mut native::Route),
    ) {
        let endpoints: Vec<_> = endpoints
            .iter()
            .map(|address| endpoint(*address, 1))
            .collect();
        self.edit(|edit| {
            put_endpoints(edit, "1", &endpoints);
            put_cluster(edit, "1", cluster);
            put_route(edit, "1", &["/*"], "1", route);
        });
    }

    pub(crate) async fn http1(&self) -> Connection {
        Connection::http1(self.address).await
    }

    pub(crate) async fn http2(&self) -> Connection {
        Connection::http2(self.address).await
    }

    /// A page of the admin listener.
    pub(crate) async fn page(&self, path: &str) -> String {
        let answer = Connection::http1(self.admin).await.get(path).await;
        answer.text().to_owned()
    }

    /// Tells the proxy to stop; it has when the handle is done.
    pub(crate) fn stop(self) -> JoinHandle<()> {
        self.drain.send_replace(true);
        self.serving
    }
}

pub(crate) fn endpoint(address: SocketAddr, weight: u32) -> native::Endpoint {
    native::Endpoint {
        host: address.ip().to_string(),
        port: address.port().into(),
        weight,
        priority: 0,
        zone: String::new(),
    }
}

pub(crate) fn put_endpoints(edit: &mut Edit, name: &str, endpoints: &[native::Endpoint]) {
    let endpoints = endpoints.to_vec();
    put(
        edit,
        &TypeUrl::ENDPOINTS,
        name,
        &native::Endpoints {
            endpoints,
            service_name: String::new(),
        },
    );
}

pub(crate) fn put_cluster(edit: &mut Edit, name: &str, change: impl FnOnce(&mut native::Cluster)) {
    let mut cluster = native::Cluster {
        endpoints: name.into(),
        ..native::Cluster::default()
    };
    change(&mut cluster);
    put(edit, &TypeUrl::CLUSTER, name, &cluster);
}

pub(crate) fn put_route(
    edit: &mut Edit,
    name: &str,
    paths: &[&str],
    cluster: &str,
    change: impl FnOnce(&mut native::Route),
) {
    let mut route = native::Route {
        id: name.into(),
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        action: Some(native::route::Action::Cluster(cluster.into())),
        ..native::Route::default()
    };
    change(&mut route);
    put(edit, &TypeUrl::ROUTE, name, &route);
}

pub(crate) fn put(edit: &mut Edit, type_url: &TypeUrl, name: &str, message: &impl Message) {
    edit.upsert(type_url, &Name::from(name), &message.encode_to_vec().into())
        .unwrap();
}
