//! Owns the tests of the `vars` language. Must not know: routes.

use serde_json::{Value, json};

use super::*;

/// A compact rendering, so that expectations can be read.
fn show(expression: &Expression) -> String {
    match expression.kind.as_ref().unwrap() {
        Kind::Group(group) => {
            let of: Vec<String> = group.of.iter().map(show).collect();
            format!("{}({})", group.operator().as_str_name(), of.join(", "))
        }
        Kind::Comparison(comparison) => format!(
            "{}{} {} {}",
            if comparison.negate { "!" } else { "" },
            comparison.variable,
            comparison.operator().as_str_name(),
            show_value(comparison.value.as_ref().unwrap())
        ),
    }
}

fn show_value(value: &WireValue) -> String {
    match value.kind.as_ref().unwrap() {
        value::Kind::NullValue(_) => "null".into(),
        value::Kind::NumberValue(number) => format!("{number}"),
        value::Kind::StringValue(text) => format!("{text:?}"),
        value::Kind::BoolValue(yes) => format!("{yes}"),
        value::Kind::ListValue(list) => {
            let of: Vec<String> = list.values.iter().map(show_value).collect();
            format!("[{}]", of.join(", "))
        }
        value::Kind::StructValue(_) => "{}".into(),
    }
}

fn check(vars: &Value, expect: &str) {
    let parsed = parse(vars).unwrap_or_else(|error| panic!("{vars}: {error}"));
    assert_eq!(
        parsed.as_ref().map_or("true".into(), show),
        expect,
        "{vars}"
    );
}

fn refuse(vars: &Value, expect: &str) {
    assert_eq!(parse(vars).unwrap_err().to_string(), expect, "{vars}");
}

#[test]
fn a_list_of_comparisons_is_an_implicit_and() {
    check(&json!([]), "true");
    check(&json!([["arg_a", "==", "1"]]), r#"arg_a EQUAL "1""#);
    check(
        &json!([["arg_a", "==", 1], ["http_x", "~=", null]]),
        "AND(arg_a EQUAL 1, http_x NOT_EQUAL null)",
    );
}

#[test]
fn groups_nest_and_their_names_are_caseless() {
    check(
        &json!([
            "or",
            ["a", ">", 1],
            ["!And", ["b", "<=", "2"], ["c", "in", ["x", "y"]]]
        ]),
        r#"OR(a GREATER 1, NOT_AND(b LESS_OR_EQUAL "2", c IN ["x", "y"]))"#,
    );
    check(
        &json!([["!OR", ["a", "<", 1], ["b", ">=", 1]], ["c", "has", "x"]]),
        r#"AND(NOT_OR(a LESS 1, b GREATER_OR_EQUAL 1), c HAS "x")"#,
    );
    check(
        &json!(["OR", [["a", "==", 1], ["b", "==", 2]], ["c", "==", 3]]),
        "OR(AND(a EQUAL 1, b EQUAL 2), c EQUAL 3)",
    );
}

#[test]
fn a_bang_negates_the_operator_after_it() {
    check(&json!([["a", "!", "IN", [1]]]), "!a IN [1]");
    refuse(
        &json!([["a", "not", "in", [1]]]),
        r#"[0][1]: expected "!" before the operator"#,
    );
}

#[test]
fn two_elements_are_the_old_way_to_say_equal() {
    check(&json!([["a", "b"]]), r#"a EQUAL "b""#);
    check(&json!([["a", 5]]), "a EQUAL 5");
    check(&json!([["a", "=="]]), "a EQUAL null");
    refuse(&json!([["a", "in"]]), r#"[0]: "in" needs a value"#);
}

#[test]
fn addresses_and_patterns_are_checked_before_anything_is_served() {
    check(
        &json!([["remote_addr", "ipmatch", "10.0.0.0/8"]]),
        r#"remote_addr IP_MATCH "10.0.0.0/8""#,
    );
    check(
        &json!([["remote_addr", "ipmatch", ["::1", "10.1.2.3"]]]),
        r#"remote_addr IP_MATCH ["::1", "10.1.2.3"]"#,
    );
    check(
        &json!([["uri", "~~", "^/a(?=b)"]]),
        r#"uri MATCHES "^/a(?=b)""#,
    );
    check(&json!([["uri", "~*", 7]]), r#"uri MATCHES_CASELESS "7""#);
    refuse(
        &json!([["remote_addr", "ipmatch", ["10.0.0.0/33"]]]),
        r#"[0][2][0]: "10.0.0.0/33" is not an IP address or CIDR block"#,
    );
    refuse(
        &json!([["a", "==", 1], ["uri", "~~", "(a"]]),
        "[1][2]: is not a valid regular expression, at byte 2",
    );
    refuse(
        &json!([["uri", "~~", null]]),
        "[0][2]: this operator needs a regular expression",
    );
}

#[test]
fn errors_say_where_and_why() {
    for (vars, reason) in [
        (
            json!(["a", "==", 1]),
            "a single condition must be wrapped in a list of its own",
        ),
        (json!({"a": 1}), "expected a list"),
        (json!([[]]), "[0]: is an empty list"),
        (json!([["a", "=", 1]]), r#"[0][1]: "=" is not an operator"#),
        (
            json!([["a"]]),
            "[0]: expected [variable, operator, value] or [variable, \"!\", operator, value]",
        ),
        (
            json!([["a", "!", "==", 1, 2]]),
            "[0]: expected [variable, operator, value] or [variable, \"!\", operator, value]",
        ),
        (
            json!(["OR", ["a", "==", 1]]),
            r#""OR" needs at least two conditions"#,
        ),
        (
            json!([1, 2]),
            "[0]: expected the name of a variable, an operator like \"OR\", or a list of conditions",
        ),
        (json!([["a", "==", 1], 5]), "[1]: expected a list"),
        (json!([["a", 1, 2]]), "[0][1]: expected an operator"),
        (
            json!([["a", ">", true]]),
            "[0][2]: this operator needs a number",
        ),
        (
            json!([["a", "in", "x"]]),
            "[0][2]: this operator needs a list",
        ),
        (
            json!([["a", "==", {"b": 1}]]),
            "[0][2]: expected a string, a number, true, false, null, or a list of those",
        ),
        (
            json!([["a", "in", [[1]]]]),
            "[0][2][0]: expected a string, a number, true, false, null, or a list of those",
        ),
        (
            json!([["", "==", 1]]),
            "[0][0]: the name of a variable must have 1 to 256 bytes",
        ),
    ] {
        refuse(&vars, reason);
    }
}

#[test]
fn size_and_depth_are_limited() {
    let mut deep = json!(["a", "==", 1]);
    for _ in 0..DEPTH_MAX {
        deep = json!(["OR", deep, ["b", "==", 1]]);
    }
    let parsed = parse(&deep).unwrap().unwrap();
    let bytes = prost::Message::encode_to_vec(&parsed);
    assert_eq!(
        <Expression as prost::Message>::decode(&*bytes).unwrap(),
        parsed
    );
    let deeper = json!(["OR", deep, ["b", "==", 1]]);
    assert!(
        parse(&deeper)
            .unwrap_err()
            .reason()
            .contains("nested deeper than 32")
    );

    let many = |n: usize, one: Value| Value::Array(vec![one; n]);
    assert!(parse(&many(COMPARISONS_MAX, json!(["a", "==", 1]))).is_ok());
    assert!(parse(&many(COMPARISONS_MAX + 1, json!(["a", "==", 1]))).is_err());
    assert!(parse(&many(PATTERNS_MAX + 1, json!(["a", "~~", "x"]))).is_err());
}
