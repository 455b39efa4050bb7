//! Owns the way of a request about configuration: path and verb decide which operation is asked for.
//! Must not know: how the operations work.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::Request;
use axum::response::Response;
use http::Method;

use super::access::Access;
use super::answer::{self, Problem};
use super::precondition::Precondition;
use super::query::Query;
use super::target::{Collection, Target};
use super::{body, delete, read, write};
use crate::fleet::Fleet;
use crate::keys::Kind;
use crate::schema::{self, Subject};

/// The longest time to live: a year, far beyond any use, and small enough to add to any clock.
const TTL_S_MAX: u64 = 365 * 24 * 3600;

/// What every operation is given.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) access: Access<'a>,
    pub(crate) target: Target,
    pub(crate) query: Query,
    pub(crate) precondition: Precondition,
    /// Unix time in seconds.
    pub(crate) now_s: u64,
}

impl Call<'_> {
    /// The time to live, if one is asked for.
    ///
    /// # Errors
    /// It is not a number of seconds.
    pub(crate) fn ttl(&self) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.query.get("ttl") else {
            return Ok(None);
        };
        match text.parse() {
            Ok(seconds @ 1..=TTL_S_MAX) => Ok(Some(Duration::from_secs(seconds))),
            Ok(_) | Err(_) => Err(Problem::Refused(format!(
                "invalid argument ttl: should be a number of seconds between 1 and {TTL_S_MAX}"
            ))),
        }
    }
}

/// Serves one request under `…/apisix/admin/` of a fleet.
pub(crate) async fn serve(fleet: &Fleet, request: Request) -> Result<Response, Problem> {
    let (parts, request_body) = request.into_parts();
    let path = parts.uri.path();
    let (_, path) = path.split_once("/apisix/admin/").unwrap_or_default();
    if let Some(name) = path.strip_prefix("schema/") {
        return schema_of(&parts.method, name);
    }
    let target = Target::parse(path)?;
    target.collection.allows(&parts.method)?;
    if !target.sub_path.is_empty() && parts.method != Method::PATCH {
        return Err(Problem::Unknown(format!("there is nothing at {path}")));
    }
    let call = Call {
        access: Access { fleet },
        target,
        query: Query::parse(parts.uri.query().unwrap_or_default()),
        precondition: Precondition::of(&parts.headers),
        now_s: now_s(),
    };
    match parts.method {
        Method::PUT => write::put(call, body::read(request_body).await?).await,
        Method::POST => write::post(call, body::read(request_body).await?).await,
        Method::PATCH => write::patch(call, body::read(request_body).await?).await,
        Method::DELETE => delete::delete(call).await,
        _ if call.target.id.is_some() => read::one(call).await,
        _ => read::list(call).await,
    }
}

/// Unix time in seconds; 0 on a machine whose clock is before 1970.
fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// `GET schema/route`: what we check writes against.
fn schema_of(method: &Method, name: &str) -> Result<Response, Problem> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Problem::Method {
            method: method.to_string(),
            subject: "schema".to_owned(),
        });
    }
    Kind::ALL
        .into_iter()
        .map(|kind| Collection::Items(kind).subject())
        .chain([Subject::Credential])
        .find(|subject| subject.singular().replace(' ', "_") == name)
        .map(|subject| answer::json(schema::schema(subject)))
        .ok_or_else(|| Problem::Unknown(format!("there is no schema {name:?}")))
}
