//! Owns the connection to the discovery servers: one at a time, the next one when it fails.
//! Must not know: how a resource is put in force, or what it means.

mod backoff;
mod client;
mod credentials;
mod outage;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::name::TypeUrl;
use bellwether::subscriber::Subscriber;
use bellwether::wire::core::Node;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Endpoint;

use crate::apply::Applier;
use crate::readiness::Block;
use backoff::Backoff;
use client::Connection;
pub use client::Link;
pub use credentials::Credentials;
use outage::Outage;

/// What the rest of the agent may know of the subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionStatus {
    /// The server that is connected; empty: none.
    pub server: String,
    /// Every type was answered once since the start.
    pub synced: bool,
    /// Why the last connection ended.
    pub last_error: String,
    /// What was rejected and is not in force: type, name, version, reason.
    pub rejected: Arc<Vec<RejectedResource>>,
}

/// One rejected resource.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RejectedResource {
    /// Short type.
    pub r#type: String,
    /// Name.
    pub name: String,
    /// The version that was rejected.
    pub version: String,
    /// What is wrong with it.
    pub reason: String,
}

/// How to reach the servers, and who we are.
#[derive(Debug)]
pub struct SubscribeConfig {
    /// In the order they were named.
    pub servers: Vec<Endpoint>,
    /// How they know us, and we them.
    pub credentials: Credentials,
    /// What we say of ourselves.
    pub node: Node,
    /// How long a server may take to say its first word on a stream. Every server says at once what
    /// there is of each type, even if that is nothing, so one that is silent is not well.
    pub patience: Duration,
}

/// Follows the fleet for as long as the agent runs.
#[derive(Debug)]
pub struct Subscription {
    config: SubscribeConfig,
    subscriber: Subscriber,
    applier: Applier,
    status: watch::Sender<SubscriptionStatus>,
    links: watch::Sender<Option<Link>>,
    backoff: Backoff,
    outage: Outage,
    /// Kept until everything was answered once, so that the agent is not ready before.
    pending: Option<Block>,
}

/// HTTP/2 pings find half-open connections (R105).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection attempt may take before the next server is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Reads a server's address.
///
/// # Errors
/// It is not a URL we can dial; the reason.
pub fn parse_server(url: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| error.to_string())?;
    match endpoint.uri().scheme_str() {
        Some("http" | "https") if endpoint.uri().host().is_some() => {}
        _ => {
            return Err(format!(
                "{url:?} is not of the form http://HOST:PORT or https://HOST:PORT"
            ));
        }
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

impl Subscription {
    /// What is held already is told to the server, so that it sends only what differs. `pending` is
    /// dropped once the first whole configuration is in force.
    #[must_use]
    pub fn new(
        config: SubscribeConfig,
        applier: Applier,
        pending: Option<Block>,
    ) -> (Self, watch::Receiver<SubscriptionStatus>) {
        let mut subscriber = Subscriber::new(config.node.clone(), &TypeUrl::NATIVE);
        for (id, held) in applier.held().iter() {
            subscriber.restore(&id.type_url, id.name.clone(), held.version.clone());
        }
        subscriber.see_position(applier.held().position);
        let (status, reader) = watch::channel(SubscriptionStatus::default());
        let subscription = Self {
            config,
            subscriber,
            applier,
            status,
            links: watch::Sender::new(None),
            backoff: Backoff::default(),
            outage: Outage::default(),
            pending,
        };
        (subscription, reader)
    }

    /// The connection to the server that is followed; `None` while there is none.
    #[must_use]
    pub fn links(&self) -> watch::Receiver<Option<Link>> {
        self.links.subscribe()
    }

    /// Never returns by itself; it may be dropped at any time.
    pub async fn run(mut self) {
        // At random, so that the agents of a fleet spread over the servers.
        let first = rand::random_range(0..self.config.servers.len());
        for turn in first.. {
            let server = self.config.servers[turn % self.config.servers.len()].clone();
            let url = server.uri().to_string();
            let ended = self.follow(&server, &url).await;
            self.links.send_replace(None);
            self.status.send_modify(|status| {
                status.server.clear();
                ended.message().clone_into(&mut status.last_error);
            });
            let pause = self.backoff.next(self.config.servers.len());
            self.outage.failed(&url, &ended, Instant::now());
            tokio::time::sleep(pause).await;
        }
    }

    /// One connection, until it ends.
    async fn follow(&mut self, server: &Endpoint, url: &str) -> Status {
        let held = self.applier.held();
        self.subscriber.see_position(held.position);
        self.subscriber.set_content(held.content());
        let first = self.subscriber.connect();
        let opened = Connection::open(server, &self.config.credentials, first).await;
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(status) => return status,
        };
        self.status
            .send_modify(|status| url.clone_into(&mut status.server));
        let Ok(mut received) = timeout(self.config.patience, connection.receive()).await else {
            return Status::deadline_exceeded("the server says nothing on the stream");
        };
        self.links.send_replace(Some(connection.link()));
        loop {
            let response = match received {
                Ok(response) => response,
                Err(status) => return status,
            };
            self.backoff.reset();
            self.outage.ended(url);
            let answer = match self.subscriber.on_response(response) {
                Ok(update) => {
                    let rejected = self.applier.apply(&update).await;
                    let answer = self.subscriber.applied(&update, rejected);
                    self.applier.see_position(self.subscriber.position());
                    self.report();
                    answer
                }
                Err(nack) => Some(*nack),
            };
            let again = self.applier.worth_another_try().into_iter();
            let again = again.map(|(type_url, names)| Subscriber::ask_for(&type_url, &names));
            for request in answer.into_iter().chain(again) {
                if let Err(status) = connection.send(request).await {
                    return status;
                }
            }
            received = connection.receive().await;
        }
    }

    fn report(&mut self) {
        if self.subscriber.is_synced() {
            self.pending = None;
        }
        let rejected = self
            .subscriber
            .rejected()
            .map(|(type_url, name, version, reason)| RejectedResource {
                r#type: type_url.short().to_owned(),
                name: name.to_string(),
                version: version.to_owned(),
                reason: reason.to_owned(),
            });
        let rejected: Vec<_> = rejected.collect();
        self.status.send_modify(|status| {
            status.synced = self.subscriber.is_synced();
            if *status.rejected != rejected {
                status.rejected = Arc::new(rejected);
            }
        });
    }
}
