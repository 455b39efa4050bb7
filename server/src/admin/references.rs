//! Owns what keeps references whole: a write guards what it refers to, a delete looks for who refers to it.
//! Must not know: HTTP.
//!
//! A write that starts to refer to an item also writes that item's mark, a key of our own. A delete reads
//! the mark first, then looks for referrers, then commits under the guard that the mark is as it was. So of
//! a write and a delete that race, one always loses, whichever comes first.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::Value;

use super::access::{Access, aside};
use super::answer::Problem;
use super::target::Entry;
use super::validate;
use crate::keys::{Item, Key, Kind, reference_mark};
use crate::store::{Guard, KeyValue, Revision, Write};

/// What a write needs besides its own key.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    pub(crate) guards: Vec<Guard>,
    pub(crate) writes: Vec<Write>,
}

/// Looks up everything that `value` refers to.
///
/// # Errors
/// Something is not there, in APISIX's words.
pub(crate) async fn hold(
    access: Access<'_>,
    entry: &Entry,
    value: &Value,
    before: Option<&Value>,
) -> Result<Hold, Problem> {
    let (kind, own) = match entry {
        Entry::Item(item) => (item.kind, item),
        Entry::Credential { consumer, .. } => return hold_consumer(access, consumer).await,
    };
    let known: BTreeSet<Item> = before
        .map(|before| validate::references(kind, before))
        .unwrap_or_default()
        .into_iter()
        .collect();
    let wanted: BTreeSet<Item> = validate::references(kind, value).into_iter().collect();
    let mut hold = Hold::default();
    for item in wanted.into_iter().filter(|item| item != own) {
        let Some(found) = access.find(&Entry::Item(item.clone())).await? else {
            let Item { kind, id } = item;
            return Err(Problem::Refused(format!(
                "failed to fetch {kind} info by {kind} id [{id}], response code: 404"
            )));
        };
        hold.guards.push(Guard {
            key: found.key,
            mod_revision: found.mod_revision,
        });
        if !known.contains(&item) {
            hold.writes.push(Write::Put {
                key: reference_mark(&access.fleet.name, &item),
                value: Bytes::from_static(b"1"),
                lease: None,
            });
        }
    }
    Ok(hold)
}

/// A credential needs its consumer, and goes with it.
async fn hold_consumer(access: Access<'_>, consumer: &str) -> Result<Hold, Problem> {
    let owner = Entry::Item(Item::new(Kind::Consumer, consumer));
    let Some(found) = access.find(&owner).await? else {
        return Err(Problem::Unknown(format!(
            "there is no consumer [{consumer}]"
        )));
    };
    Ok(Hold {
        guards: vec![Guard {
            key: found.key,
            mod_revision: found.mod_revision,
        }],
        writes: Vec::new(),
    })
}

/// The kinds whose items can refer to an item of this kind.
fn referrers(kind: Kind) -> &'static [Kind] {
    match kind {
        Kind::Upstream | Kind::Proto => &[
            Kind::Route,
            Kind::Service,
            Kind::StreamRoute,
            Kind::PluginConfig,
            Kind::GlobalRule,
            Kind::ConsumerGroup,
            Kind::Consumer,
        ],
        Kind::Service => &[Kind::Route, Kind::StreamRoute],
        Kind::PluginConfig => &[Kind::Route],
        Kind::ConsumerGroup => &[Kind::Consumer],
        Kind::Ssl => &[
            Kind::Upstream,
            Kind::Route,
            Kind::Service,
            Kind::StreamRoute,
        ],
        Kind::StreamRoute => &[Kind::StreamRoute],
        Kind::Route | Kind::Consumer | Kind::GlobalRule | Kind::PluginMetadata | Kind::Secret => {
            &[]
        }
    }
}

/// What a delete of `item` must guard and write besides, after nobody was found who refers to it.
///
/// # Errors
/// Somebody does, in APISIX's words.
pub(crate) async fn release(access: Access<'_>, item: &Item) -> Result<Hold, Problem> {
    let kinds = referrers(item.kind);
    if kinds.is_empty() {
        return Ok(Hold::default());
    }
    let key = reference_mark(&access.fleet.name, item);
    let mark = access.get(&key).await?;
    for kind in kinds {
        if let Some(user) = user(access, *kind, item).await? {
            return Err(Problem::Refused(format!(
                "can not delete this {}, {kind} [{}] is still using it now",
                item.kind, user.id
            )));
        }
    }
    let mod_revision = mark.map_or_else(Revision::default, |mark| mark.mod_revision);
    let mut hold = abandon(access, item);
    hold.guards.push(Guard { key, mod_revision });
    Ok(hold)
}

/// What a delete writes besides, whoever refers to the item: its mark goes with it.
pub(crate) fn abandon(access: Access<'_>, item: &Item) -> Hold {
    let mut hold = Hold::default();
    if !referrers(item.kind).is_empty() {
        hold.writes.push(Write::Delete {
            key: reference_mark(&access.fleet.name, item),
        });
    }
    hold
}

/// The first item of a kind that refers to `item`.
async fn user(access: Access<'_>, kind: Kind, item: &Item) -> Result<Option<Item>, Problem> {
    let prefix = access.fleet.prefix().clone();
    let mut entries = Vec::new();
    for directory in [kind.old_directory(), Some(kind.directory())]
        .into_iter()
        .flatten()
    {
        entries.extend(access.read(&prefix.directory(directory)).await?.entries);
    }
    let wanted = item.clone();
    let search = move || {
        entries
            .iter()
            .find_map(|entry| match prefix.parse(&entry.key) {
                Some(Key::Item(user)) if user != wanted && refers(entry, kind, &wanted) => {
                    Some(user)
                }
                _ => None,
            })
    };
    aside(search).await
}

fn refers(entry: &KeyValue, kind: Kind, item: &Item) -> bool {
    if !may_mention(&entry.value, item.id.as_bytes()) {
        return false;
    }
    serde_json::from_slice(&entry.value)
        .is_ok_and(|value: Value| validate::references(kind, &value).contains(item))
}

/// Whether JSON text can hold a string or number with these characters: it has them as they are, or it has
/// an escape. Spares the parsing of nearly all values.
fn may_mention(text: &[u8], id: &[u8]) -> bool {
    text.contains(&b'\\') || text.windows(id.len().max(1)).any(|window| window == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parsed_only_if_they_can_matter() {
        assert!(may_mention(br#"{"upstream_id":"u-1"}"#, b"u-1"));
        assert!(may_mention(br#"{"upstream_id":17}"#, b"17"));
        assert!(may_mention(br#"{"upstream_id":"\u0075-1"}"#, b"u-1"));
        assert!(!may_mention(br#"{"upstream_id":"u-2"}"#, b"u-1"));
        assert!(!may_mention(b"", b"u-1"));
    }

    #[test]
    fn marks_are_outside_of_any_fleet() {
        let mark = reference_mark("shop", &Item::new(Kind::Upstream, "1"));
        assert_eq!(mark, "/bellwether/shop/references/upstreams/1");
    }
}
