//! Owns what large releases cost a server: the time to cut one and to have it at hand, and the memory of two
//! that are nearly the same. Must not know: nodes; there are none.

use std::time::Instant;

use crate::operator::{self, Operator};
use crate::server::Server;

/// Paths of a route, which make it about 1 KB.
const PATHS: usize = 10;

/// Prints what it finds.
pub(crate) async fn measure(routes: usize) {
    let server = Server::start(operator::keys(routes, PATHS)).await;
    let started = Instant::now();
    let operator = Operator::open(&server, routes, PATHS).await;
    operator.at_hand(1).await;
    let adopted = started.elapsed();
    let base = server.memory();
    let started = Instant::now();
    let release = operator.cut().await;
    let cut = started.elapsed();
    let drafted = server.memory();
    let started = Instant::now();
    operator.start(release, 0).await;
    operator.at_hand(release).await;
    let loaded = started.elapsed();
    let both = server.memory();
    let facts = [
        ("routes", routes as f64),
        ("adopt_and_load_ms", adopted.as_secs_f64() * 1e3),
        ("change_and_cut_ms", cut.as_secs_f64() * 1e3),
        ("start_to_at_hand_ms", loaded.as_secs_f64() * 1e3),
        ("base_mib", base.kib as f64 / 1024.0),
        ("cut_mib", drafted.kib as f64 / 1024.0),
        ("base_and_target_mib", both.kib as f64 / 1024.0),
        ("peak_mib", server.peak_memory().kib as f64 / 1024.0),
    ];
    for (name, fact) in facts {
        println!("{name:<20} {fact:>10.0}");
    }
}
