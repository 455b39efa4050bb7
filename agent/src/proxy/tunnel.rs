//! Owns a connection that was upgraded: bytes both ways, until one side ends or nothing moves for
//! too long. Must not know: what the bytes mean.

use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes in flight each way.
const BUFFER_BYTES: usize = 16 << 10;

/// Carries bytes until both sides are done, or one breaks, or nothing moved for `idle`.
/// `open` counts those that run.
pub(super) async fn run(client: Upgraded, endpoint: Upgraded, idle: Duration, open: &AtomicI64) {
    let _open = Open::new(open);
    let (client_read, client_write) = tokio::io::split(TokioIo::new(client));
    let (endpoint_read, endpoint_write) = tokio::io::split(TokioIo::new(endpoint));
    let moved = AtomicU64::new(0);
    let both = async {
        tokio::try_join!(
            pump(client_read, endpoint_write, &moved),
            pump(endpoint_read, client_write, &moved),
        )
    };
    tokio::select! {
        _ = both => {}
        () = idle_for(idle, &moved) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        moved.fetch_add(1, Ordering::Relaxed);
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
        moved.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ends once nothing moved for a whole period: after one to two periods of silence.
async fn idle_for(period: Duration, moved: &AtomicU64) {
    let mut before = moved.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(period).await;
        let now = moved.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}

struct Open<'a>(&'a AtomicI64);

impl<'a> Open<'a> {
    fn new(open: &'a AtomicI64) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
