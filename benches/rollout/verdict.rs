//! Owns what is made of a run: its numbers, and whether it kept what is promised. Must not know: how it
//! came about.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fleet::Life;
use crate::node::Fault;
use crate::operator::{Event, STAGES, stage_name};

/// How much later than the halt a node may say that it was given the release: it was on its way.
const ON_ITS_WAY_MS: u64 = 1_000;

/// A run.
pub(crate) struct Row {
    pub(crate) run: String,
    pub(crate) fault: Fault,
    pub(crate) nodes: usize,
    pub(crate) faulty: usize,
    pub(crate) pace: u32,
    pub(crate) succeeded: bool,
    pub(crate) lives: Vec<Life>,
    pub(crate) history: Vec<Event>,
    /// Of the server, from the start of the rollout to its end.
    pub(crate) cpu: Duration,
    pub(crate) empty_kib: u64,
    pub(crate) idle_kib: u64,
    pub(crate) peak_kib: u64,
}

/// Whether nothing more is to be expected of a node.
pub(crate) fn is_settled(fault: Fault, life: &Life) -> bool {
    match fault {
        Fault::None => life.stable.is_some(),
        Fault::Rejects | Fault::Vanishes => {
            life.given.is_none() || life.back.is_some() || life.gone.is_some()
        }
    }
}

impl Row {
    /// When the history first told of this.
    fn first(&self, name: &str) -> Option<u64> {
        let mut events = self.history.iter();
        events
            .find(|event| event.name == name)
            .map(|event| event.at)
    }

    /// When nobody joined any more.
    fn halt(&self) -> Option<u64> {
        self.first("halted").or(self.first("rolling_back"))
    }

    fn exposed(&self) -> usize {
        self.lives
            .iter()
            .filter(|life| life.given.is_some())
            .count()
    }

    /// The last stage that began.
    fn stage(&self) -> usize {
        let began = self.history.iter().rev();
        let mut began = began.filter(|event| event.name == "exposing");
        let name = began.next().map(|event| event.stage.clone());
        let at = (0..STAGES.len()).find(|at| Some(stage_name(*at)) == name);
        at.expect("a stage has begun")
    }

    /// Fails if the rollout did what it must never do.
    pub(crate) fn check(&self) {
        let run = &self.run;
        let unsettled = self
            .lives
            .iter()
            .filter(|life| !is_settled(self.fault, life));
        let unsettled = unsettled.count();
        let again = self.lives.iter().filter(|life| life.times > 1).count();
        assert_eq!(again, 0, "{run}: nodes were given the release twice");
        if self.fault == Fault::None {
            assert!(self.succeeded, "{run}: {:?}", self.history);
            assert_eq!(unsettled, 0, "{run}: nodes are not stable on the release");
            assert_eq!(self.exposed(), self.nodes, "{run}: some never got it");
            return;
        }
        assert!(!self.succeeded, "{run}: a bad release is stable");
        let halt = self.halt().expect("a bad release is halted");
        assert_eq!(unsettled, 0, "{run}: exposed nodes are not back");
        let late = self.lives.iter().filter_map(|life| life.given);
        let late = late.filter(|at| *at > halt + ON_ITS_WAY_MS).count();
        assert_eq!(late, 0, "{run}: nodes joined after the halt");
        let (exposed, most) = (self.exposed(), self.stage_takes());
        assert!(
            exposed <= most,
            "{run}: {exposed} exposed, the stage takes {most}"
        );
        let (joined, most) = (self.joined_since_first(), self.pace_lets());
        assert!(
            joined <= most,
            "{run}: {joined} joined after the first failure, the pace lets {most}"
        );
    }

    /// Nodes that a stage can have taken: who is taken depends on a hash, so that it is a few more or less.
    fn stage_takes(&self) -> usize {
        let (percent, least) = STAGES[self.stage()];
        let (nodes, part) = (self.nodes as f64, percent / 100.0);
        let chance = 4.0 * (nodes * part * (1.0 - part)).sqrt();
        (nodes * part + chance).max(least).ceil().min(nodes) as usize
    }

    /// When the first node rejected the release, or went.
    fn first_failure(&self) -> Option<u64> {
        let lives = self.lives.iter();
        lives.filter_map(|life| life.rejected.or(life.gone)).min()
    }

    fn joined_since_first(&self) -> usize {
        let first = self.first_failure().unwrap_or_default();
        let given = self.lives.iter().filter_map(|life| life.given);
        given.filter(|at| *at > first).count()
    }

    fn pace_lets(&self) -> usize {
        let time = self
            .since(self.first_failure(), self.halt())
            .unwrap_or_default();
        let time = time + ON_ITS_WAY_MS as f64;
        (time / 1e3 * f64::from(self.pace)).ceil() as usize
    }

    fn since(&self, from: Option<u64>, to: Option<u64>) -> Option<f64> {
        Some(to? as f64 - from? as f64)
    }

    fn facts(&self) -> Vec<(&'static str, Value)> {
        let start = self.first("started");
        let (halt, end) = (self.halt(), self.history.last().map(|event| event.at));
        let last = |of: fn(&Life) -> Option<u64>| self.lives.iter().filter_map(of).max();
        let is_bad = self.fault != Fault::None;
        let bad = |time: Option<f64>| json!(time.filter(|_| is_bad));
        let well = |time: Option<f64>| json!(time.filter(|_| !is_bad));
        let seconds = self.cpu.as_secs_f64();
        vec![
            ("run", json!(self.run)),
            ("nodes", json!(self.nodes)),
            ("faulty", json!(self.faulty)),
            ("pace", json!(self.pace)),
            ("last_stage", json!(stage_name(self.stage()))),
            ("exposed", json!(self.exposed())),
            ("start_to_halt_ms", bad(self.since(start, halt))),
            (
                "failure_to_halt_ms",
                bad(self.since(self.first_failure(), halt)),
            ),
            (
                "halt_to_all_back_ms",
                bad(self.since(halt, last(|life| life.back))),
            ),
            (
                "start_to_all_stable_ms",
                well(self.since(start, last(|life| life.stable))),
            ),
            ("start_to_end_ms", json!(self.since(start, end))),
            ("server_cpu_ms", json!((seconds * 1e3).round())),
            ("server_idle_mib", json!(self.idle_kib / 1024)),
            ("server_peak_mib", json!(self.peak_kib / 1024)),
            (
                "idle_kib_a_node",
                json!(self.idle_kib.saturating_sub(self.empty_kib) / self.nodes as u64),
            ),
        ]
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        let facts = self.facts().into_iter();
        let facts = facts.map(|(name, fact)| (name.to_owned(), fact));
        Value::Object(facts.collect()).to_string()
    }
}

/// For people: a column for each run.
pub(crate) fn table(rows: &[Row]) {
    let columns: Vec<_> = rows.iter().map(Row::facts).collect();
    let Some(first) = columns.first() else { return };
    for (at, (name, _)) in first.iter().enumerate() {
        print!("{name:<24}");
        for column in &columns {
            let text = match &column[at].1 {
                Value::Null => "-".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            print!(" {text:>12}");
        }
        println!();
    }
}
