//! Owns comparisons of numbers, said as regular expressions over how they are written.
//! Must not know: where the number stands.

use std::fmt::Write;

use crate::route::re2;

/// The greatest number that is compared here, of fifteen digits: beyond, floating point is not exact.
const GREATEST: i64 = 999_999_999_999_999;

/// Text that may be a number to the agent (Lua's `tonumber`) and is not written as a plain integer of at
/// most fifteen digits: fractions, exponents, hexadecimal, spaces around.
pub(crate) const DOUBTFUL: &str = "\\s*[+\\-]?(?:[0-9]{1,15}[.eExX\\s][0-9a-fA-FpP.+\\-\\s]*\
     |[0-9]{16,}[0-9.eE+\\-\\s]*|\\.[0-9][0-9eE+\\-\\s]*)|\\s+[+\\-]?[0-9]+\\s*";

/// Integers from `from` to `to`, both included; no limit is `None`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Range {
    pub(crate) from: Option<f64>,
    pub(crate) to: Option<f64>,
}

impl Range {
    /// An expression for the plain integers within; `None` if there is none.
    pub(crate) fn regex(self) -> Option<String> {
        let from = clip(self.from.map(f64::ceil), -GREATEST)?;
        let to = clip(self.to.map(f64::floor), GREATEST)?;
        if from > to {
            return None;
        }
        let mut forms = Vec::new();
        if to >= 0 {
            forms.push(format!("\\+?{}", magnitude(from.max(0), to)));
        }
        if from <= 0 {
            forms.push(format!("-{}", magnitude((-to).max(0), -from)));
        }
        Some(format!("(?:{})", forms.join("|")))
    }
}

/// A limit as an integer; one that is no number has nothing within.
fn clip(limit: Option<f64>, none: i64) -> Option<i64> {
    let Some(limit) = limit else {
        return Some(none);
    };
    let greatest = GREATEST as f64;
    if limit.is_nan() {
        return None;
    }
    #[allow(clippy::cast_possible_truncation)]
    Some(limit.clamp(-greatest - 1.0, greatest + 1.0) as i64)
}

/// Numbers without a sign from `from` to `to`, zeros before them allowed.
fn magnitude(from: i64, to: i64) -> String {
    let to = to.min(GREATEST);
    let mut forms = Vec::new();
    let mut low = from;
    while low <= to {
        // The most digits at the end that may be anything without leaving the range.
        let mut power: i64 = 1;
        while low % (power * 10) == 0 && low + power * 10 - 1 <= to && power <= GREATEST / 10 {
            power *= 10;
        }
        // And how far the digit before them may go.
        let digit = low / power % 10;
        let last = (digit..10)
            .take_while(|last| low + (last - digit + 1) * power - 1 <= to)
            .last()
            .unwrap_or(digit);
        forms.push(block(low / power, last, power.ilog10()));
        low += (last - digit + 1) * power;
    }
    if forms.is_empty() {
        return re2::NEVER.to_owned();
    }
    format!("0*(?:{})", forms.join("|"))
}

/// Numbers whose last digits are free, whose digit before those goes up to `last`, from that of `head`.
fn block(head: i64, last: i64, free: u32) -> String {
    let (before, digit) = (head / 10, head % 10);
    let mut out = String::new();
    if before > 0 {
        let _ = write!(out, "{before}");
    }
    let optional = if head == 0 && free > 0 { "?" } else { "" };
    let _ = match digit == last {
        true => write!(out, "{digit}{optional}"),
        false => write!(out, "[{digit}-{last}]{optional}"),
    };
    let _ = match (free, head) {
        (0, _) => Ok(()),
        (free, 0) => write!(out, "[0-9]{{1,{free}}}"),
        (free, _) => write!(out, "[0-9]{{{free}}}"),
    };
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    fn matches(regex: &str, text: &str) -> bool {
        Regex::new(&format!("^(?:{regex})$"))
            .unwrap()
            .is_match(text)
    }

    #[test]
    fn what_is_no_plain_integer_is_in_doubt_or_no_number() {
        for (text, doubtful) in [
            ("10", false),
            ("-7", false),
            ("007", false),
            ("ten", false),
            ("", false),
            ("12abc", false),
            ("2.5", true),
            (".5", true),
            ("1e3", true),
            ("0x1F", true),
            (" 7", true),
            ("7 ", true),
            ("1234567890123456", true),
        ] {
            assert_eq!(matches(DOUBTFUL, text), doubtful, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_expression_takes_the_integers_of_its_range(
            from in prop::option::of(-3_000.0..3_000.0_f64),
            length in prop::option::of(0.0..5_000.0_f64),
            number in -6_000..6_000_i64,
            zeros in 0..3_usize,
        ) {
            let to = length.map(|length| from.unwrap_or(-1_000.0) + length);
            let text = match number {
                0.. => format!("{}{number}", "0".repeat(zeros)),
                _ => format!("-{}{}", "0".repeat(zeros), -number),
            };
            let value = number as f64;
            let within = from.is_none_or(|from| value >= from) && to.is_none_or(|to| value <= to);
            let regex = Range { from, to }.regex();
            let taken = regex.as_deref().is_some_and(|regex| matches(regex, &text));
            prop_assert_eq!(taken, within, "{} in {:?} {:?}: {:?}", text, from, to, regex);
        }
    }
}
