//! Owns a small upstream that does what the path asks for and tells what it saw, and clients that hold
//! one connection in the hand. Must not know: Bellwether.
//!
//! - `/stream`: one chunk, then another when [`Upstream::go_on`] is called
//! - `/hang`: no answer, ever; `/break`: half of a body, and an end
//! - `/trailers`: a body with trailers, as gRPC has them
//! - `/upgrade`: a websocket that sends back what it gets
//! - `/sink`: the number of bytes in the request's body
//! - `/zeros/N`: N bytes
//! - `/status/N`: an empty answer with that status
//! - anything else: what was seen, as JSON

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A body of any kind.
pub type Body = BoxBody<Bytes, Infallible>;

/// Nothing, or text.
pub fn body(text: &str) -> Body {
    Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed()
}

#[derive(Debug)]
struct Seen {
    name: &'static str,
    connections: AtomicU64,
    requests: AtomicU64,
    /// Bytes of bodies that left it, and that came.
    sent: Arc<AtomicU64>,
    received: AtomicU64,
    /// Requests whose handler was dropped before it answered.
    aborted: Semaphore,
    hanging: Semaphore,
    chunks: Semaphore,
}

/// The upstream.
#[derive(Debug)]
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Speaks HTTP/1.1 and HTTP/2 with prior knowledge.
    pub async fn start(name: &'static str) -> Self {
        Self::bind(name, None).await
    }

    /// The same over TLS; `name` is also what it says it saw.
    pub async fn start_tls(name: &'static str, config: ServerConfig) -> Self {
        Self::bind(name, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn bind(name: &'static str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen {
            name,
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            sent: Arc::default(),
            received: AtomicU64::new(0),
            aborted: Semaphore::new(0),
            hanging: Semaphore::new(0),
            chunks: Semaphore::new(0),
        });
        let task = tokio::spawn(accept(listener, seen.clone(), tls));
        Self {
            address,
            seen,
            task,
        }
    }

    /// Connections that were ever made to it.
    pub fn connections(&self) -> u64 {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Requests that ever came.
    pub fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::SeqCst)
    }

    /// Bytes of `/zeros` bodies that it has given to its connection.
    pub fn sent(&self) -> u64 {
        self.seen.sent.load(Ordering::SeqCst)
    }

    /// Bytes that `/sink` has read.
    pub fn received(&self) -> u64 {
        self.seen.received.load(Ordering::SeqCst)
    }

    /// Lets one `/stream` send its second chunk.
    pub fn go_on(&self) {
        self.seen.chunks.add_permits(1);
    }

    /// Waits until a request hangs.
    pub async fn hangs(&self) {
        self.seen.hanging.acquire().await.unwrap().forget();
    }

    /// Waits until a request that hung was given up by whoever sent it.
    pub async fn was_aborted(&self) {
        self.seen.aborted.acquire().await.unwrap().forget();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        seen.connections.fetch_add(1, Ordering::SeqCst);
        let (seen, tls) = (seen.clone(), tls.clone());
        tokio::spawn(async move {
            let Some(tls) = tls else {
                return serve(stream, seen, None).await;
            };
            if let Ok(stream) = tls.accept(stream).await {
                let server_name = stream.get_ref().1.server_name().map(str::to_owned);
                serve(stream, seen, server_name).await;
            }
        });
    }
}

async fn serve<S>(stream: S, seen: Arc<Seen>, server_name: Option<String>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        let seen = seen.clone();
        request.extensions_mut().insert(server_name.clone());
        async move { Ok::<_, Infallible>(answer(&seen, request).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    // A client that goes away is no failure of the upstream.
    let _ = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
}

async fn answer(seen: &Arc<Seen>, mut request: Request<Incoming>) -> Response<Body> {
    seen.requests.fetch_add(1, Ordering::SeqCst);
    let path = request.uri().path().to_owned();
    if let Some(count) = path.strip_prefix("/zeros/") {
        return Response::new(zeros(count.parse().unwrap(), &seen.sent));
    }
    if let Some(status) = path.strip_prefix("/status/") {
        let mut response = Response::new(body(""));
        *response.status_mut() = StatusCode::from_bytes(status.as_bytes()).unwrap();
        return response;
    }
    match path.as_str() {
        "/stream" => {
            let seen = seen.clone();
            let second = stream::once(async move {
                seen.chunks.acquire().await.unwrap().forget();
                data("second")
            });
            let chunks = stream::iter([data("first")]).chain(second);
            Response::new(BodyExt::boxed(StreamBody::new(chunks)))
        }
        "/hang" => {
            let _aborted = Aborted(seen.clone());
            seen.hanging.add_permits(1);
            std::future::pending().await
        }
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let frames = stream::iter([data("message"), Ok(Frame::trailers(trailers))]);
            let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
            let names = HeaderValue::from_static("grpc-status");
            response.headers_mut().insert("trailer", names);
            response
        }
        "/upgrade" => {
            tokio::spawn(send_back(hyper::upgrade::on(&mut request)));
            Response::builder()
                .status(101)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-accept", "yes")
                .body(body(""))
                .unwrap()
        }
        "/sink" => {
            let mut bytes = 0;
            let mut incoming = request.into_body();
            while let Some(Ok(frame)) = incoming.frame().await {
                let more = frame.data_ref().map_or(0, Bytes::len) as u64;
                seen.received.fetch_add(more, Ordering::SeqCst);
                bytes += more;
            }
            Response::new(body(&bytes.to_string()))
        }
        _ => tell(seen, request).await,
    }
}

async fn tell(seen: &Seen, request: Request<Incoming>) -> Response<Body> {
    let (parts, incoming) = request.into_parts();
    let mut headers = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(name.to_string()).or_default().push(value);
    }
    let received = incoming.collect().await;
    let received = received.map(|all| all.to_bytes()).unwrap_or_default();
    let told = json!({
        "name": seen.name,
        "method": parts.method.as_str(),
        "target": parts.uri.path_and_query().map(ToString::to_string),
        "host": parts.headers.get("host").and_then(|host| host.to_str().ok())
            .or(parts.uri.authority().map(http::uri::Authority::as_str)),
        "server_name": parts.extensions.get::<Option<String>>(),
        "version": format!("{:?}", parts.version),
        "headers": headers,
        "body": String::from_utf8_lossy(&received),
    });
    let mut response = Response::new(body(&told.to_string()));
    for (name, value) in [
        ("server", seen.name),
        ("keep-alive", "timeout=5"),
        ("x-answer", "kept"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

struct Aborted(Arc<Seen>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.aborted.add_permits(1);
    }
}

async fn send_back(upgrade: hyper::upgrade::OnUpgrade) {
    if let Ok(upgraded) = upgrade.await {
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
        let _ = tokio::io::copy(&mut read, &mut write).await;
    }
}

type DataFrame = Result<Frame<Bytes>, Infallible>;

fn data(text: &'static str) -> DataFrame {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// So many zeros, in chunks that share their memory. `taken` counts those that were asked for.
pub fn zeros(count: u64, taken: &Arc<AtomicU64>) -> Body {
    static CHUNK: [u8; 64 << 10] = [0; 64 << 10];
    let size = CHUNK.len() as u64;
    let taken = taken.clone();
    let chunks = stream::iter((0..count.div_ceil(size)).map(move |index| {
        let length = size.min(count - index * size);
        taken.fetch_add(length, Ordering::SeqCst);
        let length = usize::try_from(length).unwrap();
        Ok(Frame::data(Bytes::from_static(&CHUNK[..length])))
    }));
    BodyExt::boxed(StreamBody::new(chunks))
}

/// A listener that closes what it accepts, with a reset.
#[derive(Debug)]
pub struct Resetter {
    pub address: SocketAddr,
    connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Resetter {
    /// Closes each connection once it has read `read` bytes: 0 is at once.
    pub async fn start(read: usize) -> Self {
        use tokio::io::AsyncReadExt;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicU64::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read_exact(&mut vec![0; read]).await;
            }
        });
        Self {
            address,
            connections,
            task,
        }
    }

    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Resetter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub async fn read(response: Response<Incoming>) -> Result<Self, hyper::Error> {
        let (parts, incoming) = response.into_parts();
        let collected = incoming.collect().await?;
        Ok(Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            trailers: collected.trailers().cloned(),
            body: collected.to_bytes(),
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// One connection.
#[derive(Debug)]
pub enum Connection {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Connection {
    pub async fn http1(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::http1_over(stream).await
    }

    /// Over a connection that somebody else has made.
    pub async fn http1_over<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        Self::Http1(sender)
    }

    pub async fn http2(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let executor = TokioExecutor::new();
        let (sender, connection) = http2::handshake(executor, TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Self::Http2(sender)
    }

    /// Whether the other side has not closed it.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Http1(sender) => !sender.is_closed(),
            Self::Http2(sender) => !sender.is_closed(),
        }
    }

    /// Sends a request and waits for the head of the response.
    pub async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// The same, to the end of the response.
    pub async fn ask(&mut self, request: Request<Body>) -> Answer {
        let response = self.send(request).await.unwrap();
        Answer::read(response).await.unwrap()
    }

    /// A GET, whose host is `a.com`.
    pub async fn get(&mut self, target: &str) -> Answer {
        let request = self.request("GET", target, "");
        self.ask(request).await
    }

    /// A request in the form of the connection's protocol.
    pub fn request(&self, method: &str, target: &str, text: &str) -> Request<Body> {
        let request = Request::builder().method(method);
        let request = match self {
            Self::Http1(_) => request.uri(target).header("host", "a.com"),
            Self::Http2(_) => request.uri(format!("http://a.com{target}")),
        };
        request.body(body(text)).unwrap()
    }
}
