//! Owns regular expressions of plugins in RE2's dialect, groups kept. Must not know: what is matched.
//!
//! A pattern is parsed and written again from its structure, so that only what RE2 knows is sent.

use std::fmt::Write;

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, ClassBytes, Hir, HirKind, Look};

use crate::wire::matcher::regex_matcher::{EngineType, GoogleRe2};
use crate::wire::matcher::string_matcher::MatchPattern;
use crate::wire::matcher::{RegexMatchAndSubstitute, RegexMatcher, StringMatcher};

/// Instructions of a program that are asked for: Envoy refuses more than 100 unasked.
const MAX_PROGRAM: u32 = 40_000;

/// Bytes of a pattern as it is sent; RE2 makes a few instructions of each.
const MAX_BYTES: usize = 4_096;

/// How often RE2 repeats at most, `x{1000}`.
const MAX_REPEAT: u32 = 1_000;

/// The highest group that RE2's substitutions can name.
const MAX_GROUP: usize = 9;

/// A search for `pattern` anywhere, as a condition on a whole text.
pub(super) fn search(pattern: &str) -> Option<StringMatcher> {
    let (printed, _) = print(pattern)?;
    Some(StringMatcher {
        match_pattern: Some(MatchPattern::SafeRegex(matcher(format!(
            "(?s:.*)(?:{printed})(?s:.*)"
        )))),
        ..Default::default()
    })
}

/// The substitution of the first match of `pattern` by `template` (`$0` to `$9`, `$$`), which leaves
/// what is around it.
pub(super) fn substitute(pattern: &str, template: &str) -> Option<RegexMatchAndSubstitute> {
    let (printed, groups) = print(pattern)?;
    // 1 is what stands before, 2 is the match, then its groups, then what stands behind. RE2 replaces
    // every match, so all of the text has to be one.
    let after = groups + 3;
    if after > MAX_GROUP {
        return None;
    }
    let mut substitution = String::from("\\1");
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        push_literal(&mut substitution, &rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(tail) = tail.strip_prefix('$') {
            substitution.push('$');
            rest = tail;
            continue;
        }
        let (digits, tail) = match tail.strip_prefix('{') {
            Some(inner) => inner.split_once('}')?,
            None => tail.split_at(tail.bytes().take_while(u8::is_ascii_digit).count()),
        };
        let group: usize = digits.parse().ok().filter(|group| *group <= groups)?;
        let _ = write!(substitution, "\\{}", group + 2);
        rest = tail;
    }
    push_literal(&mut substitution, rest);
    let _ = write!(substitution, "\\{after}");
    Some(RegexMatchAndSubstitute {
        pattern: Some(matcher(format!("^((?s:.*?))({printed})((?s:.*))$"))),
        substitution,
    })
}

/// The substitution of everything by a text, with what was there as `\0`.
pub(super) fn replace(substitution: String) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute {
        pattern: Some(RegexMatcher {
            regex: "^(?s:.*)$".to_owned(),
            ..Default::default()
        }),
        substitution,
    }
}

/// Text that means itself in a substitution.
pub(super) fn push_literal(out: &mut String, text: &str) {
    out.push_str(&text.replace('\\', "\\\\"));
}

fn matcher(regex: String) -> RegexMatcher {
    RegexMatcher {
        engine_type: Some(EngineType::GoogleRe2(GoogleRe2 {
            max_program_size: Some(MAX_PROGRAM),
        })),
        regex,
    }
}

/// The pattern in RE2's dialect, and its number of groups.
fn print(pattern: &str) -> Option<(String, usize)> {
    let hir = ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .build()
        .parse(pattern)
        .ok()?;
    let mut out = String::new();
    push(&mut out, &hir)?;
    let groups = hir.properties().explicit_captures_len();
    (out.len() <= MAX_BYTES).then_some((out, groups))
}

fn push(out: &mut String, hir: &Hir) -> Option<()> {
    if out.len() > MAX_BYTES {
        return None;
    }
    match hir.kind() {
        HirKind::Empty => out.push_str("(?:)"),
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok()?;
            text.chars().for_each(|letter| push_letter(out, letter));
        }
        HirKind::Class(Class::Unicode(class)) => push_class(out, &class.to_byte_class()?)?,
        HirKind::Class(Class::Bytes(class)) => push_class(out, class)?,
        HirKind::Look(look) => out.push_str(match look {
            Look::Start => "\\A",
            Look::End => "\\z",
            Look::WordAscii => "\\b",
            Look::WordAsciiNegate => "\\B",
            _ => return None,
        }),
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(repetition.min);
            if most > MAX_REPEAT || (most > 1 && holds_repetition(&repetition.sub)) {
                return None;
            }
            out.push_str("(?:");
            push(out, &repetition.sub)?;
            out.push(')');
            match (repetition.min, repetition.max) {
                (0, None) => out.push('*'),
                (1, None) => out.push('+'),
                (0, Some(1)) => out.push('?'),
                (min, None) => write!(out, "{{{min},}}").ok()?,
                (min, Some(max)) => write!(out, "{{{min},{max}}}").ok()?,
            }
            if !repetition.greedy {
                out.push('?');
            }
        }
        HirKind::Capture(capture) => {
            out.push('(');
            push(out, &capture.sub)?;
            out.push(')');
        }
        HirKind::Concat(all) => all.iter().try_for_each(|one| {
            out.push_str("(?:");
            push(out, one)?;
            out.push(')');
            Some(())
        })?,
        HirKind::Alternation(all) => {
            for (at, one) in all.iter().enumerate() {
                out.push_str(if at == 0 { "(?:" } else { "|" });
                push(out, one)?;
            }
            out.push(')');
        }
    }
    Some(())
}

/// Whether there is a counted repetition in it: within another one its size multiplies.
fn holds_repetition(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Repetition(inner) => {
            inner.max.unwrap_or(inner.min) > 1 || holds_repetition(&inner.sub)
        }
        HirKind::Capture(capture) => holds_repetition(&capture.sub),
        HirKind::Concat(all) | HirKind::Alternation(all) => all.iter().any(holds_repetition),
        _ => false,
    }
}

/// A class of letters: of ASCII alone, or all but some of ASCII. Other parts of Unicode can't be told,
/// since RE2 reads UTF-8 and this is a class of bytes.
fn push_class(out: &mut String, class: &ClassBytes) -> Option<()> {
    let mut class = class.clone();
    let others = class
        .ranges()
        .last()
        .is_some_and(|range| range.end() == 0xff);
    if others {
        class.negate();
    }
    if class
        .ranges()
        .last()
        .is_some_and(|range| range.end() > 0x7f)
    {
        return None;
    }
    match (class.ranges().is_empty(), others) {
        (true, false) => return None,
        (true, true) => out.push_str("(?s:.)"),
        (false, _) => {
            out.push_str(if others { "[^" } else { "[" });
            for range in class.ranges() {
                let _ = write!(out, "\\x{{{:x}}}-\\x{{{:x}}}", range.start(), range.end());
            }
            out.push(']');
        }
    }
    Some(())
}

fn push_letter(out: &mut String, letter: char) {
    if letter.is_ascii_alphanumeric() || letter == '/' || !letter.is_ascii() {
        out.push(letter);
    } else {
        let _ = write!(out, "\\x{{{:x}}}", u32::from(letter));
    }
}
