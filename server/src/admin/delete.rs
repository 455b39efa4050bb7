//! Owns DELETE of configuration. Must not know: how references are kept whole.

use axum::response::Response;
use serde_json::json;

use super::answer::{self, Problem};
use super::references::{self, Hold};
use super::resources::Call;
use super::target::Entry;
use super::write::stand_back;
use crate::keys::Kind;
use crate::store::{Commit, Txn, Write};

/// How often a delete is tried when others change what it guards.
const TRIES_MAX: u32 = 16;

/// Deletes one entry, under either key, with what belongs to it.
pub(crate) async fn delete(call: Call<'_>) -> Result<Response, Problem> {
    let entry = call.target.entry()?;
    let forced = call.query.get("force") == Some("true");
    for tries in 0..TRIES_MAX {
        let current = call.access.current(&entry).await?;
        call.precondition.check(current.revision())?;
        let Some(found) = current.found() else {
            return Err(Problem::NotFound);
        };
        let key = found.key.clone();
        let hold = match &entry {
            Entry::Item(item) if forced => references::abandon(call.access, item),
            Entry::Item(item) => references::release(call.access, item).await?,
            Entry::Credential { .. } => Hold::default(),
        };
        let mut guards = current.guards();
        guards.extend(hold.guards);
        let mut writes: Vec<Write> = current
            .present()
            .map(|key| Write::Delete {
                key: key.to_owned(),
            })
            .collect();
        writes.extend(hold.writes);
        writes.extend(belongings(&call, &entry));
        match call.access.commit(Txn { guards, writes }).await? {
            Commit::Applied(revision) => {
                tracing::info!(%key, %revision, forced, "configuration deleted");
                return Ok(answer::json(&json!({ "key": key, "deleted": "1" })));
            }
            Commit::Conflict => stand_back(tries).await,
        }
    }
    Err(Problem::Lost)
}

/// A consumer's credentials go with it.
fn belongings(call: &Call<'_>, entry: &Entry) -> Option<Write> {
    match entry {
        Entry::Item(item) if item.kind == Kind::Consumer => Some(Write::DeletePrefix {
            prefix: call.access.fleet.prefix().credentials(&item.id),
        }),
        Entry::Item(_) | Entry::Credential { .. } => None,
    }
}
