//! Owns running a target over its corpus and over mutations of it, for a bounded time. Must not know:
//! what any target decodes.
//!
//! It is guided by outcomes: a target returns what it saw (the kinds of its errors, say), and an input
//! with an outcome that was not seen before is mutated further. An input that makes the target panic is
//! written into the corpus, so that the fix keeps its test.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

use super::mutate::{Format, mutate};

/// How long one target is tried when the environment does not say, in seconds: `cargo test` must stay
/// pleasant, and runs on every change.
const SECONDS: f64 = 3.0;

/// Inputs kept for further mutation, of those found in this run.
const POOL_MAX: usize = 4096;

/// Bytes of an input. Larger ones are slow and find nothing that smaller ones don't.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// Mutations made to an input at once.
const MUTATIONS_MAX: u32 = 6;

/// One decoder of outside bytes.
pub(crate) struct Target {
    /// Names the folder of its corpus.
    pub(crate) name: &'static str,
    /// What its inputs look like, so that mutations get past the first check.
    pub(crate) format: Format,
    /// Words that mean something to it.
    pub(crate) words: &'static [&'static str],
    /// Decodes, checks whatever must hold for any input (by panicking), and returns what it saw.
    pub(crate) run: fn(&[u8]) -> u64,
}

/// Tries a target; panics with the path of an input that makes it panic.
pub(crate) fn fuzz(target: &Target) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target.name);
    fuzz_in(folder, target);
}

fn fuzz_in(folder: PathBuf, target: &Target) {
    let corpus = read_corpus(&folder);
    assert!(!corpus.is_empty(), "{} has no corpus", folder.display());
    let seed = number("BELLWETHER_FUZZ_SEED").unwrap_or_else(rand::random);
    let seconds = number("BELLWETHER_FUZZ_SECONDS").unwrap_or(SECONDS);
    println!("{}: BELLWETHER_FUZZ_SEED={seed}", target.name);

    let mut run = Run {
        target,
        folder,
        seed,
        seen: HashSet::new(),
        slowest: Duration::ZERO,
    };
    for (path, input) in &corpus {
        run.try_input(input, Some(path));
    }
    let mut pool: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    let mut random = StdRng::seed_from_u64(seed);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut tries = 0_u64;
    while Instant::now() < end {
        let mut input = pool.choose(&mut random).expect("it is not empty").clone();
        let other = pool.choose(&mut random).expect("it is not empty");
        for _ in 0..random.random_range(1..=MUTATIONS_MAX) {
            input = mutate(&input, other, target.format, target.words, &mut random);
        }
        input.truncate(INPUT_BYTES_MAX);
        if run.try_input(&input, None) && pool.len() < POOL_MAX {
            pool.push(input);
        }
        tries += 1;
    }
    println!(
        "{}: {tries} inputs, {} outcomes, slowest {:?}",
        target.name,
        run.seen.len(),
        run.slowest
    );
}

struct Run<'a> {
    target: &'a Target,
    folder: PathBuf,
    seed: u64,
    seen: HashSet<u64>,
    slowest: Duration,
}

impl Run<'_> {
    /// Whether the outcome is a new one.
    fn try_input(&mut self, input: &[u8], path: Option<&Path>) -> bool {
        let begin = Instant::now();
        // The target gets bytes and keeps nothing, so there is nothing to be left half done.
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.target.run)(input)));
        self.slowest = self.slowest.max(begin.elapsed());
        match outcome {
            Ok(outcome) => self.seen.insert(outcome),
            Err(_) => {
                let path = path.map_or_else(|| self.keep(input), Path::to_path_buf);
                panic!(
                    "{} fails on {} (seed {})",
                    self.target.name,
                    path.display(),
                    self.seed
                );
            }
        }
    }

    /// Writes an input under a name that follows from its content.
    fn keep(&self, input: &[u8]) -> PathBuf {
        let digest = Sha256::digest(input);
        let name: String = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let path = self.folder.join(format!("crash-{name}"));
        std::fs::write(&path, input).expect("the corpus folder can be written");
        path
    }
}

/// Every file of a corpus, in the order of names.
fn read_corpus(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = files
        .map(|file| file.expect("it can be listed").path())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let input = std::fs::read(&path).expect("a file of the corpus can be read");
            (path, input)
        })
        .collect()
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// A driver that can't find a fault is worse than none.
#[test]
fn a_failing_input_is_found_kept_and_tried_first_ever_after() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    std::fs::write(folder.path().join("seed"), r#"{"list":[1,2,3]}"#).expect("it can be written");
    let target = Target {
        name: "self-test",
        format: Format::Json,
        words: &["word"],
        run: |input| {
            let text = String::from_utf8_lossy(input);
            // Nearly every change makes it fail, so that it is found however slow the machine is.
            assert!(text.contains("[1,2,3]"), "the planted fault");
            0
        },
    };
    let fails = || {
        let path = folder.path().to_owned();
        let outcome = catch_unwind(AssertUnwindSafe(|| fuzz_in(path, &target)));
        let error = outcome.expect_err("the fault is found");
        error
            .downcast_ref::<String>()
            .expect("it has a message")
            .clone()
    };
    let kept = |message: &str| {
        let (_, rest) = message.split_once("crash-").expect("it names the input");
        rest[..16].to_owned()
    };
    let first = fails();
    let name = format!("crash-{}", kept(&first));
    let input = std::fs::read(folder.path().join(&name)).expect("it was kept");
    assert!(!String::from_utf8_lossy(&input).contains("[1,2,3]"));
    assert!(fails().contains(&name));
}
