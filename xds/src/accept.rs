//! Owns the accepting of connections: goes on when it fails, without haste, and says so. Must not know:
//! what is said over them.

use std::io::{self, ErrorKind};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::net::{TcpListener, TcpStream};
use tracing::error;

/// How long to wait when no connection can be accepted. It is most often for want of file descriptors,
/// and trying at once would burn a core until one is free.
const PAUSE: Duration = Duration::from_secs(1);

/// The connections of a listener. It never ends.
pub(crate) fn connections(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    stream::unfold(listener, |listener| async {
        Some((Ok(accept(&listener).await), listener))
    })
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
