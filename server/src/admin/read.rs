//! Owns GET of configuration: one entry, or a listing. Must not know: how entries are written.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::access::aside;
use super::answer::{self, Problem};
use super::document;
use super::page::{Listed, Selection};
use super::resources::Call;
use super::target::Collection;
use crate::keys::{Key, Prefix};
use crate::schema::Subject;
use crate::store::KeyValue;

/// One entry, by one key.
pub(crate) async fn one(call: Call<'_>) -> Result<Response, Problem> {
    let entry = call.target.entry()?;
    let found = call.access.find(&entry).await?.ok_or(Problem::NotFound)?;
    let revision = found.mod_revision;
    if call.precondition.is_known(revision) {
        return Ok(answer::tagged(
            StatusCode::NOT_MODIFIED.into_response(),
            revision,
        ));
    }
    let body = row(listed(entry.subject(), found));
    Ok(answer::tagged(answer::json(&body), revision))
}

/// All entries of a collection, filtered and paged.
pub(crate) async fn list(call: Call<'_>) -> Result<Response, Problem> {
    let collection = call.target.collection;
    let selection = Selection::parse(collection.subject(), &call.query)?;
    let prefix = call.access.fleet.prefix.clone();
    let mut found = Vec::new();
    // The old directory first: an entry that moves to the new one in the meantime is seen at least once.
    for directory in directories(&collection, &prefix) {
        found.extend(call.access.read(&directory).await?.entries);
    }
    aside(move || render(&collection, &prefix, &selection, found)).await?
}

fn directories(collection: &Collection, prefix: &Prefix) -> Vec<String> {
    match collection {
        Collection::Items(kind) => [kind.old_directory(), Some(kind.directory())]
            .into_iter()
            .flatten()
            .map(|directory| prefix.directory(directory))
            .collect(),
        Collection::Credentials { consumer } => vec![prefix.credentials(consumer)],
    }
}

fn render(
    collection: &Collection,
    prefix: &Prefix,
    selection: &Selection,
    found: Vec<KeyValue>,
) -> Result<Response, Problem> {
    let subject = collection.subject();
    let mut entries: Vec<(String, Listed)> = found
        .into_iter()
        .filter_map(|found| {
            let id = id_in(collection, prefix, &found.key)?;
            Some((id, listed(subject, found)))
        })
        .collect();
    // Of an entry that has both keys the newer spelling counts, and that one was read last.
    entries.reverse();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries.dedup_by(|b, a| a.0 == b.0);
    if entries.is_empty() && matches!(collection, Collection::Credentials { .. }) {
        return Err(Problem::NotFound);
    }
    let (entries, total) = selection.apply(entries.into_iter().map(|(_, entry)| entry).collect());
    let list: Vec<Value> = entries.into_iter().map(row).collect();
    Ok(answer::json(&json!({ "list": list, "total": total })))
}

/// The id of a key, if it is an entry of this collection.
fn id_in(collection: &Collection, prefix: &Prefix, key: &str) -> Option<String> {
    match (prefix.parse(key)?, collection) {
        (Key::Item(item), Collection::Items(kind)) if item.kind == *kind => Some(item.id),
        (Key::Credential { id, .. }, Collection::Credentials { .. }) => Some(id),
        (Key::Item(_) | Key::Credential { .. } | Key::Directory | Key::Ignored, _) => None,
    }
}

/// A value that is not JSON is shown as `null`: `/v1/status` says what is wrong with it.
fn listed(subject: Subject, found: KeyValue) -> Listed {
    let value = serde_json::from_slice(&found.value).unwrap_or(Value::Null);
    Listed {
        key: found.key,
        value: document::shown(subject, value),
        created: found.create_revision,
        modified: found.mod_revision,
    }
}

fn row(entry: Listed) -> Value {
    json!({
        "key": entry.key,
        "value": entry.value,
        "createdIndex": entry.created.0,
        "modifiedIndex": entry.modified.0,
    })
}
