//! Owns the accepting of connections: goes on when it fails, without haste, and says so; and the TLS
//! handshakes, of which none makes another wait. Must not know: what is said over connections.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, warn};

use crate::admission::Peer;
use crate::certificate::Certificate;
use crate::connection::Connection;
use crate::tls::Tls;

/// How long to wait when no connection can be accepted. It is most often for want of file descriptors,
/// and trying at once would burn a core until one is free.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a handshake may take: two round trips and some computing.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// Handshakes at once, some 10 KB each. When there are more, the oldest is given up: it is the one most
/// likely never to end, and whoever is honest needs but a moment.
const MAX_HANDSHAKES: usize = 512;

/// At most one line of the log in this time is about handshakes that failed.
const FAILURES_EVERY: Duration = Duration::from_secs(10);

/// The connections of a listener, ready to be spoken over. It never ends.
pub(crate) fn connections(
    listener: TcpListener,
    tls: Option<Tls>,
) -> impl Stream<Item = io::Result<Connection>> {
    let door = Door {
        listener,
        tls,
        handshakes: JoinSet::new(),
        oldest: VecDeque::new(),
        failures: Failures::default(),
    };
    stream::unfold(door, |mut door| async {
        Some((Ok(door.next().await), door))
    })
}

struct Door {
    listener: TcpListener,
    tls: Option<Tls>,
    handshakes: JoinSet<Result<Connection, Failed>>,
    /// Those that are under way, and some that are over.
    oldest: VecDeque<AbortHandle>,
    failures: Failures,
}

/// A handshake that came to nothing, and why.
struct Failed {
    peer: Peer,
    reason: String,
}

impl Door {
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next() => match done {
                    Ok(Ok(connection)) => return connection,
                    Ok(Err(failed)) => self.failures.add(&failed),
                    // It was given up.
                    Err(_) => {}
                },
                connection = accept(&self.listener) => {
                    let peer = Peer {
                        address: connection.peer_addr().ok(),
                        ..Peer::default()
                    };
                    match &self.tls {
                        None => return Connection::plain(connection, peer),
                        Some(tls) => {
                            let acceptor = TlsAcceptor::from(tls.newest());
                            self.begin(acceptor, connection, peer);
                        }
                    }
                }
            }
        }
    }

    fn begin(&mut self, acceptor: TlsAcceptor, connection: TcpStream, peer: Peer) {
        while self.oldest.front().is_some_and(AbortHandle::is_finished) {
            self.oldest.pop_front();
        }
        if self.oldest.len() >= MAX_HANDSHAKES
            && let Some(oldest) = self.oldest.pop_front()
        {
            oldest.abort();
        }
        let task = self.handshakes.spawn(handshake(acceptor, connection, peer));
        self.oldest.push_back(task);
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    connection: TcpStream,
    mut peer: Peer,
) -> Result<Connection, Failed> {
    let done = timeout(HANDSHAKE_PATIENCE, acceptor.accept(connection)).await;
    let reason = match done {
        Ok(Ok(connection)) => {
            let (_, session) = connection.get_ref();
            let shown = session.peer_certificates().and_then(|chain| chain.first());
            peer.certificate = shown.map(|der| Arc::new(Certificate::read(der)));
            return Ok(Connection::tls(connection, peer));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not done in {} s", HANDSHAKE_PATIENCE.as_secs()),
    };
    Err(Failed { peer, reason })
}

/// Counts what fails, so that whoever wants to fill the log can't.
#[derive(Default)]
struct Failures {
    unsaid: u64,
    said: Option<Instant>,
}

impl Failures {
    fn add(&mut self, failed: &Failed) {
        let address = failed.peer.address.map(tracing::field::display);
        let reason = &failed.reason;
        debug!(address, reason, "TLS handshake failed");
        self.unsaid += 1;
        if self.said.is_none_or(|said| said.elapsed() > FAILURES_EVERY) {
            warn!(
                count = self.unsaid,
                address, reason, "TLS handshakes failed; this is the last of them"
            );
            self.said = Some(Instant::now());
            self.unsaid = 0;
        }
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                // A response must not wait for the acknowledgement of the one before. That a connection
                // is gone already is found by whoever reads it.
                let _ = connection.set_nodelay(true);
                return connection;
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                error!(
                    %error,
                    "can't accept connections of nodes; a limit on open files (ulimit -n) may be too low"
                );
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// It was gone before it was accepted; the next one is not concerned.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_responses_do_not_wait_for_acknowledgements() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _other = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        assert!(accept(&listener).await.nodelay().unwrap());
    }
}
