//! Owns the numbers of a push: what a connected node costs the server in memory, what a change costs it
//! in time, and how long the change takes to the first and the last node. Must not know: the protocol's
//! rules; the load is made of the client half that agents use.
//!
//! `cargo bench --bench fanout [-- --nodes N] [--routes R] [--changes C] [--json]`
//!
//! The server is a process of its own, so that its memory and time are only its own.

mod load;
#[path = "../common/server.rs"]
mod server;

use std::time::{Duration, Instant};

/// Sizes that run in well under a minute on two cores.
const NODES: usize = 1_000;
const ROUTES: usize = 1_000;
const CHANGES: usize = 20;

/// Nodes that connect at the same moment. A storm of them is another measurement.
const CONNECTING: usize = 64;

struct Shape {
    nodes: usize,
    routes: usize,
    changes: usize,
    json: bool,
}

/// What one run found.
struct Row {
    connect_all: Duration,
    idle_kib_a_node: f64,
    peak_kib_a_node: f64,
    cpu_us_a_push: f64,
    first: Vec<Duration>,
    last: Vec<Duration>,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|word| word == server::ROLE) {
        return server::run(args).await;
    }
    let shape = shape();
    let row = measure(&shape).await;
    print(&shape, row);
    std::process::ExitCode::SUCCESS
}

fn shape() -> Shape {
    let words: Vec<String> = std::env::args().collect();
    let number = |flag: &str, default: usize| {
        let at = words.iter().position(|word| word == flag);
        at.map_or(default, |at| {
            words[at + 1].parse().expect("a number follows the flag")
        })
    };
    Shape {
        nodes: number("--nodes", NODES),
        routes: number("--routes", ROUTES),
        changes: number("--changes", CHANGES),
        json: words.iter().any(|word| word == "--json"),
    }
}

async fn measure(shape: &Shape) -> Row {
    let server = server::Server::start(keys(shape.routes)).await;
    let empty = server.memory();
    let started = Instant::now();
    let mut fleet = load::Fleet::connect(&server.xds, shape.nodes, shape.routes, CONNECTING).await;
    let connect_all = started.elapsed();
    let idle = server.memory();
    let busy = server.cpu();
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for change in 0..shape.changes {
        let n = change % shape.routes;
        let path = format!("/apisix/admin/routes/{n}");
        // The clock runs from before the write, so that nothing of it is left out.
        let written = Instant::now();
        server.call("PUT", &path, route(n, change + 1)).await;
        let times = fleet.next_change().await;
        first.push(times.first - written);
        last.push(times.last - written);
    }
    let spent = server.cpu() - busy;
    let peak = server.peak_memory();
    let a_node = |kib: u64| kib.saturating_sub(empty.kib) as f64 / shape.nodes as f64;
    Row {
        connect_all,
        idle_kib_a_node: a_node(idle.kib),
        peak_kib_a_node: a_node(peak.kib),
        cpu_us_a_push: spent.as_secs_f64() * 1e6 / (shape.changes * shape.nodes) as f64,
        first,
        last,
    }
}

fn print(shape: &Shape, mut row: Row) {
    row.first.sort();
    row.last.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let middle = |times: &[Duration]| ms(times[times.len() / 2]);
    let worst = |times: &[Duration]| ms(times[times.len() - 1]);
    let facts = [
        ("nodes", shape.nodes as f64),
        ("routes", shape.routes as f64),
        ("connect_all_ms", ms(row.connect_all)),
        ("idle_kib_a_node", row.idle_kib_a_node),
        ("peak_kib_a_node", row.peak_kib_a_node),
        ("cpu_us_a_push", row.cpu_us_a_push),
        ("first_p50_ms", middle(&row.first)),
        ("first_max_ms", worst(&row.first)),
        ("last_p50_ms", middle(&row.last)),
        ("last_max_ms", worst(&row.last)),
    ];
    if shape.json {
        let fields: Vec<String> = facts
            .iter()
            .map(|(name, fact)| format!("\"{name}\":{fact:.2}"))
            .collect();
        println!("{{{}}}", fields.join(","));
    } else {
        for (name, fact) in facts {
            println!("{name:<16} {fact:>12.2}");
        }
    }
}

/// A route's value; `change` makes it another.
fn route(n: usize, change: usize) -> String {
    format!(r#"{{"uri":"/bench/{n}","desc":"{change}","priority":{change},"upstream_id":"1"}}"#)
}

/// What there is in the store when the server starts.
fn keys(routes: usize) -> Vec<(String, String)> {
    let upstream = r#"{"type":"roundrobin","nodes":{"127.0.0.1:1980":1}}"#;
    let upstream = ("/apisix/upstreams/1".to_owned(), upstream.to_owned());
    let routes = (0..routes).map(|n| (format!("/apisix/routes/{n}"), route(n, 0)));
    std::iter::once(upstream).chain(routes).collect()
}
