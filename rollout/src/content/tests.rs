//! Owns the promises of what a release holds.

use std::collections::BTreeMap;

use bellwether::name::{ResourceId, TypeUrl};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::digest::Digest;

fn item(name: &str, body: Vec<u8>) -> Item {
    Item {
        view: View::Native,
        id: ResourceId::new(TypeUrl::ROUTE, name),
        body: body.into(),
        refers: vec![ResourceId::new(TypeUrl::CLUSTER, "c")],
        ttl: None,
    }
}

fn many(count: usize, bytes: usize) -> Vec<Item> {
    let body = |index: usize| {
        (0..bytes)
            .map(|at| u8::try_from((index * 31 + at) % 251).unwrap())
            .collect()
    };
    (0..count)
        .map(|index| item(&format!("routes/{index}"), body(index)))
        .collect()
}

fn unpacked(packed: &Packed) -> Result<Vec<Item>, Broken> {
    unpack(&packed.manifest, |digest| packed.blobs.get(digest).cloned())
}

fn names(items: &[Item]) -> BTreeMap<String, &Item> {
    items
        .iter()
        .map(|item| (item.id.to_string(), item))
        .collect()
}

#[test]
fn nothing_is_a_release_too() {
    let packed = pack(Vec::new()).unwrap();
    assert_eq!(unpacked(&packed), Ok(Vec::new()));
}

/// Of 20 MB, no blob is too large for a request, and all comes back as it was.
#[test]
fn a_release_of_twenty_megabytes_is_cut_into_parts() {
    let mut items = many(5_000, 4_000);
    items.push(item("routes/large", vec![7; 3 << 20]));
    let packed = pack(items.clone()).unwrap();
    assert!(packed.manifest.bytes > 20_000_000);
    assert!(packed.blobs.values().all(|blob| blob.len() <= MAX_BLOB));
    let manifest = packed.manifest.encode();
    assert!(manifest.len() < 32 << 10, "{}", manifest.len());
    let read = unpacked(&packed).unwrap();
    assert_eq!(names(&read), names(&items));
    assert_eq!(Manifest::decode(&manifest).unwrap(), packed.manifest);
}

/// A release that differs in one resource shares all but a few KB with the one before.
#[test]
fn one_change_is_one_new_part() {
    let items = many(5_000, 4_000);
    let mut changed = items.clone();
    changed[77] = item("routes/77", vec![1; 4_000]);
    let (before, after) = (pack(items).unwrap(), pack(changed).unwrap());
    let new: Vec<_> = after
        .blobs
        .iter()
        .filter(|(digest, _)| !before.blobs.contains_key(digest))
        .collect();
    assert_eq!(new.len(), 1);
    assert!(new[0].1.len() < 128 << 10, "{}", new[0].1.len());
    assert_ne!(before.manifest.digest(), after.manifest.digest());
    let diff = diff(&unpacked(&before).unwrap(), &unpacked(&after).unwrap());
    assert_eq!((diff.changed.len(), diff.same), (1, 4_999));
    assert_eq!(diff.changed[0].id.name.as_str(), "routes/77");
}

#[test]
fn what_is_missing_or_damaged_is_no_release() {
    let packed = pack(many(10, 100)).unwrap();
    let digest = *packed.blobs.keys().next().unwrap();
    let missing = unpack(&packed.manifest, |_| None);
    assert_eq!(missing, Err(Broken::Missing(digest)));
    let damaged = unpack(&packed.manifest, |digest| {
        let mut bytes = packed.blobs[digest].to_vec();
        bytes[50] ^= 1;
        Some(bytes.into())
    });
    assert_eq!(damaged, Err(Broken::Damaged(digest)));
    let newer = Manifest::decode(&[8, 2]).unwrap_err();
    assert!(newer.to_string().contains("format 2"), "{newer}");
    assert!(Manifest::decode(b"{}").is_err());
}

/// Golden: what is stored today is the same release tomorrow.
#[test]
fn the_digest_of_a_release_never_changes() {
    let mut items = many(3, 10);
    items[1].view = View::Grpc;
    items[2].ttl = Some(Duration::from_secs(30));
    let digest = pack(items).unwrap().manifest.digest();
    assert_eq!(
        digest.to_string(),
        "78897b2235cbc54ac94f87251be7d926fd0ae8787ba653caa65a9b26670e3175"
    );
}

fn any_item() -> impl Strategy<Value = Item> {
    let view = prop::sample::select(View::ALL.to_vec());
    let body = prop::collection::vec(any::<u8>(), 0..2_000);
    let name = "[a-c]{1,2}";
    let ttl = prop::option::of((1_u64..100).prop_map(Duration::from_secs));
    (view, name, body, ttl).prop_map(|(view, name, body, ttl)| Item {
        view,
        ttl,
        ..item(&name, body)
    })
}

proptest! {
    #[test]
    fn what_was_packed_is_unpacked_whatever_the_order(items in prop::collection::vec(any_item(), 0..40)) {
        let unique: BTreeMap<_, _> = items.into_iter().map(|item| ((item.view, item.id.clone()), item)).collect();
        let items: Vec<Item> = unique.into_values().collect();
        let packed = pack(items.clone()).unwrap();
        let backwards = pack(items.iter().rev().cloned().collect()).unwrap();
        prop_assert_eq!(&packed, &backwards);
        let read = unpacked(&packed).unwrap();
        prop_assert_eq!(read.len(), items.len());
        prop_assert!(items.iter().all(|item| read.contains(item)));
        prop_assert_eq!(diff(&read, &read).changed.len(), 0);
        let less = &read[read.len().min(1)..];
        prop_assert_eq!(diff(less, &read).changed.len(), read.len().min(1));
        for (item, resource) in items.iter().map(|item| (item, item.resource())) {
            prop_assert_eq!(&Item::of(item.view, &resource), item);
        }
        let manifest = packed.manifest.encode();
        prop_assert_eq!(Digest::of(&manifest), packed.manifest.digest());
        let _: Bytes = manifest;
    }
}
