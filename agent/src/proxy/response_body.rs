//! Owns a response's body on its way to the client, and what has to happen when it ends: the
//! connection goes back to its pool, the request is counted. Must not know: headers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::metrics::{Metrics, RouteStats, UpstreamFailure, UpstreamStats};
use crate::proxy::connection::Ongoing;
use crate::upstream::Lease;
use crate::upstream::request_body::Upload;

/// Why a response breaks off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The endpoint sent nothing for too long.
    #[error("the endpoint sent nothing for {0:?}")]
    ReadTimeout(Duration),
    /// The endpoint's connection broke.
    #[error("the endpoint's response broke off")]
    Endpoint(#[source] hyper::Error),
}

/// What a client gets.
#[derive(Debug)]
pub(super) struct ResponseBody {
    source: Source,
    record: Option<Record>,
}

#[derive(Debug)]
enum Source {
    Full(Bytes),
    Endpoint(Box<FromEndpoint>),
    Ended,
}

/// A response that comes in.
#[derive(Debug)]
pub(super) struct FromEndpoint {
    pub(super) incoming: Incoming,
    pub(super) lease: Lease,
    /// The request's body, which may still be on its way.
    pub(super) upload: Option<Arc<Upload>>,
    pub(super) stats: Arc<UpstreamStats>,
    pub(super) read_timeout: Duration,
    pub(super) timer: Option<Pin<Box<Sleep>>>,
}

/// Counts a request when its response has ended, however it ends.
#[derive(Debug)]
pub(super) struct Record {
    /// Held so that the connection is not taken for idle, and the drain waits.
    #[expect(dead_code, reason = "it counts for as long as it lives")]
    pub(super) ongoing: Ongoing,
    pub(super) began: std::time::Instant,
    pub(super) status: StatusCode,
    pub(super) metrics: Arc<Metrics>,
    /// `None` if no route took it.
    pub(super) route: Option<Arc<RouteStats>>,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.metrics.served(self.began.elapsed(), self.status);
        match &self.route {
            Some(route) => route.answered(self.status),
            None => self.metrics.unmatched.answered(self.status),
        }
    }
}

impl ResponseBody {
    pub(super) fn full(bytes: Bytes) -> Self {
        Self {
            source: Source::Full(bytes),
            record: None,
        }
    }

    pub(super) fn from_endpoint(from: FromEndpoint) -> Self {
        let source = if from.incoming.is_end_stream() {
            from.finish();
            Source::Ended
        } else {
            Source::Endpoint(Box::new(from))
        };
        Self {
            source,
            record: None,
        }
    }

    pub(super) fn recorded(mut self, record: Record) -> Self {
        self.record = Some(record);
        self
    }

    fn end(&mut self) {
        if let Source::Endpoint(from) = std::mem::replace(&mut self.source, Source::Ended) {
            from.finish();
        }
    }
}

impl FromEndpoint {
    /// The response was read to its end. The connection can serve again once the request was sent
    /// to its end too; an endpoint that answers early is not trusted to read the rest.
    fn finish(self) {
        if self.upload.is_none_or(|upload| upload.is_done()) {
            self.lease.release();
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                self.timer = None;
                Poll::Ready(frame.map(|frame| {
                    frame.map_err(|error| {
                        self.stats.failed(UpstreamFailure::Truncated);
                        BodyError::Endpoint(error)
                    })
                }))
            }
            Poll::Pending => {
                let timer = self.timer.get_or_insert_with(|| {
                    Box::pin(tokio::time::sleep_until(Instant::now() + self.read_timeout))
                });
                if timer.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.stats.failed(UpstreamFailure::Timeout);
                Poll::Ready(Some(Err(BodyError::ReadTimeout(self.read_timeout))))
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match &mut this.source {
            Source::Ended => Poll::Ready(None),
            Source::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                this.end();
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Source::Endpoint(from) => {
                let polled = from.poll(context);
                let ended = from.incoming.is_end_stream();
                match &polled {
                    Poll::Ready(None) => this.end(),
                    Poll::Ready(Some(Ok(_))) if ended => this.end(),
                    // Dropping the lease closes the connection.
                    Poll::Ready(Some(Err(_))) => this.source = Source::Ended,
                    Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Ended => true,
            Source::Full(bytes) => bytes.is_empty(),
            Source::Endpoint(from) => from.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Ended => SizeHint::with_exact(0),
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Endpoint(from) => from.incoming.size_hint(),
        }
    }
}
