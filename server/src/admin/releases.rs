//! Owns cutting, listing and comparing the releases of a fleet. Must not know: how they are kept, or who
//! gets one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bellwether_rollout::content::{self, Changed, Item, View};
use bellwether_xds::nodes::NodeView;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{aside, bounded};
use super::answer::{self, Problem};
use super::own::{list_of, nodes_of};
use super::{AdminState, body};
use crate::fleet::Fleet;
use crate::release::{DraftError, Header, ReleaseError, Releases, cut};
use crate::views::Secrets;

/// Characters of a reason, or of an author's name.
const TEXT_MAX: usize = 1_000;

/// How long a release may take to be written or read, of any size. Less than the command line waits; what
/// is written by then and has no header is no release.
pub(super) const PATIENCE: Duration = Duration::from_secs(45);

/// What is said when a release is cut.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    reason: String,
    #[serde(default)]
    author: String,
}

/// `POST /v1/fleets/{fleet}/releases`: 201 with the release; 200 if the newest one holds the very same.
pub(crate) async fn create(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let fleet = state.fleet(&fleet)?;
    let asked = body::parse(&body::read(request.into_body()).await?)?;
    let asked: Asked = serde_json::from_value(asked)
        .map_err(|error| Problem::Refused(format!("not a release: {error}")))?;
    if asked.reason.trim().is_empty() {
        return Err(Problem::Refused("a release needs a reason".to_owned()));
    }
    if asked.reason.chars().chain(asked.author.chars()).count() > TEXT_MAX {
        return Err(Problem::Refused(format!(
            "reason and author have more than {TEXT_MAX} characters"
        )));
    }
    let (header, new) = bounded(PATIENCE, cut(&fleet, &asked.author, &asked.reason)).await?;
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut shown = shown(&fleet, &header);
    shown["new"] = json!(new);
    Ok(answer::with_status(status, &shown))
}

/// `GET /v1/fleets/{fleet}/releases`, oldest first.
pub(crate) async fn list(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
) -> Result<Response, Problem> {
    let fleet = state.fleet(&fleet)?;
    let headers = bounded(PATIENCE, of(&fleet).list()).await?;
    let list: Vec<Value> = headers.iter().map(|header| shown(&fleet, header)).collect();
    Ok(answer::json(&list_of(&list)))
}

/// `GET /v1/fleets/{fleet}/releases/{seq}`, with how many resources each kind of client gets.
pub(crate) async fn get(
    State(state): State<AdminState>,
    Path((fleet, seq)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let fleet = state.fleet(&fleet)?;
    let (header, items) = bounded(PATIENCE, of(&fleet).load(number(&seq)?)).await?;
    let mut shown = shown(&fleet, &header);
    shown["clients"] = json!(counted(&items));
    Ok(answer::json(&shown))
}

/// `GET /v1/fleets/{fleet}/releases/{before}/diff/{after}`, with how many of the nodes that are connected
/// to this server it touches: those whose kind of client is sent anything else.
pub(crate) async fn diff(
    State(state): State<AdminState>,
    Path((fleet, before, after)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let fleet = state.fleet(&fleet)?;
    let releases = of(&fleet);
    let (before, after) = (number(&before)?, number(&after)?);
    let (from, old) = bounded(PATIENCE, releases.load(before)).await?;
    let (to, new) = bounded(PATIENCE, releases.load(after)).await?;
    let diff = aside(move || content::diff(&old, &new)).await?;
    let touched: BTreeSet<&str> = diff.changed.iter().map(|one| one.view.name()).collect();
    let changed: Vec<Value> = diff.changed.iter().map(change).collect();
    let nodes = nodes_of(&state, &fleet.name).await?;
    let is_touched = |node: &&NodeView| touched.contains(view_of(&fleet, node).name());
    Ok(answer::json(&json!({
        "from": shown(&fleet, &from),
        "to": shown(&fleet, &to),
        "clients": touched,
        "nodes": {
            "touched": nodes.iter().filter(is_touched).count(),
            "connected": nodes.len(),
        },
        "same": diff.same,
        "total": changed.len(),
        "list": changed,
    })))
}

/// What is made for a client as this node is one.
fn view_of(fleet: &Fleet, node: &NodeView) -> View {
    let secrets = match node.withheld.is_empty() {
        true => Secrets::Given,
        false => Secrets::Withheld,
    };
    fleet.views.view(&node.user_agent, secrets)
}

fn of(fleet: &Fleet) -> Releases {
    Releases::new(fleet.store.clone(), &fleet.name)
}

fn number(text: &str) -> Result<u64, Problem> {
    text.parse()
        .map_err(|_| Problem::Refused(format!("not the number of a release: {text:?}")))
}

fn shown(fleet: &Fleet, header: &Header) -> Value {
    let mut shown = json!(header);
    shown["name"] = json!(format!("{}@{}", fleet.name, header.seq));
    // Where it is kept is of no use to anybody.
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("manifest");
    }
    shown
}

fn counted(items: &[Item]) -> BTreeMap<&'static str, BTreeMap<&str, u64>> {
    let mut counts: BTreeMap<_, BTreeMap<_, u64>> = BTreeMap::new();
    for item in items {
        let of_client = counts.entry(item.view.name()).or_default();
        *of_client.entry(item.id.type_url.short()).or_default() += 1;
    }
    counts
}

fn change(one: &Changed) -> Value {
    let what = match (one.before, one.after) {
        (None, _) => "added",
        (_, None) => "removed",
        _ => "changed",
    };
    json!({
        "client": one.view.name(),
        "type": one.id.type_url.short(),
        "resource": one.id.name.as_str(),
        "change": what,
        "bytes_before": one.before,
        "bytes_after": one.after,
    })
}

impl From<DraftError> for Problem {
    fn from(error: DraftError) -> Self {
        match error {
            DraftError::Release(error) => error.into(),
            DraftError::NothingInForce(_) | DraftError::Defect(_) => {
                Self::Unready(error.to_string())
            }
        }
    }
}

impl From<ReleaseError> for Problem {
    fn from(error: ReleaseError) -> Self {
        match error {
            ReleaseError::Store(error) => Self::Store(error),
            ReleaseError::Unknown { .. } => Self::Unknown(error.to_string()),
            ReleaseError::TooLarge(_) => Self::Refused(error.to_string()),
            ReleaseError::Damaged { .. } | ReleaseError::Busy(_) => {
                Self::Unready(error.to_string())
            }
        }
    }
}
