//! Owns one comparison of `vars`, read (`docs/apisix.md` §2.5): which values of a variable it takes.
//! Must not know: where Envoy finds the value.

use std::net::IpAddr;

use bellwether::wire::google::protobuf::value::Kind;
use bellwether::wire::native::Comparison;
use bellwether::wire::native::comparison::Operator;
use ipnet::IpNet;

use crate::route::number::{self, Range};
use crate::route::re2::{self, Field};

/// Which values hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Test {
    /// Whether it holds where there is no value.
    pub(crate) absent: bool,
    /// It holds for the values that are not in the set.
    pub(crate) negated: bool,
    pub(crate) set: Set,
}

/// A set of values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Set {
    Nothing,
    Texts(Vec<String>),
    Search { pattern: String, caseless: bool },
    Numbers(Range),
    Addresses(Vec<IpNet>),
}

impl Test {
    /// Reads a comparison; the error is why the agent would not take it either.
    pub(crate) fn read(comparison: &Comparison) -> Result<Self, String> {
        let operator = Operator::try_from(comparison.operator)
            .map_err(|_| "its condition has an operator that is not known here".to_owned())?;
        let kind = comparison
            .value
            .as_ref()
            .and_then(|value| value.kind.as_ref())
            .unwrap_or(&Kind::NullValue(0));
        let wrong = || {
            let variable = &comparison.variable;
            format!("its condition compares {variable:?} with a value of the wrong type")
        };
        let numbers = |range: fn(f64) -> Range| {
            Self::of(number(kind).map_or(Set::Nothing, |limit| Set::Numbers(range(limit))))
        };
        let test = match operator {
            Operator::Equal => equal(kind),
            Operator::NotEqual => equal(kind).not(),
            Operator::Greater => numbers(|limit| Range {
                from: Some(limit.floor() + 1.0),
                to: None,
            }),
            Operator::GreaterOrEqual => numbers(|limit| Range {
                from: Some(limit),
                to: None,
            }),
            Operator::Less => numbers(|limit| Range {
                from: None,
                to: Some(limit.ceil() - 1.0),
            }),
            Operator::LessOrEqual => numbers(|limit| Range {
                from: None,
                to: Some(limit),
            }),
            Operator::Matches | Operator::MatchesCaseless => match kind {
                Kind::StringValue(pattern) => Self::of(Set::Search {
                    pattern: pattern.clone(),
                    caseless: operator == Operator::MatchesCaseless,
                }),
                _ => return Err(wrong()),
            },
            Operator::In => match kind {
                Kind::ListValue(list) => Self::of(Set::Texts(texts(&list.values).collect())),
                _ => return Err(wrong()),
            },
            Operator::Has => Self::of(Set::Nothing),
            Operator::IpMatch => {
                let all: Vec<String> = match kind {
                    Kind::StringValue(text) => vec![text.clone()],
                    Kind::ListValue(list) => texts(&list.values).collect(),
                    _ => return Err(wrong()),
                };
                let blocks: Option<Vec<_>> = all.iter().map(|text| block(text)).collect();
                Self::of(Set::Addresses(blocks.ok_or_else(wrong)?))
            }
        };
        Ok(if comparison.negate { test.not() } else { test })
    }

    fn of(set: Set) -> Self {
        Self {
            absent: false,
            negated: false,
            set,
        }
    }

    pub(crate) fn not(self) -> Self {
        Self {
            absent: !self.absent,
            negated: !self.negated,
            set: self.set,
        }
    }

    /// Whether it holds, for a value that is known; `None` if only a regular expression could tell.
    pub(crate) fn holds(&self, value: Option<&str>) -> Option<bool> {
        let Some(value) = value else {
            return Some(self.absent);
        };
        let within = match &self.set {
            Set::Nothing => false,
            Set::Texts(texts) => texts.iter().any(|text| text == value),
            Set::Search { .. } => return None,
            Set::Numbers(range) => to_number(value).is_some_and(|number| {
                range.from.is_none_or(|from| number >= from)
                    && range.to.is_none_or(|to| number <= to)
            }),
            Set::Addresses(blocks) => value.parse::<IpAddr>().is_ok_and(|ip| {
                blocks
                    .iter()
                    .any(|block| block.contains(&ip.to_canonical()))
            }),
        };
        Some(within != self.negated)
    }
}

impl Set {
    /// An expression for the values, of which `form` says how a text is written; `None` where there is
    /// none.
    pub(crate) fn regex(&self, form: fn(&str) -> String, field: Field) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Texts(texts) if texts.is_empty() => None,
            Self::Texts(texts) => Some(re2::one_of(texts.iter().map(|text| form(text)))),
            Self::Search { pattern, caseless } => re2::search(pattern, *caseless, field),
            Self::Numbers(range) => range.regex(),
            Self::Addresses(blocks) => {
                let blocks = blocks.iter().filter_map(|block| match block {
                    IpNet::V4(block) => Some(dotted(block)),
                    IpNet::V6(_) => None,
                });
                let all: Vec<String> = blocks.collect();
                (!all.is_empty()).then(|| re2::one_of(all))
            }
        }
    }

    /// An expression for values of which it can't be told whether they are in the set.
    pub(crate) fn doubtful(&self) -> Option<&'static str> {
        match self {
            Self::Numbers(_) => Some(number::DOUBTFUL),
            // An address of version 6 is written in more ways than an expression could list.
            Self::Addresses(_) => Some("[0-9a-fA-F:.]*:[0-9a-fA-F:.]*"),
            Self::Nothing | Self::Texts(_) | Self::Search { .. } => None,
        }
    }
}

/// Addresses of a block as they are written.
fn dotted(block: &ipnet::Ipv4Net) -> String {
    let (from, to) = (block.network().octets(), block.broadcast().octets());
    let octets = from.iter().zip(to).map(|(from, to)| match (*from, to) {
        (from, to) if from == to => from.to_string(),
        (from, to) => {
            let all = (from..=to).map(|octet| octet.to_string());
            match (from, to) {
                (0, 255) => "(?:[0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])".to_owned(),
                _ => re2::one_of(all),
            }
        }
    });
    octets.collect::<Vec<_>>().join("\\.")
}

fn equal(kind: &Kind) -> Test {
    match kind {
        Kind::NullValue(_) => Test {
            absent: true,
            ..Test::of(Set::Nothing)
        },
        Kind::NumberValue(number) => Test::of(Set::Numbers(Range {
            from: Some(*number),
            to: Some(*number),
        })),
        Kind::StringValue(text) => Test::of(Set::Texts(vec![text.clone()])),
        Kind::BoolValue(_) | Kind::StructValue(_) | Kind::ListValue(_) => Test::of(Set::Nothing),
    }
}

fn number(kind: &Kind) -> Option<f64> {
    match kind {
        Kind::NumberValue(number) => Some(*number),
        Kind::StringValue(text) => to_number(text),
        _ => None,
    }
}

fn texts(values: &[bellwether::wire::google::protobuf::Value]) -> impl Iterator<Item = String> {
    values.iter().filter_map(|value| match &value.kind {
        Some(Kind::StringValue(text)) => Some(text.clone()),
        _ => None,
    })
}

/// An address, which is a block of one, or a block.
pub(crate) fn block(text: &str) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(block) => Some(block.trunc()),
        Err(_) => text.parse::<IpAddr>().ok().map(IpNet::from),
    }
}

/// Lua's `tonumber`, as the agent has it: decimal or hexadecimal, spaces around it allowed.
fn to_number(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let hex = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"));
    if let Some(hex) = hex {
        let whole = u32::from_str_radix(hex, 16).ok()?;
        let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
        return Some(f64::from(whole) * sign);
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    text.parse().ok()
}
