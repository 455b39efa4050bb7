//! Owns one endpoint of a cluster: its connections, and how busy and how fast it is.
//! Must not know: other endpoints, requests.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::table::cluster::{Endpoint, Pool};
use crate::upstream::Upstream;
use crate::upstream::connect::{ConnectError, Http2, Sender, connect};
use crate::upstream::resolve::Resolver;

/// Time constant of the moving average of response times (§3.2).
const EWMA_DECAY: Duration = Duration::from_secs(10);

/// One endpoint.
#[derive(Debug)]
pub struct Peer {
    host: Box<str>,
    port: u16,
    address: Address,
    /// HTTP/1.1 connections that wait for a request; the last one waited least.
    idle: Mutex<Vec<Idle>>,
    /// HTTP/2 connections; more than one for a server name where one has no room for all requests.
    shared: Mutex<Vec<Shared>>,
    in_flight: AtomicUsize,
    pace: Mutex<Option<Pace>>,
}

#[derive(Debug)]
enum Address {
    Ip(SocketAddr),
    Name(Arc<Resolver>),
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

#[derive(Debug)]
struct Shared {
    sender: Http2,
    server_name: Option<Box<str>>,
    left: AtomicU32,
    used: Instant,
    /// One reference for each request on it, and this one.
    streams: Arc<()>,
}

impl Shared {
    /// Whether the endpoint takes another request on it now. One beyond that would wait until some
    /// other has ended, and a stream may never end.
    fn has_room(&self) -> bool {
        Arc::strong_count(&self.streams) <= self.sender.streams_max()
    }
}

#[derive(Debug)]
struct Connection {
    sender: Sender,
    /// What was asked for in the TLS handshake.
    server_name: Option<Box<str>>,
    served: u32,
    /// Its place among the requests of an HTTP/2 connection.
    #[expect(dead_code, reason = "it counts for as long as it lives")]
    stream: Option<Arc<()>>,
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    micros: f64,
    at: Instant,
}

impl Peer {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        let Endpoint { host, ip, port, .. } = endpoint;
        Self {
            address: match ip {
                Some(ip) => Address::Ip(SocketAddr::new(*ip, *port)),
                None => Address::Name(Arc::new(Resolver::new(host, *port))),
            },
            host: host.clone(),
            port: *port,
            idle: Mutex::default(),
            shared: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            pace: Mutex::default(),
        }
    }

    /// An address without brackets, or a name.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as a Host header has them.
    #[must_use]
    pub fn authority(&self, default_port: u16) -> String {
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        if self.port == default_port {
            format!("{open}{}{close}", self.host)
        } else {
            format!("{open}{}{close}:{}", self.host, self.port)
        }
    }

    /// Requests that it has not answered to the end yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn hold(self: &Arc<Self>) -> impl Drop + use<> {
        InFlight::new(self)
    }

    /// A connection to send one request on. `fresh` passes over those that wait.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn lease(
        self: &Arc<Self>,
        upstream: &Upstream,
        server_name: &str,
        fresh: bool,
    ) -> Result<Lease, ConnectError> {
        let in_flight = InFlight::new(self);
        let began = Instant::now();
        let tls = upstream.tls.as_ref();
        let server_name = tls.is_some().then_some(server_name);
        let pool = upstream.cluster.pool;
        let mut reused = true;
        let waiting = if fresh {
            None
        } else {
            self.waiting(pool, server_name, upstream.cluster.http2())
                .await
        };
        let connection = match waiting {
            Some(connection) => connection,
            None => {
                reused = false;
                self.connect(upstream, server_name).await?
            }
        };
        Ok(Lease {
            in_flight,
            connection,
            pool,
            reused,
            began,
        })
    }

    async fn waiting(&self, pool: Pool, name: Option<&str>, http2: bool) -> Option<Connection> {
        if http2 {
            return self.shared(pool, name);
        }
        loop {
            let mut idle = {
                let mut all = lock(&self.idle);
                let at = all
                    .iter()
                    .rposition(|idle| idle.connection.server_name.as_deref() == name)?;
                all.remove(at)
            };
            let usable = idle.since.elapsed() < pool.idle && !idle.connection.sender.is_closed();
            if usable && idle.connection.sender.ready().await {
                return Some(idle.connection);
            }
        }
    }

    fn shared(&self, pool: Pool, name: Option<&str>) -> Option<Connection> {
        let mut all = lock(&self.shared);
        all.retain(|shared| !shared.sender.is_closed() && shared.left.load(Ordering::Relaxed) > 0);
        let shared = all
            .iter_mut()
            .find(|shared| shared.server_name.as_deref() == name && shared.has_room())?;
        shared.left.fetch_sub(1, Ordering::Relaxed);
        shared.used = Instant::now();
        Some(Connection {
            sender: Sender::Http2(shared.sender.clone()),
            server_name: shared.server_name.clone(),
            served: pool.requests,
            stream: Some(shared.streams.clone()),
        })
    }

    async fn connect(
        &self,
        upstream: &Upstream,
        server_name: Option<&str>,
    ) -> Result<Connection, ConnectError> {
        let address = match &self.address {
            Address::Ip(address) => *address,
            Address::Name(resolver) => resolver.address().await.map_err(ConnectError::Resolve)?,
        };
        let cluster = &upstream.cluster;
        let tls = upstream.tls.as_ref().zip(server_name);
        let sender = connect(address, tls, cluster.http2()).await?;
        let server_name: Option<Box<str>> = server_name.map(Box::from);
        let stream = match &sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => {
                let streams = Arc::new(());
                let mut all = lock(&self.shared);
                // Requests that came at the same time may each have connected; one connection is kept.
                let kept = |one: &Shared| one.server_name == server_name && one.has_room();
                if !all.iter().any(kept) {
                    all.push(Shared {
                        sender: sender.clone(),
                        server_name: server_name.clone(),
                        left: AtomicU32::new(cluster.pool.requests.saturating_sub(1)),
                        used: Instant::now(),
                        streams: streams.clone(),
                    });
                }
                Some(streams)
            }
        };
        Ok(Connection {
            sender,
            server_name,
            served: 0,
            stream,
        })
    }

    fn give_back(&self, mut connection: Connection, pool: Pool) {
        connection.served = connection.served.saturating_add(1);
        let Sender::Http1(sender) = &connection.sender else {
            return;
        };
        if connection.served >= pool.requests || sender.is_closed() {
            return;
        }
        let mut idle = lock(&self.idle);
        idle.push(Idle {
            connection,
            since: Instant::now(),
        });
        if idle.len() > pool.size {
            // The one that waited longest.
            idle.remove(0);
        }
    }

    pub(super) fn sweep(&self, limit: Duration) {
        lock(&self.idle)
            .retain(|idle| idle.since.elapsed() < limit && !idle.connection.sender.is_closed());
        if self.in_flight() == 0 {
            lock(&self.shared)
                .retain(|shared| shared.used.elapsed() < limit && !shared.sender.is_closed());
        }
    }

    /// How slow it was of late, in microseconds; what is long ago counts less (§3.2).
    pub(super) fn score(&self) -> u64 {
        let pace = *lock(&self.pace);
        pace.map_or(0, |pace| pace.now(Instant::now()) as u64)
    }

    fn answered_in(&self, took: Duration) {
        let now = Instant::now();
        let mut pace = lock(&self.pace);
        let sample = took.as_secs_f64() * 1e6;
        let micros = match *pace {
            None => sample,
            // A peak counts at once, an improvement little by little.
            Some(before) if sample > before.micros => sample,
            Some(before) => {
                let weight = decay(now.duration_since(before.at));
                before.micros * weight + sample * (1.0 - weight)
            }
        };
        *pace = Some(Pace { micros, at: now });
    }
}

impl Pace {
    fn now(self, now: Instant) -> f64 {
        self.micros * decay(now.saturating_duration_since(self.at))
    }
}

fn decay(since: Duration) -> f64 {
    (-since.as_secs_f64() / EWMA_DECAY.as_secs_f64()).exp()
}

/// Nobody holds one of these locks for longer than it takes to look at a short list.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a request for as long as it lives.
#[derive(Debug)]
struct InFlight(Arc<Peer>);

impl InFlight {
    fn new(peer: &Arc<Peer>) -> Self {
        peer.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(peer.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that carries one request. Dropped, an HTTP/1.1 connection is closed.
#[derive(Debug)]
pub struct Lease {
    in_flight: InFlight,
    connection: Connection,
    pool: Pool,
    /// Whether it carried a request before: then a failure may only mean that the endpoint closed it.
    pub reused: bool,
    began: Instant,
}

impl Lease {
    /// The connection.
    pub fn sender(&mut self) -> &mut Sender {
        &mut self.connection.sender
    }

    /// The endpoint began to answer.
    pub fn answered(&self) {
        self.in_flight.0.answered_in(self.began.elapsed());
    }

    /// The response was read to its end: the connection waits for another request.
    pub fn release(self) {
        let Self {
            in_flight,
            connection,
            pool,
            ..
        } = self;
        in_flight.0.give_back(connection, pool);
    }
}
