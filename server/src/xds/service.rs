//! Owns the way from an HTTP/2 request to a stream's task. Must not know: sessions.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bellwether::wire::discovery::DeltaDiscoveryRequest;
use futures_util::future::{Ready, ready};
use http::{HeaderValue, Request, Response, header};
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codec::Streaming;
use tonic::server::NamedService;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Status};
use tonic_prost::ProstDecoder;
use tower::Service;

use super::Discovery;
use super::body::StreamBody;
use super::stream::Stream;

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
pub(super) struct DiscoveryService {
    discovery: Discovery,
}

impl DiscoveryService {
    pub(super) fn new(discovery: Discovery) -> Self {
        Self { discovery }
    }

    fn delta(&self, request: Request<Body>) -> Response<Body> {
        let address = request
            .extensions()
            .get::<TcpConnectInfo>()
            .and_then(TcpConnectInfo::remote_addr)
            .map_or_else(String::new, |address: SocketAddr| address.to_string());
        let decoder = ProstDecoder::<DeltaDiscoveryRequest>::default();
        let body = request.into_body();
        let requests = Streaming::new_request(decoder, body, None, Some(MAX_REQUEST_BYTES));
        let (outbox, frames) = mpsc::channel(OUTBOX);
        tokio::spawn(Stream::new(self.discovery.clone(), address, requests, outbox).run());
        let mut response = Response::new(Body::new(StreamBody::new(frames)));
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(header::CONTENT_TYPE, grpc);
        response
    }
}

impl NamedService for DiscoveryService {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
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
