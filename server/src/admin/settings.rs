//! Owns reading and writing the settings of a fleet. Must not know: what becomes of them.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bellwether_envoy::Settings;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::access::Access;
use super::answer::{self, Problem};
use super::precondition::Precondition;
use super::write::{TRIES_MAX, stand_back};
use super::{AdminState, body};
use crate::keys;
use crate::store::{Commit, Guard, KeyValue, Revision, Txn, Write};

/// `GET /v1/fleets/{fleet}/settings`. Without an entity tag: nothing is stored, these are the defaults.
pub(crate) async fn get(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
) -> Result<Response, Problem> {
    let fleet = state.fleet(&fleet)?;
    let found = Access { fleet: &fleet }
        .get(&keys::settings(&fleet.name))
        .await?;
    Ok(match found {
        Some(found) => answer::tagged(answer::json(&shown(&found)), found.mod_revision),
        None => answer::json(&json!(Settings::default())),
    })
}

/// `PUT /v1/fleets/{fleet}/settings`
pub(crate) async fn put(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let fleet = state.fleet(&fleet)?;
    let precondition = Precondition::of(request.headers());
    let value = body::parse(&body::read(request.into_body()).await?)?;
    let text = value.to_string();
    Settings::parse(text.as_bytes()).map_err(Problem::invalid)?;
    let key = keys::settings(&fleet.name);
    let write = Write::Put {
        key: key.clone(),
        value: Bytes::from(text),
        lease: None,
    };
    let access = Access { fleet: &fleet };
    let (found, revision) = swap(&access, &precondition, &key, write).await?;
    let status = match found {
        Some(_) => StatusCode::OK,
        None => StatusCode::CREATED,
    };
    tracing::info!(%key, %revision, "settings written");
    Ok(answer::tagged(
        answer::with_status(status, &value),
        revision,
    ))
}

/// `DELETE /v1/fleets/{fleet}/settings`: back to the defaults.
pub(crate) async fn delete(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let fleet = state.fleet(&fleet)?;
    let precondition = Precondition::of(request.headers());
    let key = keys::settings(&fleet.name);
    let write = Write::Delete { key: key.clone() };
    let access = Access { fleet: &fleet };
    match swap(&access, &precondition, &key, write).await? {
        (Some(_), _) => Ok(answer::json(&json!({ "key": key, "deleted": "1" }))),
        (None, _) => Err(Problem::NotFound),
    }
}

/// Writes if nothing has changed since it was looked at; what was there, and the revision of the write.
pub(super) async fn swap(
    access: &Access<'_>,
    precondition: &Precondition,
    key: &str,
    write: Write,
) -> Result<(Option<KeyValue>, Revision), Problem> {
    for tries in 0..TRIES_MAX {
        let found = access.get(key).await?;
        let current = found.as_ref().map(|found| found.mod_revision);
        precondition.check(current)?;
        let guard = Guard {
            key: key.to_owned(),
            mod_revision: current.unwrap_or(Revision(0)),
        };
        let txn = Txn {
            guards: vec![guard],
            writes: vec![write.clone()],
        };
        match access.commit(txn).await? {
            Commit::Applied(revision) => return Ok((found, revision)),
            Commit::Conflict => stand_back(tries).await,
        }
    }
    Err(Problem::Lost)
}

/// What is stored. It may have been written by other means, and be anything.
fn shown(found: &KeyValue) -> Value {
    serde_json::from_slice(&found.value)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&found.value).into_owned()))
}
