//! Owns the words for a violated schema, in the manner of APISIX: `property "uri" validation failed: …`.
//! Must not know: which kind of configuration it is. Never prints a value, only names, types and limits.

use std::fmt::Write as _;

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::paths::LocationSegment;
use serde_json::Value;

/// Whether the complaint is about the text of a string that only stands for another one.
pub(super) fn is_secret_reference(error: &ValidationError<'_>) -> bool {
    let about_text = matches!(
        error.kind(),
        Kind::Pattern { .. }
            | Kind::MinLength { .. }
            | Kind::MaxLength { .. }
            | Kind::Format { .. }
            | Kind::Enum { .. }
    );
    about_text
        && error.instance().as_str().is_some_and(|text| {
            text.starts_with("$secret://")
                || text
                    .get(..7)
                    .is_some_and(|start| start.eq_ignore_ascii_case("$env://"))
        })
}

/// The whole sentence.
pub(super) fn explain(schema: &Value, error: &ValidationError<'_>) -> String {
    let mut text = String::new();
    for segment in error.instance_path() {
        match segment {
            LocationSegment::Property(name) => {
                let _ = write!(text, "property \"{name}\" validation failed: ");
            }
            LocationSegment::Index(index) => {
                let _ = write!(text, "failed to validate item {}: ", index + 1);
            }
        }
    }
    text + &reason(schema, error)
}

fn reason(schema: &Value, error: &ValidationError<'_>) -> String {
    match error.kind() {
        Kind::Required { property } => format!("property {property} is required"),
        Kind::AdditionalProperties { unexpected } => {
            format!(
                "additional properties forbidden, found {}",
                unexpected.join(", ")
            )
        }
        Kind::Type { kind } => format!(
            "wrong type: expected {}, got {}",
            expected(kind),
            type_of(error.instance())
        ),
        Kind::Pattern { pattern } => format!("failed to match pattern {pattern:?}"),
        Kind::Format { format } if format == "ip-range" => {
            "is not an IP address or a network in CIDR notation".to_owned()
        }
        Kind::Enum { options } => format!("matches none of the enum values {options}"),
        Kind::MinLength { limit } => format!("string too short, expected at least {limit}"),
        Kind::MaxLength { limit } => format!("string too long, expected at most {limit}"),
        Kind::MinItems { limit } => format!("expect array to have at least {limit} items"),
        Kind::MaxItems { limit } => format!("expect array to have at most {limit} items"),
        Kind::MaxProperties { limit } => {
            format!("expect object to have at most {limit} properties")
        }
        Kind::UniqueItems => "expected unique items but some are equal".to_owned(),
        Kind::Minimum { limit } => format!("expected a number not less than {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("expected a number greater than {limit}"),
        Kind::Maximum { limit } => format!("expected a number not greater than {limit}"),
        Kind::PropertyNames { error } => {
            format!("property name is not valid: {}", reason(schema, error))
        }
        Kind::OneOfNotValid { .. } => format!("one of {} is required", branches(schema, error)),
        Kind::OneOfMultipleValid { .. } => {
            format!("only one of {} is allowed", branches(schema, error))
        }
        Kind::AnyOf { .. } => format!("at least one of {} is required", branches(schema, error)),
        Kind::Not { schema } => {
            format!("{} can not be used together", names(schema, " and "))
        }
        _ => error.masked_with("value").to_string(),
    }
}

/// The alternatives of a `oneOf` or `anyOf`, each a list of required names.
fn branches(schema: &Value, error: &ValidationError<'_>) -> String {
    let alternatives = schema
        .pointer(error.schema_path().as_str())
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let names: Vec<String> = alternatives
        .iter()
        .map(|alternative| names(alternative, " with "))
        .collect();
    names.join(", ")
}

fn names(schema: &Value, between: &str) -> String {
    let required = schema["required"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let quoted: Vec<String> = required.iter().map(Value::to_string).collect();
    quoted.join(between)
}

fn expected(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => one.to_string(),
        TypeKind::Multiple(set) => {
            let names: Vec<String> = set.iter().map(|one| one.to_string()).collect();
            names.join(" or ")
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
