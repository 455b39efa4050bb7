//! Owns the language of `vars` (lua-resty-expr): JSON in, the contract's `Expression` out.
//! Must not know: how a condition is evaluated, or what a variable means.

use bellwether::wire::google::protobuf::{ListValue, NullValue, Value as WireValue, value};
use bellwether::wire::native::comparison::Operator;
use bellwether::wire::native::expression::Kind;
use bellwether::wire::native::{Comparison, Expression, Group, group};
use serde_json::Value;

use super::address;
use super::invalid::{Invalid, quoted};
use super::pattern;
use super::read::Read;

/// Groups in groups. Each takes two levels of messages, and protobuf decoders stop at 100.
const DEPTH_MAX: usize = 32;

/// Comparisons in one condition: each costs every request that gets so far.
const COMPARISONS_MAX: usize = 1024;

/// Regular expressions in one condition: each costs a compilation here and at every proxy, up to a
/// tenth of a second for the largest.
const PATTERNS_MAX: usize = 32;

/// Bytes of the name of a variable.
const VARIABLE_BYTES_MAX: usize = 256;

const OPERATORS: [(&str, Operator); 11] = [
    ("==", Operator::Equal),
    ("~=", Operator::NotEqual),
    (">", Operator::Greater),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    ("<=", Operator::LessOrEqual),
    ("~~", Operator::Matches),
    ("~*", Operator::MatchesCaseless),
    ("in", Operator::In),
    ("has", Operator::Has),
    ("ipmatch", Operator::IpMatch),
];

const GROUPS: [(&str, group::Operator); 4] = [
    ("AND", group::Operator::And),
    ("OR", group::Operator::Or),
    ("!AND", group::Operator::NotAnd),
    ("!OR", group::Operator::NotOr),
];

/// Reads a whole condition. `None`: an empty list, which is always true.
///
/// # Errors
/// It is not a condition of the language, or it is larger than the limits above.
pub(super) fn parse(value: &Value) -> Read<Option<Expression>> {
    let list = list(value)?;
    match list.first() {
        None => Ok(None),
        Some(Value::String(word)) if group_operator(word).is_none() => Err(Invalid::new(
            "a single condition must be wrapped in a list of its own",
        )),
        Some(_) => Parser::default().expression(list, 0).map(Some),
    }
}

/// Counts what the limits are about.
#[derive(Default)]
struct Parser {
    comparisons: usize,
    patterns: usize,
}

impl Parser {
    /// A list that starts with a list is an implicit AND, one that starts with a word like `OR` is a
    /// group, and any other is a comparison.
    fn expression(&mut self, list: &[Value], depth: usize) -> Read<Expression> {
        match list.first() {
            None => Err(Invalid::new("is an empty list")),
            Some(Value::Array(_) | Value::Object(_)) => {
                self.group(group::Operator::And, list, 0, depth)
            }
            Some(Value::String(word)) => match group_operator(word) {
                Some(_) if list.len() < 3 => Err(Invalid::new(format!(
                    "{} needs at least two conditions",
                    quoted(word)
                ))),
                Some(operator) => self.group(operator, list, 1, depth),
                None => self.comparison(word, list),
            },
            Some(_) => Err(Invalid::new(
                "expected the name of a variable, an operator like \"OR\", or a list of conditions",
            )
            .within_element(0)),
        }
    }

    fn group(
        &mut self,
        operator: group::Operator,
        list: &[Value],
        first: usize,
        depth: usize,
    ) -> Read<Expression> {
        if depth >= DEPTH_MAX {
            return Err(Invalid::new(format!("is nested deeper than {DEPTH_MAX}")));
        }
        let mut of = Vec::with_capacity(list.len() - first);
        for (index, value) in list.iter().enumerate().skip(first) {
            let inner = self::list(value)
                .and_then(|list| self.expression(list, depth + 1))
                .map_err(|error| error.within_element(index))?;
            of.push(inner);
        }
        if of.len() == 1 && operator == group::Operator::And {
            return Ok(of.remove(0));
        }
        let operator = operator.into();
        Ok(Expression {
            kind: Some(Kind::Group(Group { operator, of })),
        })
    }

    fn comparison(&mut self, variable: &str, list: &[Value]) -> Read<Expression> {
        self.comparisons += 1;
        if self.comparisons > COMPARISONS_MAX {
            return Err(Invalid::new(format!(
                "has more than {COMPARISONS_MAX} comparisons"
            )));
        }
        if variable.is_empty() || variable.len() > VARIABLE_BYTES_MAX {
            return Err(Invalid::new(format!(
                "the name of a variable must have 1 to {VARIABLE_BYTES_MAX} bytes"
            ))
            .within_element(0));
        }
        let (operator, negate, value, at) = split(list)?;
        let value = self
            .value(operator, value)
            .map_err(|error| error.within_element(at))?;
        Ok(Expression {
            kind: Some(Kind::Comparison(Comparison {
                variable: variable.to_owned(),
                operator: operator.into(),
                negate,
                value: Some(value),
            })),
        })
    }

    /// The right side, checked to be something that the operator can be used with.
    fn value(&mut self, operator: Operator, value: &Value) -> Read<WireValue> {
        match operator {
            Operator::Equal | Operator::NotEqual => {}
            Operator::Greater
            | Operator::GreaterOrEqual
            | Operator::Less
            | Operator::LessOrEqual => {
                if !value.is_number() && !value.is_string() {
                    return Err(Invalid::new("this operator needs a number"));
                }
            }
            Operator::Matches | Operator::MatchesCaseless => return self.pattern(operator, value),
            Operator::In => {
                if !value.is_array() {
                    return Err(Invalid::new("this operator needs a list"));
                }
            }
            Operator::Has => {
                if value.is_array() {
                    return Err(Invalid::new("this operator needs a single value"));
                }
            }
            Operator::IpMatch => networks(value)?,
        }
        wire(value)
    }

    /// Lua takes a number for its text here.
    fn pattern(&mut self, operator: Operator, value: &Value) -> Read<WireValue> {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return Err(Invalid::new(format!(
                "is the regular expression after the {PATTERNS_MAX} that one condition may have"
            )));
        }
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(Invalid::new("this operator needs a regular expression")),
        };
        pattern::check(&text, operator == Operator::MatchesCaseless)?;
        Ok(WireValue {
            kind: Some(value::Kind::StringValue(text)),
        })
    }
}

/// Takes a comparison apart: operator, negation, right side, and where the right side stands.
fn split(list: &[Value]) -> Read<(Operator, bool, &Value, usize)> {
    match list {
        // The old way to say "equal".
        [_, value] if value.as_str().is_none_or(|word| operator(word).is_none()) => {
            Ok((Operator::Equal, false, value, 1))
        }
        // Lua drops a nil at the end: [var, "=="] asks for absence.
        [_, Value::String(word)] => match operator(word) {
            Some(operator @ (Operator::Equal | Operator::NotEqual)) => {
                Ok((operator, false, &Value::Null, 1))
            }
            _ => Err(Invalid::new(format!("{} needs a value", quoted(word)))),
        },
        [_, word, value] => Ok((known(word, 1)?, false, value, 2)),
        [_, Value::String(not), word, value] if not == "!" => Ok((known(word, 2)?, true, value, 3)),
        [_, _, _, _] => Err(Invalid::new("expected \"!\" before the operator").within_element(1)),
        _ => Err(Invalid::new(
            "expected [variable, operator, value] or [variable, \"!\", operator, value]",
        )),
    }
}

fn known(word: &Value, at: usize) -> Read<Operator> {
    let unknown = |reason: String| Invalid::new(reason).within_element(at);
    let word = word
        .as_str()
        .ok_or_else(|| unknown("expected an operator".to_owned()))?;
    operator(word).ok_or_else(|| unknown(format!("{} is not an operator", quoted(word))))
}

fn operator(word: &str) -> Option<Operator> {
    OPERATORS
        .into_iter()
        .find_map(|(known, operator)| known.eq_ignore_ascii_case(word).then_some(operator))
}

fn group_operator(word: &str) -> Option<group::Operator> {
    GROUPS
        .into_iter()
        .find_map(|(known, operator)| known.eq_ignore_ascii_case(word).then_some(operator))
}

/// An address or a block, or a list of them.
fn networks(value: &Value) -> Read<()> {
    let one = |value: &Value| match value {
        Value::String(text) => address::network(text).map(drop),
        _ => Err(Invalid::new(
            "this operator needs IP addresses or CIDR blocks",
        )),
    };
    match value {
        Value::Array(list) if list.is_empty() => Err(Invalid::new("is an empty list")),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .try_for_each(|(index, value)| one(value).map_err(|e| e.within_element(index))),
        other => one(other),
    }
}

/// A scalar, or a list of scalars.
fn wire(value: &Value) -> Read<WireValue> {
    let Value::Array(list) = value else {
        return scalar(value);
    };
    let values = list
        .iter()
        .enumerate()
        .map(|(index, value)| scalar(value).map_err(|error| error.within_element(index)))
        .collect::<Read<_>>()?;
    Ok(WireValue {
        kind: Some(value::Kind::ListValue(ListValue { values })),
    })
}

fn scalar(value: &Value) -> Read<WireValue> {
    let kind = match value {
        Value::Null => value::Kind::NullValue(NullValue::NullValue.into()),
        Value::Bool(yes) => value::Kind::BoolValue(*yes),
        Value::Number(number) => value::Kind::NumberValue(
            number
                .as_f64()
                .ok_or_else(|| Invalid::new("is not a number that can be represented"))?,
        ),
        Value::String(text) => value::Kind::StringValue(text.clone()),
        Value::Array(_) | Value::Object(_) => {
            return Err(Invalid::new(
                "expected a string, a number, true, false, null, or a list of those",
            ));
        }
    };
    Ok(WireValue { kind: Some(kind) })
}

fn list(value: &Value) -> Read<&[Value]> {
    match value {
        Value::Array(list) => Ok(list),
        Value::Object(map) if map.is_empty() => Ok(&[]),
        _ => Err(Invalid::new("expected a list")),
    }
}

#[cfg(test)]
mod tests;
