//! Owns the composition of an agent: binds every port first, serves what is on disk, then follows the
//! discovery servers. Must not know: how any part does its work.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use bellwether::wire::core::{Node, node::UserAgentVersionType};
use bellwether::wire::google::protobuf::{Struct, Value, value::Kind};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;

use crate::admin::{Admin, Section};
use crate::apply::Applier;
use crate::config::AgentArgs;
use crate::disk::Disk;
use crate::held::Held;
use crate::metrics::Metrics;
use crate::probation::{self, Keeper, ProbationStatus};
use crate::proxy::{Proxy, ProxyConfig};
use crate::readiness::Readiness;
use crate::report::Reporter;
use crate::save::save;
use crate::subscribe::{SubscribeConfig, Subscription, SubscriptionStatus};
use crate::table::Table;
use crate::watchdog::{self, Pulse};

/// How long the last save and the last requests may take after the agent was told to stop. A little
/// longer than the proxy's own grace.
const DRAIN: Duration = Duration::from_secs(35);

/// How long a discovery server may keep an agent waiting for its first word.
const PATIENCE: Duration = Duration::from_secs(20);

/// An agent whose ports are bound and which already serves what it had on disk.
#[derive(Debug)]
pub struct Bound {
    /// Where requests to be proxied come in.
    pub http: SocketAddr,
    /// Where `/ready` and its like are.
    pub admin: SocketAddr,
    http_listener: TcpListener,
    admin_listener: TcpListener,
    proxy: Arc<Proxy>,
    pages: Arc<Admin>,
    subscription: Subscription,
    keeper: Keeper,
    reporter: Reporter,
    pulse: Arc<Pulse>,
    disk: Disk,
    held: watch::Receiver<Held>,
}

/// Binds the ports and puts what is on disk in force.
///
/// # Errors
/// A port is taken, or the state folder can't be used. A damaged file in it is no error: it is said,
/// and the agent starts empty.
pub async fn bind(args: &AgentArgs) -> anyhow::Result<Bound> {
    let http_listener = listen("--http-listen", args.http_listen).await?;
    let admin_listener = listen("--admin-listen", args.admin_listen).await?;
    let disk = Disk::open(&args.state_dir)?;
    // Before anything else is read: the process before may have died of it.
    let mut boot = probation::boot(&disk);
    let table = Arc::new(ArcSwap::new(Table::empty(args.limits(), args.matching())));
    let mut applier = Applier::new(table.clone());
    let readiness = Readiness::default();
    let mut pending = Some(readiness.block("the first configuration"));
    if let Some(kept) = boot.held.take() {
        applier.restore(&kept);
        pending = None;
    }
    applier.see_position(boot.position);
    let (keeper, guard) = Keeper::new(disk.clone(), boot, applier.watch(), args.probation);
    let (asks, pulse) = (guard.asks(), guard.pulse());
    applier.set_guard(guard);
    let (held, position) = (applier.watch(), Box::new(applier.positions()));
    let config = SubscribeConfig {
        servers: args.server.clone(),
        credentials: args.credentials(),
        node: node(args, &disk),
        patience: PATIENCE,
    };
    let node = config.node.clone();
    let (subscription, status) = Subscription::new(config, applier, pending);
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = Metrics::new(&mut registry, table.clone());
    probation::register(&mut registry, keeper.watch(), disk.clone());
    let reporter = Reporter {
        node,
        links: subscription.links(),
        status: keeper.watch(),
        keeper: asks,
        position,
        metrics: metrics.clone(),
    };
    let proxy = Proxy::new(table.clone(), ProxyConfig::default(), metrics);
    let sections = sections(status, held.clone(), keeper.watch());
    let pages = Admin::new(readiness, table, Arc::new(registry), sections);
    Ok(Bound {
        http: http_listener.local_addr()?,
        admin: admin_listener.local_addr()?,
        http_listener,
        admin_listener,
        proxy,
        pages,
        subscription,
        keeper,
        reporter,
        pulse,
        disk,
        held,
    })
}

async fn listen(option: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("can't listen on {option} {address}"))
}

/// What `/config_dump` says besides the table.
fn sections(
    status: watch::Receiver<SubscriptionStatus>,
    held: watch::Receiver<Held>,
    probation: watch::Receiver<ProbationStatus>,
) -> Vec<(&'static str, Section)> {
    let subscription = move || {
        let status = status.borrow().clone();
        let position = held.borrow().position;
        serde_json::json!({
            "server": status.server,
            "synced": status.synced,
            "position": position.map(|position| position.to_string()),
            "last_error": status.last_error,
            "rejected": *status.rejected,
        })
    };
    let probation = move || probation.borrow().to_json();
    vec![
        ("subscription", Box::new(subscription)),
        ("probation", Box::new(probation)),
    ]
}

fn node(args: &AgentArgs, disk: &Disk) -> Node {
    let id = match &args.node_id {
        Some(id) => id.clone(),
        None => disk.node_id(),
    };
    let text = |text: &String| Value {
        kind: Some(Kind::StringValue(text.clone())),
    };
    let labels = args
        .label
        .iter()
        .map(|(key, value)| (key.clone(), text(value)));
    Node {
        id,
        cluster: args.fleet.clone(),
        metadata: Some(Struct {
            fields: labels.collect(),
        }),
        user_agent_name: "bellwether-agent".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(
            env!("CARGO_PKG_VERSION").to_owned(),
        )),
        ..Node::default()
    }
}

impl Bound {
    /// Watches over the agent from now on, and ends the process when it does no work any more.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn watch(&self, limits: watchdog::Limits) -> std::io::Result<()> {
        let (proxy, pulse, disk) = (self.proxy.clone(), self.pulse.clone(), self.disk.clone());
        let runtime = tokio::runtime::Handle::current();
        watchdog::start(limits, pulse, disk, runtime, move || proxy.probe())
    }

    /// Serves until `stop` is done, then lets requests end.
    ///
    /// # Errors
    /// A listener fails.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
        let (stopping, stopped) = watch::channel(false);
        let saving = tokio::spawn(save(self.disk, self.held, stopped.clone()));
        let keeping = tokio::spawn(self.keeper.run(stopped.clone()));
        let mut following = tokio::spawn(self.subscription.run());
        let reporting = tokio::spawn(self.reporter.run());
        let proxy = self.proxy.clone();
        let sweeping = tokio::spawn(async move { proxy.sweep().await });
        let answering = tokio::spawn(self.pages.serve(self.admin_listener, stopped.clone()));
        let drain = stopped.clone();
        let proxying =
            tokio::spawn(async move { self.proxy.serve(self.http_listener, drain).await });
        tokio::select! {
            () = stop => info!("going down"),
            // It ends only by a panic. Nothing would be put in force any more; the next process counts
            // this one as crashed and starts from its last good.
            ended = &mut following => ended.context("following the servers failed")?,
        }
        following.abort();
        reporting.abort();
        sweeping.abort();
        stopping.send_replace(true);
        let gone = async {
            saving.await?;
            keeping.await?;
            proxying.await?;
            answering.await?;
            Ok(())
        };
        tokio::time::timeout(DRAIN, gone)
            .await
            .context("requests did not end in time")?
    }
}
