//! Owns the way from an HTTP/2 request to a stream's task. Must not know: sessions.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bellwether::wire::discovery::DeltaDiscoveryRequest;
use futures_util::future::{Ready, ready};
use http::{HeaderValue, Request, Response, header};
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codec::Streaming;
use tonic::{Code, Status};
use tonic_prost::ProstDecoder;
use tower::Service;

use crate::Discovery;
use crate::admission::{Peer, Token};
use crate::body::StreamBody;
use crate::stream::Stream;

/// Bytes of one request. A node that resumes names everything it holds, with versions: 100,000
/// resources are some 6 MB (R81).
const MAX_REQUEST_BYTES: usize = 16 << 20;

/// Messages between a stream's task and its connection. One is written while the next is made; what
/// is newer waits in the session, where it coalesces.
const OUTBOX: usize = 1;

const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// Answers the methods of the aggregated discovery service.
#[derive(Clone, Debug)]
pub(crate) struct DiscoveryService {
    discovery: Discovery,
}

impl DiscoveryService {
    pub(crate) fn new(discovery: Discovery) -> Self {
        Self { discovery }
    }

    fn delta(&self, request: Request<Body>) -> Response<Body> {
        let peer = peer(&request);
        let decoder = ProstDecoder::<DeltaDiscoveryRequest>::default();
        let body = request.into_body();
        let requests = Streaming::new_request(decoder, body, None, Some(MAX_REQUEST_BYTES));
        let (outbox, frames) = mpsc::channel(OUTBOX);
        tokio::spawn(Stream::new(self.discovery.clone(), peer, requests, outbox).run());
        let mut response = Response::new(Body::new(StreamBody::new(frames)));
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(header::CONTENT_TYPE, grpc);
        response
    }
}

/// What the connection knows of its other end, and what this stream brought with it.
fn peer(request: &Request<Body>) -> Peer {
    let connection = request.extensions().get::<Peer>().cloned();
    Peer {
        token: request.headers().get(header::AUTHORIZATION).and_then(token),
        ..connection.unwrap_or_default()
    }
}

/// `Bearer` and the token (RFC 6750); the scheme's case does not matter (RFC 9110).
fn token(value: &HeaderValue) -> Option<Token> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Token::from(token))
}

impl Service<Request<Body>> for DiscoveryService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let response = match request.uri().path() {
            DELTA => self.delta(request),
            other => {
                let text = format!("{other} is not served here; {DELTA} is");
                Status::new(Code::Unimplemented, text).into_http()
            }
        };
        ready(Ok(response))
    }
}
