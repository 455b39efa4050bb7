//! Owns what becomes of one request: match, refuse or forward. Must not know: connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http::header::HOST;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;

use crate::proxy::connection::{self, Client, Ongoing};
use crate::proxy::forward::{self, Begun, Outgoing};
use crate::proxy::response_body::{FromEndpoint, Record, ResponseBody};
use crate::proxy::{answer, headers, tunnel};
use crate::table::host::host_of;
use crate::table::normalize::normalize;
use crate::table::route::{Action, Route};
use crate::table::router::Candidate;
use crate::upstream::Upstream;
use crate::upstream::request_body::RequestBody;
use crate::variable::View;

/// Answers a request. It always does: what goes wrong has a status.
pub(super) async fn answer(
    client: &Arc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let ongoing = Ongoing::new(client);
    let began = Instant::now();
    let (mut parts, body) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let mut route = None;
    let response = route_and_forward(client, &parts, body, upgrade, &mut route).await;
    let record = Record {
        ongoing,
        began,
        status: response.status(),
        metrics: client.proxy.metrics.clone(),
        route: route.map(|route: Arc<Route>| route.stats.clone()),
    };
    Ok(response.map(|body| body.recorded(record)))
}

async fn route_and_forward(
    client: &Arc<Client>,
    parts: &Parts,
    body: Incoming,
    upgrade: Option<OnUpgrade>,
    taken: &mut Option<Arc<Route>>,
) -> Response<ResponseBody> {
    // A tunnel through the proxy to anywhere is not what routes are for.
    if parts.method == Method::CONNECT {
        return answer::error(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Some(raw_host) = raw_host(parts).filter(|host| is_host(host)) else {
        return answer::error(StatusCode::BAD_REQUEST);
    };
    let Ok(path) = normalize(parts.uri.path()) else {
        return answer::error(StatusCode::BAD_REQUEST);
    };
    let host = host_of(raw_host);
    let view = View {
        parts,
        path: &path,
        host: &host,
        raw_host,
        client: client.address,
        local: client.local,
        secure: client.secure,
        matched: None,
    };
    let (candidate, upstream) = match decide(client, &view, taken) {
        Ok(found) => found,
        Err(refusal) => return *refusal,
    };
    let view = View {
        matched: Some((&candidate.route, &candidate.pattern)),
        ..view
    };
    let upgrade = upgrade.filter(|_| {
        candidate.route.websocket
            && !upstream.cluster.http2()
            && headers::wants_websocket(&parts.headers)
    });
    let mut headers = parts.headers.clone();
    headers::to_endpoint(&mut headers, &view);
    if upgrade.is_some() {
        headers::upgrade(&mut headers);
    }
    let timeouts = candidate
        .route
        .timeouts
        .unwrap_or(upstream.cluster.timeouts);
    let outgoing = Outgoing {
        view,
        headers,
        timeouts,
        client_body_timeout: client.proxy.config.body_timeout,
    };
    let body = RequestBody::from_client(body);
    match forward::forward(&upstream, &outgoing, body).await {
        Ok(begun) => respond(client, &upstream, &outgoing, begun, upgrade),
        Err(status) => answer::error(status),
    }
}

/// HTTP/2 and the absolute form name the host in the target, and that outranks the header
/// (RFC 9112 §3.2.2). HTTP/1.1 demands exactly one; `None` is a bad request.
fn raw_host(parts: &Parts) -> Option<&str> {
    if let Some(authority) = parts.uri.authority() {
        let text = authority.as_str();
        return Some(text.rsplit_once('@').map_or(text, |(_, host)| host));
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        (None, _) if parts.version != Version::HTTP_11 => Some(""),
        _ => None,
    }
}

/// Whether a Host is one (RFC 9110 §7.2: host and port), or empty. What else stands there may be read
/// as something else by whoever gets it next.
fn is_host(text: &str) -> bool {
    text.bytes()
        .all(|letter| letter.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&letter))
}

type Decided = (Candidate, Arc<Upstream>);

/// Finds where a request goes, in the table that is in force at this moment. The request keeps what
/// it found, whatever is put in force while it is on its way.
fn decide(
    client: &Client,
    view: &View<'_>,
    taken: &mut Option<Arc<Route>>,
) -> Result<Decided, Box<Response<ResponseBody>>> {
    let table = client.proxy.table.load();
    let refuse = |answer| Err(Box::new(answer));
    let Some(candidate) = table.find(view) else {
        return refuse(match table.is_closed() {
            true => unsupported(client),
            false => answer::error(StatusCode::NOT_FOUND),
        });
    };
    let route = &candidate.route;
    *taken = Some(route.clone());
    if table.is_closed() || !route.unsupported.is_empty() {
        return refuse(unsupported(client));
    }
    match &route.action {
        Action::Respond(status) => refuse(answer::error(*status)),
        Action::Forward(cluster) => match table.upstream(cluster) {
            Some(upstream) if !upstream.is_empty() => Ok((candidate.clone(), upstream.clone())),
            // Its cluster is on its way, or has no endpoint that takes requests.
            Some(_) | None => refuse(answer::error(StatusCode::SERVICE_UNAVAILABLE)),
        },
    }
}

fn unsupported(client: &Client) -> Response<ResponseBody> {
    let metrics = &client.proxy.metrics;
    metrics.unsupported.fetch_add(1, Ordering::Relaxed);
    answer::with_message(
        StatusCode::SERVICE_UNAVAILABLE,
        "503 Service Unavailable: a plugin of this route does not run on this proxy",
    )
}

fn respond(
    client: &Client,
    upstream: &Upstream,
    outgoing: &Outgoing<'_>,
    begun: Begun,
    upgrade: Option<OnUpgrade>,
) -> Response<ResponseBody> {
    let Begun {
        mut response,
        lease,
        upload,
    } = begun;
    let idle = outgoing.timeouts.read;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(of_client) = upgrade else {
            // Nobody asked for it.
            return answer::error(StatusCode::BAD_GATEWAY);
        };
        let of_endpoint = hyper::upgrade::on(&mut response);
        let metrics = client.proxy.metrics.clone();
        connection::beside(client, async move {
            let _busy = lease;
            let (of_client, of_endpoint) = tokio::join!(of_client, of_endpoint);
            if let (Ok(of_client), Ok(of_endpoint)) = (of_client, of_endpoint) {
                tunnel::run(of_client, of_endpoint, idle, &metrics.tunnels).await;
            }
        });
        let (mut parts, _) = response.into_parts();
        headers::remove_hop_by_hop(&mut parts.headers);
        headers::upgrade(&mut parts.headers);
        return Response::from_parts(parts, ResponseBody::full(bytes::Bytes::new()));
    }
    let (mut parts, incoming) = response.into_parts();
    parts.version = Version::HTTP_11;
    let reason = parts.extensions.remove::<ReasonPhrase>();
    parts.extensions = http::Extensions::new();
    if let Some(reason) = reason {
        parts.extensions.insert(reason);
    }
    headers::remove_hop_by_hop(&mut parts.headers);
    let body = ResponseBody::from_endpoint(FromEndpoint {
        incoming,
        lease,
        upload,
        stats: upstream.stats.clone(),
        read_timeout: idle,
        timer: None,
    });
    Response::from_parts(parts, body)
}
