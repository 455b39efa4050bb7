//! Two servers in the bootstrap, and the first is down when the program starts.

use super::backend::Backend;
use super::caller::Caller;
use super::{TARGET, route, upstream};
use crate::harness::polyglot::{GO, JAVA, Language, NODE, PYTHON};
use crate::harness::programs::{Server, eventually};

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

/// gRFC A71: the second one is asked because nothing is cached and the first can't be reached.
async fn falls_back(language: &Language) -> Option<(Pair, Caller)> {
    let pair = Pair::start().await;
    let servers = [&pair.first, &pair.second].map(|server| server.xds.as_str());
    let caller = Caller::dial(language, TARGET, &servers).await?;
    caller.hears_only(&["b"]).await;
    pair.second.nodes_in_sync(1).await;
    Some((pair, caller))
}

/// And the first one's word counts again as soon as it is back.
async fn falls_back_and_returns(language: &Language) {
    let Some((mut pair, caller)) = falls_back(language).await else {
        return;
    };
    pair.first.restart().await;
    caller.hears_only(&["a"]).await;
    pair.first.nodes_in_sync(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python() {
    falls_back_and_returns(&PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn java() {
    falls_back_and_returns(&JAVA).await;
}

/// grpc-go 1.85 returns with the listener only, for which it asked the first server before it fell back.
/// For what it has asked the second one alone it then asks nobody any more: the calls go on as they did.
#[tokio::test(flavor = "multi_thread")]
async fn go() {
    let Some((mut pair, caller)) = falls_back(&GO).await else {
        return;
    };
    pair.first.restart().await;
    pair.first.nodes_in_sync(1).await;
    eventually("it to leave the second server", || async {
        pair.second.nodes().await.is_empty().then_some(())
    })
    .await;
    caller.goes_on().await;
    assert_eq!(caller.errors(), [""; 0]);
}

/// `@grpc/grpc-js-xds` does not know gRFC A71: of the servers in the bootstrap it reads the first one
/// only. But its address may be a list, as that of any gRPC server, and then the next one is tried.
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
