//! Owns one connection, with TLS or without, and what it knows of its other end. Must not know: what is
//! said over it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::admission::Peer;
use crate::budget::Budgets;

/// How long a client may take for HTTP/2's preface; until it is there, there are no pings that would find
/// a connection that is dead.
const PREFACE_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of the preface (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;

/// What every stream of a connection may know and use of it.
#[derive(Clone, Default)]
pub(crate) struct Known {
    pub(crate) peer: Peer,
    pub(crate) budgets: Budgets,
}

/// A connection that was accepted.
pub(crate) struct Connection {
    io: Io,
    known: Known,
    /// Until the whole preface came.
    preface: Option<Preface>,
}

/// A preface that is still coming.
struct Preface {
    missing: usize,
    patience: Pin<Box<Sleep>>,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    pub(crate) fn plain(io: TcpStream, peer: Peer) -> Self {
        Self::new(Io::Plain(io), peer)
    }

    pub(crate) fn tls(io: TlsStream<TcpStream>, peer: Peer) -> Self {
        Self::new(Io::Tls(Box::new(io)), peer)
    }

    fn new(io: Io, peer: Peer) -> Self {
        Self {
            io,
            known: Known {
                peer,
                budgets: Budgets::default(),
            },
            preface: Some(Preface {
                missing: PREFACE_BYTES,
                patience: Box::pin(sleep(PREFACE_PATIENCE)),
            }),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Known;

    fn connect_info(&self) -> Known {
        self.known.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_read(cx, buf),
        };
        if let Some(preface) = &mut self.preface {
            let came = buf.filled().len() - before;
            preface.missing = preface.missing.saturating_sub(came);
            if preface.missing == 0 {
                self.preface = None;
            } else if read.is_pending() && preface.patience.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Io::Tls(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(cx, bytes),
            Io::Tls(io) => Pin::new(io).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
