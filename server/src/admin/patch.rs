//! Owns what PATCH does to a value: a merge, or the replacement of one part. Must not know: what the value is.

use serde_json::{Map, Value};

/// The path of a sub-path PATCH leads through something that is not an object.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid sub-path: {at} is not an object")]
pub(crate) struct BadSubPath {
    at: String,
}

/// Merges `change` into `value`: objects by name, `null` deletes, everything else (arrays too) replaces.
pub(crate) fn merge(value: &mut Value, change: Value) {
    let Value::Object(change) = change else {
        *value = change;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(object) = value else {
        return;
    };
    for (name, change) in change {
        if change.is_null() {
            object.shift_remove(&name);
        } else {
            merge(object.entry(name).or_insert(Value::Null), change);
        }
    }
}

/// Replaces the part of `value` at `path`, with new objects on the way where there is nothing.
///
/// # Errors
/// Something on the way is not an object.
pub(crate) fn replace(value: &mut Value, path: &[String], part: Value) -> Result<(), BadSubPath> {
    let Some((last, way)) = path.split_last() else {
        *value = part;
        return Ok(());
    };
    let mut at = value;
    for (depth, name) in way.iter().enumerate() {
        at = object(at, &path[..depth])?
            .entry(name.as_str())
            .or_insert_with(|| Value::Object(Map::new()));
    }
    object(at, way)?.insert(last.clone(), part);
    Ok(())
}

fn object<'v>(
    value: &'v mut Value,
    path: &[String],
) -> Result<&'v mut Map<String, Value>, BadSubPath> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(BadSubPath {
            at: format!("/{}", path.join("/")),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_goes_into_objects_only() {
        for (before, change, after) in [
            (json!({"a": 1}), json!({"b": 2}), json!({"a": 1, "b": 2})),
            (json!({"a": 1, "b": 2}), json!({"a": null}), json!({"b": 2})),
            (
                json!({"a": {"b": 1, "c": 2}}),
                json!({"a": {"b": null, "d": 3}}),
                json!({"a": {"c": 2, "d": 3}}),
            ),
            (json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]})),
            (
                json!({"a": 1}),
                json!({"a": {"b": {"c": null, "d": 1}}}),
                json!({"a": {"b": {"d": 1}}}),
            ),
            (json!({}), json!({"gone": null}), json!({})),
        ] {
            let mut value = before.clone();
            merge(&mut value, change.clone());
            assert_eq!(value, after, "{before} + {change}");
        }
    }

    #[test]
    fn a_part_is_replaced() {
        let path = |text: &str| -> Vec<String> { text.split('/').map(str::to_owned).collect() };
        let mut value = json!({"upstream": {"nodes": {"a": 1, "b": 1}}, "uri": "/"});
        replace(&mut value, &path("upstream/nodes"), json!({"c": 2})).unwrap();
        assert_eq!(value["upstream"]["nodes"], json!({"c": 2}));
        replace(&mut value, &path("x/y/z"), json!([1])).unwrap();
        assert_eq!(value["x"], json!({"y": {"z": [1]}}));
        let error = replace(&mut value, &path("uri/x"), json!(1)).unwrap_err();
        assert_eq!(error.to_string(), "invalid sub-path: /uri is not an object");
        let error = replace(&mut value, &path("x/y/z/0"), json!(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid sub-path: /x/y/z is not an object"
        );
    }
}
