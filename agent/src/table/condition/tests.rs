//! The rules of `docs/apisix.md` §2.5, as a table.

use bellwether::wire::google::protobuf::ListValue;
use http::Request;

use super::*;

fn text(text: &str) -> Kind {
    Kind::StringValue(text.into())
}

fn list(kinds: Vec<Kind>) -> Kind {
    let values = kinds
        .into_iter()
        .map(|kind| Value { kind: Some(kind) })
        .collect();
    Kind::ListValue(ListValue { values })
}

fn compare(variable: &str, operator: Compare, kind: Kind) -> Expression {
    Expression {
        kind: Some(expression::Kind::Comparison(Comparison {
            variable: variable.into(),
            operator: operator.into(),
            negate: false,
            value: Some(Value { kind: Some(kind) }),
        })),
    }
}

fn negated(mut expression: Expression) -> Expression {
    if let Some(expression::Kind::Comparison(comparison)) = &mut expression.kind {
        comparison.negate = true;
    }
    expression
}

fn group(operator: Join, of: Vec<Expression>) -> Expression {
    Expression {
        kind: Some(expression::Kind::Group(Group {
            operator: operator.into(),
            of,
        })),
    }
}

fn compiled(expression: &Expression) -> Result<Condition, String> {
    Condition::compile(expression, &Limits::default()).map_err(|error| error.to_string())
}

fn holds(expression: &Expression) -> bool {
    let (parts, ()) =
        Request::get("/p?n=10&t=abc&hex=0x10&none&long=aaaaaaaaaaaaaaaaaaaaaaaaaaaa!")
            .body(())
            .unwrap()
            .into_parts();
    compiled(expression).unwrap().holds(&View {
        parts: &parts,
        path: "/p",
        host: "a.com",
        raw_host: "a.com",
        client: "10.1.2.3:4567".parse().unwrap(),
        local: "10.0.0.1:80".parse().unwrap(),
        secure: false,
        matched: None,
    })
}

#[test]
fn operators_do_what_section_2_5_says() {
    use Compare::*;
    let null = || Kind::NullValue(0);
    let num = Kind::NumberValue;
    for (variable, operator, value, want) in [
        ("arg_t", Equal, text("abc"), true),
        ("arg_t", Equal, text("ab"), false),
        ("arg_n", Equal, text("10"), true),
        ("arg_n", Equal, text("10.0"), false),
        ("arg_n", Equal, num(10.0), true),
        ("arg_hex", Equal, num(16.0), true),
        ("arg_t", Equal, num(10.0), false),
        ("arg_x", Equal, null(), true),
        ("arg_t", Equal, null(), false),
        ("arg_t", Equal, Kind::BoolValue(true), false),
        ("arg_t", NotEqual, num(10.0), true),
        ("arg_n", NotEqual, num(10.0), false),
        ("arg_x", NotEqual, text("a"), true),
        ("arg_t", NotEqual, null(), true),
        ("arg_n", Greater, num(9.0), true),
        ("arg_n", Greater, text("9"), true),
        ("arg_n", GreaterOrEqual, num(10.0), true),
        ("arg_n", Less, num(10.0), false),
        ("arg_n", LessOrEqual, num(10.0), true),
        ("arg_t", Greater, num(0.0), false),
        ("arg_x", Less, num(5.0), false),
        ("arg_t", Matches, text("b"), true),
        ("arg_t", Matches, text("^b"), false),
        ("arg_t", Matches, text("B"), false),
        ("arg_t", MatchesCaseless, text("B"), true),
        ("arg_t", Matches, text("a(?=bc)"), true),
        ("arg_x", Matches, text(".*"), false),
        ("arg_t", In, list(vec![text("x"), text("abc")]), true),
        ("arg_n", In, list(vec![num(10.0)]), false),
        ("arg_t", Has, text("abc"), false),
        ("remote_addr", IpMatch, text("10.0.0.0/8"), true),
        (
            "remote_addr",
            IpMatch,
            list(vec![text("1.1.1.1"), text("10.1.2.3")]),
            true,
        ),
        ("arg_t", IpMatch, text("10.0.0.0/8"), false),
    ] {
        let expression = compare(variable, operator, value.clone());
        assert_eq!(
            holds(&expression),
            want,
            "{variable} {operator:?} {value:?}"
        );
        assert_eq!(
            holds(&negated(expression)),
            !want,
            "not {variable} {operator:?} {value:?}"
        );
    }
}

#[test]
fn groups_join_as_their_operator_says() {
    let yes = || compare("arg_t", Compare::Equal, text("abc"));
    let no = || compare("arg_t", Compare::Equal, text("x"));
    for (operator, of, want) in [
        (Join::And, vec![], true),
        (Join::And, vec![yes(), yes()], true),
        (Join::And, vec![yes(), no()], false),
        (Join::Or, vec![no(), yes()], true),
        (Join::Or, vec![no(), no()], false),
        (Join::NotAnd, vec![yes(), no()], true),
        (Join::NotAnd, vec![yes(), yes()], false),
        (Join::NotOr, vec![no(), no()], true),
        (Join::NotOr, vec![no(), yes()], false),
    ] {
        assert_eq!(
            holds(&group(operator, of.clone())),
            want,
            "{operator:?} {of:?}"
        );
    }
    let nested = group(Join::Or, vec![no(), group(Join::And, vec![yes(), yes()])]);
    assert!(holds(&nested));
}

#[test]
fn what_cannot_be_compiled_names_its_reason() {
    let deep = "(".repeat(10);
    let wide = format!("({})", "\\w{900}".repeat(40));
    for (expression, want) in [
        (Expression { kind: None }, "does not know"),
        (
            compare("arg_a", Compare::Matches, text(&deep)),
            "does not compile",
        ),
        (
            compare("arg_a", Compare::Matches, text(&wide)),
            "does not compile",
        ),
        (
            compare("arg_a", Compare::Matches, text(r"(?<x>a|\g<x>b)")),
            "does not compile",
        ),
        (
            compare("arg_a", Compare::Matches, Kind::NullValue(0)),
            "wrong type",
        ),
        (compare("arg_a", Compare::In, text("a")), "wrong type"),
        (
            compare("arg_a", Compare::IpMatch, text("nowhere")),
            "nowhere",
        ),
        (compare("post_arg_a", Compare::Equal, text("a")), "body"),
        (
            group(
                Join::And,
                vec![compare("arg_a", Compare::Equal, text("a")); 2_000],
            ),
            "limit",
        ),
    ] {
        let reason = compiled(&expression).unwrap_err();
        assert!(reason.contains(want), "{reason}");
    }
}

/// The default limit is against giants; what people write is far below it.
#[test]
fn ordinary_regular_expressions_are_within_the_limit() {
    for pattern in [
        r"^[\w-]{1,64}$",
        r"^\w{1,100}@[\w.]{1,100}$",
        r"(?i)mozilla/\d+\.\d+.*(?:chrome|safari)",
        r"^(?!internal)[\w-]{1,64}(?<!-)$",
        r"^\p{L}{1,50}$",
    ] {
        for operator in [Compare::Matches, Compare::MatchesCaseless] {
            compiled(&compare("arg_a", operator, text(pattern))).unwrap();
        }
    }
}

/// A limit in bytes is one in bytes: less than a pattern takes refuses it, and only that.
#[test]
fn the_limit_on_a_regular_expression_is_its_size() {
    let limits = Limits {
        regex_bytes: 64 << 10,
        ..Limits::default()
    };
    let compile = |pattern| {
        let expression = compare("arg_a", Compare::Matches, text(pattern));
        Condition::compile(&expression, &limits)
    };
    assert!(compile("^[a-z0-9-]{1,64}$").is_ok());
    assert!(compile(r"^[\w-]{1,64}$").is_err());
}

/// A regular expression that would go on for ever is cut short, and then the route does not match,
/// whether the operator is negated or not.
#[test]
fn a_condition_that_cannot_be_decided_does_not_hold() {
    let endless = || compare("arg_long", Compare::Matches, text(r"^(?=(a+)+$)\1b(?!x)"));
    let backtracking = compare("arg_long", Compare::Matches, text(r"^((a|aa|a)+)+(?=b)\1$"));
    assert!(!holds(&endless()));
    assert!(!holds(&backtracking.clone()));
    assert!(!holds(&negated(backtracking)));
}
