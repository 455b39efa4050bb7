//! Owns PUT, POST and PATCH of configuration: a compare-and-swap on what was read. Must not know: how
//! bodies are read, or what makes a value valid.

use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use rand::RngExt as _;
use serde_json::{Map, Value, json};

use super::access::Current;
use super::answer::{self, Problem};
use super::resources::Call;
use super::target::Entry;
use super::{body, document, patch, references, validate};
use crate::store::{Commit, Guard, LeaseId, MAX_VALUE_BYTES, Revision, Txn, Write};

/// How often a write is tried when others change what it guards. Each lost try means that another one
/// won, so this is reached only where more than this many write one key at the same time.
pub(crate) const TRIES_MAX: u32 = 16;

/// The longest wait before the second try; it doubles with each, up to 64 times.
const FIRST_WAIT_MS_MAX: u64 = 2;

/// Waits at random, longer each time, so that writers that met once do not meet again.
pub(crate) async fn stand_back(tries: u32) {
    let wait_ms_max = FIRST_WAIT_MS_MAX << tries.min(6);
    let wait_ms = rand::rng().random_range(0..=wait_ms_max);
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
}

/// PUT: creates or replaces.
pub(crate) async fn put(call: Call<'_>, bytes: Bytes) -> Result<Response, Problem> {
    let object = document::object(body::parse(&bytes)?)?;
    let collection = &call.target.collection;
    let id = document::id(collection, call.target.id.as_deref(), &object)?;
    let entry = collection.entry(&id);
    let make = |_: &Current| Ok(object.clone());
    swap(&call, &entry, make).await
}

/// POST: creates under an id that nobody had before.
pub(crate) async fn post(call: Call<'_>, bytes: Bytes) -> Result<Response, Problem> {
    let subject = call.target.collection.subject();
    let object = document::object(body::parse(&bytes)?)?;
    if call.target.id.is_some() || object.contains_key("id") {
        return Err(Problem::Refused(format!(
            "wrong {subject} id, do not need it"
        )));
    }
    // Nothing is minted for a value that would be refused anyway.
    let mut sample = object.clone();
    let nobody = call.target.collection.entry("0");
    document::complete(&nobody, &mut sample, None, call.now_s);
    validate::check(&nobody, &Value::Object(sample))?;

    for tries in 0..TRIES_MAX {
        let entry = call.target.collection.entry(&mint(&call, tries).await?);
        if call.access.current(&entry).await?.found().is_some() {
            continue;
        }
        let make = |current: &Current| match current.found() {
            None => Ok(object.clone()),
            Some(_) => Err(Problem::Lost),
        };
        return swap(&call, &entry, make).await;
    }
    Err(Problem::Lost)
}

/// A new id: the revision of a write that was made for nothing else, so no two are ever the same.
async fn mint(call: &Call<'_>, tries: u32) -> Result<String, Problem> {
    let scratch = Write::Put {
        key: call.access.fleet.prefix().scratch(),
        value: Bytes::from(tries.to_string()),
        lease: None,
    };
    let txn = Txn {
        guards: Vec::new(),
        writes: vec![scratch],
    };
    match call.access.commit(txn).await? {
        Commit::Applied(revision) => Ok(format!("{:020}", revision.0)),
        Commit::Conflict => Err(Problem::Lost),
    }
}

/// PATCH: merges, or replaces one part.
pub(crate) async fn patch(call: Call<'_>, bytes: Bytes) -> Result<Response, Problem> {
    let entry = call.target.entry()?;
    let change = body::parse(&bytes)?;
    let sub_path = &call.target.sub_path;
    if sub_path.is_empty() {
        document::object(change.clone())?;
    }
    let make = |current: &Current| {
        if current.found().is_none() {
            return Err(Problem::NotFound);
        }
        let Some(mut value) = current.value().filter(Value::is_object) else {
            return Err(Problem::Refused(
                "the stored value is not a JSON object, replace it by a PUT".to_owned(),
            ));
        };
        if sub_path.is_empty() {
            patch::merge(&mut value, change.clone());
        } else {
            patch::replace(&mut value, sub_path, change.clone())
                .map_err(|bad| Problem::Refused(bad.to_string()))?;
        }
        let Value::Object(object) = value else {
            return Err(Problem::invalid("the result is not a JSON object"));
        };
        document::id(&call.target.collection, Some(entry.id()), &object)?;
        Ok(object)
    };
    swap(&call, &entry, make).await
}

/// Reads, lets `make` say what shall be there, and writes it if nothing has changed since; else again.
async fn swap(
    call: &Call<'_>,
    entry: &Entry,
    make: impl Fn(&Current) -> Result<Map<String, Value>, Problem>,
) -> Result<Response, Problem> {
    let mut lease = None;
    let outcome = try_swap(call, entry, make, &mut lease).await;
    // If the store did not answer, the write may have been done, and ending the lease would delete it.
    let not_written = outcome
        .as_ref()
        .is_err_and(|problem| !problem.is_unknown_outcome());
    if let (true, Some(lease)) = (not_written, lease) {
        call.access.give_back(lease).await;
    }
    outcome
}

async fn try_swap(
    call: &Call<'_>,
    entry: &Entry,
    make: impl Fn(&Current) -> Result<Map<String, Value>, Problem>,
    lease: &mut Option<LeaseId>,
) -> Result<Response, Problem> {
    let ttl = call.ttl()?;
    for tries in 0..TRIES_MAX {
        let current = call.access.current(entry).await?;
        call.precondition.check(current.revision())?;
        let before = current.value();
        let mut object = make(&current)?;
        document::complete(entry, &mut object, before.as_ref(), call.now_s);
        let value = Value::Object(object);
        validate::check(entry, &value)?;
        let hold = references::hold(call.access, entry, &value, before.as_ref()).await?;
        if let (Some(ttl), None) = (ttl, *lease) {
            *lease = Some(call.access.grant(ttl).await?);
        }
        let txn = transaction(call, entry, &current, hold, &value, *lease)?;
        match call.access.commit(txn).await? {
            Commit::Applied(revision) => {
                return Ok(written(
                    call,
                    entry,
                    current.found().is_none(),
                    value,
                    revision,
                ));
            }
            Commit::Conflict => stand_back(tries).await,
        }
    }
    Err(Problem::Lost)
}

fn transaction(
    call: &Call<'_>,
    entry: &Entry,
    current: &Current,
    hold: references::Hold,
    value: &Value,
    lease: Option<LeaseId>,
) -> Result<Txn, Problem> {
    let text = Bytes::from(value.to_string());
    if text.len() > MAX_VALUE_BYTES {
        let size = text.len();
        return Err(Problem::invalid(format_args!(
            "the value has {size} bytes, the store takes at most {MAX_VALUE_BYTES}"
        )));
    }
    let key = entry.key(call.access.fleet.prefix());
    let moved = current.present().filter(|present| *present != key);
    let mut writes: Vec<Write> = moved
        .map(|old| Write::Delete {
            key: old.to_owned(),
        })
        .collect();
    writes.push(Write::Put {
        key,
        value: text,
        lease,
    });
    writes.extend(hold.writes);
    let mut guards: Vec<Guard> = current.guards();
    guards.extend(hold.guards);
    Ok(Txn { guards, writes })
}

fn written(
    call: &Call<'_>,
    entry: &Entry,
    created: bool,
    value: Value,
    revision: Revision,
) -> Response {
    let status = match created {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    let key = entry.key(call.access.fleet.prefix());
    tracing::info!(%key, %revision, created, "configuration written");
    let body = json!({
        "key": key,
        "value": document::shown(entry.subject(), value),
    });
    answer::tagged(answer::with_status(status, &body), revision)
}
