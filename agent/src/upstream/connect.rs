//! Owns the making of one connection to an endpoint. Must not know: pools, retries.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::upstream::request_body::RequestBody;
use crate::upstream::tls::ClientTls;

/// Bytes of a response's head, as much as the largest header buffers in the field take. More is an
/// error of the endpoint.
const RESPONSE_HEAD_BYTES: usize = 256 << 10;

/// Bytes of an HTTP/2 response's head, decoded.
const RESPONSE_HEADER_LIST_BYTES: u32 = 256 << 10;

/// Bytes that an endpoint may send ahead of the client on one HTTP/2 stream: what one slow client
/// can cost. As much on the whole connection times a few, so that one stream does not stop all.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("the name does not resolve")]
    Resolve(#[source] io::Error),
    /// Nobody listens, or nobody can be reached.
    #[error("the endpoint can't be reached")]
    Connect(#[source] io::Error),
    /// The handshake failed.
    #[error("the tls handshake failed")]
    Tls(#[source] io::Error),
    /// HTTP could not begin.
    #[error("the http handshake failed")]
    Http(#[source] hyper::Error),
}

/// The sending half of a connection.
#[derive(Debug)]
pub enum Sender {
    /// One request at a time.
    Http1(http1::SendRequest<RequestBody>),
    /// Many.
    Http2(Http2),
}

/// The sending half of an HTTP/2 connection, which any number of requests may hold.
#[derive(Debug, Clone)]
pub struct Http2 {
    sender: http2::SendRequest<RequestBody>,
    /// How many requests at a time the endpoint takes, as it said last.
    streams_max: Arc<AtomicUsize>,
}

impl Http2 {
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn streams_max(&self) -> usize {
        self.streams_max.load(Ordering::Relaxed)
    }
}

impl Sender {
    /// Whether the other side is gone.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(shared) => shared.is_closed(),
        }
    }

    /// Waits until a request can be sent. For a connection from the pool that is at once, or as
    /// soon as its task has seen the end of the response before.
    pub(super) async fn ready(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_ready() || sender.ready().await.is_ok(),
            Self::Http2(shared) => shared.sender.ready().await.is_ok(),
        }
    }

    /// Sends a request and waits for the head of the response. The error holds the request if
    /// nothing of it was sent.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::Http2(shared) => shared.sender.try_send_request(request).await,
        }
    }
}

/// Connects. `server_name` is asked for in the TLS handshake.
pub(super) async fn connect(
    address: SocketAddr,
    tls: Option<(&ClientTls, &str)>,
    http2: bool,
) -> Result<Sender, ConnectError> {
    let tcp = TcpStream::connect(address)
        .await
        .map_err(ConnectError::Connect)?;
    // A proxy writes what it has; waiting for more to come only delays it.
    let _ = tcp.set_nodelay(true);
    let Some((tls, server_name)) = tls else {
        return handshake(tcp, http2).await;
    };
    let name = ServerName::try_from(server_name.to_owned())
        .unwrap_or_else(|_| ServerName::from(address.ip()));
    let stream = TlsConnector::from(Arc::clone(&tls.config))
        .connect(name, tcp)
        .await
        .map_err(ConnectError::Tls)?;
    handshake(stream, http2).await
}

async fn handshake<S>(stream: S, http2: bool) -> Result<Sender, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = TokioIo::new(stream);
    if http2 {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(RESPONSE_HEADER_LIST_BYTES)
            .handshake(stream)
            .await
            .map_err(ConnectError::Http)?;
        let streams_max = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
        let said = streams_max.clone();
        tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            // Whoever waits for a response gets the error too.
            let _ = poll_fn(|context| {
                let polled = connection.as_mut().poll(context);
                said.store(connection.current_max_send_streams(), Ordering::Relaxed);
                polled
            })
            .await;
        });
        return Ok(Sender::Http2(Http2 {
            sender,
            streams_max,
        }));
    }
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(RESPONSE_HEAD_BYTES)
        .handshake(stream)
        .await
        .map_err(ConnectError::Http)?;
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    Ok(Sender::Http1(sender))
}
