//! Owns conditions over request variables (`docs/apisix.md` §2.5), compiled. Must not know: routes.

use std::net::IpAddr;

use bellwether::wire::google::protobuf::{Value, value::Kind};
use bellwether::wire::native::comparison::Operator as Compare;
use bellwether::wire::native::group::Operator as Join;
use bellwether::wire::native::{Comparison, Expression, Group, expression};
use fancy_regex::{Regex, RegexBuilder};
use ipnet::IpNet;

use crate::table::Limits;
use crate::table::address;
use crate::variable::{Variable, View};

/// A compiled condition.
#[derive(Debug)]
pub struct Condition(Node);

#[derive(Debug)]
enum Node {
    Group(Join, Box<[Self]>),
    Leaf {
        variable: Variable,
        negate: bool,
        test: Test,
    },
}

#[derive(Debug)]
enum Test {
    EqualsNumber(f64),
    EqualsText(Box<str>),
    IsAbsent,
    DiffersFromNumber(f64),
    DiffersFromText(Box<str>),
    IsPresent,
    Order(Order, Option<f64>),
    Regex(Regex),
    In(Box<[Box<str>]>),
    Ip(Box<[IpNet]>),
    /// The value's type is one that no variable has.
    Never,
    Always,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// Why a condition can't be put in force.
#[derive(Debug, thiserror::Error)]
pub enum ConditionError {
    /// The message has no kind, or a number that names no operator.
    #[error("has a part that this proxy does not know")]
    Unknown,
    /// See [`crate::variable::NeedsBody`].
    #[error("{0}")]
    Variable(#[from] crate::variable::NeedsBody),
    /// The operator wants another type of value.
    #[error("compares {variable:?} by {operator} with a value of the wrong type")]
    Value {
        /// The variable.
        variable: String,
        /// The operator, as APISIX writes it.
        operator: &'static str,
    },
    /// Not a regular expression, or one beyond this proxy's limit.
    #[error("has a regular expression on {variable:?} that does not compile: {reason}")]
    Regex {
        /// The variable.
        variable: String,
        /// What the compiler said.
        reason: String,
    },
    /// Not an address.
    #[error("compares {variable:?} with {address:?}, which is not an ip address or cidr block")]
    Address {
        /// The variable.
        variable: String,
        /// The text.
        address: String,
    },
    /// Longer than this proxy takes.
    #[error("has {count} comparisons, more than this proxy's limit of {limit}")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// A regular expression that went on for too long. Nothing is known then, so nothing matches.
#[derive(Debug)]
struct Undecided;

impl Condition {
    /// Compiles a condition.
    pub fn compile(expression: &Expression, limits: &Limits) -> Result<Self, ConditionError> {
        let mut count = 0;
        let node = compile(expression, limits, &mut count)?;
        Ok(Self(node))
    }

    /// Whether it holds. A condition that can't be decided within the limits does not hold.
    #[must_use]
    pub fn holds(&self, view: &View<'_>) -> bool {
        evaluate(&self.0, view).unwrap_or(false)
    }
}

fn compile(
    expression: &Expression,
    limits: &Limits,
    count: &mut usize,
) -> Result<Node, ConditionError> {
    match expression.kind.as_ref().ok_or(ConditionError::Unknown)? {
        expression::Kind::Comparison(comparison) => {
            *count += 1;
            if *count > limits.comparisons_per_route {
                return Err(ConditionError::TooMany {
                    count: *count,
                    limit: limits.comparisons_per_route,
                });
            }
            leaf(comparison, limits)
        }
        expression::Kind::Group(Group { operator, of }) => {
            let operator = Join::try_from(*operator).map_err(|_| ConditionError::Unknown)?;
            let of = of
                .iter()
                .map(|inner| compile(inner, limits, count))
                .collect::<Result<_, _>>()?;
            Ok(Node::Group(operator, of))
        }
    }
}

fn leaf(comparison: &Comparison, limits: &Limits) -> Result<Node, ConditionError> {
    let operator = Compare::try_from(comparison.operator).map_err(|_| ConditionError::Unknown)?;
    let kind = comparison
        .value
        .as_ref()
        .and_then(|value| value.kind.as_ref())
        .unwrap_or(&Kind::NullValue(0));
    let wrong = |operator| ConditionError::Value {
        variable: comparison.variable.clone(),
        operator,
    };
    let test = match operator {
        Compare::Equal => equal(kind),
        Compare::NotEqual => not_equal(kind),
        Compare::Greater => Test::Order(Order::Greater, number(kind)),
        Compare::GreaterOrEqual => Test::Order(Order::GreaterOrEqual, number(kind)),
        Compare::Less => Test::Order(Order::Less, number(kind)),
        Compare::LessOrEqual => Test::Order(Order::LessOrEqual, number(kind)),
        Compare::Matches => regex(comparison, kind, false, limits)?,
        Compare::MatchesCaseless => regex(comparison, kind, true, limits)?,
        Compare::In => match kind {
            // Without coercion: a number among the values is no variable's value.
            Kind::ListValue(list) => Test::In(texts(&list.values)),
            _ => return Err(wrong("in")),
        },
        // Only variables that are read from a body are lists, and those are refused.
        Compare::Has => Test::Never,
        Compare::IpMatch => match kind {
            Kind::StringValue(text) => Test::Ip([block(comparison, text)?].into()),
            Kind::ListValue(list) if list.values.iter().all(is_text) => Test::Ip(
                texts(&list.values)
                    .iter()
                    .map(|text| block(comparison, text))
                    .collect::<Result<_, _>>()?,
            ),
            _ => return Err(wrong("ipmatch")),
        },
    };
    Ok(Node::Leaf {
        variable: Variable::parse(&comparison.variable)?,
        negate: comparison.negate,
        test,
    })
}

fn equal(kind: &Kind) -> Test {
    match kind {
        Kind::NullValue(_) => Test::IsAbsent,
        Kind::NumberValue(number) => Test::EqualsNumber(*number),
        Kind::StringValue(text) => Test::EqualsText(text.as_str().into()),
        Kind::BoolValue(_) | Kind::StructValue(_) | Kind::ListValue(_) => Test::Never,
    }
}

fn not_equal(kind: &Kind) -> Test {
    match kind {
        Kind::NullValue(_) => Test::IsPresent,
        Kind::NumberValue(number) => Test::DiffersFromNumber(*number),
        Kind::StringValue(text) => Test::DiffersFromText(text.as_str().into()),
        Kind::BoolValue(_) | Kind::StructValue(_) | Kind::ListValue(_) => Test::Always,
    }
}

fn number(kind: &Kind) -> Option<f64> {
    match kind {
        Kind::NumberValue(number) => Some(*number),
        Kind::StringValue(text) => to_number(text),
        Kind::NullValue(_) | Kind::BoolValue(_) | Kind::StructValue(_) | Kind::ListValue(_) => None,
    }
}

fn is_text(value: &Value) -> bool {
    matches!(value.kind, Some(Kind::StringValue(_)))
}

fn texts(values: &[Value]) -> Box<[Box<str>]> {
    values
        .iter()
        .filter_map(|value| match &value.kind {
            Some(Kind::StringValue(text)) => Some(text.as_str().into()),
            _ => None,
        })
        .collect()
}

fn block(comparison: &Comparison, text: &str) -> Result<IpNet, ConditionError> {
    address::block(text).ok_or_else(|| ConditionError::Address {
        variable: comparison.variable.clone(),
        address: text.to_owned(),
    })
}

fn regex(
    comparison: &Comparison,
    kind: &Kind,
    caseless: bool,
    limits: &Limits,
) -> Result<Test, ConditionError> {
    let Kind::StringValue(pattern) = kind else {
        return Err(ConditionError::Value {
            variable: comparison.variable.clone(),
            operator: if caseless { "~*" } else { "~~" },
        });
    };
    RegexBuilder::new(pattern)
        .case_insensitive(caseless)
        .backtrack_limit(limits.regex_steps)
        .delegate_size_limit(limits.regex_bytes)
        .max_prog_size(limits.regex_instructions)
        .build()
        .map(Test::Regex)
        .map_err(|error| ConditionError::Regex {
            variable: comparison.variable.clone(),
            reason: error.to_string(),
        })
}

fn evaluate(node: &Node, view: &View<'_>) -> Result<bool, Undecided> {
    match node {
        Node::Group(Join::And, of) => all(of, view),
        Node::Group(Join::NotAnd, of) => all(of, view).map(|holds| !holds),
        Node::Group(Join::Or, of) => any(of, view),
        Node::Group(Join::NotOr, of) => any(of, view).map(|holds| !holds),
        Node::Leaf {
            variable,
            negate,
            test,
        } => Ok(test.holds(view.get(variable).as_deref())? != *negate),
    }
}

fn all(of: &[Node], view: &View<'_>) -> Result<bool, Undecided> {
    for node in of {
        if !evaluate(node, view)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn any(of: &[Node], view: &View<'_>) -> Result<bool, Undecided> {
    for node in of {
        if evaluate(node, view)? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Test {
    fn holds(&self, left: Option<&str>) -> Result<bool, Undecided> {
        let left_number = || left.and_then(to_number);
        Ok(match self {
            Self::EqualsNumber(right) => left_number().is_some_and(|left| same(left, *right)),
            Self::DiffersFromNumber(right) => !left_number().is_some_and(|left| same(left, *right)),
            Self::EqualsText(right) => left == Some(right),
            Self::DiffersFromText(right) => left != Some(right),
            Self::IsAbsent => left.is_none(),
            Self::IsPresent => left.is_some(),
            Self::Order(order, right) => match (left_number(), right) {
                (Some(left), Some(right)) => match order {
                    Order::Greater => left > *right,
                    Order::GreaterOrEqual => left >= *right,
                    Order::Less => left < *right,
                    Order::LessOrEqual => left <= *right,
                },
                _ => false,
            },
            Self::Regex(regex) => match left {
                Some(left) => regex.is_match(left).map_err(|_| Undecided)?,
                None => false,
            },
            Self::In(values) => left.is_some_and(|left| values.iter().any(|v| **v == *left)),
            Self::Ip(blocks) => left
                .and_then(|left| left.parse::<IpAddr>().ok())
                .is_some_and(|ip| address::within(blocks, ip)),
            Self::Never => false,
            Self::Always => true,
        })
    }
}

/// Equality of numbers as Lua has it: exact.
fn same(left: f64, right: f64) -> bool {
    left.total_cmp(&right).is_eq() || (left == 0.0 && right == 0.0)
}

/// Lua's `tonumber`: decimal or hexadecimal, spaces around it allowed.
fn to_number(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(hex) = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        let whole = u32::from_str_radix(hex, 16).ok()?;
        let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
        return Some(f64::from(whole) * sign);
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests;
