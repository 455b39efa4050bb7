//! Owns the HTTP client of the command line: one server, one key, bounded waits. Must not know: commands.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::CliError;

/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How long an answer may take: more than the server gives its store.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// The largest answer that is read: 100,000 routes of 2 KiB, and some.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// What can't stand in one segment of a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// One segment of a path.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// The segments of an id: only a secret's has more than one.
pub(super) fn segments(text: &str) -> String {
    let parts: Vec<String> = text.split('/').map(segment).collect();
    parts.join("/")
}

/// Speaks to one server.
pub(super) struct Client {
    base: String,
    key: HeaderValue,
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.base)
    }
}

/// What the server answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Reply {
    /// The body if it is a success, else an error in the server's words.
    pub(super) fn or_rejected(self, what: impl fmt::Display) -> Result<Value, CliError> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let said = ["error_msg", "message"]
            .iter()
            .find_map(|field| self.body[*field].as_str());
        let more = self.body["description"]
            .as_str()
            .map(|more| format!(": {more}"));
        let reason = format!(
            "{}{} (status {})",
            said.unwrap_or("the server did not say why"),
            more.unwrap_or_default(),
            self.status.as_u16()
        );
        Err(CliError::Rejected {
            what: what.to_string(),
            reason,
        })
    }
}

impl Client {
    /// A client for the server at `base`.
    pub(super) fn new(base: &str, key: &str) -> Result<Self, CliError> {
        let base = base.trim_end_matches('/');
        let bad = |reason: &str| CliError::Usage(format!("--admin {base:?} {reason}"));
        let uri: Uri = base.parse().map_err(|_| bad("is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(bad("has https, which this command does not speak yet")),
            Some(_) | None => return Err(bad("must start with http://")),
        }
        let mut key = HeaderValue::from_str(key).map_err(|_| {
            CliError::Usage("the API key has characters that no key can have".to_owned())
        })?;
        key.set_sensitive(true);
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_PATIENCE));
        connector.set_nodelay(true);
        Ok(Self {
            base: base.to_owned(),
            key,
            http: HttpClient::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// GET.
    pub(super) async fn get(&self, path: &str) -> Result<Reply, CliError> {
        self.send(Method::GET, path, None, None).await
    }

    /// One request.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        condition: Option<(HeaderName, String)>,
        body: Option<&Value>,
    ) -> Result<Reply, CliError> {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", self.key.clone());
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some((name, tag)) = condition {
            let tag = HeaderValue::from_str(&tag).expect("a tag is a star or digits in quotes");
            headers.insert(name, tag);
        }
        let text = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .body(Full::from(text))
            .map_err(|error| CliError::Usage(format!("can't ask for {path:?}: {error}")))?;
        *request.headers_mut() = headers;
        match tokio::time::timeout(ANSWER_PATIENCE, self.exchange(request)).await {
            Ok(reply) => reply,
            Err(_) => {
                Err(self.unreachable(&format!("no answer in {} s", ANSWER_PATIENCE.as_secs())))
            }
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Reply, CliError> {
        let response = self.http.request(request).await.map_err(|error| {
            let refused = error.is_connect();
            let hint = if refused {
                "; is `bellwether serve` running there?"
            } else {
                ""
            };
            self.unreachable(&format!("{}{hint}", root_cause(&error)))
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| self.unreachable(&format!("the answer broke off: {error}")))?
            .to_bytes();
        // Something that is not our server may answer anything.
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Reply { status, body })
    }

    fn unreachable(&self, reason: &str) -> CliError {
        CliError::Unreachable(format!("{}: {reason}", self.base))
    }
}

/// The innermost error, which has the facts.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for (base, reason) in [
            ("127.0.0.1:9180", "must start with http://"),
            ("https://a", "has https"),
            ("http://a b", "is not a URL"),
        ] {
            let error = Client::new(base, "k").unwrap_err().to_string();
            assert!(error.contains(reason), "{base}: {error}");
        }
        let client = Client::new("http://127.0.0.1:9180/", "hush").unwrap();
        assert_eq!(format!("{client:?}"), "Client(http://127.0.0.1:9180)");
    }

    #[test]
    fn ids_are_escaped() {
        assert_eq!(segment("a b/c"), "a%20b%2Fc");
        assert_eq!(segments("vault/1?x"), "vault/1%3Fx");
    }
}
