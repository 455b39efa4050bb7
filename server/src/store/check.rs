//! Owns what is refused before any store sees it, so that all stores refuse the same.
//! Must not know: which store it is.

use std::collections::BTreeSet;

use super::{MAX_TXN_WRITES, MAX_VALUE_BYTES, StoreError, Txn, Write};

/// Bytes of all keys and values of one transaction: etcd refuses requests over 1.5 MiB, and its own
/// overhead needs some of them.
const MAX_TXN_BYTES: usize = MAX_VALUE_BYTES + MAX_VALUE_BYTES / 4;

/// Bytes of one key: far more than any of ours, and no danger to an index.
const MAX_KEY_BYTES: usize = 4096;

/// Checks a transaction.
///
/// # Errors
/// [`StoreError::Refused`]: too many operations, too many bytes, an empty key, or a key that is written twice.
pub(super) fn check(txn: &Txn) -> Result<(), StoreError> {
    if txn.writes.len() > MAX_TXN_WRITES || txn.guards.len() > MAX_TXN_WRITES {
        return refuse(format!(
            "{} writes and {} guards in one transaction, at most {MAX_TXN_WRITES} of each are taken",
            txn.writes.len(),
            txn.guards.len()
        ));
    }
    for guard in &txn.guards {
        check_key(&guard.key)?;
    }
    let mut bytes = 0;
    for write in &txn.writes {
        bytes += check_write(write)?;
    }
    if bytes > MAX_TXN_BYTES {
        return refuse(format!(
            "transaction has {bytes} bytes, at most {MAX_TXN_BYTES} are taken"
        ));
    }
    check_overlap(&txn.writes)
}

fn check_write(write: &Write) -> Result<usize, StoreError> {
    match write {
        Write::Put { key, value, .. } => {
            check_key(key)?;
            if value.len() > MAX_VALUE_BYTES {
                return refuse(format!(
                    "value of {key} has {} bytes, at most {MAX_VALUE_BYTES} are taken",
                    value.len()
                ));
            }
            Ok(key.len() + value.len())
        }
        Write::Delete { key } | Write::DeletePrefix { prefix: key } => {
            check_key(key)?;
            Ok(key.len())
        }
    }
}

fn check_key(key: &str) -> Result<(), StoreError> {
    if key.is_empty() {
        return refuse("key is empty".to_owned());
    }
    if key.len() > MAX_KEY_BYTES {
        return refuse(format!(
            "key has {} bytes, at most {MAX_KEY_BYTES} are taken",
            key.len()
        ));
    }
    Ok(())
}

/// What a transaction that writes a key twice would mean depends on the store, so none takes it.
fn check_overlap(writes: &[Write]) -> Result<(), StoreError> {
    let mut keys = BTreeSet::new();
    let mut prefixes = Vec::new();
    for write in writes {
        match write {
            Write::Put { key, .. } | Write::Delete { key } => {
                if !keys.insert(key.as_str()) {
                    return refuse(format!("{key} is written twice in one transaction"));
                }
            }
            Write::DeletePrefix { prefix } => prefixes.push(prefix.as_str()),
        }
    }
    for (at, prefix) in prefixes.iter().enumerate() {
        let within = keys
            .range(*prefix..)
            .next()
            .filter(|key| key.starts_with(prefix));
        let another = prefixes[at + 1..]
            .iter()
            .find(|other| other.starts_with(prefix) || prefix.starts_with(*other));
        if let Some(key) = within.or(another) {
            return refuse(format!(
                "{key} is written and {prefix} is deleted in one transaction"
            ));
        }
    }
    Ok(())
}

fn refuse<T>(reason: String) -> Result<T, StoreError> {
    Err(StoreError::Refused { reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn put(key: &str, bytes: usize) -> Write {
        Write::Put {
            key: key.into(),
            value: Bytes::from(vec![0; bytes]),
            lease: None,
        }
    }

    fn verdict(writes: Vec<Write>) -> Result<(), String> {
        let txn = Txn {
            guards: Vec::new(),
            writes,
        };
        check(&txn).map_err(|error| error.to_string())
    }

    #[test]
    fn what_etcd_would_refuse_is_refused_by_name() {
        let delete = |key: &str| Write::Delete { key: key.into() };
        let prefix = |prefix: &str| Write::DeletePrefix {
            prefix: prefix.into(),
        };
        let many = (0..=MAX_TXN_WRITES).map(|n| delete(&format!("/{n}")));
        for (writes, wanted) in [
            (vec![put("/a", MAX_VALUE_BYTES)], ""),
            (
                vec![put("/a", MAX_VALUE_BYTES + 1)],
                "value of /a has 1048577 bytes",
            ),
            (
                vec![put("/a", 1 << 20), put("/b", 1 << 20)],
                "transaction has",
            ),
            (vec![put("", 1)], "key is empty"),
            (vec![delete(&"k".repeat(5000))], "key has 5000 bytes"),
            (many.collect(), "101 writes"),
            (vec![put("/a", 1), delete("/a")], "/a is written twice"),
            (
                vec![put("/a/b", 1), prefix("/a/")],
                "/a/b is written and /a/ is deleted",
            ),
            (
                vec![prefix("/a/"), prefix("/a/b/")],
                "/a/b/ is written and /a/ is deleted",
            ),
            (vec![put("/ab", 1), prefix("/a/"), prefix("/b/")], ""),
        ] {
            match verdict(writes) {
                Ok(()) => assert_eq!(wanted, ""),
                Err(error) => assert!(
                    !wanted.is_empty() && error.contains(wanted),
                    "{error} instead of {wanted}"
                ),
            }
        }
    }
}
