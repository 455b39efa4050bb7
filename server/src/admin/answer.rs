//! Owns what an answer looks like: statuses, bodies and headers, of successes and of problems.
//! Must not know: what was asked.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::store::{Revision, StoreError};

/// How much of a body that could not be read is echoed, in characters.
const ECHO_CHARS_MAX: usize = 512;

/// Why a request was not done. Becomes the status and body that APISIX would answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("Key not found")]
    NotFound,
    /// A path that leads nowhere.
    #[error("{0}")]
    Unknown(String),
    /// Something about the request.
    #[error("{0}")]
    Refused(String),
    #[error("invalid request body: {reason}")]
    BadBody { reason: String, body: Vec<u8> },
    #[error("failed to check token")]
    Unauthorized { description: &'static str },
    #[error("not supported `{method}` method for {subject}")]
    Method { method: String, subject: String },
    /// It was there, and somebody took it away for good.
    #[error("{0}")]
    Gone(String),
    /// `If-Match` or `If-None-Match` did not hold.
    #[error("precondition failed: {0}")]
    Precondition(String),
    /// Others wrote the same key again and again while we tried.
    #[error("value changed before overwritten")]
    Lost,
    #[error("{what} gave no answer within {seconds} s")]
    Slow { what: &'static str, seconds: u64 },
    #[error("{0}")]
    Store(StoreError),
    #[error("the server is going down")]
    GoingDown,
    /// It can be done later, or elsewhere.
    #[error("{0}")]
    Unready(String),
}

impl Problem {
    /// A value that its schema or the catalog refuses.
    pub(crate) fn invalid(reason: impl std::fmt::Display) -> Self {
        Self::Refused(format!("invalid configuration: {reason}"))
    }

    /// Whether what was asked for may have been done all the same.
    pub(crate) fn is_unknown_outcome(&self) -> bool {
        match self {
            Self::Slow { .. } | Self::Store(StoreError::Unavailable { .. }) => true,
            Self::NotFound
            | Self::Unknown(_)
            | Self::Refused(_)
            | Self::BadBody { .. }
            | Self::Unauthorized { .. }
            | Self::Method { .. }
            | Self::Gone(_)
            | Self::Precondition(_)
            | Self::Lost
            | Self::GoingDown
            | Self::Unready(_)
            | Self::Store(_) => false,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::Refused(_) | Self::BadBody { .. } => StatusCode::BAD_REQUEST,
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Gone(_) => StatusCode::GONE,
            Self::Precondition(_) => StatusCode::PRECONDITION_FAILED,
            Self::Lost | Self::Slow { .. } | Self::GoingDown | Self::Unready(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Store(StoreError::Refused { .. }) => StatusCode::BAD_REQUEST,
            Self::Store(
                StoreError::Compacted { .. }
                | StoreError::Unavailable { .. }
                | StoreError::Unauthenticated { .. }
                | StoreError::Corrupt { .. }
                | StoreError::Locked { .. },
            ) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn body(&self) -> Value {
        let text = self.to_string();
        match self {
            Self::NotFound => json!({ "message": text }),
            Self::BadBody { body, .. } => {
                let echo = String::from_utf8_lossy(body);
                let echo: String = echo.chars().take(ECHO_CHARS_MAX).collect();
                json!({ "error_msg": text, "req_body": echo })
            }
            Self::Unauthorized { description } => {
                json!({ "error_msg": text, "description": description })
            }
            Self::Unknown(_)
            | Self::Refused(_)
            | Self::Method { .. }
            | Self::Gone(_)
            | Self::Precondition(_)
            | Self::Lost
            | Self::Slow { .. }
            | Self::GoingDown
            | Self::Unready(_)
            | Self::Store(_) => json!({ "error_msg": text }),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), reason = %self, "admin request failed");
        }
        with_status(status, &self.body())
    }
}

/// 200 with a JSON body.
pub(crate) fn json(body: &Value) -> Response {
    with_status(StatusCode::OK, body)
}

/// A JSON body.
pub(crate) fn with_status(status: StatusCode, body: &Value) -> Response {
    raw(status, body.to_string())
}

/// A body that is JSON text already.
pub(crate) fn raw(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    let mut response = (status, body.into()).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// The entity tag of a value: its `mod_revision`.
pub(crate) fn etag(revision: Revision) -> String {
    format!("\"{revision}\"")
}

/// Adds the entity tag.
pub(crate) fn tagged(mut response: Response, revision: Revision) -> Response {
    let tag = HeaderValue::from_str(&etag(revision)).expect("digits in quotes are a header value");
    response.headers_mut().insert(header::ETAG, tag);
    response
}
