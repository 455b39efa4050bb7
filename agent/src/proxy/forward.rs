//! Owns the forwarding of one request: attempts, retries, timeouts (`docs/apisix.md` §3.4).
//! Must not know: how the route was found.
//!
//! When another endpoint is tried: an attempt that could not connect is always followed by another
//! one, because nothing was sent. One that failed later is only if the request has no body and may
//! be repeated (nginx's default: not POST, LOCK, PATCH), because bodies are streamed and not kept.
//! One that failed on a connection that had served before says little of the endpoint, which may
//! have closed it at that moment: it is repeated on a fresh connection and does not count.

use std::sync::Arc;
use std::time::Instant;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use crate::metrics::UpstreamFailure;
use crate::proxy::attempt::{self, Failure};
use crate::table::cluster::Host;
use crate::table::timeouts::Timeouts;
use crate::upstream::request_body::{RequestBody, Upload};
use crate::upstream::{Lease, Peer, Tried, Upstream};
use crate::variable::View;

/// A request that is ready to go to an endpoint, but for what depends on which.
pub(super) struct Outgoing<'a> {
    pub(super) view: View<'a>,
    /// Already an endpoint's (see `headers`).
    pub(super) headers: HeaderMap,
    pub(super) timeouts: Timeouts,
    pub(super) client_body_timeout: std::time::Duration,
}

/// A response that began.
pub(super) struct Begun {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Lease,
    pub(super) upload: Option<Arc<Upload>>,
}

/// Sends a request to an endpoint, and to others while that fails. The error is the answer's status.
pub(super) async fn forward(
    upstream: &Upstream,
    outgoing: &Outgoing<'_>,
    body: RequestBody,
) -> Result<Begun, StatusCode> {
    let began = Instant::now();
    let mut tried = Tried::default();
    let mut retries = upstream.retries();
    let mut body = Some(body);
    let mut last = None;
    loop {
        let hash = || upstream.cluster.hash_key.of(&outgoing.view);
        let Some(peer) = upstream.pick(&mut tried, hash) else {
            // All were tried, or there are none.
            return Err(last.unwrap_or(StatusCode::SERVICE_UNAVAILABLE));
        };
        let failure = match to_peer(upstream, peer, outgoing, &mut body).await {
            Ok(begun) => return Ok(begun),
            Err(failure) => failure,
        };
        let status = failure.status();
        if !failure.may_repeat() || body.is_none() || retries == 0 {
            return Err(status);
        }
        let limit = upstream.cluster.retry_timeout;
        if limit.is_some_and(|limit| began.elapsed() >= limit) {
            return Err(StatusCode::BAD_GATEWAY);
        }
        retries -= 1;
        last = Some(status);
    }
}

async fn to_peer(
    upstream: &Upstream,
    peer: &Arc<Peer>,
    outgoing: &Outgoing<'_>,
    body: &mut Option<RequestBody>,
) -> Result<Begun, Failure> {
    let mut fresh = false;
    loop {
        let outcome = once(upstream, peer, outgoing, body, fresh).await;
        let Err((failure, reused)) = outcome else {
            return outcome.map_err(|(failure, _)| failure);
        };
        // A connection that waited may have been closed under our hands.
        if reused && body.is_some() && failure.is_stale() {
            fresh = true;
            continue;
        }
        if let Some(kind) = failure.kind() {
            upstream.stats.failed(kind);
        }
        log(upstream, peer, &failure);
        return Err(failure);
    }
}

async fn once(
    upstream: &Upstream,
    peer: &Arc<Peer>,
    outgoing: &Outgoing<'_>,
    body: &mut Option<RequestBody>,
    fresh: bool,
) -> Result<Begun, (Failure, bool)> {
    let host = host(upstream, peer, &outgoing.view);
    let server_name = crate::table::host::host_of(host.to_str().unwrap_or_default());
    let leased = peer.lease(upstream, &server_name, fresh);
    let mut lease = match tokio::time::timeout(outgoing.timeouts.connect, leased).await {
        Ok(Ok(lease)) => lease,
        Ok(Err(error)) => return Err((Failure::Connect(error), false)),
        Err(_) => return Err((Failure::ConnectTimeout(outgoing.timeouts.connect), false)),
    };
    let reused = lease.reused;
    let Some(taken) = body.take() else {
        return Err((Failure::BodyGone, reused));
    };
    let empty = matches!(taken, RequestBody::Empty);
    let upload = taken.upload().cloned();
    let request = request(upstream, outgoing, host, taken);
    match attempt::send(&mut lease, request, upload.as_deref(), outgoing).await {
        Ok(response) => {
            lease.answered();
            Ok(Begun {
                response,
                lease,
                upload,
            })
        }
        Err((failure, unsent)) => {
            *body = match unsent {
                Some(unsent) if !unsent.is_touched() => Some(unsent),
                _ => (empty && is_repeatable(&outgoing.view.parts.method))
                    .then_some(RequestBody::Empty),
            };
            Err((failure, reused))
        }
    }
}

/// nginx's `proxy_next_upstream` without `non_idempotent`.
fn is_repeatable(method: &Method) -> bool {
    *method != Method::POST && *method != Method::PATCH && method.as_str() != "LOCK"
}

fn log(upstream: &Upstream, peer: &Peer, failure: &Failure) {
    if failure.kind() == Some(UpstreamFailure::Connect) {
        tracing::info!(
            cluster = %upstream.cluster.name,
            endpoint = %peer.authority(0),
            error = failure as &dyn std::error::Error,
            "an attempt failed"
        );
    } else {
        tracing::debug!(
            cluster = %upstream.cluster.name,
            endpoint = %peer.authority(0),
            error = failure as &dyn std::error::Error,
            "an attempt failed"
        );
    }
}

/// The Host that this endpoint sees (§3.4).
fn host(upstream: &Upstream, peer: &Peer, view: &View<'_>) -> HeaderValue {
    match &upstream.cluster.host {
        Host::Rewrite(host) => host.clone(),
        Host::Pass if !view.raw_host.is_empty() => {
            HeaderValue::from_str(view.raw_host).unwrap_or_else(|_| own_host(upstream, peer))
        }
        // An HTTP/1.0 client need not name a host.
        Host::Pass | Host::Node => own_host(upstream, peer),
    }
}

fn own_host(upstream: &Upstream, peer: &Peer) -> HeaderValue {
    let authority = peer.authority(upstream.cluster.default_port());
    HeaderValue::try_from(authority).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
}

/// The target goes as the client sent it, only its form fits the protocol.
fn request(
    upstream: &Upstream,
    outgoing: &Outgoing<'_>,
    host: HeaderValue,
    body: RequestBody,
) -> Request<RequestBody> {
    let parts = outgoing.view.parts;
    let target = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.headers_mut() = outgoing.headers.clone();
    if upstream.cluster.http2() {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(if upstream.cluster.tls.is_some() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        });
        uri.authority = Authority::try_from(host.as_bytes()).ok();
        uri.path_and_query = Some(target);
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().remove(HOST);
        if let Ok(uri) = Uri::from_parts(uri) {
            *request.uri_mut() = uri;
        }
    } else {
        request.headers_mut().insert(HOST, host);
        *request.uri_mut() = Uri::from(target);
    }
    request
}
