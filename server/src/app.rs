//! Owns the composition of a server: binds every port first, then starts what uses them, and takes
//! everything down in order. Must not know: how any part does its work.

mod logging;
mod metrics;
mod open;
mod port;

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
use tracing::{info, warn};

use crate::admin::{self, AdminState, Keys};
use crate::admission::Fleets;
use crate::cli::ServeArgs;
use crate::metrics::XdsMetrics;
use crate::publish::publish;
use crate::settings::follow_settings;
use crate::store::follow::FollowOptions;
use crate::views::Views;

pub use logging::init as init_logging;
pub use open::open_store;

/// How long open requests may go on after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(10);

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

    let mut known = BTreeMap::new();
    let settings = follow_settings(fleets.keys(), &store, FollowOptions::default());
    let mut views = BTreeMap::new();
    for (name, prefix) in &fleets {
        let (fleet, feed) = publish(
            name,
            prefix,
            args.layout(name),
            &store,
            FollowOptions::default(),
        );
        known.insert(name.clone(), fleet);
        let of_fleet = settings.feeds[name].clone();
        views.insert(name.clone(), Views::start(name, feed, of_fleet));
    }
    let known = Arc::new(known);
    let mut registry = prometheus_client::registry::Registry::default();
    let (going_down, goes_down) = watch::channel(false);
    let nodes = Nodes::start();
    let discovery = Discovery {
        admission: Arc::new(Fleets::new(
            views.clone(),
            identities,
            args.port.secrets_for_anyone(),
        )),
        observer: Arc::new(XdsMetrics::new(&mut registry)),
        nodes: nodes.clone(),
        going_down: goes_down,
    };
    let (_, fleets) = watch::channel(Arc::clone(&known));
    let state = AdminState {
        fleets,
        views: Arc::new(views),
        settings_operator: settings.operator,
        nodes,
        keys: Arc::new(keys),
        metrics: metrics::text(registry, known),
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
            xds.await.context("the discovery port's task")??;
            admin.await.context("the Admin API's task")??;
            anyhow::Ok(())
        };
        match tokio::time::timeout(DRAIN, gone).await {
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
