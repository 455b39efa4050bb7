//! Owns the definitions of fleets in the Admin API: listing, writing and deleting them. Must not know: how
//! a fleet is served.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::access::{Access, bounded};
use super::answer::{self, Problem};
use super::auth::Role;
use super::own::list_of;
use super::precondition::Precondition;
use super::settings::swap;
use super::{AdminState, body};
use crate::adopt::{AdoptError, adopt};
use crate::fleet::{DEFAULT_FLEET, Fleet};
use crate::fleets::{Definition, Directory, Mode, PolicyChoice, check_name};
use crate::keys::{self, Prefix};
use crate::rollouts::{Line, status};
use crate::store::{Revision, Write};

/// How long the first release of a fleet that becomes staged may take to be written.
const PATIENCE: Duration = Duration::from_secs(45);

/// `GET /v1/fleets`
pub(crate) async fn list(
    State(state): State<AdminState>,
    Extension(role): Extension<Role>,
) -> Response {
    let fleets = state.fleets.borrow().clone();
    let mut list: Vec<Value> = fleets
        .values()
        .map(|fleet| shown(&state, fleet, role))
        .collect();
    for (name, problem) in problems(&state) {
        if !fleets.contains_key(&name) {
            list.push(json!({ "name": name, "problem": problem }));
        }
    }
    answer::json(&list_of(&list))
}

/// `GET /v1/fleets/{fleet}`
pub(crate) async fn get(
    State(state): State<AdminState>,
    Extension(role): Extension<Role>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let fleet = state.fleet(&name)?;
    Ok(answer::json(&shown(&state, &fleet, role)))
}

fn problems(state: &AdminState) -> Vec<(String, String)> {
    let known = state.directory.iter();
    let known = known.filter_map(|directory| directory.desired.borrow().clone());
    known
        .flat_map(|desired| desired.resolve().problems)
        .collect()
}

/// Whoever may write it must see it as it is; others need no passwords.
fn shown_to(role: Role, definition: &Definition) -> Value {
    let mut definition = definition.clone();
    if let (Role::Viewer, Some(PolicyChoice::Written(written))) = (role, &mut definition.policy) {
        status::hide(&mut written.stages);
    }
    json!(definition)
}

fn shown(state: &AdminState, fleet: &Fleet, role: Role) -> Value {
    let mut shown = shown_to(role, &fleet.definition);
    shown["name"] = json!(fleet.name);
    shown["admin"] = json!(match fleet.name.as_str() {
        DEFAULT_FLEET => "/apisix/admin".to_owned(),
        name => format!("/fleets/{name}/apisix/admin"),
    });
    let mut problems = problems(state).into_iter();
    if let Some((_, problem)) = problems.find(|(name, _)| *name == fleet.name) {
        shown["problem"] = json!(problem);
    }
    shown
}

/// `PUT /v1/fleets/{fleet}`: every server serves it so from then on.
pub(crate) async fn put(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let directory = directory(&state)?;
    let precondition = Precondition::of(request.headers());
    let value = body::parse(&body::read(request.into_body()).await?)?;
    check_name(&name).map_err(|bad| Problem::Refused(bad.to_string()))?;
    let text = value.to_string();
    let definition =
        Definition::parse(text.as_bytes()).map_err(|bad| Problem::Refused(bad.to_string()))?;
    let desired = directory.desired.borrow().clone().ok_or_else(not_read)?;
    desired
        .check(&name, &definition)
        .map_err(Problem::Refused)?;
    let served = state.fleets.borrow().get(&name).cloned();
    if let Some(fleet) = served
        .as_ref()
        .filter(|fleet| becomes_direct(fleet, &definition))
    {
        nothing_is_under_way(fleet).await?;
    }
    // Nodes that come later must find what those have that are there.
    if let Some(fleet) = served.filter(|fleet| becomes_staged(fleet, &definition)) {
        bounded(PATIENCE, adopt(&fleet, "admin")).await?;
    }
    let key = keys::fleet(&name);
    let stored = json!(definition);
    let write = Write::Put {
        key: key.clone(),
        value: Bytes::from(stored.to_string()),
        lease: None,
    };
    let (found, revision) = write_of(directory, &name, &precondition, write).await?;
    let status = match found {
        true => StatusCode::OK,
        false => StatusCode::CREATED,
    };
    tracing::info!(%key, %revision, "fleet defined");
    let mut shown = stored;
    shown["name"] = json!(name);
    Ok(answer::tagged(
        answer::with_status(status, &shown),
        revision,
    ))
}

fn becomes_direct(fleet: &Fleet, definition: &Definition) -> bool {
    fleet.definition.mode == Mode::Staged && definition.mode == Mode::Direct
}

/// What is being tried on a few nodes must not reach all because of how the fleet is served; and nobody
/// could end it then.
async fn nothing_is_under_way(fleet: &Fleet) -> Result<(), Problem> {
    let line = Line::new(fleet.store.clone(), &fleet.name);
    let current = bounded(PATIENCE, line.load()).await?;
    match current.state.rollout {
        None => Ok(()),
        Some(rollout) => Err(Problem::Refused(format!(
            "fleet {:?} can't become direct while its rollout {} is under way: abort it, or wait until it is over",
            fleet.name, rollout.id
        ))),
    }
}

fn becomes_staged(fleet: &Fleet, definition: &Definition) -> bool {
    let was = &fleet.definition;
    definition.mode == Mode::Staged
        && was.mode == Mode::Direct
        && was.prefix == definition.prefix
        && was.store == definition.store
}

/// `DELETE /v1/fleets/{fleet}`: it is not served any more. Its keys stay, and its nodes keep what they have.
pub(crate) async fn delete(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let directory = directory(&state)?;
    let precondition = Precondition::of(request.headers());
    let desired = directory.desired.borrow().clone().ok_or_else(not_read)?;
    let served = state.fleets.borrow().get(&name).cloned();
    let is_staged = |fleet: &Fleet| fleet.definition.mode == Mode::Staged;
    if desired.is_fixed(&name) && served.as_ref().is_some_and(is_staged) {
        return Err(Problem::Refused(format!(
            "servers are started with fleet {name:?}: without its definition it would be direct, and its draft would go to every node; put it in direct mode if that is meant"
        )));
    }
    let key = keys::fleet(&name);
    let write = Write::Delete { key: key.clone() };
    match write_of(directory, &name, &precondition, write).await? {
        (true, revision) => {
            tracing::info!(%key, %revision, "fleet deleted");
            Ok(answer::json(&json!({ "key": key, "deleted": "1" })))
        }
        (false, _) if served.is_some() => Err(Problem::Refused(format!(
            "fleet {name:?} is not defined in the store: servers are started with it"
        ))),
        (false, _) => Err(Problem::Unknown(format!("there is no fleet {name:?} here"))),
    }
}

/// Whether there was one before, and the revision of the write.
async fn write_of(
    directory: &Directory,
    name: &str,
    precondition: &Precondition,
    write: Write,
) -> Result<(bool, Revision), Problem> {
    // It need not be one that is, or can be, served.
    let anywhere = Definition::direct(Prefix::default());
    let at = Fleet::idle(name, anywhere, directory.store.clone());
    let access = Access { fleet: &at };
    let (found, revision) = swap(&access, precondition, &keys::fleet(name), write).await?;
    Ok((found.is_some(), revision))
}

fn directory(state: &AdminState) -> Result<&Directory, Problem> {
    let none = || Problem::Unready("this server's fleets are those it was started with".to_owned());
    state.directory.as_ref().ok_or_else(none)
}

fn not_read() -> Problem {
    Problem::Unready("the definitions of fleets have not been read yet".to_owned())
}

impl From<AdoptError> for Problem {
    fn from(error: AdoptError) -> Self {
        match error {
            AdoptError::Draft(error) => error.into(),
            AdoptError::Line(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_gates_are_shown_to_nobody_who_only_looks() {
        let text = r#"{"prefix": "/shop", "policy": {"name": "ours", "stages": [{"name": "all",
            "percent": 100, "bake": "1s", "gates": [{"webhook": {"name": "ask",
            "url": "http://user:secret@127.0.0.1:9/?token=secret"}}]}]}}"#;
        let definition = Definition::parse(text.as_bytes()).unwrap();
        let all = shown_to(Role::Admin, &definition).to_string();
        assert!(all.contains("user:secret@"), "{all}");
        let less = shown_to(Role::Viewer, &definition).to_string();
        assert!(
            less.contains("127.0.0.1:9") && !less.contains("secret"),
            "{less}"
        );
    }
}
