//! Owns the reading of request bodies: their size, and JSON. Must not know: what they mean.

use std::time::Duration;

use axum::body::{Body, Bytes};
use bytes::BytesMut;
use http_body_util::BodyExt;
use serde_json::Value;

use super::answer::Problem;
use crate::json;

/// The largest body that is read: APISIX's own limit, 1.5 MiB.
const BODY_BYTES_MAX: usize = 1_572_864;

/// How long a client may take to send a body: 1.5 MiB in 30 s is 50 KiB a second.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of a body that is too large which are taken in all the same, and thrown away: many clients read
/// an answer only when they have sent everything, and to them an answer before that is a broken connection.
const DISCARDED_BYTES_MAX: usize = 16 << 20;

/// Reads a whole body. Empty is fine here.
///
/// # Errors
/// Too large, too slow, or broken off.
pub(crate) async fn read(body: Body) -> Result<Bytes, Problem> {
    let announced = http_body::Body::size_hint(&body).exact();
    if let Some(size) = announced.filter(|size| *size > DISCARDED_BYTES_MAX as u64) {
        return Err(too_large(&size.to_string()));
    }
    match tokio::time::timeout(BODY_PATIENCE, collect(body)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large(&match announced {
            Some(size) => size.to_string(),
            None => format!("over {BODY_BYTES_MAX}"),
        })),
        Ok(Err(_)) => Err(bad("the connection ended within the body".to_owned())),
        Err(_) => Err(bad(format!(
            "not received within {} s",
            BODY_PATIENCE.as_secs()
        ))),
    }
}

/// `None`: it is too large.
async fn collect(mut body: Body) -> Result<Option<Bytes>, axum::Error> {
    let mut whole = BytesMut::new();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let data = frame?.into_data().unwrap_or_default();
        size += data.len();
        if size <= BODY_BYTES_MAX {
            whole.extend_from_slice(&data);
        } else if size > DISCARDED_BYTES_MAX {
            break;
        }
    }
    Ok((size <= BODY_BYTES_MAX).then(|| whole.freeze()))
}

fn too_large(size: &str) -> Problem {
    bad(format!(
        "request size {size} is greater than the maximum size {BODY_BYTES_MAX} allowed"
    ))
}

fn bad(reason: String) -> Problem {
    Problem::BadBody {
        reason,
        body: Vec::new(),
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
