//! Owns the tables and the model that the follower's machine is held against.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const ONE: StoreId = StoreId(1);
const OTHER: StoreId = StoreId(2);

fn kv(key: &str, revision: u64) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Bytes::from(revision.to_string()),
        create_revision: Revision(revision),
        mod_revision: Revision(revision),
        lease: None,
    }
}

fn reading(store: StoreId, revision: u64, entries: &[(&str, u64)]) -> Reading {
    Reading {
        store,
        revision: Revision(revision),
        entries: entries.iter().map(|(key, at)| kv(key, *at)).collect(),
    }
}

/// `+a@3` for a put, `-a` for a deletion.
fn show(batch: &Batch) -> String {
    let changes: Vec<String> = batch.changes.iter().map(change_text).collect();
    changes.join(" ")
}

fn change_text(change: &Change) -> String {
    match change {
        Change::Put(kv) => format!("+{}@{}", kv.key, kv.mod_revision),
        Change::Delete { key } => format!("-{key}"),
    }
}

/// A machine that has read `a@3` and `b@4` at revision 5.
fn synced() -> Machine {
    let mut machine = Machine::default();
    assert_eq!(machine.step(), Step::Read);
    let batch = machine
        .on_reading(reading(ONE, 5, &[("a", 3), ("b", 4)]))
        .unwrap();
    assert_eq!(
        (show(&batch).as_str(), batch.revision),
        ("+a@3 +b@4", Revision(5))
    );
    assert_eq!(machine.step(), Step::Watch(Revision(6)));
    machine
}

#[test]
fn a_reading_gives_only_what_is_new_in_it() {
    for (entries, wanted) in [
        (&[("a", 3), ("b", 4)][..], ""),
        (&[("a", 3), ("b", 7)], "+b@7"),
        (&[("a", 3)], "-b"),
        (&[("b", 4), ("c", 8)], "-a +c@8"),
        (&[("c", 9)], "-a -b +c@9"),
    ] {
        let mut machine = synced();
        machine.on_error(&StoreError::Compacted {
            wanted: Revision(6),
            oldest: Revision(9),
        });
        assert_eq!(machine.step(), Step::Read);
        let batch = machine.on_reading(reading(ONE, 9, entries)).unwrap();
        assert_eq!(show(&batch), wanted);
        assert_eq!(machine.step(), Step::Watch(Revision(10)));
    }
}

#[test]
fn a_store_that_contradicts_itself_changes_nothing() {
    let all = &[("a", 3), ("b", 4)][..];
    for (reading, reason) in [
        (reading(OTHER, 9, all), "store 2 answers where store 1 did"),
        (
            reading(ONE, 4, all),
            "store is at revision 4, behind the 5 it had",
        ),
        (reading(ONE, 9, &[]), "store has none of the 2 keys it had"),
        (
            reading(ONE, 9, &[("a", 3), ("b", 5)]),
            "store has b written at revision 5, which was not so when that was the present",
        ),
        (
            reading(ONE, 9, &[("a", 3), ("b", 4), ("c", 2)]),
            "store has c written at revision 2, which was not so when that was the present",
        ),
    ] {
        let mut machine = synced();
        let contradiction = machine.on_reading(reading).unwrap_err();
        assert_eq!(contradiction.to_string(), reason);
        assert_eq!(machine.frozen(), Some(&contradiction));
        assert_eq!(machine.step(), Step::Read, "it keeps looking");
        assert_eq!(machine.bookmark, Revision(5));
        assert_eq!(machine.index.len(), 2);
    }
}

#[test]
fn a_watch_on_a_store_that_moved_freezes() {
    for (store, revision, frozen) in [
        (ONE, 5, false),
        (ONE, 9, false),
        (ONE, 4, true),
        (OTHER, 9, true),
    ] {
        let mut machine = synced();
        let outcome = machine.on_watch(store, Revision(revision));
        assert_eq!(outcome.is_err(), frozen, "{store} {revision}");
        assert_eq!(machine.frozen().is_some(), frozen);
    }
}

/// A store that lost everything and is filled anew grows past the bookmark one day.
#[test]
fn growing_older_is_no_proof_of_being_the_same() {
    let mut machine = synced();
    machine
        .on_reading(reading(ONE, 2, &[("a", 2)]))
        .unwrap_err();
    let contradiction = machine
        .on_reading(reading(ONE, 9, &[("a", 7), ("b", 8)]))
        .unwrap_err();
    assert_eq!(
        contradiction.to_string(),
        "store shares no value with the 2 keys it had"
    );
    let batch = machine
        .on_reading(reading(ONE, 9, &[("a", 3), ("b", 8)]))
        .unwrap();
    assert_eq!(show(&batch), "+b@8");
}

#[test]
fn after_a_failure_one_key_must_show_that_it_is_the_same_store() {
    for (found, wanted) in [
        (Some(Revision(3)), Step::Watch(Revision(6))),
        (Some(Revision(7)), Step::Read),
        (None, Step::Read),
    ] {
        let mut machine = synced();
        machine.on_error(&StoreError::Unavailable {
            reason: String::new(),
        });
        let Step::Prove(key) = machine.step() else {
            panic!("{:?}", machine.step());
        };
        assert_eq!(key, "a", "the middle one");
        machine.on_proof(&key, found);
        assert_eq!(machine.step(), wanted);
    }
}

#[test]
fn it_heals_when_the_contradiction_is_gone() {
    let mut machine = synced();
    machine
        .on_reading(reading(OTHER, 9, &[("x", 2)]))
        .unwrap_err();
    machine
        .on_reading(reading(ONE, 3, &[("a", 3)]))
        .unwrap_err();
    let batch = machine
        .on_reading(reading(ONE, 7, &[("a", 3), ("b", 6)]))
        .unwrap();
    assert_eq!(show(&batch), "+b@6");
    assert_eq!(machine.frozen(), None);
    assert_eq!(machine.step(), Step::Watch(Revision(8)));
}

#[test]
fn an_operator_makes_it_take_the_store_as_it_is() {
    let mut machine = synced();
    machine.accept();
    assert_eq!(
        machine.step(),
        Step::Watch(Revision(6)),
        "nothing to accept"
    );
    machine
        .on_reading(reading(OTHER, 4, &[("a", 3), ("c", 2)]))
        .unwrap_err();
    machine.accept();
    // `a` has the same revision in another past: it may be another value.
    let batch = machine
        .on_reading(reading(OTHER, 4, &[("a", 3), ("c", 2)]))
        .unwrap();
    assert_eq!(show(&batch), "-b +a@3 +c@2");
    assert_eq!(
        (machine.store(), machine.step()),
        (Some(OTHER), Step::Watch(Revision(5)))
    );
    machine.on_reading(reading(OTHER, 9, &[])).unwrap_err();
}

#[test]
fn a_deletion_that_is_told_is_no_contradiction() {
    let mut machine = synced();
    let delete = |key: &str| Change::Delete { key: key.into() };
    let batch = Batch {
        revision: Revision(6),
        changes: vec![delete("a"), delete("b")],
    };
    assert!(machine.on_batch(batch).is_some());
    machine.on_error(&StoreError::Compacted {
        wanted: Revision(7),
        oldest: Revision(9),
    });
    let batch = machine.on_reading(reading(ONE, 9, &[])).unwrap();
    assert_eq!(show(&batch), "");
}

#[test]
fn an_empty_store_is_no_contradiction_at_first() {
    let mut machine = Machine::default();
    assert!(machine.on_reading(reading(ONE, 1, &[])).is_ok());
    assert!(machine.on_reading(reading(ONE, 1, &[])).is_ok());
}

/// A store with its whole history, which can forget the older part.
#[derive(Debug)]
struct Model {
    history: Vec<Change>,
    oldest: u64,
}

impl Model {
    fn revision(&self) -> u64 {
        self.history.len() as u64
    }

    fn write(&mut self, key: u8, delete: bool) {
        let key = format!("k{key}");
        let revision = self.revision() + 1;
        self.history.push(if delete {
            Change::Delete { key }
        } else {
            Change::Put(kv(&key, revision))
        });
    }

    fn state(&self) -> BTreeMap<String, KeyValue> {
        let mut state = BTreeMap::new();
        for change in &self.history {
            apply(&mut state, change);
        }
        state
    }

    fn reading(&self) -> Reading {
        Reading {
            store: ONE,
            revision: Revision(self.revision()),
            entries: self.state().into_values().collect(),
        }
    }
}

fn apply(state: &mut BTreeMap<String, KeyValue>, change: &Change) {
    match change {
        Change::Put(kv) => state.insert(kv.key.clone(), kv.clone()),
        Change::Delete { key } => state.remove(key),
    };
}

/// What happens to the store and to the watch.
#[derive(Clone, Debug)]
enum Event {
    Write {
        key: u8,
        delete: bool,
    },
    /// Everything before the present is forgotten.
    Compact,
    /// The follower gets to do one step, with at most so many revisions.
    Follow {
        revisions: usize,
    },
    /// What it does next fails.
    Fail,
    /// A watch is told again what it was told before.
    Repeat,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..6_u8, any::<bool>()).prop_map(|(key, delete)| Event::Write { key, delete }),
        1 => Just(Event::Compact),
        4 => (1..4_usize).prop_map(|revisions| Event::Follow { revisions }),
        1 => Just(Event::Fail),
        1 => Just(Event::Repeat),
    ]
}

/// Does what the machine wants with the store, as the driver does; what is given on goes to `seen`.
fn follow(
    machine: &mut Machine,
    model: &Model,
    revisions: usize,
    seen: &mut BTreeMap<String, KeyValue>,
) {
    if let Step::Prove(key) = machine.step() {
        let found = model.state().get(&key).map(|kv| kv.mod_revision);
        machine.on_proof(&key, found);
    }
    let batch = match machine.step() {
        Step::Prove(key) => panic!("{key} was proven"),
        Step::Read => machine
            .on_reading(model.reading())
            .expect("nothing contradicts"),
        Step::Watch(from) if from.0 < model.oldest => {
            return machine.on_error(&StoreError::Compacted {
                wanted: from,
                oldest: Revision(model.oldest),
            });
        }
        Step::Watch(from) => {
            machine
                .on_watch(ONE, Revision(model.revision()))
                .expect("nothing contradicts");
            let first = usize::try_from(from.0).unwrap() - 1;
            let last = (first + revisions).min(model.history.len());
            if first >= last {
                return;
            }
            let batch = Batch {
                revision: Revision(last as u64),
                changes: model.history[first..last].to_vec(),
            };
            machine.on_batch(batch).expect("it is new")
        }
    };
    for change in &batch.changes {
        if let Change::Put(kv) = change {
            let known = seen.get(&kv.key);
            assert!(
                known.is_none_or(|known| known.mod_revision < kv.mod_revision),
                "{kv:?} again"
            );
        }
        apply(seen, change);
    }
}

proptest! {
    /// However the store is written, compacted and lost sight of: nothing is given on twice, nothing
    /// is made up, and in the end the reader has what the store has.
    #[test]
    fn a_reader_ends_with_what_the_store_has(events in prop::collection::vec(event(), 0..60)) {
        let mut model = Model { history: Vec::new(), oldest: 1 };
        // A deletion of what is not there would be no revision in a real store.
        model.write(0, false);
        let mut machine = Machine::default();
        let mut seen = BTreeMap::new();
        for event in events {
            match event {
                Event::Write { key, delete } => {
                    if !delete || (model.state().len() > 1 && model.state().contains_key(&format!("k{key}"))) {
                        model.write(key, delete);
                    }
                }
                Event::Compact => model.oldest = model.revision(),
                Event::Follow { revisions } => follow(&mut machine, &model, revisions, &mut seen),
                Event::Fail => machine.on_error(&StoreError::Unavailable { reason: String::new() }),
                Event::Repeat => {
                    let batch = Batch { revision: machine.bookmark, changes: model.history.clone() };
                    prop_assert!(machine.on_batch(batch).is_none());
                }
            }
        }
        for _ in 0..model.history.len() + 2 {
            follow(&mut machine, &model, 1, &mut seen);
        }
        prop_assert_eq!(seen, model.state());
        prop_assert_eq!(machine.bookmark, Revision(model.revision()));
    }

    /// A store with another past, read in any state, is never taken for the one before it.
    #[test]
    fn another_past_is_never_taken_for_our_own(
        ours in prop::collection::btree_map("[a-e]", 1..50_u64, 1..5),
        theirs in prop::collection::btree_map("[a-e]", 1..50_u64, 1..5),
        ahead in 0..5_u64,
    ) {
        let entries = |map: &BTreeMap<String, u64>| {
            map.iter().map(|(key, at)| kv(key, *at)).collect::<Vec<_>>()
        };
        let revision = Revision(50);
        let mut machine = Machine::default();
        machine.on_reading(Reading { store: ONE, revision, entries: entries(&ours) }).unwrap();
        let revision = Revision(50 + ahead);
        let outcome = machine.on_reading(Reading { store: ONE, revision, entries: entries(&theirs) });
        // All of theirs is from before the bookmark, so it may only be a part of ours.
        let possible = theirs.iter().all(|(key, at)| ours.get(key) == Some(at));
        prop_assert_eq!(outcome.is_ok(), possible);
    }
}
