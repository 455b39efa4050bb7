//! Owns what is sent to an endpoint as a request's body, and where that stands, so that it can be
//! told who keeps whom waiting. Must not know: timeouts' lengths.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

/// A request's body on its way.
#[derive(Debug)]
pub enum RequestBody {
    /// There is none.
    Empty,
    /// The client's, as it comes in.
    Stream {
        /// What comes in.
        incoming: Incoming,
        /// Where it stands.
        upload: Arc<Upload>,
    },
}

/// Where a body stands.
#[derive(Debug)]
pub struct Upload {
    began: Instant,
    moved_ms: AtomicU64,
    waiting_for_client: AtomicBool,
    done: AtomicBool,
    touched: AtomicBool,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The client has to send more.
    Client,
    /// The endpoint has to take what is there.
    Endpoint,
    /// All is sent.
    Done,
}

impl Upload {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            moved_ms: AtomicU64::new(0),
            waiting_for_client: AtomicBool::new(false),
            done: AtomicBool::new(false),
            touched: AtomicBool::new(false),
        }
    }

    /// Whose turn it is, and since when.
    #[must_use]
    pub fn turn(&self) -> (Turn, Instant) {
        let since = self.began + Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
        let turn = if self.is_done() {
            Turn::Done
        } else if self.waiting_for_client.load(Ordering::Relaxed) {
            Turn::Client
        } else {
            Turn::Endpoint
        };
        (turn, since)
    }

    /// Whether the body has been read to its end.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    fn moved(&self, waiting_for_client: bool) {
        self.touched.store(true, Ordering::Relaxed);
        let was_waiting = self
            .waiting_for_client
            .swap(waiting_for_client, Ordering::Relaxed);
        // To be asked again while waiting is no progress.
        if !(was_waiting && waiting_for_client) {
            let since = self.began.elapsed().as_millis();
            let since = u64::try_from(since).unwrap_or(u64::MAX);
            self.moved_ms.store(since, Ordering::Relaxed);
        }
    }

    fn finish(&self) {
        self.moved(false);
        self.done.store(true, Ordering::Release);
    }
}

impl RequestBody {
    /// The client's body, or nothing if it is known to be empty.
    #[must_use]
    pub fn from_client(incoming: Incoming) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        Self::Stream {
            incoming,
            upload: Arc::new(Upload::new()),
        }
    }

    /// Where it stands; `None` if there is nothing to send.
    #[must_use]
    pub fn upload(&self) -> Option<&Arc<Upload>> {
        match self {
            Self::Empty => None,
            Self::Stream { upload, .. } => Some(upload),
        }
    }

    /// Whether some of it may have been sent already.
    #[must_use]
    pub fn is_touched(&self) -> bool {
        self.upload()
            .is_some_and(|upload| upload.touched.load(Ordering::Relaxed))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self::Stream { incoming, upload } = self.get_mut() else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *incoming).poll_frame(context);
        if polled.is_pending() {
            upload.moved(true);
        }
        let frame = ready!(polled);
        match &frame {
            Some(Ok(_)) if !incoming.is_end_stream() => upload.moved(false),
            Some(_) | None => upload.finish(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream { incoming, .. } => incoming.size_hint(),
        }
    }
}
