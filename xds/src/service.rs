//! Owns the way from an HTTP/2 request to a stream's task. Must not know: sessions.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bellwether::encoding::Transport;
use bellwether::name::TypeUrl;
use bellwether::wire::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use bytes::Bytes;
use futures_util::future::{Ready, ready};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use prost::Message;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Status};
use tower::Service;

use crate::Discovery;
use crate::admission::Token;
use crate::body::{Outbound, StreamBody};
use crate::connection::Known;
use crate::csds::Call;
use crate::inbox::Inbox;
use crate::method::Method;
use crate::quiet::Quiet;
use crate::report;
use crate::stream::Stream;
use crate::weight::Weighed;

/// Messages between a stream's task and its connection. One is written while the next is made; what
/// is newer waits in the session, where it coalesces.
const OUTBOX: usize = 1;

/// gRPC's headers for compression, and the one way we have.
const ACCEPTED: &str = "grpc-accept-encoding";
const ENCODING: &str = "grpc-encoding";
const GZIP: &str = "gzip";
const IDENTITY: &str = "identity";

/// Answers the methods of the discovery services, in a server of your own: beside services of yours, or
/// behind layers of yours. It finds its methods by their path, so make it the fallback of a router;
/// what it does not know it answers with `UNIMPLEMENTED`, as gRPC wants it.
///
/// What [`crate::serve`] does besides is yours then: pings (R105), an end for connections that say
/// nothing, and TLS. It knows callers by address and token, not by certificate, and what bounds the
/// memory of a connection bounds that of each request here.
#[derive(Clone, Debug)]
pub struct DiscoveryService {
    discovery: Discovery,
    endings: Arc<Quiet>,
}

impl DiscoveryService {
    /// Serves this.
    #[must_use]
    pub fn new(discovery: Discovery) -> Self {
        Self {
            discovery,
            endings: Arc::default(),
        }
    }

    fn stream<R: crate::request::Request>(
        &self,
        only: Option<TypeUrl>,
        request: Request<Body>,
    ) -> Response<Body> {
        let accepts_gzip = accepts_gzip(request.headers());
        let (known, requests) = parts::<R>(request);
        let (outbox, mut response) = streaming();
        if accepts_gzip {
            let gzip = HeaderValue::from_static(GZIP);
            response.headers_mut().insert(ENCODING, gzip);
        }
        let stream = Stream {
            discovery: self.discovery.clone(),
            endings: self.endings.clone(),
            peer: known.peer,
            names: known.budgets.names.share(),
            only,
            accepts_gzip,
            requests,
            outbox,
        };
        tokio::spawn(stream.run());
        response
    }

    fn client_status(&self, is_fetch: bool, request: Request<Body>) -> Response<Body> {
        let (known, requests) = parts(request);
        let (outbox, response) = streaming();
        let call = Call {
            discovery: self.discovery.clone(),
            peer: known.peer,
            requests,
            outbox,
            is_fetch,
        };
        tokio::spawn(call.run());
        response
    }

    fn reports(&self, request: Request<Body>) -> Response<Body> {
        let (known, reports) = parts(request);
        let (outbox, response) = streaming();
        let call = report::Call {
            discovery: self.discovery.clone(),
            peer: known.peer,
            reports,
            outbox,
        };
        tokio::spawn(call.run());
        response
    }
}

/// Whether responses may be compressed; each says of itself whether it is.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPTED).iter();
    accepted
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|encoding| encoding.trim() == GZIP)
}

/// Who asks, and what.
fn parts<R: Message + Default + Weighed>(request: Request<Body>) -> (Known, Inbox<R>) {
    let known = known(&request);
    let share = known.budgets.unfinished.share();
    let encoding = request.headers().get(ENCODING);
    let is_encoded = encoding.is_some_and(|named| named != IDENTITY);
    (known, Inbox::new(request.into_body(), share, is_encoded))
}

/// A response that is what is put into its outbox.
fn streaming() -> (mpsc::Sender<Outbound>, Response<Body>) {
    let (outbox, frames) = mpsc::channel(OUTBOX);
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    // Requests are read as they are: a small one could become a very large one.
    let plain = HeaderValue::from_static(IDENTITY);
    response.headers_mut().insert(ACCEPTED, plain);
    (outbox, response)
}

fn unimplemented(text: String) -> Response<Body> {
    Status::new(Code::Unimplemented, text).into_http()
}

/// What the connection knows of its other end, and what this stream brought with it.
fn known(request: &Request<Body>) -> Known {
    let mut known = match request.extensions().get::<Known>() {
        Some(known) => known.clone(),
        None => elsewhere(request),
    };
    known.peer.token = token(request.headers());
    known
}

/// In a server that is not ours.
fn elsewhere(request: &Request<Body>) -> Known {
    let mut known = Known::default();
    let connection = request.extensions().get::<TcpConnectInfo>();
    known.peer.address = connection.and_then(TcpConnectInfo::remote_addr);
    known
}

/// `Bearer` and the token (RFC 6750); the scheme's case does not matter (RFC 9110). Of several, none: it
/// is not ours to choose who the caller is.
fn token(headers: &HeaderMap) -> Option<Token> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Token::from(token))
}

impl<B> Service<Request<B>> for DiscoveryService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let request = request.map(Body::new);
        let path = request.uri().path();
        let response = match Method::of(path) {
            Method::Stream(Transport::Delta, only) => {
                self.stream::<DeltaDiscoveryRequest>(only, request)
            }
            Method::Stream(Transport::Sotw, only) => self.stream::<DiscoveryRequest>(only, request),
            Method::ClientStatus { is_fetch } => self.client_status(is_fetch, request),
            Method::Reports => self.reports(request),
            Method::Fetch => unimplemented(format!(
                "{path} would have to be polled and is not served; its Stream and Delta methods are"
            )),
            Method::Unknown => unimplemented(format!(
                "{path} is not served here; the aggregated discovery service, those for clusters, endpoints, listeners, routes and secrets, client status and reports are"
            )),
        };
        ready(Ok(response))
    }
}
