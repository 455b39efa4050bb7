//! Owns the tests of probation: what a process concludes from what the one before left, and that no
//! sequence of changes, kills and stops loses the last good or ends in an endless crash loop.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bellwether::name::{Name, ResourceId, TypeUrl, Version};
use bytes::Bytes;
use proptest::prelude::*;

use super::machine::Probation;
use super::quarantine::Quarantine;
use super::record::{Origin, Phase, Record};
use super::*;
use crate::disk::{Disk, Kept};
use crate::held::Held;

const LENGTH: Duration = Duration::from_secs(60);

fn id(name: &str) -> ResourceId {
    ResourceId::new(TypeUrl::ROUTE, name)
}

fn version(n: u8) -> String {
    Version::of(&[n]).to_string()
}

fn held(routes: &[(&str, u8)]) -> Held {
    let mut held = Held::default();
    for (name, n) in routes {
        held.insert(
            &TypeUrl::ROUTE,
            &Name::from(*name),
            &version(*n),
            Bytes::new(),
        );
    }
    held
}

fn trying(crashes: u32, tried: &[&str]) -> Record {
    Record {
        phase: Phase::Trying,
        crashes,
        tried: tried
            .iter()
            .map(|name| (id(name), Some(version(9))))
            .collect(),
        ..Record::default()
    }
}

#[test]
fn what_is_noted_reads_back() {
    let mut record = trying(2, &["routes/1"]);
    record.quarantine.insert(id("routes/2"), None);
    record.woke(Some("it hung"));
    record.tries(
        "c".into(),
        States::from([(id("routes/3"), Some(version(1)))]),
    );
    assert_eq!(Record::decode(&record.encode()), Ok(record));
    for bad in [&b""[..], b"{", b"[]", b"{\"phase\":\"x\"}"] {
        assert!(Record::decode(bad).is_err());
    }
}

/// What is started from, by how the process before ended.
#[test]
fn after_a_crash_the_last_good_comes_first_and_after_a_stop_the_newest() {
    use Origin::{Candidate, LastGood, Nothing};
    let stopped = |crashes| {
        let mut record = trying(crashes, &[]);
        record.stops();
        record
    };
    for (record, both, only_candidate) in [
        (Record::default(), LastGood, Candidate),
        (stopped(0), Candidate, Candidate),
        (stopped(1), LastGood, Candidate),
        (trying(0, &[]), LastGood, Candidate),
        (trying(1, &[]), LastGood, Candidate),
        (trying(2, &[]), LastGood, Nothing),
    ] {
        let mut woken = record.clone();
        woken.woke(None);
        assert_eq!(woken.origin(true, true), both, "{record:?}");
        assert_eq!(woken.origin(false, true), only_candidate, "{record:?}");
        assert_eq!(woken.origin(true, false), LastGood, "{record:?}");
        assert_eq!(woken.origin(false, false), Nothing, "{record:?}");
    }
}

#[test]
fn the_third_crash_in_a_row_is_the_last() {
    let mut record = trying(0, &[]);
    for (times, failure) in [
        (1, Failure::Crashed),
        (2, Failure::Hung),
        (3, Failure::CrashLoop),
    ] {
        let hung = (failure == Failure::Hung).then_some("it hung");
        assert!(record.woke(hung));
        assert!(!record.woke(hung), "counted once");
        let last = record.setbacks.last().unwrap();
        assert_eq!((last.times, last.failure), (times, failure));
        assert_eq!(record.setbacks.len(), 1, "one row, one setback");
        let states = States::from([(id("routes/1"), Some(version(9))), (id("routes/2"), None)]);
        if times < 3 {
            record.tries("c".into(), states);
        }
    }
    assert_eq!(record.crashes, 0);
    assert_eq!(record.quarantine.len(), 2);
    assert_eq!(record.changing, States::new());
    let reason = &record.setbacks[0].reason;
    assert!(
        reason.contains("Route routes/1, removal of Route routes/2"),
        "{reason}"
    );
    record.forgive(&held(&[("routes/1", 9)]));
    assert_eq!(
        record.quarantine.keys().next(),
        None,
        "the last good has both"
    );
    record.tries("c".into(), States::new());
    record.settles();
    assert_eq!(record, Record::default());
}

/// A process that dies in the middle of a change died of that; one that dies later, of anything it tried.
#[test]
fn who_is_suspected_depends_on_when_it_happened() {
    let one = |name: &str| States::from([(id(name), Some(version(9)))]);
    for (in_the_middle, suspects) in [(true, &["b"][..]), (false, &["a", "b"])] {
        let mut record = trying(2, &[]);
        record.tries("c".into(), one("a"));
        assert!(record.tried());
        record.tries("d".into(), one("b"));
        if !in_the_middle {
            assert!(record.tried());
        }
        let mut record = Record::decode(&record.encode()).unwrap();
        record.woke(None);
        let refused: Vec<_> = record
            .quarantine
            .keys()
            .map(|id| id.name.as_str())
            .collect();
        assert_eq!(refused, suspects);
        assert_eq!(record.setbacks[0].content, "d");
    }
}

#[test]
fn only_what_stays_as_it_is_becomes_the_last_good() {
    let began = Instant::now();
    let (old, new) = (held(&[("a", 1)]).content(), held(&[("a", 2)]).content());
    let mut probation = Probation::new(Record::default(), old, (old, true), LENGTH, began);
    assert!(probation.status().stable);
    assert_eq!(probation.due(), None);
    assert!(
        probation.before(new, States::new(), &[], began),
        "noted before it is put in force"
    );
    assert_eq!(probation.due(), None, "it is not in force yet");
    probation.after(new, &[], began);
    assert!(!probation.status().stable);
    let later = began + LENGTH / 2;
    assert!(
        !probation.before(None, States::new(), &[], later),
        "noted once"
    );
    let newer = held(&[("a", 3)]).content();
    probation.after(newer, &[], later);
    assert!(
        probation.ripe(began + LENGTH).is_none(),
        "the clock began anew"
    );
    let ripe = probation.ripe(later + LENGTH).unwrap();
    assert!(!ripe.is_kept);
    // While it is written something else comes.
    probation.before(None, States::new(), &[], later + LENGTH);
    assert!(
        !probation.kept(&ripe, later + LENGTH),
        "and is on probation"
    );
    assert_eq!(probation.status().last_good, newer);
    probation.after(newer, &[], later + LENGTH);
    assert!(probation.status().stable);
    let ripe = probation.ripe(later + LENGTH * 2).unwrap();
    assert!(
        !ripe.is_kept,
        "something changed that has no part in the name"
    );
    assert!(probation.kept(&ripe, later + LENGTH * 2));
    assert_eq!(probation.record(), &Record::default());
}

/// A configuration that goes to and fro costs one note, not one for each turn.
#[test]
fn going_back_to_the_last_good_is_stable_at_once_and_ends_later() {
    let now = Instant::now();
    let (old, new) = (held(&[("a", 1)]).content(), held(&[("a", 2)]).content());
    let mut probation = Probation::new(Record::default(), old, (old, true), LENGTH, now);
    let mut notes = 0;
    for turn in 0..1_000 {
        let next = if turn % 2 == 0 { new } else { old };
        notes += usize::from(probation.before(next, States::new(), &[], now));
        probation.after(next, &[], now);
    }
    assert_eq!(notes, 1);
    let status = probation.status();
    assert!(status.stable && status.on_probation);
}

#[test]
fn content_without_a_name_is_told_apart_all_the_same() {
    let now = Instant::now();
    let mut probation = Probation::new(Record::default(), None, (None, false), LENGTH, now);
    probation.before(None, States::new(), &[], now);
    probation.after(None, &[], now);
    let ripe = probation.ripe(now + LENGTH).unwrap();
    probation.before(None, States::new(), &[], now + LENGTH);
    probation.after(None, &[], now + LENGTH);
    assert!(
        !probation.kept(&ripe, now + LENGTH * 2),
        "it is another one"
    );
    assert!(!probation.status().stable);
    let ripe = probation.ripe(now + LENGTH * 2).unwrap();
    assert!(probation.kept(&ripe, now + LENGTH * 2));
    assert!(probation.status().stable);
}

/// Endpoints have no part in the name. They are noted like everything, and keep nothing from being stable.
#[test]
fn what_has_no_part_in_the_name_delays_nothing_and_is_kept() {
    let began = Instant::now();
    let (old, new) = (held(&[("a", 1)]).content(), held(&[("a", 2)]).content());
    let mut probation = Probation::new(Record::default(), old, (old, true), LENGTH, began);
    let change = |probation: &mut Probation, content, now| {
        let is_note = probation.before(None, States::new(), &[], now);
        probation.after(content, &[], now);
        is_note
    };
    assert!(change(&mut probation, new, began), "it begins");
    for second in 1..60 {
        let now = began + Duration::from_secs(second);
        assert!(!change(&mut probation, new, now), "noted once");
    }
    let now = began + LENGTH;
    let ripe = probation.ripe(now).unwrap();
    change(&mut probation, new, now);
    assert!(probation.kept(&ripe, now));
    assert!(
        change(&mut probation, new, now),
        "a crash of it would be known"
    );
    assert!(probation.status().stable);
    assert!(
        !probation.ripe(now + LENGTH).unwrap().is_kept,
        "to be kept with the rest"
    );
}

/// Whatever is left of the folder, the agent starts from what is whole.
#[test]
fn any_damage_leaves_something_to_start_from() {
    let (good, new) = (held(&[("a", 1)]), held(&[("a", 2)]));
    for damage in 0..4_u32.pow(3) {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        disk.save(Kept::LastGood, &good).unwrap();
        disk.save(Kept::Candidate, &new).unwrap();
        disk.save_attempt(&trying(0, &["a"]).encode()).unwrap();
        let files = ["last-good", "candidate", "attempt"].map(|name| folder.path().join(name));
        let kinds = [damage % 4, damage / 4 % 4, damage / 16];
        files
            .iter()
            .zip(kinds)
            .for_each(|(file, kind)| harm(file, kind));
        let boot = boot(&disk);
        let expected = match kinds {
            [0, ..] => Some(good.content()),
            [_, 0, _] => Some(new.content()),
            _ => None,
        };
        assert_eq!(boot.held.map(|held| held.content()), expected, "{kinds:?}");
        let noted = disk.load_attempt().unwrap();
        assert!(
            noted.is_none_or(|bytes| Record::decode(&bytes).is_ok()),
            "it is mended"
        );
    }
}

fn harm(file: &Path, kind: u32) {
    let content = fs::read(file).unwrap();
    match kind {
        0 => {}
        1 => fs::remove_file(file).unwrap(),
        2 => fs::write(file, &content[..content.len() / 2]).unwrap(),
        _ => fs::write(file, "garbage").unwrap(),
    }
}

/// What the server offers; a name without a version is absent.
type Offered = BTreeMap<&'static str, u8>;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// An agent whose process can end anywhere.
struct World {
    disk: Disk,
    server: Offered,
    /// States that kill; version 0 is the absence.
    killers: BTreeSet<(&'static str, u8)>,
    /// They kill some time after they were put in force.
    lingers: bool,
    now: Instant,
    process: Option<Process>,
    deaths: usize,
}

struct Process {
    probation: Probation,
    held: Held,
    quarantine: Quarantine,
}

#[derive(Clone, Debug)]
enum Step {
    Offer(usize, u8),
    Sync,
    Wait(u64),
    SaveCandidate,
    KeepButDontNote,
    NoteButDontApply(usize),
    Kill,
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_usize, 0..4_u8).prop_map(|(name, n)| Step::Offer(name, n)),
        4 => Just(Step::Sync),
        2 => (1..100_u64).prop_map(Step::Wait),
        2 => Just(Step::SaveCandidate),
        1 => Just(Step::KeepButDontNote),
        1 => (0..3_usize).prop_map(Step::NoteButDontApply),
        1 => Just(Step::Kill),
        1 => Just(Step::Stop),
    ]
}

impl World {
    fn kills(&self, held: &Held) -> bool {
        let version_of = |name: &str| held.version(&id(name)).map(str::to_owned);
        self.killers.iter().any(|(name, n)| match n {
            0 => false,
            n => version_of(name) == Some(version(*n)),
        })
    }

    /// Starts processes until one lives with what it started from.
    fn start(&mut self) {
        loop {
            let mut boot = boot(&self.disk);
            let held = boot.held.take().unwrap_or_default();
            let last_good = (boot.last_good, boot.is_last_good);
            if !self.kills(&held) {
                self.process = Some(Process {
                    quarantine: Quarantine::new(boot.record.quarantine.clone()),
                    probation: Probation::new(
                        boot.record,
                        held.content(),
                        last_good,
                        LENGTH,
                        self.now,
                    ),
                    held,
                });
                return;
            }
            self.died();
        }
    }

    fn died(&mut self) {
        self.process = None;
        self.deaths += 1;
        assert!(self.deaths < 1_000, "an endless crash loop");
    }

    fn note(&self, probation: &Probation) {
        self.disk
            .save_attempt(&probation.record().encode())
            .unwrap();
    }

    /// Takes what the server offers, name by name. Whether the process lived.
    fn sync(&mut self) -> bool {
        for name in NAMES {
            let offered = self.server.get(name).copied().unwrap_or(0);
            if !self.apply(name, offered) {
                return false;
            }
        }
        self.outlives_what_lingers()
    }

    /// What kills, but not at once.
    fn outlives_what_lingers(&mut self) -> bool {
        let dies = self.process.as_ref().is_some_and(|it| self.kills(&it.held));
        if dies {
            self.died();
        }
        !dies
    }

    fn apply(&mut self, name: &'static str, n: u8) -> bool {
        let Some(mut process) = self.process.take() else {
            return false;
        };
        let state = (n > 0).then(|| version(n));
        let key = id(name);
        if process.quarantine.refuses(&key, state.as_deref()) {
            self.process = Some(process);
            return true;
        }
        let released = process.quarantine.take_released();
        let mut then = process.held.clone();
        match &state {
            Some(version) => then.insert(&TypeUrl::ROUTE, &key.name, version, Bytes::new()),
            None => then.remove(&TypeUrl::ROUTE, &key.name),
        }
        let mut probation = process.probation;
        let is_note = match then == process.held || then.content() == process.held.content() {
            true => probation.after(then.content(), &released, self.now),
            false => probation.before(
                then.content(),
                States::from([(key, state)]),
                &released,
                self.now,
            ),
        };
        if is_note {
            self.note(&probation);
        }
        process.probation = probation;
        if then.content() == process.held.content() {
            self.process = Some(process);
            return true;
        }
        if self.killers.contains(&(name, n)) && !self.lingers {
            self.died();
            return false;
        }
        process.held = then;
        if process
            .probation
            .after(process.held.content(), &[], self.now)
        {
            self.note(&process.probation);
        }
        self.process = Some(process);
        true
    }

    fn ripen(&mut self, notes: bool) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let Some(ripe) = process.probation.ripe(self.now) else {
            self.process = Some(process);
            return;
        };
        if !ripe.is_kept {
            self.disk.save(Kept::LastGood, &process.held).unwrap();
        }
        if !notes {
            return self.died();
        }
        if process.probation.kept(&ripe, self.now) {
            self.note(&process.probation);
        }
        self.process = Some(process);
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Offer(name, n) => drop(self.server.insert(NAMES[*name], *n)),
            Step::Sync => drop(self.sync()),
            Step::Wait(seconds) => {
                if self.outlives_what_lingers() {
                    self.now += Duration::from_secs(*seconds);
                    self.ripen(true);
                }
            }
            Step::SaveCandidate => {
                if let Some(process) = &self.process {
                    self.disk.save(Kept::Candidate, &process.held).unwrap();
                }
            }
            Step::KeepButDontNote => self.ripen(false),
            Step::NoteButDontApply(name) => {
                if let Some(process) = &mut self.process {
                    let states = States::from([(id(NAMES[*name]), Some(version(3)))]);
                    if process.probation.before(None, states, &[], self.now) {
                        let record = process.probation.record().encode();
                        self.disk.save_attempt(&record).unwrap();
                    }
                }
                self.died();
            }
            Step::Kill => self.died(),
            Step::Stop => self.stop(),
        }
        if self.process.is_none() {
            self.start();
        }
    }

    /// A clean stop keeps what is in force, unless something crashed not long ago.
    fn stop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        self.disk.save(Kept::Candidate, &process.held).unwrap();
        if process.probation.stops() {
            self.note(&process.probation);
        }
        let crashes = process.probation.record().crashes;
        let content = process.held.content();
        let was = process.probation.status().on_probation || process.probation.status().stable;
        self.start();
        if crashes == 0 && was {
            assert_eq!(self.process.as_ref().unwrap().held.content(), content);
        }
    }

    fn last_good(&self) -> Option<Held> {
        self.disk.load(Kept::LastGood).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn nothing_loses_the_last_good_and_every_crash_loop_ends(
        steps in proptest::collection::vec(step(), 0..40),
        killers in proptest::collection::btree_set((0..3_usize, 0..4_u8), 0..3),
        lingers in any::<bool>(),
    ) {
        // In memory if possible: what is tested is what is written, not how long the disk takes.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let folder = folder.unwrap();
        let mut world = World {
            disk: Disk::open(folder.path()).unwrap(),
            server: Offered::new(),
            killers: killers.iter().map(|(name, n)| (NAMES[*name], *n)).collect(),
            lingers,
            now: Instant::now(),
            process: None,
            deaths: 0,
        };
        world.start();
        let mut had_last_good = false;
        for step in &steps {
            world.take(step);
            let last_good = world.last_good();
            prop_assert!(!had_last_good || last_good.is_some(), "lost at {step:?}");
            had_last_good = last_good.is_some();
            // What killed never lived for a probation.
            prop_assert!(!last_good.is_some_and(|held| world.kills(&held)), "poisoned at {step:?}");
        }
        // From now on nobody but the configuration kills, and the agent comes to rest.
        world.deaths = 0;
        // Twice, since what gets another chance is asked for once more.
        for _ in 0..2 {
            while !world.sync() {
                world.start();
            }
        }
        // What is mended gives all another chance, once.
        let most = 3 * (world.killers.len() + 2);
        prop_assert!(world.deaths <= most, "{} deaths", world.deaths);
        let mut process = world.process.take().unwrap();
        for name in NAMES {
            let offered = world.server.get(name).filter(|n| **n > 0).map(|n| version(*n));
            let refused = process.quarantine.refuses(&id(name), offered.as_deref());
            let in_force = process.held.version(&id(name)).map(str::to_owned);
            prop_assert!(refused || in_force == offered, "{name}");
        }
        // What is offered anew is taken, whatever was refused.
        world.process = Some(process);
        world.killers.clear();
        for name in NAMES {
            world.server.insert(name, 77);
        }
        prop_assert!(world.sync());
        world.now += LENGTH;
        world.ripen(true);
        let last_good = world.last_good().unwrap();
        prop_assert_eq!(last_good.content(), held(&NAMES.map(|name| (name, 77))).content());
    }
}
