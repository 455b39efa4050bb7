//! Owns one attempt on one connection: who may keep whom waiting for how long, as nginx measures it.
//! Must not know: endpoints, retries.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::metrics::UpstreamFailure;
use crate::proxy::forward::Outgoing;
use crate::upstream::request_body::{RequestBody, Turn, Upload};
use crate::upstream::{ConnectError, Lease};

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no connection")]
    Connect(#[source] ConnectError),
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("the endpoint took nothing for {0:?}")]
    SendTimeout(Duration),
    #[error("the endpoint sent nothing for {0:?}")]
    ReadTimeout(Duration),
    #[error("the connection broke before the response began")]
    Reset(#[source] hyper::Error),
    #[error("the client sent nothing of its body for {0:?}")]
    ClientTimeout(Duration),
    #[error("the client broke off its body")]
    ClientGone,
    #[error("the body is gone with the attempt before")]
    BodyGone,
}

impl Failure {
    /// What the client is answered if it ends here.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Connect(_) | Self::Reset(_) | Self::BodyGone => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout(_) | Self::SendTimeout(_) | Self::ReadTimeout(_) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::ClientTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::ClientGone => StatusCode::BAD_REQUEST,
        }
    }

    /// Whether another endpoint could do better.
    pub(super) fn may_repeat(&self) -> bool {
        match self {
            Self::Connect(_)
            | Self::ConnectTimeout(_)
            | Self::SendTimeout(_)
            | Self::ReadTimeout(_)
            | Self::Reset(_) => true,
            Self::ClientTimeout(_) | Self::ClientGone | Self::BodyGone => false,
        }
    }

    /// Whether a connection that had waited may simply have been closed.
    pub(super) fn is_stale(&self) -> bool {
        matches!(self, Self::Reset(_))
    }

    /// How it is counted; what the client did is no failure of an endpoint.
    pub(super) fn kind(&self) -> Option<UpstreamFailure> {
        match self {
            Self::Connect(_) => Some(UpstreamFailure::Connect),
            Self::ConnectTimeout(_) | Self::SendTimeout(_) | Self::ReadTimeout(_) => {
                Some(UpstreamFailure::Timeout)
            }
            Self::Reset(_) => Some(UpstreamFailure::Reset),
            Self::ClientTimeout(_) | Self::ClientGone | Self::BodyGone => None,
        }
    }
}

/// Sends a request and waits for the head of its response. With the failure comes the body, if
/// nothing of the request was sent.
pub(super) async fn send(
    lease: &mut Lease,
    request: Request<RequestBody>,
    upload: Option<&Upload>,
    outgoing: &Outgoing<'_>,
) -> Result<Response<Incoming>, (Failure, Option<RequestBody>)> {
    let began = Instant::now();
    let sending = lease.sender().send(request);
    let mut sending = std::pin::pin!(sending);
    // Whose turn it is changes without notice, so a look is due as often as the shortest limit.
    let timeouts = outgoing.timeouts;
    let shortest = match upload {
        Some(_) => timeouts
            .send
            .min(timeouts.read)
            .min(outgoing.client_body_timeout),
        None => timeouts.read,
    };
    let mut timer = std::pin::pin!(tokio::time::sleep_until(began + shortest));
    loop {
        tokio::select! {
            biased;
            outcome = &mut sending => return outcome.map_err(|mut error| {
                let unsent = error.take_message().map(Request::into_body);
                (reset(error.into_error()), unsent)
            }),
            () = &mut timer => {
                let now = Instant::now();
                let (at, failure) = deadline(upload, began, outgoing);
                if at <= now {
                    return Err((failure, None));
                }
                timer.as_mut().reset(at.min(now + shortest));
            }
        }
    }
}

/// A body that breaks off makes hyper give up the request; that is the client's doing.
fn reset(error: hyper::Error) -> Failure {
    if error.is_user() {
        return Failure::ClientGone;
    }
    Failure::Reset(error)
}

/// Until when the attempt may stand as it does now, and what it fails of then.
fn deadline(
    upload: Option<&Upload>,
    began: Instant,
    outgoing: &Outgoing<'_>,
) -> (Instant, Failure) {
    let timeouts = outgoing.timeouts;
    let (turn, since) = upload.map_or((Turn::Done, began), Upload::turn);
    match turn {
        Turn::Client => {
            let limit = outgoing.client_body_timeout;
            (since + limit, Failure::ClientTimeout(limit))
        }
        Turn::Endpoint => (since + timeouts.send, Failure::SendTimeout(timeouts.send)),
        Turn::Done => (since + timeouts.read, Failure::ReadTimeout(timeouts.read)),
    }
}
