//! Owns the answers that the proxy gives itself. Must not know: why.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

use crate::proxy::response_body::ResponseBody;

/// An answer with APISIX's form of body: `{"error_msg":"404 Route Not Found"}` and a line end.
/// APISIX leaves errors of forwarding to nginx, which answers in HTML; here all have one form.
pub(super) fn error(status: StatusCode) -> Response<ResponseBody> {
    let text = match status {
        StatusCode::NOT_FOUND => "404 Route Not Found".to_owned(),
        other => other.to_string(),
    };
    with_message(status, &text)
}

/// The same with a text of its own, which must not need escaping in JSON.
pub(super) fn with_message(status: StatusCode, text: &str) -> Response<ResponseBody> {
    debug_assert!(!text.contains(['"', '\\']));
    let body = Bytes::from(format!("{{\"error_msg\":\"{text}\"}}\n"));
    let mut response = Response::new(ResponseBody::full(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
