//! Two servers in the bootstrap, and the first is down when the program starts.

use super::backend::Backend;
use super::caller::Caller;
use super::{TARGET, route, upstream};
use crate::harness::polyglot::{GO, JAVA, Language, NODE, PYTHON};
use crate::harness::programs::Server;

/// Servers that know different backends, so that it can be told whose word is followed.
struct Pair {
    first: Server,
    second: Server,
    _backends: [Backend; 2],
}

impl Pair {
    /// The first one is down, and knows `a`; the second one knows `b`.
    async fn start() -> Self {
        let (a, b) = (Backend::start("a").await, Backend::start("b").await);
        let (mut first, second) = (Server::embedded(&[]).await, Server::embedded(&[]).await);
        for (server, backend) in [(&first, &a), (&second, &b)] {
            server.put("upstreams/names", upstream(&[backend])).await;
            server.put("routes/names", route()).await;
        }
        first.kill();
        Self {
            first,
            second,
            _backends: [a, b],
        }
    }
}

/// gRFC A71: the second one is asked because nothing is cached and the first can't be reached; and the
/// first one's word counts again as soon as it is back.
async fn falls_back_and_returns(language: &Language) {
    let mut pair = Pair::start().await;
    let servers = [pair.first.xds.clone(), pair.second.xds.clone()];
    let servers = [servers[0].as_str(), &servers[1]];
    let Some(caller) = Caller::dial(language, TARGET, &servers).await else {
        return;
    };
    caller.hears_only(&["b"]).await;
    pair.second.nodes_in_sync(1).await;
    pair.first.restart().await;
    caller.hears_only(&["a"]).await;
    pair.first.nodes_in_sync(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python() {
    falls_back_and_returns(&PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go() {
    falls_back_and_returns(&GO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn java() {
    falls_back_and_returns(&JAVA).await;
}

/// `@grpc/grpc-js-xds` does not know gRFC A71: of the servers in the bootstrap it reads the first one
/// only. But a server's address may be a list, whose next one is tried.
#[tokio::test(flavor = "multi_thread")]
async fn node() {
    let pair = Pair::start().await;
    let [first, second] = [&pair.first, &pair.second].map(|server| &server.xds["http://".len()..]);
    let both = format!("ipv4:{first},{second}");
    let Some(caller) = Caller::dial(&NODE, TARGET, &[&both]).await else {
        return;
    };
    caller.hears_only(&["b"]).await;
    pair.second.nodes_in_sync(1).await;
    assert_eq!(caller.errors(), [""; 0]);
}
