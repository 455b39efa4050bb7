//! Envoy's messages, trimmed and written by hand, against Envoy's own: by name, and by bytes both ways.

mod fill;
mod pairs;
mod schema;

use std::collections::BTreeSet;

use proptest::prelude::*;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use self::fill::fill;
use self::pairs::{Pair, pairs};

/// Stack for the deepest message.
const STACK_BYTES: usize = 64 << 20;

/// Filled-in messages of each type, each way.
const MESSAGES: u32 = 48;

fn message(pool: &DescriptorPool, name: &str) -> MessageDescriptor {
    pool.get_message_by_name(name)
        .unwrap_or_else(|| panic!("there is no {name}"))
}

fn decode(descriptor: &MessageDescriptor, bytes: &[u8]) -> DynamicMessage {
    DynamicMessage::decode(descriptor.clone(), bytes)
        .unwrap_or_else(|error| panic!("{} does not decode: {error}", descriptor.full_name()))
}

/// The same name means the same number, type, label, oneof and value.
#[test]
fn every_name_has_the_number_that_envoy_gives_it() {
    let differences = schema::differences(schema::ours(), schema::theirs());
    assert!(differences.is_empty(), "{differences:#?}");
}

/// The comparison above sees what it is there for: any one field of any file with another number, or
/// of another type, is found.
#[test]
fn a_wrong_number_or_type_is_seen() {
    for (what, broken) in schema::broken() {
        let differences = schema::differences(&broken, schema::theirs());
        let seen = differences
            .iter()
            .any(|difference| difference.contains(&what));
        assert!(seen, "{what} was not seen: {differences:?}");
    }
}

/// No message of our files is left out of the tests below.
#[test]
fn every_message_is_part_of_one_that_is_tried() {
    let mut reached = BTreeSet::new();
    for pair in pairs() {
        schema::reach(&message(schema::ours(), pair.name), &mut reached);
    }
    let missing: Vec<_> = schema::ours()
        .all_messages()
        .filter(|message| schema::is_envoys(message.full_name()) && !message.is_map_entry())
        .map(|message| message.full_name().to_owned())
        .filter(|name| !reached.contains(name))
        // One that is only there for the messages within it.
        .filter(|name| {
            !reached
                .iter()
                .any(|other| other.starts_with(&format!("{name}.")))
        })
        .collect();
    assert!(
        missing.is_empty(),
        "not reached from any pair: {missing:#?}"
    );
}

/// Ours encoded, theirs decoded and encoded, ours decoded: nothing is lost or moved.
fn ours_survives_theirs(pair: &Pair, rng: &mut SmallRng) {
    let descriptor = message(schema::ours(), pair.name);
    let filled = fill(&descriptor, &descriptor, rng);
    let bytes = prost::Message::encode_to_vec(&filled);
    let through_theirs = (pair.theirs)(&bytes);
    assert_eq!(
        decode(&descriptor, &through_theirs),
        filled,
        "{}",
        pair.name
    );
    let through_both = (pair.ours)(&through_theirs);
    assert_eq!(decode(&descriptor, &through_both), filled, "{}", pair.name);
}

/// Theirs, filled in wherever we know the field: ours decodes all of it.
fn theirs_survives_ours(pair: &Pair, rng: &mut SmallRng) {
    let descriptor = message(schema::theirs(), pair.name);
    let known = message(schema::ours(), pair.name);
    let filled = fill(&descriptor, &known, rng);
    let bytes = (pair.theirs)(&prost::Message::encode_to_vec(&filled));
    let through_ours = (pair.ours)(&bytes);
    assert_eq!(decode(&descriptor, &through_ours), filled, "{}", pair.name);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: MESSAGES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn filled_in_messages_survive_both_ways(seed in any::<u64>()) {
        on_a_deep_stack(move || {
            for pair in pairs() {
                let mut rng = SmallRng::seed_from_u64(seed);
                ours_survives_theirs(&pair, &mut rng);
                theirs_survives_ours(&pair, &mut rng);
            }
        });
    }
}

/// Messages within messages within messages, decoded by code that is not optimised, need more stack
/// than a test has.
fn on_a_deep_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let ended = thread.spawn(work).expect("a thread starts").join();
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}
