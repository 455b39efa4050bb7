//! A seeded simulation of sessions and subscribers: a thousand nodes, several servers that lag behind
//! each other, lost and doubled and late answers, broken streams, restarted nodes and servers.
//!
//! At every step: no route in force without its cluster, nobody goes back in time, nothing rejected is
//! offered again on its stream. Once it is quiet: every node holds exactly the snapshot, or the last
//! good version of what it rejects. A failure prints the seed; `BELLWETHER_SIM_SEED` runs one seed.

mod model;

use model::{Shape, World};

/// Enough for every branch of the machines to be taken many times; see the counts the run prints.
const STEPS: usize = 300_000;
const NODES: usize = 1_000;

fn run(seed: u64, shape: Shape) {
    // The seed stands first in the output, so that a panic below is preceded by it.
    println!("BELLWETHER_SIM_SEED={seed} ({shape:?})");
    let mut world = World::new(seed, shape);
    for _ in 0..shape.steps {
        world.step();
    }
    world.quiesce();
    world.check_converged();
    println!("{}", world.counts());
}

fn seeds(default: &[u64]) -> Vec<u64> {
    match std::env::var("BELLWETHER_SIM_SEED") {
        Ok(seed) => vec![seed.parse().expect("BELLWETHER_SIM_SEED is a number")],
        Err(_) => default.to_vec(),
    }
}

#[test]
fn a_thousand_nodes_converge_whatever_happens() {
    for seed in seeds(&[1]) {
        run(
            seed,
            Shape {
                nodes: NODES,
                servers: 3,
                steps: STEPS,
            },
        );
    }
}

/// Few nodes and long histories find other mistakes than many nodes and short ones.
#[test]
fn small_worlds_converge_over_long_histories() {
    let fresh = rand::random::<u32>().into();
    for seed in seeds(&[2, 3, 4, 5, 6, 7, 8, 9, fresh]) {
        run(
            seed,
            Shape {
                nodes: 5,
                servers: 2,
                steps: 20_000,
            },
        );
    }
}
