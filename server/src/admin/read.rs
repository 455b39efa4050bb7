//! Owns GET of configuration: one entry, or a listing. Must not know: how entries are written.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::access::aside;
use super::answer::{self, Problem};
use super::document;
use super::page::{Row, Selection};
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
    let body = row(&found, shown(entry.subject(), &found));
    Ok(answer::tagged(answer::json(&body), revision))
}

/// All entries of a collection, filtered and paged.
pub(crate) async fn list(call: Call<'_>) -> Result<Response, Problem> {
    let collection = call.target.collection;
    let selection = Selection::parse(collection.subject(), &call.query)?;
    let prefix = call.access.fleet.prefix().clone();
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
    // Of an entry that has both keys the newer spelling counts, and that one was read last.
    let entries: BTreeMap<String, KeyValue> = found
        .into_iter()
        .filter_map(|found| Some((id_in(collection, prefix, &found.key)?, found)))
        .collect();
    if entries.is_empty() && matches!(collection, Collection::Credentials { .. }) {
        return Err(Problem::NotFound);
    }
    let mut rows = Vec::new();
    for found in entries.into_values() {
        let value = shown(subject, &found);
        if selection.matches(&value) {
            rows.push(Row {
                created: found.create_revision,
                text: row(&found, value).to_string(),
                key: found.key,
            });
        }
    }
    let total = rows.len();
    let rows: Vec<String> = selection
        .page(rows)
        .into_iter()
        .map(|row| row.text)
        .collect();
    let body = format!(r#"{{"list":[{}],"total":{total}}}"#, rows.join(","));
    Ok(answer::raw(StatusCode::OK, body))
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
fn shown(subject: Subject, found: &KeyValue) -> Value {
    let value = serde_json::from_slice(&found.value).unwrap_or(Value::Null);
    document::shown(subject, value)
}

fn row(found: &KeyValue, value: Value) -> Value {
    json!({
        "key": found.key,
        "value": value,
        "createdIndex": found.create_revision.0,
        "modifiedIndex": found.mod_revision.0,
    })
}
