//! Owns the reading of request bodies: their size, and strict JSON. Must not know: what they mean.

use std::fmt;
use std::time::Duration;

use axum::body::{Body, Bytes};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::answer::Problem;

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
    serde_json::from_slice::<Strict>(bytes)
        .map(|strict| strict.0)
        .map_err(|error| Problem::BadBody {
            reason: error.to_string(),
            body: bytes.to_vec(),
        })
}

/// A JSON value none of whose objects has a key twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("duplicate key {name:?}")));
            }
            let Strict(value) = entries.next_value()?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_as_it_is() {
        let text = r#"{"b":[1,-2,2.5,"x",null,true],"a":{"c":{}}}"#;
        assert_eq!(parse(text.as_bytes()).unwrap().to_string(), text);
    }

    #[test]
    fn bad_json_names_the_place() {
        for (text, reason) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("{\n  \"a\": }", "expected value at line 2 column 8"),
            ("{} x", "trailing characters at line 1 column 4"),
            (
                r#"{"a":{"b":1,"b":1}}"#,
                r#"duplicate key "b" at line 1 column 15"#,
            ),
            (
                "\"\u{0}\"",
                "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 2",
            ),
        ] {
            let problem = parse(text.as_bytes()).unwrap_err().to_string();
            assert_eq!(problem, format!("invalid request body: {reason}"), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse(deep.as_bytes()).is_err());
    }
}
