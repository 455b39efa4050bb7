//! Owns changing JSON so that it stays JSON. Must not know: any schema.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Map, Value, json};

/// How deep one mutation nests a value, at most: the parser's own limit is 128.
const DEPTH_MAX: usize = 140;

/// Changes one node. `None` if the input is not JSON.
pub(super) fn mutate(
    input: &[u8],
    other: &[u8],
    words: &[&str],
    random: &mut StdRng,
) -> Option<Vec<u8>> {
    let mut document: Value = serde_json::from_slice(input).ok()?;
    let mut other: Value = serde_json::from_slice(other).unwrap_or(Value::Null);
    let donor = random.random_range(0..count(&other));
    let donor = node(&mut other, donor).take();
    let target = random.random_range(0..count(&document));
    change(node(&mut document, target), donor, words, random);
    serde_json::to_vec(&document).ok()
}

fn change(value: &mut Value, donor: Value, words: &[&str], random: &mut StdRng) {
    let word = words.choose(random).copied().unwrap_or("x");
    match (random.random_range(0..8), &mut *value) {
        (0, _) => *value = donor,
        (1, Value::Object(map)) if !map.is_empty() => {
            let key = key(map, random);
            map.shift_remove(&key);
        }
        (2, Value::Object(map)) => drop(map.insert(word.to_owned(), donor)),
        (3, Value::Object(map)) if !map.is_empty() => {
            let key = key(map, random);
            let moved = map.shift_remove(&key).unwrap_or_default();
            map.insert(word.to_owned(), moved);
        }
        (1 | 2, Value::Array(list)) if !list.is_empty() => {
            let at = random.random_range(0..list.len());
            let twice = list[at].clone();
            list.insert(at, twice);
        }
        (3, Value::Array(list)) if !list.is_empty() => {
            list.remove(random.random_range(0..list.len()));
        }
        (4, _) => {
            let depth = random.random_range(1..DEPTH_MAX);
            let lists = random.random();
            for _ in 0..depth.min(if random.random_ratio(1, 8) {
                DEPTH_MAX
            } else {
                3
            }) {
                let inner = value.take();
                *value = if lists {
                    json!([inner])
                } else {
                    json!({word: inner})
                };
            }
        }
        (5, _) => *value = json!(word),
        (6, Value::String(text)) => {
            let longer = text
                .repeat(random.random_range(2..200))
                .chars()
                .take(5000)
                .collect();
            *value = Value::String(longer);
        }
        _ => *value = interesting(random),
    }
}

/// Values at the edges.
fn interesting(random: &mut StdRng) -> Value {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1),
        json!(65535),
        json!(65536),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e308),
        json!(-1e308),
        json!(0.5),
        json!(5e-324),
        json!(""),
        json!("*"),
        json!("\u{0}"),
        json!("é\u{202e}"),
        json!([]),
        json!({}),
        json!("[::1]:80"),
        json!("$secret://vault/1/x"),
        json!("1"),
        json!([null]),
    ];
    values.choose(random).expect("there are some").clone()
}

fn key(map: &Map<String, Value>, random: &mut StdRng) -> String {
    let at = random.random_range(0..map.len());
    map.keys().nth(at).expect("it is within the map").clone()
}

/// How many nodes there are, the root included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

/// The node with a number, counted from the root down.
fn node(value: &mut Value, mut number: usize) -> &mut Value {
    if number == 0 {
        return value;
    }
    number -= 1;
    let children: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(map) => map.values_mut().collect(),
        _ => Vec::new(),
    };
    for child in children {
        let size = count(child);
        if number < size {
            return node(child, number);
        }
        number -= size;
    }
    unreachable!("the number is less than the count")
}
