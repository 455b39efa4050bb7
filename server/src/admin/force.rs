//! Owns the operator's last resort: to take the nodes of one server back without asking the store.
//! Must not know: how nodes are taken back.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::answer::{self, Problem};
use super::{AdminState, body};

/// What is said.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    reason: String,
    #[serde(default)]
    author: String,
}

/// `POST /v1/fleets/{fleet}/rollout/force-base`: of this server alone, at once, whether or not the store can be
/// reached. When it can, the rollout is aborted for all servers.
pub(crate) async fn force_base(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let fleet = state.fleet(&name)?;
    let asked = body::parse(&body::read(request.into_body()).await?)?;
    let asked: Asked = serde_json::from_value(asked)
        .map_err(|error| Problem::Refused(format!("not a reason: {error}")))?;
    if asked.reason.trim().is_empty() {
        return Err(Problem::Refused(
            "to force a fleet back needs a reason".to_owned(),
        ));
    }
    let staged = fleet
        .staged()
        .ok_or_else(|| Problem::Refused(format!("fleet {name:?} is not in staged mode")))?;
    let forced = staged.force_base(&asked.author, &asked.reason).ok_or_else(|| {
        Problem::Refused(format!(
            "fleet {name:?} has nothing to go back to: no rollout is under way, and nothing was stable before"
        ))
    })?;
    Ok(answer::json(&json!(forced)))
}
