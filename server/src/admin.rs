//! Owns the Admin API: who may call it, what it answers, and how writes reach the store. Must not know:
//! how configuration is compiled or streamed.
//!
//! | Path | What it is |
//! |---|---|
//! | `/apisix/admin/{routes,services,upstreams,ssls,consumers,…}[/{id}]` | Configuration of the default fleet, as APISIX's Admin API |
//! | `/apisix/admin/consumers/{username}/credentials[/{id}]` | A consumer's credentials |
//! | `/apisix/admin/schema/{kind}` | The JSON Schema of a kind |
//! | `/fleets/{fleet}/apisix/admin/…` | The same for any fleet |
//! | `/v1/fleets[/{fleet}]` | The fleets that are served; PUT defines one, for every server on the same store |
//! | `/v1/fleets/{fleet}/settings` | What Envoy and gRPC must know of a fleet and APISIX's keys don't say: listeners and the like |
//! | `/v1/fleets/{fleet}/releases[/{seq}]` | The releases of a fleet; POST cuts one of what is in force |
//! | `/v1/fleets/{fleet}/releases/{seq}/diff/{seq}` | What is different between two of them |
//! | `/v1/fleets/{fleet}/rollout` | The rollout under way, what was seen, and what it waits for; POST starts one |
//! | `POST /v1/fleets/{fleet}/rollout/{pause,resume,abort,promote,approve}` | What people want of it |
//! | `POST /v1/fleets/{fleet}/rollback` | Back to what was good |
//! | `POST /v1/fleets/{fleet}/rollout/force-base` | The nodes of this server back at once, though the store be away |
//! | `/v1/fleets/{fleet}/{pins,hold}` | Nodes with a release of their own; times in which nothing goes forward |
//! | `/v1/fleets/{fleet}/history` | What happened, by whom |
//! | `DELETE /v1/fleets/{fleet}/quarantine/{digest}` | What failed may be tried again |
//! | `/v1/policies` | The policies that can be named, with every stage |
//! | `/v1/fleets/{fleet}/instances[/{service}/{id}]` | The instances of services: PUT registers and renews, DELETE drains |
//! | `POST /v1/fleets/{fleet}/accept-store` | An operator's word that the store is right although it contradicts what was seen before |
//! | `/v1/status` | How each fleet does: revision, store, bad keys |
//! | `/v1/nodes[?fleet=…]` | Connected nodes: versions sent and acknowledged, rejections |
//! | `/v1/nodes/{id}` | One of them, with each of its resources |
//! | `/metrics` | Prometheus text |
//! | `/livez` | 200 as long as the process answers |
//! | `/readyz` | 200 once every fleet had its first sync, else 503 with the names of those that had not |
//!
//! An API key is needed for everything but `/livez`, `/readyz` and, unless it is told otherwise,
//! `/metrics`: none of them holds a secret, and probes and scrapers often can't send a key.
//!
//! Beyond APISIX: answers carry an `ETag` (the `mod_revision`), and PUT, PATCH and DELETE honour
//! `If-Match` and `If-None-Match: *` as a compare-and-swap that answers 412 when it lost. Errors are
//! always JSON. Duplicate keys in a body are refused, because two readers would not agree on its meaning.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post, put};
use bellwether_xds::nodes::Nodes;
use http::{HeaderMap, HeaderValue, Method, header};

use crate::fleet::{DEFAULT_FLEET, Fleet};
use crate::fleets::{Directory, Served};
use crate::rollouts::Rollouts;

mod access;
mod answer;
mod auth;
mod body;
mod delete;
mod document;
mod fleets;
mod force;
mod instances;
mod own;
mod page;
mod patch;
mod precondition;
mod query;
mod read;
mod references;
mod releases;
mod resources;
mod rollouts;
mod settings;
mod target;
mod validate;
mod write;

pub(crate) use auth::read_keys;
pub use auth::{BadKeys, KEY_FILE_LINE, Keys, Role};

use answer::Problem;

/// What we say we are. ADC reads features from it: 3.13 has credentials (3.11) and nothing that we lack
/// of what ADC would use then.
const SERVER: &str = "APISIX/3.13.0";

/// What the Admin API needs to know of the rest of the server.
#[derive(Clone)]
pub struct AdminState {
    /// The fleets that are served, latest wins.
    pub fleets: Served,
    /// Where they are defined; `None`: nobody defines any while this server runs.
    pub directory: Option<Directory>,
    /// Who decides about the fleets in staged mode.
    pub rollouts: Rollouts,
    /// The connected nodes.
    pub nodes: Nodes,
    /// Who may call.
    pub keys: Arc<Keys>,
    /// The metrics in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Whether `/metrics` wants a key too. Default of the server: no.
    pub metrics_need_key: bool,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState")
            .field("keys", &self.keys)
            .field("metrics_need_key", &self.metrics_need_key)
            .finish_non_exhaustive()
    }
}

impl AdminState {
    fn fleet(&self, name: &str) -> Result<Fleet, Problem> {
        self.fleets
            .borrow()
            .get(name)
            .cloned()
            .ok_or_else(|| Problem::Unknown(format!("there is no fleet {name:?} here")))
    }

    fn is_open(&self, path: &str) -> bool {
        matches!(path, "/livez" | "/readyz") || (path == "/metrics" && !self.metrics_need_key)
    }
}

/// The whole API.
pub fn router(state: AdminState) -> Router {
    Router::new()
        .route("/apisix/admin", any(root))
        .route("/apisix/admin/", any(root))
        .route("/apisix/admin/{*path}", any(default_fleet))
        .route("/fleets/{fleet}/apisix/admin", any(root))
        .route("/fleets/{fleet}/apisix/admin/{*path}", any(named_fleet))
        .route("/v1/fleets", get(fleets::list))
        .route(
            "/v1/fleets/{fleet}",
            get(fleets::get).put(fleets::put).delete(fleets::delete),
        )
        .route("/v1/fleets/{fleet}/accept-store", post(own::accept_store))
        .route(
            "/v1/fleets/{fleet}/settings",
            get(settings::get)
                .put(settings::put)
                .delete(settings::delete),
        )
        .route(
            "/v1/fleets/{fleet}/releases",
            get(releases::list).post(releases::create),
        )
        .route("/v1/fleets/{fleet}/releases/{seq}", get(releases::get))
        .route(
            "/v1/fleets/{fleet}/releases/{before}/diff/{after}",
            get(releases::diff),
        )
        .merge(of_rollouts())
        .route(
            "/v1/fleets/{fleet}/instances",
            get(instances::list).post(instances::create),
        )
        .route(
            "/v1/fleets/{fleet}/instances/{service}/{id}",
            get(instances::get)
                .put(instances::put)
                .delete(instances::drain),
        )
        .route("/v1/status", get(own::status))
        .route("/v1/nodes", get(own::nodes))
        .route("/v1/nodes/{*id}", get(own::node))
        .route("/metrics", get(own::metrics))
        .route("/livez", get(own::alive))
        .route("/readyz", get(own::ready))
        .method_not_allowed_fallback(wrong_method)
        .fallback(nowhere)
        .layer(middleware::from_fn_with_state(state.clone(), gate))
        .with_state(state)
}

fn of_rollouts() -> Router<AdminState> {
    Router::new()
        .route("/v1/policies", get(rollouts::policies))
        .route(
            "/v1/fleets/{fleet}/rollout",
            get(rollouts::show).post(rollouts::start),
        )
        .route("/v1/fleets/{fleet}/rollout/{verb}", post(rollouts::act))
        .route("/v1/fleets/{fleet}/rollback", post(rollouts::roll_back))
        .route(
            "/v1/fleets/{fleet}/rollout/force-base",
            post(force::force_base),
        )
        .route(
            "/v1/fleets/{fleet}/pins",
            get(rollouts::pins)
                .post(rollouts::pin)
                .delete(rollouts::unpin),
        )
        .route(
            "/v1/fleets/{fleet}/hold",
            put(rollouts::hold).delete(rollouts::drop_hold),
        )
        .route("/v1/fleets/{fleet}/history", get(rollouts::history))
        .route(
            "/v1/fleets/{fleet}/quarantine/{digest}",
            delete(rollouts::unquarantine),
        )
}

/// Lets in who may come in, and dresses every answer.
async fn gate(State(state): State<AdminState>, mut request: Request, next: Next) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        ().into_response()
    } else if state.is_open(request.uri().path()) {
        next.run(request).await
    } else {
        match auth::authorize(&state.keys, &request) {
            Ok(role) => {
                request.extensions_mut().insert(role);
                next.run(request).await
            }
            Err(problem) => problem.into_response(),
        }
    };
    dress(response.headers_mut());
    response
}

fn dress(headers: &mut HeaderMap) {
    let fixed = [
        (header::SERVER, SERVER),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "*"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "*"),
        (header::ACCESS_CONTROL_MAX_AGE, "3600"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("x-api-version", HeaderValue::from_static("v3"));
}

async fn root(request: Request) -> Result<Response, Problem> {
    match *request.method() {
        Method::GET | Method::HEAD => Ok(answer::json(&serde_json::json!({}))),
        _ => Err(Problem::Unknown(
            "name a resource: /apisix/admin/routes".to_owned(),
        )),
    }
}

async fn default_fleet(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Response, Problem> {
    let fleet = state.fleet(DEFAULT_FLEET)?;
    resources::serve(&fleet, request).await
}

async fn named_fleet(
    State(state): State<AdminState>,
    Path((fleet, _)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let fleet = state.fleet(&fleet)?;
    resources::serve(&fleet, request).await
}

async fn wrong_method(request: Request) -> Problem {
    Problem::Method {
        method: request.method().to_string(),
        subject: request.uri().path().to_owned(),
    }
}

async fn nowhere(request: Request) -> Problem {
    Problem::Unknown(format!("there is nothing at {}", request.uri().path()))
}
