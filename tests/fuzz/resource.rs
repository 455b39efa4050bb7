//! Owns the fuzz target of native resources at the agent: whatever a server sends, the table survives
//! it, and what is rejected leaves what was there. Must not know: what the right table is.
//!
//! An input is an encoded message, which is offered as each of the types in turn.

use std::hash::{DefaultHasher, Hash, Hasher};

use bellwether::name::{Name, TypeUrl};
use bellwether_agent::table::{Limits, Matching, Table};
use bytes::Bytes;

use super::driver::{Target, fuzz};
use super::mutate::Format;

#[test]
fn resource() {
    fuzz(&Target {
        name: "resource",
        format: Format::Protobuf,
        words: &[
            "/a",
            "/:id/*",
            "*.example.com",
            "GET",
            "10.0.0.0/8",
            "arg_x",
            "(a+)+$",
            "upstreams/1",
            "http_x",
        ],
        run,
    });
}

fn run(input: &[u8]) -> u64 {
    let mut seen = DefaultHasher::new();
    let body = Bytes::copy_from_slice(input);
    for type_url in TypeUrl::NATIVE {
        offer(&type_url, &body, &mut seen);
    }
    seen.finish()
}

fn offer(type_url: &TypeUrl, body: &Bytes, seen: &mut DefaultHasher) {
    let name = Name::from("it");
    let mut edit = Table::empty(Limits::default(), Matching::default()).edit();
    match edit.upsert(type_url, &name, body) {
        Ok(()) => {
            let taken = edit.finish();
            assert_eq!(count(&taken), 1, "{type_url} was taken and is not there");
            // An empty message is no route: what is in force stays.
            let mut edit = taken.edit();
            let refused = edit.upsert(&TypeUrl::ROUTE, &name, &Bytes::new());
            assert!(refused.is_err());
            assert_eq!(count(&edit.finish()), 1);
            type_url.hash(seen);
        }
        Err(reason) => {
            assert!(!reason.is_empty(), "a rejection without a reason");
            assert_eq!(count(&edit.finish()), 0);
            let words = reason.chars().filter(|c| !c.is_ascii_digit()).take(60);
            words.collect::<String>().hash(seen);
        }
    }
}

fn count(table: &Table) -> usize {
    table
        .resources()
        .iter()
        .map(|(_, of_type)| of_type.len())
        .sum()
}
