//! Owns the reading of request bodies: their size, and JSON. Must not know: what they mean.

use std::time::Duration;

use axum::body::{Body, Bytes};
use serde_json::Value;

use super::answer::Problem;
use crate::json;

/// The largest body that is read: APISIX's own limit, 1.5 MiB.
const BODY_BYTES_MAX: usize = 1_572_864;

/// How long a client may take to send a body: 1.5 MiB in 30 s is 50 KiB a second.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Reads a whole body. Empty is fine here.
///
/// # Errors
/// Too large, or broken off.
pub(crate) async fn read(body: Body) -> Result<Bytes, Problem> {
    let bad = |reason: String| Problem::BadBody {
        reason,
        body: Vec::new(),
    };
    let too_large = |size: &str| {
        bad(format!(
            "request size {size} is greater than the maximum size {BODY_BYTES_MAX} allowed"
        ))
    };
    if let Some(size) = http_body::Body::size_hint(&body).exact()
        && size > BODY_BYTES_MAX as u64
    {
        return Err(too_large(&size.to_string()));
    }
    let reading = axum::body::to_bytes(body, BODY_BYTES_MAX);
    match tokio::time::timeout(BODY_PATIENCE, reading).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(match std::error::Error::source(&error) {
            Some(cause) if cause.is::<http_body_util::LengthLimitError>() => {
                too_large(&format!("over {BODY_BYTES_MAX}"))
            }
            _ => bad("the connection ended within the body".to_owned()),
        }),
        Err(_) => Err(bad(format!(
            "not received within {} s",
            BODY_PATIENCE.as_secs()
        ))),
    }
}

/// Reads JSON, and refuses an object that has a key twice.
///
/// # Errors
/// Not JSON, with the position; a duplicate key, with its name.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    json::strict(bytes).map_err(|error| Problem::BadBody {
        reason: error.to_string(),
        body: bytes.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_json_names_the_place() {
        for (text, reason) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("{\n  \"a\": }", "expected value at line 2 column 8"),
            ("{} x", "trailing characters at line 1 column 4"),
        ] {
            let problem = parse(text.as_bytes()).unwrap_err().to_string();
            assert_eq!(problem, format!("invalid request body: {reason}"), "{text}");
        }
    }
}
