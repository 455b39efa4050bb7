//! Owns an HTTP/2 client whose streams carry any bytes as gRPC, read or unread. Must not know: what is
//! right.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::harness::programs::PATIENCE;

pub const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
pub const SOTW: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
pub const STATUS: &str = "/envoy.service.status.v3.ClientStatusDiscoveryService/StreamClientStatus";

/// What the server may send without being read, in bytes a stream.
const SMALL_WINDOW: u32 = 1024;
const LARGE_WINDOW: u32 = 4 << 20;

type Body = StreamBody<tokio_stream::adapters::Map<ReceiverStream<Bytes>, fn(Bytes) -> Sent>>;
type Sent = Result<Frame<Bytes>, Infallible>;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    requests: SendRequest<Body>,
}

/// A stream of it.
#[derive(Debug)]
pub struct Call {
    bytes: Option<mpsc::Sender<Bytes>>,
    response: Response<Incoming>,
}

impl Connection {
    /// One that takes little before it is read.
    pub async fn open(server: SocketAddr) -> Self {
        Self::with_window(server, SMALL_WINDOW).await
    }

    /// One that reads what comes.
    pub async fn reading(server: SocketAddr) -> Self {
        Self::with_window(server, LARGE_WINDOW).await
    }

    async fn with_window(server: SocketAddr, window: u32) -> Self {
        let io = TokioIo::new(TcpStream::connect(server).await.unwrap());
        let (requests, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .max_concurrent_reset_streams(100_000)
            .handshake(io)
            .await
            .unwrap();
        // It ends with either side.
        tokio::spawn(connection);
        Self { requests }
    }

    /// Opens a stream; nothing is said yet. The error is the connection's.
    pub async fn call(&mut self, path: &str) -> Result<Call, hyper::Error> {
        self.call_with(path, &[]).await
    }

    pub async fn call_with(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Call, hyper::Error> {
        let (bytes, outbox) = mpsc::channel(16);
        let frame: fn(Bytes) -> Sent = |bytes| Ok(Frame::data(bytes));
        let mut request = Request::post(format!("http://server{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = StreamBody::new(ReceiverStream::new(outbox).map(frame));
        self.requests.ready().await?;
        let response = self.requests.send_request(request.body(body).unwrap());
        let response = response.await?;
        Ok(Call {
            bytes: Some(bytes),
            response,
        })
    }

    /// Begins a stream and gives it up at once.
    pub async fn reset(&mut self) -> Result<(), hyper::Error> {
        self.requests.ready().await?;
        let (_bytes, outbox) = mpsc::channel(1);
        let frame: fn(Bytes) -> Sent = |bytes| Ok(Frame::data(bytes));
        let body = StreamBody::new(ReceiverStream::new(outbox).map(frame));
        let request = Request::post(format!("http://server{DELTA}"));
        let response = self.requests.send_request(request.body(body).unwrap());
        // Polled once, so that it is sent.
        let _ = timeout(std::time::Duration::ZERO, response).await;
        Ok(())
    }
}

impl Call {
    /// These bytes as they are. `false`: nobody takes them any more.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> bool {
        let outbox = self.bytes.as_ref().unwrap();
        outbox.send(bytes.into()).await.is_ok()
    }

    /// Sends all of this for as long as anybody takes it, while others do something else.
    pub fn flood(&self, all: impl Iterator<Item = Bytes> + Send + 'static) {
        let outbox = self.bytes.clone().unwrap();
        tokio::spawn(async move {
            for bytes in all {
                if outbox.send(bytes).await.is_err() {
                    return;
                }
            }
        });
    }

    /// A whole message.
    pub async fn say(&self, message: &impl Message) -> bool {
        self.send(framed(&message.encode_to_vec())).await
    }

    /// Ends its half of the stream.
    pub fn hang_up(mut self) -> Self {
        self.bytes = None;
        self
    }

    /// A header of the response.
    pub fn header(&self, name: &str) -> &str {
        let value = self.response.headers().get(name);
        value.unwrap().to_str().unwrap()
    }

    /// How the stream ends, whatever came before.
    pub async fn end(self) -> Status {
        let headers = self.response.headers().clone();
        let ended = timeout(PATIENCE, self.response.into_body().collect()).await;
        let ended = match ended.expect("the stream ends") {
            Ok(ended) => ended,
            Err(error) => return Status::unknown(error.to_string()),
        };
        let trailers = ended.trailers().cloned().unwrap_or(headers);
        Status::from_header_map(&trailers)
            .unwrap_or_else(|| Status::new(Code::Unknown, "no status"))
    }

    /// The next bytes of the response.
    pub async fn hear(&mut self) -> Option<Bytes> {
        let frame = timeout(PATIENCE, self.response.body_mut().frame()).await;
        frame.expect("a response comes")?.ok()?.into_data().ok()
    }
}

/// A gRPC message: not compressed, its length, itself.
pub fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}
