//! Owns the numbers of a rollout: how many nodes a bad release reaches until it is halted, how long that
//! takes and how long until all are back, and what a good one takes and costs. It fails if a rollout does
//! what it must never do. Must not know: how a node or the server works.
//!
//! `cargo bench --bench rollout [-- --nodes N] [--faulty P%] [--vanishing P%] [--pace N] [--runs well,nack,vanish] [--json]`
//! `cargo bench --bench rollout -- --large [--routes N]`: what two large releases cost the server, without nodes.
//!
//! The server is a process of its own, so that its memory and time are only its own.

mod fleet;
mod large;
mod node;
mod operator;
#[path = "../common/server.rs"]
mod server;
mod verdict;

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use fleet::Fleet;
use node::Fault;
use operator::Operator;
use verdict::Row;

const NODES: usize = 2_000;
const ROUTES: usize = 100;

/// Routes of a large release, of about 1 KB each.
const LARGE: usize = 20_000;

/// Of those who reject the bad release.
const FAULTY: f64 = 1.0;

/// Of those who vanish with it: one in a hundred is within what may vanish of itself.
const VANISHING: f64 = 30.0;

/// Nodes a second that get the release in each stage.
const PACE: u32 = 200;

/// How long a rollout may take before something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long the last nodes may take that the rollout did not wait for.
const LAST: Duration = Duration::from_secs(20);

/// How often it is looked how far things are.
const LOOK: Duration = Duration::from_millis(200);

/// What is measured.
struct Shape {
    nodes: usize,
    routes: usize,
    faulty: f64,
    vanishing: f64,
    pace: u32,
    runs: Vec<String>,
    large: bool,
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|word| word == server::ROLE) {
        return server::run(args).await;
    }
    let shape = shape();
    if shape.large {
        large::measure(shape.routes).await;
        return ExitCode::SUCCESS;
    }
    let mut rows = Vec::new();
    for run in &shape.runs {
        let row = measure(&shape, run).await;
        row.check();
        if shape.json {
            println!("{}", row.json());
        }
        rows.push(row);
    }
    if !shape.json {
        verdict::table(&rows);
    }
    ExitCode::SUCCESS
}

fn shape() -> Shape {
    let words: Vec<String> = std::env::args().collect();
    let word = |flag: &str| {
        let at = words.iter().position(|word| word == flag)?;
        let word = words.get(at + 1).expect("a word follows the flag");
        Some(word.trim_end_matches('%').to_owned())
    };
    let number = |flag: &str, default: f64| {
        word(flag).map_or(default, |word| {
            word.parse().expect("a number follows the flag")
        })
    };
    let large = words.iter().any(|word| word == "--large");
    let runs = word("--runs").unwrap_or_else(|| "well,nack,vanish".to_owned());
    Shape {
        nodes: number("--nodes", NODES as f64) as usize,
        routes: number("--routes", if large { LARGE } else { ROUTES } as f64) as usize,
        faulty: number("--faulty", FAULTY),
        vanishing: number("--vanishing", VANISHING),
        pace: number("--pace", f64::from(PACE)) as u32,
        runs: runs.split(',').map(str::to_owned).collect(),
        large,
        json: words.iter().any(|word| word == "--json"),
    }
}

async fn measure(shape: &Shape, run: &str) -> Row {
    let (fault, percent) = match run {
        "well" => (Fault::None, 0.0),
        "nack" => (Fault::Rejects, shape.faulty),
        "vanish" => (Fault::Vanishes, shape.vanishing),
        other => panic!("there is no run {other:?}"),
    };
    let faulty = (shape.nodes as f64 * percent / 100.0).ceil() as usize;
    let server = server::Server::start(operator::keys(shape.routes, 1)).await;
    let operator = Operator::open(&server, shape.routes, 1).await;
    let empty = server.memory();
    let mut fleet = Fleet::connect(&server.xds, shape.nodes, fault, faulty).await;
    let release = operator.cut().await;
    let (idle, busy) = (server.memory(), server.cpu());
    operator.start(release, shape.pace).await;
    let end = Instant::now() + PATIENCE;
    while !operator.is_over().await {
        assert!(Instant::now() < end, "{run}: the rollout does not end");
        fleet.hear();
        sleep(LOOK).await;
    }
    let cpu = server.cpu() - busy;
    let end = Instant::now() + LAST;
    while Instant::now() < end && !fleet.lives().all(|life| verdict::is_settled(fault, life)) {
        fleet.hear();
        sleep(LOOK).await;
    }
    // Whoever joins now does what nobody may.
    sleep(LOOK).await;
    fleet.hear();
    Row {
        run: run.to_owned(),
        fault,
        nodes: shape.nodes,
        faulty,
        pace: shape.pace,
        succeeded: operator.stable().await == release,
        lives: fleet.lives().copied().collect(),
        history: operator.history().await,
        cpu,
        empty_kib: empty.kib,
        idle_kib: idle.kib,
        peak_kib: server.peak_memory().kib,
    }
}
