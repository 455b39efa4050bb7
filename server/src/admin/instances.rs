//! Owns registering, renewing, draining and listing instances over HTTP, for programs in any language.
//! Must not know: which keys say so, or who is told.
//!
//! `PUT` with a time to live registers; the same again renews, and writes nothing. With `If-Match: *` it
//! renews only: 412 if the registration has ended meanwhile, 410 if somebody drained the instance.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value, json};

use super::access::bounded;
use super::answer::{self, Problem};
use super::own::list_of;
use super::query::Query;
use super::{AdminState, body};
use crate::fleet::Fleet;
use crate::keys::{is_instance, is_service};
use crate::lane::registry::{Registry, RegistryError, TTL_S_MAX, TTL_S_MIN, Which};
use crate::lane::{Instance, LaneView};

/// How long a registration may take. A program waits for it, and has to renew in time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Instances of one service. Endpoints of one cluster are one message, which proxies take as a whole.
const INSTANCES_MAX: usize = 10_000;

/// `GET /v1/fleets/{fleet}/instances[?service=…]`: those that proxies are told of.
pub(crate) async fn list(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let lane = lane(&state.fleet(&fleet)?)?;
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let wanted = query.get("service");
    let of_it = |name: &str| wanted.is_none_or(|wanted| wanted == name);
    let mut list = Vec::new();
    for (name, service) in lane.instances.iter().filter(|(name, _)| of_it(name)) {
        for (id, instance, alive) in service.in_force() {
            list.push(shown(Which { service: name, id }, instance, alive));
        }
    }
    Ok(answer::json(&list_of(&list)))
}

/// `GET /v1/fleets/{fleet}/instances/{service}/{id}`
pub(crate) async fn get(
    State(state): State<AdminState>,
    Path((fleet, service, id)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let lane = lane(&state.fleet(&fleet)?)?;
    let which = which(&service, &id)?;
    let mut all = lane
        .instances
        .get(&service)
        .into_iter()
        .flat_map(|service| service.in_force());
    match all.find(|(found, ..)| *found == id) {
        Some((_, instance, alive)) => Ok(answer::json(&shown(which, instance, alive))),
        None => Err(RegistryError::Unknown(which.to_string()).into()),
    }
}

/// `POST /v1/fleets/{fleet}/instances`: the same as PUT, where the address is the id.
pub(crate) async fn create(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let fleet = state.fleet(&fleet)?;
    let again = only_again(request.headers())?;
    let mut asked = object(&body::read(request.into_body()).await?)?;
    let Some(Value::String(service)) = asked.remove("service") else {
        return Err(Problem::invalid("service is missing or no text"));
    };
    let id = asked.get("address").and_then(Value::as_str);
    let id = id.unwrap_or_default().to_owned();
    register(&fleet, which(&service, &id)?, asked, again).await
}

/// `PUT /v1/fleets/{fleet}/instances/{service}/{id}`
pub(crate) async fn put(
    State(state): State<AdminState>,
    Path((fleet, service, id)): Path<(String, String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let fleet = state.fleet(&fleet)?;
    let which = which(&service, &id)?;
    let again = only_again(request.headers())?;
    let mut asked = object(&body::read(request.into_body()).await?)?;
    asked.entry("address").or_insert_with(|| json!(id));
    register(&fleet, which, asked, again).await
}

/// `DELETE /v1/fleets/{fleet}/instances/{service}/{id}`
pub(crate) async fn drain(
    State(state): State<AdminState>,
    Path((fleet, service, id)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let fleet = state.fleet(&fleet)?;
    let which = which(&service, &id)?;
    let lane = fleet.instances.borrow().clone();
    let remembered = lane.is_some_and(|lane| {
        let mut all = lane
            .instances
            .get(&service)
            .into_iter()
            .flat_map(|one| one.in_force());
        all.any(|(known, ..)| known == id)
    });
    bounded(PATIENCE, registry(&fleet).drain(which, remembered)).await?;
    tracing::info!(fleet = fleet.name, service, id, "instance drained");
    Ok(answer::json(
        &json!({ "service": service, "id": id, "drained": true }),
    ))
}

async fn register(
    fleet: &Fleet,
    which: Which<'_>,
    mut asked: Map<String, Value>,
    again: bool,
) -> Result<Response, Problem> {
    let ttl = asked.remove("ttl").and_then(|ttl| ttl.as_u64());
    let ttl = ttl
        .filter(|ttl| (TTL_S_MIN..=TTL_S_MAX).contains(ttl))
        .ok_or_else(|| {
            Problem::invalid(format!(
                "ttl must be a number of seconds from {TTL_S_MIN} to {TTL_S_MAX}"
            ))
        })?;
    let text = Value::Object(asked).to_string();
    let instance = Instance::parse(text.as_bytes()).map_err(Problem::invalid)?;
    let lane = lane(fleet)?;
    let service = lane.instances.get(which.service);
    if !again && service.is_some_and(|service| service.alive() >= INSTANCES_MAX) {
        let service = which.service;
        return Err(Problem::Refused(format!(
            "service {service:?} has {INSTANCES_MAX} instances, and no more"
        )));
    }
    let registry = registry(fleet);
    let registering = registry.register(which, &instance, Duration::from_secs(ttl), again);
    let registered = bounded(PATIENCE, registering).await?;
    if service.is_some_and(|service| service.lost() > 0 && service.believes_the_living()) {
        bounded(PATIENCE, registry.forget_the_lost(which.service)).await?;
    }
    let status = match registered.new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    if !registered.renewed {
        let (service, id) = (which.service, which.id);
        tracing::info!(fleet = fleet.name, service, id, "instance registered");
    }
    let mut shown = shown(which, &instance, true);
    shown["lease"] = json!(registered.lease.to_string());
    shown["ttl"] = json!(ttl);
    shown["renewed"] = json!(registered.renewed);
    Ok(answer::with_status(status, &shown))
}

fn registry(fleet: &Fleet) -> Registry<'_> {
    Registry {
        store: &*fleet.store,
        fleet: &fleet.name,
        prefix: fleet.prefix(),
    }
}

fn lane(fleet: &Fleet) -> Result<std::sync::Arc<LaneView>, Problem> {
    fleet.instances.borrow().clone().ok_or_else(|| {
        Problem::Unready(format!(
            "the instances of fleet {:?} have not been read yet",
            fleet.name
        ))
    })
}

fn which<'a>(service: &'a str, id: &'a str) -> Result<Which<'a>, Problem> {
    if !is_service(service) {
        return Err(Problem::invalid(format!(
            "{service:?} is no service's name: letters, digits and -_.: are, no dot first"
        )));
    }
    if !is_instance(id) {
        return Err(Problem::invalid(format!(
            "{id:?} is no id of an instance: letters, digits and -_.:[]@ are, no dot first"
        )));
    }
    Ok(Which { service, id })
}

/// Whether it must be registered already.
fn only_again(headers: &HeaderMap) -> Result<bool, Problem> {
    match headers.get(header::IF_MATCH) {
        None => Ok(false),
        Some(tag) if tag == "*" => Ok(true),
        Some(_) => Err(Problem::Refused(
            "an instance has no versions: If-Match can only be *".to_owned(),
        )),
    }
}

fn object(bytes: &Bytes) -> Result<Map<String, Value>, Problem> {
    match body::parse(bytes)? {
        Value::Object(object) => Ok(object),
        _ => Err(Problem::invalid("expected an object")),
    }
}

fn shown(which: Which<'_>, instance: &Instance, alive: bool) -> Value {
    let mut shown = json!({ "service": which.service, "id": which.id });
    if let (Some(shown), Value::Object(own)) = (shown.as_object_mut(), json!(instance)) {
        shown.extend(own);
    }
    shown["alive"] = json!(alive);
    shown
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Store(error) => Self::Store(error),
            RegistryError::Drained(_) => Self::Gone(error.to_string()),
            RegistryError::Ended(_) => Self::Precondition(error.to_string()),
            RegistryError::Unknown(_) => Self::Unknown(error.to_string()),
            RegistryError::Busy(_) => Self::Unready(error.to_string()),
        }
    }
}
