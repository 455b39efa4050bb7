//! Owns what is Bellwether's own in the Admin API: fleets, status, nodes, and the endpoints for probes and
//! scrapers. Must not know: how any of it comes about.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bellwether_xds::nodes::NodeView;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

use super::AdminState;
use super::answer::{self, Problem};
use super::query::Query;
use crate::fleet::{Fleet, FleetStatus, Serving};
use crate::store::follow::Operator;

/// How long the list of nodes may take.
const NODES_PATIENCE: Duration = Duration::from_secs(5);

/// What prometheus-client writes.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) fn list_of<T: Serialize>(list: &[T]) -> Value {
    json!({ "list": list, "total": list.len() })
}

/// `POST /v1/fleets/{fleet}/accept-store`
pub(crate) async fn accept_store(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
) -> Result<Response, Problem> {
    let fleet = state.fleet(&fleet)?;
    fleet.operator.accept();
    if let Some(staged) = fleet.staged() {
        staged.operator.accept();
    }
    let directory = state.directory.iter();
    directory
        .flat_map(|directory| &directory.operators)
        .for_each(Operator::accept);
    Ok(answer::json(
        &json!({ "fleet": fleet.name, "accepted": true }),
    ))
}

/// `GET /v1/status`
pub(crate) async fn status(State(state): State<AdminState>) -> Response {
    let mut body = list_of(&statuses(&state));
    body["version"] = json!(env!("CARGO_PKG_VERSION"));
    answer::json(&body)
}

fn statuses(state: &AdminState) -> Vec<FleetStatus> {
    let fleets = state.fleets.borrow().clone();
    fleets
        .values()
        .map(|fleet| {
            let mut status = (**fleet.status.borrow()).clone();
            status.staged = fleet.staged().map(|one| (**one.status.borrow()).clone());
            status.settings = fleet.views.settings();
            status.translations = fleet.views.translations();
            status
        })
        .collect()
}

async fn bounded(nodes: impl Future<Output = Vec<NodeView>>) -> Result<Vec<NodeView>, Problem> {
    tokio::time::timeout(NODES_PATIENCE, nodes)
        .await
        .map_err(|_| Problem::Slow {
            what: "the list of nodes",
            seconds: NODES_PATIENCE.as_secs(),
        })
}

/// Keeps the nodes of the fleet that the query names, if it names one.
fn of_fleet(request: &Request, nodes: &mut Vec<NodeView>) {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    if let Some(fleet) = query.get("fleet") {
        nodes.retain(|node| node.group == fleet);
    }
}

/// The nodes of a fleet that are connected to this server.
pub(super) async fn nodes_of(state: &AdminState, fleet: &str) -> Result<Vec<NodeView>, Problem> {
    let mut nodes = bounded(state.nodes.list()).await?;
    nodes.retain(|node| node.group == fleet);
    Ok(nodes)
}

/// `GET /v1/nodes`
pub(crate) async fn nodes(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Response, Problem> {
    let mut nodes = bounded(state.nodes.list()).await?;
    of_fleet(&request, &mut nodes);
    Ok(answer::json(&list_of(&nodes)))
}

/// `GET /v1/nodes/{id}`
pub(crate) async fn node(
    State(state): State<AdminState>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let mut nodes = bounded(state.nodes.named(&id)).await?;
    of_fleet(&request, &mut nodes);
    let fleets: BTreeSet<&str> = nodes.iter().map(|node| node.group.as_str()).collect();
    if fleets.len() > 1 {
        let fleets: Vec<&str> = fleets.into_iter().collect();
        return Err(Problem::Refused(format!(
            "there is a node {id:?} in the fleets {}, name one by ?fleet=",
            fleets.join(", ")
        )));
    }
    // A node that came back while its old connection is not known to be gone yet is there twice.
    match nodes.iter().max_by_key(|node| node.connected_ms) {
        Some(node) => Ok(answer::json(&json!(node))),
        None => Err(Problem::Unknown(format!("no node {id:?} is connected"))),
    }
}

/// `GET /metrics`
pub(crate) async fn metrics(State(state): State<AdminState>) -> Response {
    let mut response = (state.metrics)().into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
    response
}

/// `GET /livez`
pub(crate) async fn alive() -> Response {
    answer::json(&json!({ "status": "ok" }))
}

/// `GET /readyz`
pub(crate) async fn ready(State(state): State<AdminState>) -> Response {
    let fleets = state.fleets.borrow().clone();
    let is_pending = |fleet: &&Fleet| {
        let unserved = match &fleet.serving {
            Serving::NotYet(..) => true,
            Serving::Direct => false,
            Serving::Staged(staged) => !staged.is_ready(),
        };
        unserved || fleet.status.borrow().revision == 0
    };
    let pending: Vec<&str> = fleets
        .values()
        .filter(is_pending)
        .map(|fleet| fleet.name.as_str())
        .collect();
    if pending.is_empty() {
        return answer::json(&json!({ "status": "ok" }));
    }
    let text = format!("waiting for the first sync of fleet {}", pending.join(", "));
    let body = json!({ "error_msg": text, "pending": pending });
    answer::with_status(StatusCode::SERVICE_UNAVAILABLE, &body)
}
