//! What a crowd of connections does to the discovery port, and does not.

use std::process::Command;

use tokio::net::TcpStream;

use crate::harness::programs::{Server, eventually};
use crate::harness::stream::Stream;

/// Files that the server may open in the test; it needs some twenty for itself.
const FILES_MAX: usize = 64;

const ROUTE: &str = "type.googleapis.com/bellwether.v1.Route";

/// More connections than the server may open: it says so instead of burning a core in silence, and goes on
/// when there is room again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_out_of_file_descriptors_says_so_and_recovers() {
    let server = Server::embedded(&[]).await;
    let limit = format!("--nofile={FILES_MAX}");
    let pid = format!("--pid={}", server.pid());
    let limited = Command::new("prlimit").args([&pid, &limit]).status();
    assert!(limited.expect("prlimit can be run").success());
    let address = &server.xds["http://".len()..];
    let mut crowd = Vec::new();
    for _ in 0..2 * FILES_MAX {
        crowd.push(TcpStream::connect(address).await.unwrap());
    }
    eventually("the server to say what is wrong", || async {
        server
            .log()
            .contains("can't accept connections")
            .then_some(())
    })
    .await;
    drop(crowd);
    let mut stream = Stream::open(&server.xds).await;
    stream.follow("a", "default", ROUTE).await;
    assert!(stream.hear().await.resources.is_empty());
}
