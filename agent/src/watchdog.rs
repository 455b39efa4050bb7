//! Owns the end of an agent that has stopped doing its work: a plain thread that needs nothing of what it
//! watches. Must not know: what the work is.
//!
//! It asks for proof of work again and again, and gives up after several turns without it. A turn counts
//! only if the thread itself ran in time: a machine that was suspended, or so loaded that nobody runs, is
//! not a reason to end.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::disk::Disk;

/// The exit code of an agent that its watchdog ended.
pub const HUNG: i32 = 3;

/// Turns within a limit. One missed turn is chance.
const TURNS: u32 = 5;

/// A turn that took this many times as long as it should says nothing of what is watched.
const LATE: u32 = 3;

/// How long the last words may take: the disk, or whoever reads our log, may hang as well.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Proof that changes are put in force: counts their beginnings and ends.
#[derive(Debug, Default)]
pub struct Pulse(AtomicU64);

impl Pulse {
    /// A change is about to be put in force.
    pub fn begins(&self) {
        self.0.fetch_or(1, Ordering::Relaxed);
    }

    /// It is.
    pub fn ends(&self) {
        let now = self.0.load(Ordering::Relaxed);
        self.0.store((now | 1).wrapping_add(1), Ordering::Relaxed);
    }

    /// Which change is being put in force.
    fn ongoing(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|count| count % 2 == 1)
    }
}

/// How long the agent may be without proof of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For an answer of the data path.
    pub answer: Duration,
    /// For one change to be put in force.
    pub change: Duration,
}

/// Starts the watch. `probe` is work as a request does it; it is run on the runtime's own threads.
///
/// # Errors
/// There is no thread for it.
pub fn start(
    limits: Limits,
    pulse: Arc<Pulse>,
    disk: Disk,
    runtime: Handle,
    probe: impl Fn() + Clone + Send + 'static,
) -> std::io::Result<()> {
    let watch = move || {
        let why = watch(limits, &pulse, &runtime, &probe);
        end(&why, &disk);
    };
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(watch)
        .map(drop)
}

/// Returns when there was no proof of work for too long, with what is missing.
fn watch(
    limits: Limits,
    pulse: &Pulse,
    runtime: &Handle,
    probe: &(impl Fn() + Clone + Send + 'static),
) -> String {
    let turn = limits.answer / TURNS;
    let answered = Arc::new(AtomicU64::new(0));
    let mut asked = 0;
    let mut answers = Missing::default();
    let mut changes = Missing::default();
    loop {
        let began = Instant::now();
        thread::sleep(turn);
        let took = began.elapsed();
        if took > turn * LATE {
            continue;
        }
        let is_silent = answered.load(Ordering::Relaxed) < asked;
        if answers.adds(is_silent.then_some(asked), took) >= limits.answer {
            return format!("the data path did not answer for {:?}", limits.answer);
        }
        if changes.adds(pulse.ongoing(), took) >= limits.change {
            return format!("a change was not in force after {:?}", limits.change);
        }
        if !is_silent {
            asked += 1;
            let (answered, number, probe) = (answered.clone(), asked, probe.clone());
            runtime.spawn(async move {
                probe();
                answered.store(number, Ordering::Relaxed);
            });
        }
    }
}

/// For how long the same thing has been missing.
#[derive(Debug, Default)]
struct Missing {
    what: Option<u64>,
    since: Duration,
}

impl Missing {
    fn adds(&mut self, what: Option<u64>, turn: Duration) -> Duration {
        let goes_on = what.is_some() && what == self.what;
        self.since = match goes_on {
            true => self.since + turn,
            false => Duration::ZERO,
        };
        self.what = what;
        self.since
    }
}

/// Notes why, says it if that is possible, and ends the process.
fn end(why: &str, disk: &Disk) {
    let (why, disk) = (why.to_owned(), disk.clone());
    let last_words = thread::spawn(move || {
        let noted = disk.save_hung(&why);
        let mut out = std::io::stderr();
        let _ = writeln!(
            out,
            "bellwether-agent: the watchdog ends this process: {why}"
        );
        if let Err(error) = noted {
            let _ = writeln!(out, "bellwether-agent: and can't note it: {error}");
        }
    });
    let began = Instant::now();
    while !last_words.is_finished() && began.elapsed() < LAST_WORDS {
        thread::sleep(LAST_WORDS / 200);
    }
    std::process::exit(HUNG);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_millis(2);

    #[test]
    fn only_the_same_thing_missing_all_the_time_counts() {
        let mut missing = Missing::default();
        for what in 0..9 {
            assert_eq!(missing.adds(Some(what), TURN), Duration::ZERO);
        }
        assert_eq!(missing.adds(Some(8), TURN), TURN);
        assert_eq!(missing.adds(Some(8), TURN), 2 * TURN);
        assert_eq!(missing.adds(None, TURN), Duration::ZERO);
        assert_eq!(missing.adds(Some(8), TURN), Duration::ZERO);
    }

    fn limits(answer: u64, change: u64) -> Limits {
        Limits {
            answer: Duration::from_millis(answer),
            change: Duration::from_millis(change),
        }
    }

    #[test]
    fn a_runtime_whose_threads_are_all_stuck_is_noticed() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let (let_go, stuck) = std::sync::mpsc::sync_channel::<()>(0);
        runtime.spawn(async move { stuck.recv() });
        let why = watch(
            limits(50, 10_000),
            &Pulse::default(),
            runtime.handle(),
            &|| {},
        );
        assert!(why.contains("data path"), "{why}");
        drop(let_go);
    }

    #[test]
    fn a_change_that_is_never_in_force_is_noticed() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let pulse = Pulse::default();
        pulse.begins();
        pulse.ends();
        assert_eq!(pulse.ongoing(), None);
        pulse.begins();
        let why = watch(limits(50, 20), &pulse, runtime.handle(), &|| {});
        assert!(why.contains("a change"), "{why}");
    }
}
