//! Owns the composition of a server: binds every port first, then starts what uses them, and takes
//! everything down in order. Must not know: how any part does its work.

mod logging;
mod metrics;
mod open;
mod port;
mod rollouts;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bellwether_xds::nodes::Nodes;
use bellwether_xds::{self as xds, Discovery, Port};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::admin::{self, AdminState, Keys};
use crate::admission::Fleets;
use crate::cli::{NamedStore, ServeArgs};
use crate::fleets::{self, follow_fleets};
use crate::metrics::XdsMetrics;
use crate::store::Store;
use crate::store::follow::FollowOptions;

pub use logging::init as init_logging;
pub use open::open_store;

/// How long open requests may go on after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// How long a server that starts waits for the definitions of fleets until it takes connections.
const FIRST_READ: Duration = Duration::from_millis(500);

/// A server whose ports are bound and whose fleets are being read.
#[derive(Debug)]
pub struct Bound {
    /// Where proxies connect.
    pub xds: SocketAddr,
    /// Whether they do by TLS.
    pub tls: bool,
    /// Where the Admin API is.
    pub admin: SocketAddr,
    /// An API key that was made because none was configured. Nobody will see it again.
    pub made_key: Option<String>,
    port: Port,
    admin_listener: TcpListener,
    discovery: Discovery,
    state: AdminState,
    going_down: watch::Sender<bool>,
}

/// Binds the ports, opens the store and starts to follow every fleet.
///
/// # Errors
/// A port is taken, a key file can't be read, the store can't be opened. An etcd that is away is no
/// error: the server waits for it.
pub async fn bind(args: &ServeArgs, key_of_env: Option<&str>) -> anyhow::Result<Bound> {
    let fleets = args.fleets()?;
    let mut keys = args.admin_keys(key_of_env)?;
    let mut made_key = None;
    if keys.is_empty() {
        let (made, text) = Keys::generate();
        (keys, made_key) = (made, Some(text));
    }
    let port = Port {
        tls: port::tls(&args.port).await?,
        listener: listen("--xds-listen", args.port.xds_listen).await?,
    };
    let identities = port::identities(&args.port, &fleets).await?;
    let admin_listener = listen("--admin-listen", args.admin_listen).await?;
    let store = open_store(&args.store).await?;

    let mut others: BTreeMap<String, Arc<dyn Store>> = BTreeMap::new();
    for NamedStore { name, store } in &args.other_store {
        others.insert(name.clone(), open_store(&args.store.at(store)).await?);
    }
    let nodes = Nodes::start();
    let named = others.iter();
    let named = named.map(|(name, store)| (Some(name.clone()), store.clone()));
    let stores: Vec<_> = named.chain([(None, store.clone())]).collect();
    let directory = follow_fleets(fleets::Config {
        fixed: fleets,
        store,
        others,
        options: FollowOptions::default(),
        nodes: nodes.clone(),
    });
    // Nodes that connect at once need not be sent away. A store that is away is waited for later.
    let mut known = directory.desired.clone();
    let _ = timeout(FIRST_READ, known.wait_for(Option::is_some)).await;
    let mut registry = prometheus_client::registry::Registry::default();
    let (going_down, goes_down) = watch::channel(false);
    let discovery = Discovery {
        admission: Arc::new(Fleets::new(
            directory.served.clone(),
            identities.noticing(&directory.served),
            args.port.secrets_for_anyone(),
        )),
        observer: Arc::new(XdsMetrics::new(&mut registry)),
        nodes: nodes.clone(),
        going_down: goes_down,
    };
    let state = AdminState {
        fleets: directory.served.clone(),
        metrics: metrics::text(registry, directory.served.clone()),
        rollouts: rollouts::start(&directory.served, stores),
        directory: Some(directory),
        nodes,
        keys: Arc::new(keys),
        metrics_need_key: args.metrics_need_key,
    };
    Ok(Bound {
        xds: port.listener.local_addr()?,
        tls: port.tls.is_some(),
        admin: admin_listener.local_addr()?,
        made_key,
        port,
        admin_listener,
        discovery,
        state,
        going_down,
    })
}

async fn listen(option: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("can't listen on {option} {address}"))
}

impl Bound {
    /// Serves until `stop` is done, then says goodbye to every proxy and every caller.
    ///
    /// # Errors
    /// A listener fails.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
        let mut goes_down = self.discovery.going_down.clone();
        let rollouts = self.state.rollouts.clone();
        let xds = tokio::spawn(xds::serve(self.port, self.discovery));
        let admin = axum::serve(self.admin_listener, admin::router(self.state))
            .with_graceful_shutdown(async move {
                let _ = goes_down.wait_for(|down| *down).await;
            });
        let admin = tokio::spawn(admin.into_future());
        stop.await;
        info!("going down");
        self.going_down.send_replace(true);
        let gone = async {
            rollouts.stop().await;
            xds.await.context("the discovery port's task")??;
            admin.await.context("the Admin API's task")??;
            anyhow::Ok(())
        };
        match timeout(DRAIN, gone).await {
            Ok(result) => result,
            Err(_) => {
                warn!(
                    seconds = DRAIN.as_secs(),
                    "some connections did not end in time"
                );
                Ok(())
            }
        }
    }
}
