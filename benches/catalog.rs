//! Owns the numbers of the catalog: what loading costs, what it holds in memory, and that changing one
//! key costs the same among a thousand routes as among a hundred thousand. Must not know: the wire.
//!
//! `cargo bench --bench catalog [-- --quick] [-- --json]`

use std::process::Command;
use std::time::{Duration, Instant};

use bellwether_server::catalog::Catalog;
use bellwether_server::keys::Prefix;
use bellwether_server::store::{Batch, Change, KeyValue, Revision};
use bytes::Bytes;

/// How many routes.
const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

/// Routes for each upstream.
const ROUTES_AN_UPSTREAM: usize = 10;

/// Services, whatever the number of routes: each has one route in a hundred.
const SERVICES: usize = 100;

/// Keys in one batch while memory is measured, so that what comes out does not count.
const BATCH_KEYS: usize = 100;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if let [flag, shape, routes] = &arguments[..]
        && flag == "--memory"
    {
        let shape = if shape == Shape::Direct.name() {
            Shape::Direct
        } else {
            Shape::Service
        };
        println!(
            "{}",
            memory(shape, routes.parse().expect("a number of routes"))
        );
        return;
    }
    let repeat = if has("--quick") { 100 } else { 2_000 };
    let sizes = if has("--quick") {
        &SIZES[..2]
    } else {
        &SIZES[..]
    };
    if !has("--json") {
        println!(
            "{:<8} {:>8} {:>12} {:>12} {:>17} {:>17} {:>21}",
            "shape",
            "routes",
            "load µs/key",
            "bytes/route",
            "route p50/p99 µs",
            "nodes p50/p99 µs",
            "service p50/p99 µs"
        );
    }
    for shape in [Shape::Direct, Shape::Service] {
        for routes in sizes {
            let row = measure(shape, *routes, repeat);
            println!(
                "{}",
                if has("--json") {
                    row.json()
                } else {
                    row.text()
                }
            );
        }
    }
}

/// How the routes find their upstream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `upstream_id`.
    Direct,
    /// A service with a plugin, hosts, and the upstream.
    Service,
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Service => "service",
        }
    }
}

/// One line of the table.
struct Row {
    shape: Shape,
    routes: usize,
    load_us_a_key: f64,
    bytes_a_route: u64,
    /// Median and 99th percentile in microseconds: one route, one upstream's nodes, one service.
    costs: [(f64, f64); 3],
}

impl Row {
    fn text(&self) -> String {
        let pair = |(median, tail): (f64, f64)| format!("{median:.1}/{tail:.1}");
        format!(
            "{:<8} {:>8} {:>12.2} {:>12} {:>17} {:>17} {:>21}",
            self.shape.name(),
            self.routes,
            self.load_us_a_key,
            self.bytes_a_route,
            pair(self.costs[0]),
            pair(self.costs[1]),
            pair(self.costs[2])
        )
    }

    fn json(&self) -> String {
        let [route, nodes, service] = self.costs;
        format!(
            r#"{{"bench":"catalog","shape":"{}","routes":{},"load_us_per_key":{:.3},"bytes_per_route":{},"route_p50_us":{:.2},"route_p99_us":{:.2},"nodes_p50_us":{:.2},"nodes_p99_us":{:.2},"service_p50_us":{:.2},"service_p99_us":{:.2}}}"#,
            self.shape.name(),
            self.routes,
            self.load_us_a_key,
            self.bytes_a_route,
            route.0,
            route.1,
            nodes.0,
            nodes.1,
            service.0,
            service.1
        )
    }
}

fn measure(shape: Shape, routes: usize, repeat: usize) -> Row {
    let mut catalog = empty();
    let all: Vec<Change> = world(shape, routes).collect();
    let keys = all.len();
    let begin = Instant::now();
    let served = catalog.apply(&batch(all));
    let load = begin.elapsed();
    assert!(served.upserts.len() > routes && catalog.problems().len() == 0);

    let mut revision = 2;
    let mut cost = |repeat: usize, change: &dyn Fn(usize) -> Change, expect: usize| {
        let times = (0..repeat).map(|turn| {
            revision += 1;
            let batch = batch(vec![change(turn)]);
            let begin = Instant::now();
            let changes = catalog.apply(&batch);
            let took = begin.elapsed();
            assert_eq!(changes.upserts.len(), expect);
            took
        });
        percentiles(times.collect())
    };
    // A large prime step visits keys all over the place.
    let spread = |turn: usize, of: usize| turn * 7_919 % of;
    let route_cost = cost(
        repeat,
        &|turn| route(shape, spread(turn, routes), turn + 1),
        1,
    );
    let upstreams = routes / ROUTES_AN_UPSTREAM;
    let nodes_cost = cost(
        repeat,
        &|turn| upstream(spread(turn, upstreams), turn + 2),
        1,
    );
    let touched = match shape {
        Shape::Direct => 0,
        Shape::Service => routes / SERVICES,
    };
    let service_cost = cost(
        repeat / 20,
        &|turn| service(turn % SERVICES, turn + 1),
        touched,
    );
    Row {
        shape,
        routes,
        load_us_a_key: micros(load) / keys as f64,
        bytes_a_route: child_memory(shape, routes) / routes as u64,
        costs: [route_cost, nodes_cost, service_cost],
    }
}

fn empty() -> Catalog {
    Catalog::new(Prefix::new("/apisix").expect("it is a good prefix"))
}

/// Everything under the prefix.
fn world(shape: Shape, routes: usize) -> impl Iterator<Item = Change> {
    let upstreams = (0..routes / ROUTES_AN_UPSTREAM).map(|n| upstream(n, 1));
    let services = (0..SERVICES).map(|n| service(n, 0));
    upstreams
        .chain(services)
        .chain((0..routes).map(move |n| route(shape, n, 0)))
}

fn route(shape: Shape, n: usize, priority: usize) -> Change {
    let target = match shape {
        Shape::Direct => format!(r#""upstream_id":"{}""#, n / ROUTES_AN_UPSTREAM),
        Shape::Service => format!(r#""service_id":"{}""#, n % SERVICES),
    };
    put(
        &format!("routes/{n}"),
        format!(
            r#"{{"uri":"/shop/{n}/*","name":"route-{n}","methods":["GET","POST"],"priority":{priority},"vars":[["arg_version","==","{n}"]],"plugins":{{"limit-count":{{"count":100,"time_window":60}}}},{target},"create_time":1700000000}}"#
        ),
    )
}

fn service(n: usize, limit: usize) -> Change {
    put(
        &format!("services/{n}"),
        format!(
            r#"{{"name":"service-{n}","hosts":["s{n}.example.com"],"upstream_id":"{n}","plugins":{{"key-auth":{{}},"limit-req":{{"rate":{limit}}}}}}}"#
        ),
    )
}

fn upstream(n: usize, weight: usize) -> Change {
    put(
        &format!("upstreams/{n}"),
        format!(
            r#"{{"type":"roundrobin","nodes":{{"10.0.0.1:80":{weight},"10.0.0.2:80":1,"10.0.0.3:80":1}},"timeout":{{"connect":3,"send":3,"read":3}}}}"#
        ),
    )
}

fn put(key: &str, value: String) -> Change {
    Change::Put(KeyValue {
        key: format!("/apisix/{key}"),
        value: Bytes::from(value),
        create_revision: Revision(1),
        mod_revision: Revision(1),
        lease: None,
    })
}

fn batch(changes: Vec<Change>) -> Batch {
    Batch {
        revision: Revision(1),
        changes,
    }
}

/// Memory of a loaded catalog, in a process of its own: an allocator that has been used before would
/// hide it.
fn child_memory(shape: Shape, routes: usize) -> u64 {
    let myself = std::env::current_exe().expect("a running program has a path");
    let output = Command::new(myself)
        .args(["--memory", shape.name(), &routes.to_string()])
        .output()
        .expect("the benchmark can start itself");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_default()
}

fn memory(shape: Shape, routes: usize) -> u64 {
    let mut catalog = empty();
    let before = resident();
    let mut changes = world(shape, routes).peekable();
    while changes.peek().is_some() {
        let some = changes.by_ref().take(BATCH_KEYS).collect();
        catalog.apply(&batch(some));
    }
    let after = resident();
    assert_eq!(catalog.problems().len(), 0);
    after.saturating_sub(before)
}

/// Resident bytes of this process; 0 where `/proc` does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let at = |percent: usize| micros(times[(times.len() - 1) * percent / 100]);
    (at(50), at(99))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
