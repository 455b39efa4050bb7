//! Owns pins and freezes, as HTTP. Must not know: what follows from them.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bellwether_rollout::machine::Command;
use bellwether_rollout::state::{Hold, Pin};
use bellwether_rollout::{Millis, Selector};
use serde_json::json;

use super::super::AdminState;
use super::super::answer::{self, Problem};
use super::super::own::list_of;
use super::asked::{HoldAsked, PinAsked, UnholdAsked, UnpinAsked, author, reason};
use super::read;
use crate::clock::unix_ms;
use crate::rollouts::status;

/// `GET /v1/fleets/{fleet}/pins`
pub(crate) async fn pins(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
) -> Result<Response, Problem> {
    let staged = state.staged(&fleet)?;
    let current = staged.load().await?;
    let pins = status::pins(&staged.fleet, &current.state);
    Ok(answer::json(&list_of(&pins)))
}

/// `POST /v1/fleets/{fleet}/pins`
pub(crate) async fn pin(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let staged = state.staged(&fleet)?;
    let asked: PinAsked = read(request).await?;
    let who = author(&asked.author)?;
    let now = Millis(unix_ms());
    let pin = Pin {
        select: selector(&asked.select)?,
        release: staged.release(asked.release.of(&staged.fleet)?).await?,
        author: who.clone(),
        reason: reason(&asked.reason)?,
        until: asked.ttl.map(|ttl| now + Duration::from_secs(ttl)),
    };
    let current = staged.command(&Command::Pin(pin), &who).await?;
    let pins = status::pins(&staged.fleet, &current.state);
    Ok(answer::json(&list_of(&pins)))
}

/// `DELETE /v1/fleets/{fleet}/pins`
pub(crate) async fn unpin(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let staged = state.staged(&fleet)?;
    let asked: UnpinAsked = read(request).await?;
    let select = selector(&asked.select)?;
    let who = author(&asked.author)?;
    let current = staged.command(&Command::Unpin { select }, &who).await?;
    let pins = status::pins(&staged.fleet, &current.state);
    Ok(answer::json(&list_of(&pins)))
}

/// A pin of everything is a release for all, which is what rollouts are for.
fn selector(text: &str) -> Result<Selector, Problem> {
    let select: Selector = text
        .parse()
        .map_err(|error| Problem::Refused(format!("{error}")))?;
    match select == Selector::default() {
        true => Err(Problem::Refused(
            "a pin of every node: roll the release out, or roll back".to_owned(),
        )),
        false => Ok(select),
    }
}

/// `PUT /v1/fleets/{fleet}/hold`: nothing goes forward, from now on or from a time to come.
pub(crate) async fn hold(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let staged = state.staged(&fleet)?;
    let asked: HoldAsked = read(request).await?;
    let who = author(&asked.author)?;
    let hold = Hold {
        author: who.clone(),
        reason: reason(&asked.reason)?,
        from: asked.from.map(Millis),
        until: asked.until.map(Millis),
    };
    let current = staged.command(&Command::Hold(hold), &who).await?;
    Ok(answer::json(&holds(&current.state)))
}

/// `DELETE /v1/fleets/{fleet}/hold`
pub(crate) async fn drop_hold(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let staged = state.staged(&fleet)?;
    let asked: UnholdAsked = read(request).await?;
    let who = author(&asked.author)?;
    let command = match asked.planned {
        true => Command::DropPlanned,
        false => Command::Unhold,
    };
    let current = staged.command(&command, &who).await?;
    Ok(answer::json(&holds(&current.state)))
}

fn holds(state: &bellwether_rollout::State) -> serde_json::Value {
    json!({
        "hold": state.hold.as_ref().map(status::hold),
        "planned": state.planned.iter().map(status::hold).collect::<Vec<_>>(),
    })
}
