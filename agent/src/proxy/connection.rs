//! Owns clients' connections: accepting, limits, idleness, drain. Must not know: what a request asks.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use crate::proxy::stall::Stall;
use crate::proxy::{Proxy, service};

/// How long to wait after a failed accept. It fails for as long as no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bytes of a body that a client may send ahead of the endpoint on one HTTP/2 stream, and on all of
/// a connection's: what one client can cost.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Bytes that wait to be written to a client on one HTTP/2 stream.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// An HTTP/2 client is asked after so long a silence whether it is still there, and has as long to
/// answer.
const PING_PERIOD: Duration = Duration::from_secs(30);

/// What all requests of a connection share.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) proxy: Arc<Proxy>,
    pub(super) address: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) secure: bool,
    /// Falls silent when the grace period is over; tunnels end then.
    pub(super) cut: watch::Receiver<bool>,
    /// Held by everything that has to end before the drain is done.
    pub(super) alive: mpsc::Sender<Never>,
    /// Requests that began, and those that ended, to tell an idle connection.
    began: AtomicU64,
    ended: AtomicU64,
}

/// Nothing of it is ever sent.
#[derive(Debug)]
pub(super) enum Never {}

pub(super) async fn serve(
    proxy: &Arc<Proxy>,
    listener: TcpListener,
    mut drain: watch::Receiver<bool>,
) {
    let (cut, cut_seen) = watch::channel(false);
    let (alive, mut all_gone) = mpsc::channel::<Never>(1);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = drain.wait_for(|drain| *drain) => break,
            accepted = accept(proxy, &listener) => accepted,
        };
        let (stream, address, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let Ok(local) = stream.local_addr() else {
            continue;
        };
        let client = Arc::new(Client {
            proxy: proxy.clone(),
            address,
            local,
            secure: false,
            cut: cut_seen.clone(),
            alive: alive.clone(),
            began: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        });
        tokio::spawn(run(client, stream, permit, drain.clone()));
    }
    drop((listener, alive));
    // Nothing is ever received: the channel only tells that everybody is gone.
    if tokio::time::timeout(proxy.config.grace, all_gone.recv())
        .await
        .is_err()
    {
        let _ = cut.send(true);
        all_gone.recv().await;
    }
}

async fn accept(
    proxy: &Proxy,
    listener: &TcpListener,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = proxy.connections.clone().acquire_owned().await;
    let permit = permit.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((stream, address, permit))
}

async fn run(
    client: Arc<Client>,
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    mut drain: watch::Receiver<bool>,
) {
    let proxy = client.proxy.clone();
    proxy.metrics.accepted.fetch_add(1, Ordering::Relaxed);
    proxy.metrics.connections.fetch_add(1, Ordering::Relaxed);
    let config = &proxy.config;
    let stream = TokioIo::new(Stall::new(stream, config.client_send_timeout));
    let service = service_fn({
        let client = client.clone();
        move |request| {
            let client = client.clone();
            async move { service::answer(&client, request).await }
        }
    });
    let builder = builder(&proxy);
    let connection = builder.serve_connection_with_upgrades(stream, service);
    let mut connection = std::pin::pin!(connection);
    let mut cut = client.cut.clone();
    let mut draining = false;
    let mut before = 0;
    let period = config.head_timeout;
    let mut check = std::pin::pin!(tokio::time::sleep(period));
    loop {
        tokio::select! {
            _ = &mut connection => break,
            _ = cut.wait_for(|cut| *cut) => break,
            _ = drain.wait_for(|drain| *drain), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut check => {
                // The head timeout of hyper begins with HTTP/1.1, so it does not close who sends
                // nothing at all, nor an HTTP/2 connection without requests.
                let began = client.began.load(Ordering::Relaxed);
                let busy = client.ended.load(Ordering::Relaxed) != began;
                if began == 0 {
                    break;
                }
                if !busy && began == before {
                    connection.as_mut().graceful_shutdown();
                }
                before = began;
                check.as_mut().reset(tokio::time::Instant::now() + period);
            }
        }
    }
    proxy.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    drop(permit);
}

fn builder(proxy: &Proxy) -> auto::Builder<TokioExecutor> {
    let config = &proxy.config;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_buf_size(config.head_bytes_max)
        .max_headers(config.headers_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.http2_streams_max)
        .max_header_list_size(u32::try_from(config.head_bytes_max).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_PERIOD)
        .keep_alive_timeout(PING_PERIOD);
    builder
}

/// A request from its head to the end of its response.
#[derive(Debug)]
pub(super) struct Ongoing(Arc<Client>);

impl Ongoing {
    pub(super) fn new(client: &Arc<Client>) -> Self {
        client.began.fetch_add(1, Ordering::Relaxed);
        Self(client.clone())
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs something beside the connection that the drain waits for, bounded like the connection.
pub(super) fn beside(client: &Client, work: impl Future<Output = ()> + Send + 'static) {
    let alive = client.alive.clone();
    let mut cut = client.cut.clone();
    tokio::spawn(async move {
        let _alive = alive;
        tokio::select! {
            () = work => {}
            _ = cut.wait_for(|cut| *cut) => {}
        }
    });
}
