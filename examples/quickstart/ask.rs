//! Owns the asking: one GET, and waiting for what must come true within a time. Must not know: the story.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::{Instant, sleep, timeout};

/// Far more than any step needs, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// How often a thing that must come true is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A status and a body.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, self.body.trim_end())
    }
}

/// Asks over connections that are kept.
#[derive(Debug)]
pub(crate) struct Asker(Client<HttpConnector, Empty<Bytes>>);

impl Asker {
    pub(crate) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    /// One GET.
    pub(crate) async fn get(&self, url: &str, key: Option<&str>) -> anyhow::Result<Reply> {
        let mut request = Request::get(url);
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        let request = request.body(Empty::new())?;
        let answer = async {
            let response = self.0.request(request).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::Ok(Reply {
                status,
                body: String::from_utf8_lossy(&body).into_owned(),
            })
        };
        timeout(ANSWER_PATIENCE, answer)
            .await
            .with_context(|| format!("{url} does not answer"))?
            .with_context(|| format!("GET {url}"))
    }
}

/// Looks until `look` is fine; fails with what was awaited and what was seen last.
pub(crate) async fn until<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(seen) if Instant::now() >= deadline => {
                let seconds = PATIENCE.as_secs();
                return Err(seen.context(format!("{what}, within {seconds} seconds; seen last")));
            }
            Err(_) => sleep(LOOK).await,
        }
    }
}
