//! Owns the fuzz target of the agent's file: whatever is on the disk, the agent starts. Must not know:
//! what the file should hold.

use bellwether_agent::disk::decode;
use sha2::{Digest, Sha256};

use super::driver::{Target, fuzz};
use super::mutate::Format;

#[test]
fn last_good() {
    fuzz(&Target {
        name: "last_good",
        format: Format::Protobuf,
        words: &["1@1", "type.googleapis.com/bellwether.v1.Route", "routes/1"],
        run,
    });
}

/// Bytes that the whole file begins with, and of the digest after them.
const MAGIC: &[u8] = b"bellwether last good 1\n";

fn run(input: &[u8]) -> u64 {
    let _ = decode(input);
    // Behind a good checksum, so that the decoder itself is reached.
    let whole = [MAGIC, Sha256::digest(input).as_slice(), input].concat();
    match decode(&whole) {
        Ok(held) => held.len() as u64,
        Err(reason) => 1_000 + reason.len() as u64,
    }
}
