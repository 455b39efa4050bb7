//! Owns the reading of a whole prefix in pages, all at the revision of the first.
//! Must not know: what the values mean.

use bytes::Bytes;
use etcd_client::{GetOptions, GetResponse};

use super::connection::{Connection, Retry};
use super::failure::{self, Failure};
use crate::store::{KeyValue, LeaseId, Reading, Revision, StoreError, StoreId};

/// Keys of the first page, and of any page after a message was too large: even with values of
/// 10 MiB, the most that etcd recommends, it is below the limit of a message.
const FEW_KEYS: i64 = 64;

/// Keys of a page at most.
const MANY_KEYS: i64 = 4096;

/// Bytes a page should have: enough that round trips don't count, too few to disturb etcd.
const PAGE_BYTES: usize = 2 << 20;

/// How often a reading is begun anew because its revision was compacted meanwhile.
const ATTEMPTS: usize = 3;

/// Reads everything under a prefix at one revision.
pub(super) async fn read(connection: &Connection, prefix: &str) -> Result<Reading, StoreError> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match read_once(connection, prefix).await {
            Err(Failure::OutOfRange(reason)) => last = reason,
            other => return other.map_err(Failure::into_store_error),
        }
    }
    Err(StoreError::Unavailable {
        reason: format!("reading {prefix} was overtaken {ATTEMPTS} times: {last}"),
    })
}

async fn read_once(connection: &Connection, prefix: &str) -> Result<Reading, Failure> {
    let end = range_end(prefix);
    let mut from = if prefix.is_empty() {
        vec![0]
    } else {
        prefix.as_bytes().to_vec()
    };
    let mut pinned: Option<(StoreId, Revision)> = None;
    let mut entries = Vec::new();
    let mut keys = FEW_KEYS;
    loop {
        let at = pinned.map_or(0, |(_, revision)| failure::to_wire(revision));
        let mut answer = match page(connection, &from, &end, at, keys).await {
            // Too large to be decoded has the same code as compacted; fewer keys tell which.
            Err(Failure::OutOfRange(_)) if keys > FEW_KEYS => {
                keys = FEW_KEYS;
                continue;
            }
            other => other?,
        };
        let (store, revision) = failure::header(answer.header())?;
        let (pinned_store, revision) = *pinned.get_or_insert((store, revision));
        if store != pinned_store {
            return Err(Failure::Gone(format!(
                "page of store {store} in a reading of store {pinned_store}"
            )));
        }
        let more = answer.more();
        let page = answer.take_kvs();
        keys = next_page_keys(page.len(), page.iter().map(|kv| kv.value().len()).sum());
        let Some(next) = page.last().map(|kv| [kv.key(), b"\0"].concat()) else {
            return Ok(reading(store, revision, entries));
        };
        entries.extend(page.into_iter().filter_map(key_value));
        if !more {
            return Ok(reading(store, revision, entries));
        }
        from = next;
    }
}

fn reading(store: StoreId, revision: Revision, entries: Vec<KeyValue>) -> Reading {
    Reading {
        store,
        revision,
        entries,
    }
}

async fn page(
    connection: &Connection,
    from: &[u8],
    end: &[u8],
    revision: i64,
    keys: i64,
) -> Result<GetResponse, Failure> {
    connection
        .try_call(Retry::Elsewhere, |member| {
            let options = GetOptions::new()
                .with_range(end)
                .with_revision(revision)
                .with_limit(keys);
            let from = from.to_vec();
            async move { Ok(member.kv.clone().get(from, Some(options)).await?) }
        })
        .await
}

/// As many keys as should fill a page, judged by the last one; growing no faster than fourfold, since
/// the next values may be larger.
fn next_page_keys(keys: usize, bytes: usize) -> i64 {
    let size = (bytes / keys.max(1)).max(1);
    let wanted = (PAGE_BYTES / size).min(keys.saturating_mul(4));
    i64::try_from(wanted)
        .unwrap_or(MANY_KEYS)
        .clamp(FEW_KEYS, MANY_KEYS)
}

/// The first key that does not start with the prefix; etcd's way to say "all the rest" is one zero byte.
pub(super) fn range_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// Keys that are not UTF-8 are no one's.
pub(super) fn key_value(kv: etcd_client::KeyValue) -> Option<KeyValue> {
    let create_revision = failure::from_wire(kv.create_revision());
    let mod_revision = failure::from_wire(kv.mod_revision());
    let lease = (kv.lease() != 0).then(|| LeaseId(kv.lease()));
    let (key, value) = kv.into_key_value();
    Some(KeyValue {
        key: String::from_utf8(key).ok()?,
        value: Bytes::from(value),
        create_revision,
        mod_revision,
        lease,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_behind_its_prefix() {
        assert_eq!(range_end("/a/"), b"/a0");
        assert_eq!(range_end(""), b"\0");
    }

    #[test]
    fn pages_follow_the_size_of_the_values() {
        for (keys, bytes, wanted) in [
            (64, 64 * 100, 256),
            (256, 256 * 100, 1024),
            (4096, 4096 * 100, 4096),
            (4096, 4096 << 20, 64),
            (1000, 1000 * 2048, 1024),
            (0, 0, 64),
        ] {
            assert_eq!(
                next_page_keys(keys, bytes),
                wanted,
                "{keys} keys of {bytes} bytes"
            );
        }
    }
}
