//! Owns regular expressions in the dialect that Envoy and gRPC have in common, RE2's: what may be
//! written in it, how large it gets, and what of another dialect can be said in it.
//! Must not know: what is matched.

use std::fmt::Write;

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::wire::matcher::regex_matcher::{EngineType, GoogleRe2};
use crate::wire::matcher::{RegexMatcher, StringMatcher, string_matcher::MatchPattern};

/// Instructions that Envoy takes without being asked (`re2.max_program_size.error_level`). What may
/// need more says so itself, since nobody's bootstrap is ours to change.
const UNASKED: usize = 100;

/// Instructions of one expression. RE2 itself gives up at about 350,000 (8 MiB of memory).
pub(crate) const MAX_PROGRAM: usize = 20_000;

/// How often RE2 repeats at most, `x{1000}`.
const MAX_REPEAT: u32 = 1_000;

/// Any text, line feeds included.
pub(crate) const ANY: &str = "(?s:.*)";

/// A regular expression that is too large for RE2, or not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the regular expression is larger than {MAX_PROGRAM} instructions")]
pub(crate) struct TooLarge;

/// A condition that the whole text matches.
pub(crate) fn whole(regex: String) -> Result<RegexMatcher, TooLarge> {
    let size = size(&regex).ok_or(TooLarge)?;
    let engine = (size > UNASKED).then(|| {
        EngineType::GoogleRe2(GoogleRe2 {
            max_program_size: Some(u32::try_from(2 * MAX_PROGRAM).unwrap_or(u32::MAX)),
        })
    });
    Ok(RegexMatcher {
        engine_type: engine,
        regex,
    })
}

/// The same as a condition on text.
pub(crate) fn text(regex: String) -> Result<StringMatcher, TooLarge> {
    Ok(StringMatcher {
        ignore_case: false,
        match_pattern: Some(MatchPattern::SafeRegex(whole(regex)?)),
    })
}

/// Text that is this.
pub(crate) fn exact(text: &str) -> StringMatcher {
    StringMatcher {
        ignore_case: false,
        match_pattern: Some(MatchPattern::Exact(text.to_owned())),
    }
}

/// A text that matches itself.
pub(crate) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        push_literal(&mut out, letter);
    }
    out
}

fn push_literal(out: &mut String, letter: char) {
    match letter {
        letter if letter.is_ascii_alphanumeric() || !letter.is_ascii() => out.push(letter),
        letter if letter.is_ascii_graphic() || letter == ' ' => {
            if !matches!(
                letter,
                '/' | '-'
                    | '_'
                    | '='
                    | '&'
                    | '%'
                    | ','
                    | ';'
                    | ':'
                    | ' '
                    | '"'
                    | '\''
                    | '<'
                    | '>'
                    | '@'
                    | '~'
                    | '!'
                    | '#'
                    | '`'
            ) {
                out.push('\\');
            }
            out.push(letter);
        }
        letter => {
            let _ = write!(out, "\\x{{{:x}}}", u32::from(letter));
        }
    }
}

/// Which of these texts: `(?:a|b)`.
pub(crate) fn one_of(texts: impl IntoIterator<Item = String>) -> String {
    let texts: Vec<String> = texts.into_iter().collect();
    format!("(?:{})", texts.join("|"))
}

/// Estimates the instructions from above; `None` if it is too large or not an expression.
fn size(regex: &str) -> Option<usize> {
    let hir = ParserBuilder::new().build().parse(regex).ok()?;
    let size = size_of(&hir).checked_add(8)?;
    (size <= MAX_PROGRAM).then_some(size)
}

fn size_of(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty => 1,
        HirKind::Look(_) => 2,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(Class::Unicode(class)) => class
            .ranges()
            .iter()
            .map(|range| if range.end().is_ascii() { 2 } else { 24 })
            .sum(),
        HirKind::Class(Class::Bytes(class)) => 2 * class.ranges().len(),
        HirKind::Repetition(repetition) => {
            let once = size_of(&repetition.sub).saturating_add(2);
            let times = repetition.max.unwrap_or(repetition.min.saturating_add(1));
            once.saturating_mul(times.max(1) as usize)
        }
        HirKind::Capture(capture) => size_of(&capture.sub).saturating_add(2),
        HirKind::Concat(all) | HirKind::Alternation(all) => all
            .iter()
            .map(|one| size_of(one).saturating_add(2))
            .fold(0, usize::saturating_add),
    }
}

/// Where the text to search stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// It is all there is.
    Whole,
    /// Another part may follow it, which this letter begins: a query, a port.
    Until(char),
}

/// Says a search for `pattern` as an expression that the whole text must match, from the start of the
/// text, or `None` where that can't be said: look-around, back-references, classes of Unicode. `\w`
/// and its like are ASCII's, as in nginx.
pub(crate) fn search(pattern: &str, caseless: bool, field: Field) -> Option<String> {
    let hir = ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .case_insensitive(caseless)
        .build()
        .parse(pattern)
        .ok()?;
    let mut printer = Printer {
        out: String::new(),
        field,
    };
    let (any, rest) = printer.field_parts();
    printer.out.push_str(&any);
    printer.out.push_str("(?:");
    printer.print(&hir)?;
    printer.out.push(')');
    printer.out.push_str(&any);
    printer.out.push_str(&rest);
    Some(printer.out)
}

struct Printer {
    out: String,
    field: Field,
}

impl Printer {
    /// Any text of the field, and what may come after it.
    fn field_parts(&self) -> (String, String) {
        match self.field {
            Field::Whole => (ANY.to_owned(), String::new()),
            Field::Until(end) => {
                let end = literal(&end.to_string());
                (format!("[^{end}]*"), format!("(?:{end}{ANY})?"))
            }
        }
    }

    fn print(&mut self, hir: &Hir) -> Option<()> {
        match hir.kind() {
            HirKind::Empty => self.out.push_str("(?:)"),
            HirKind::Look(look) => self.look(*look)?,
            HirKind::Literal(literal) => {
                for letter in std::str::from_utf8(&literal.0).ok()?.chars() {
                    if self.field == Field::Until(letter) {
                        self.never();
                    } else {
                        push_literal(&mut self.out, letter);
                    }
                }
            }
            HirKind::Class(class) => self.class(class)?,
            HirKind::Repetition(repetition) => {
                if repetition.min > MAX_REPEAT || repetition.max.is_some_and(|max| max > MAX_REPEAT)
                {
                    return None;
                }
                self.out.push_str("(?:");
                self.print(&repetition.sub)?;
                self.out.push(')');
                let _ = match (repetition.min, repetition.max) {
                    (0, None) => write!(self.out, "*"),
                    (1, None) => write!(self.out, "+"),
                    (0, Some(1)) => write!(self.out, "?"),
                    (min, None) => write!(self.out, "{{{min},}}"),
                    (min, Some(max)) => write!(self.out, "{{{min},{max}}}"),
                };
            }
            HirKind::Capture(capture) => {
                self.out.push_str("(?:");
                self.print(&capture.sub)?;
                self.out.push(')');
            }
            HirKind::Concat(all) => {
                for one in all {
                    self.print(one)?;
                }
            }
            HirKind::Alternation(all) => {
                self.out.push_str("(?:");
                for (index, one) in all.iter().enumerate() {
                    if index > 0 {
                        self.out.push('|');
                    }
                    self.print(one)?;
                }
                self.out.push(')');
            }
        }
        Some(())
    }

    /// What no text matches.
    fn never(&mut self) {
        self.out.push_str("[^\\x{0}-\\x{10ffff}]");
    }

    fn look(&mut self, look: Look) -> Option<()> {
        match look {
            Look::Start => self.out.push_str("\\A"),
            Look::End => {
                let (_, rest) = self.field_parts();
                self.out.push_str(&rest);
                self.out.push_str("\\z");
            }
            // At the end of the field they would look at the letter behind it.
            Look::WordAscii if self.field == Field::Whole => self.out.push_str("\\b"),
            Look::WordAsciiNegate if self.field == Field::Whole => self.out.push_str("\\B"),
            _ => return None,
        }
        Some(())
    }

    fn class(&mut self, class: &Class) -> Option<()> {
        let mut ranges: Vec<(u32, u32)> = match class {
            Class::Unicode(class) => class
                .ranges()
                .iter()
                .map(|range| (u32::from(range.start()), u32::from(range.end())))
                .collect(),
            Class::Bytes(class) => class
                .ranges()
                .iter()
                .map(|range| (u32::from(range.start()), u32::from(range.end())))
                .map(|(start, end)| match end {
                    // All that is not ASCII, or nothing of it: a part would be half a letter.
                    0xff if start <= 0x80 => Some((start, u32::from(char::MAX))),
                    end if end < 0x80 => Some((start, end)),
                    _ => None,
                })
                .collect::<Option<_>>()?,
        };
        if let Field::Until(end) = self.field {
            let end = u32::from(end);
            ranges = ranges
                .into_iter()
                .flat_map(|(from, to)| match (from..=to).contains(&end) {
                    true => vec![(from, end.wrapping_sub(1)), (end + 1, to)],
                    false => vec![(from, to)],
                })
                .filter(|(from, to)| from <= to)
                .collect();
        }
        if ranges.is_empty() {
            self.never();
            return Some(());
        }
        self.out.push('[');
        for (from, to) in ranges {
            let _ = write!(self.out, "\\x{{{from:x}}}");
            if to > from {
                let _ = write!(self.out, "-\\x{{{to:x}}}");
            }
        }
        self.out.push(']');
        Some(())
    }
}
