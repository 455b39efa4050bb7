//! Owns making a new input from one or two old ones. Must not know: what runs on it.

mod json;
mod protobuf;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// What inputs of a target look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "a format is there for the targets to come")]
pub(crate) enum Format {
    /// JSON text.
    Json,
    /// A protobuf message.
    Protobuf,
    /// Anything else.
    Bytes,
}

/// Changes `input` in one way, with pieces of `other` and of `words`.
pub(crate) fn mutate(
    input: &[u8],
    other: &[u8],
    format: Format,
    words: &[&str],
    random: &mut StdRng,
) -> Vec<u8> {
    // One in four goes below the format, to try the parser itself.
    let structured = match format {
        Format::Json if random.random_ratio(3, 4) => json::mutate(input, other, words, random),
        Format::Protobuf if random.random_ratio(3, 4) => protobuf::mutate(input, other, random),
        Format::Json | Format::Protobuf | Format::Bytes => None,
    };
    structured.unwrap_or_else(|| bytes(input, other, words, random))
}

/// Changes bytes without regard to what they are.
fn bytes(input: &[u8], other: &[u8], words: &[&str], random: &mut StdRng) -> Vec<u8> {
    let mut output = input.to_vec();
    let at = random.random_range(0..=output.len());
    let len = random.random_range(0..=output.len() - at).min(64);
    match random.random_range(0..8) {
        0 if at < output.len() => output[at] ^= 1 << random.random_range(0..8),
        1 if at < output.len() => output[at] = random.random(),
        2 => output.truncate(at),
        3 => drop(output.drain(at..at + len)),
        4 => {
            let piece = output[at..at + len].to_vec();
            splice(&mut output, at, &piece);
        }
        5 => {
            let from = random.random_range(0..=other.len());
            let to = random.random_range(from..=other.len());
            splice(&mut output, at, &other[from..to]);
        }
        6 => {
            let mut noise = vec![0; random.random_range(1..16)];
            random.fill_bytes(&mut noise);
            splice(&mut output, at, &noise);
        }
        _ => {
            let word = words.choose(random).copied().unwrap_or("-1");
            splice(&mut output, at, word.as_bytes());
        }
    }
    output
}

fn splice(output: &mut Vec<u8>, at: usize, piece: &[u8]) {
    output.splice(at..at, piece.iter().copied());
}
