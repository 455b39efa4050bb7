//! Owns regular expressions in the dialect that Envoy and gRPC have in common, RE2's: what may be
//! written in it, how large it gets, and what of another dialect can be said in it.
//! Must not know: what is matched.
//!
//! For Envoy a letter is a byte (it compiles as Latin-1), for gRPC's clients it is a character. So no
//! letter beyond ASCII is ever named in a class, only excluded or included with all others.

use std::fmt::Write;

use regex_syntax::ParserBuilder;
use regex_syntax::ast::{self, Ast, Visitor};
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::wire::matcher::regex_matcher::{EngineType, GoogleRe2};
use crate::wire::matcher::{RegexMatcher, StringMatcher, string_matcher::MatchPattern};

/// Instructions that Envoy takes without being asked (`re2.max_program_size.error_level`). What may
/// need more says so itself, since nobody's bootstrap is ours to change.
const UNASKED: usize = 100;

/// Instructions of one expression. RE2 itself gives up at about 350,000 (8 MiB of memory).
pub(crate) const MAX_PROGRAM: usize = 20_000;

/// The last character there is.
const LAST: u32 = 0x10_ffff;

/// How often RE2 repeats at most, `x{1000}`.
const MAX_REPEAT: u32 = 1_000;

/// Any text, line feeds included.
pub(crate) const ANY: &str = "(?s:.*)";

/// No text.
pub(crate) const NEVER: &str = "[^\\s\\S]";

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
    let hir = bytes(false).parse(regex).ok()?;
    let size = size_of(&hir).checked_add(8)?;
    (size <= MAX_PROGRAM).then_some(size)
}

/// Reads expressions whose letters are bytes.
fn bytes(caseless: bool) -> regex_syntax::Parser {
    ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .case_insensitive(caseless)
        .build()
}

fn size_of(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty => 1,
        HirKind::Look(_) => 2,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(Class::Unicode(class)) => 2 * class.ranges().len(),
        HirKind::Class(Class::Bytes(class)) => 2 * class.ranges().len(),
        HirKind::Repetition(repetition) => {
            let once = size_of(&repetition.sub);
            let must = once.saturating_mul(repetition.min as usize);
            let may = match repetition.max {
                Some(max) => max.saturating_sub(repetition.min) as usize,
                None => 1,
            };
            must.saturating_add(once.saturating_add(2).saturating_mul(may))
        }
        HirKind::Capture(capture) => size_of(&capture.sub).saturating_add(2),
        HirKind::Concat(all) => all.iter().map(size_of).fold(0, usize::saturating_add),
        HirKind::Alternation(all) => all
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
    /// It is at the start, and another part may follow it, which this letter begins: a query, a port.
    Until(char),
    /// It stands somewhere, and this letter ends it: an argument of a query.
    Within(char),
}

impl Field {
    /// The letter that is no part of it.
    fn end(self) -> Option<char> {
        match self {
            Self::Whole => None,
            Self::Until(end) | Self::Within(end) => Some(end),
        }
    }
}

/// Says a search for `pattern` as an expression that the whole text must match, from the start of the
/// text, or `None` where that can't be said: look-around, back-references, classes of Unicode. `\w`
/// and its like are ASCII's, as in nginx.
pub(crate) fn search(pattern: &str, caseless: bool, field: Field) -> Option<String> {
    if reads_otherwise(pattern)? {
        return None;
    }
    let hir = bytes(caseless).parse(pattern).ok()?;
    let mut printer = Printer {
        out: String::new(),
        field,
        groups: false,
        repeats: 1,
    };
    printer.search(&hir)?;
    Some(printer.out)
}

/// Says `pattern` itself, its groups kept, and how many these are; `None` as for [`search`].
pub(crate) fn with_groups(pattern: &str) -> Option<(String, usize)> {
    if reads_otherwise(pattern)? {
        return None;
    }
    let hir = bytes(false).parse(pattern).ok()?;
    let mut printer = Printer {
        out: String::new(),
        field: Field::Whole,
        groups: true,
        repeats: 1,
    };
    printer.print(&hir)?;
    Some((printer.out, hir.properties().explicit_captures_len()))
}

/// Whether the parser reads something else than the agent and APISIX do: a possessive quantifier as one
/// quantifier on another, a recursion as a flag. `None` if it is no expression.
fn reads_otherwise(pattern: &str) -> Option<bool> {
    struct Nested;
    impl Visitor for Nested {
        type Output = ();
        type Err = ();
        fn finish(self) -> Result<(), ()> {
            Ok(())
        }
        fn visit_pre(&mut self, ast: &Ast) -> Result<(), ()> {
            match ast {
                Ast::Repetition(outer) if matches!(*outer.ast, Ast::Repetition(_)) => Err(()),
                _ => Ok(()),
            }
        }
    }
    let ast = regex_syntax::ast::parse::Parser::new()
        .parse(pattern)
        .ok()?;
    Some(pattern.contains("(?R") || ast::visit(&ast, Nested).is_err())
}

struct Printer {
    out: String,
    field: Field,
    /// Whether groups are kept, and what they take.
    groups: bool,
    /// How often all repetitions around what is printed repeat it together: RE2 has one limit for that.
    repeats: u32,
}

impl Printer {
    /// Any text of the field, and what may come after it.
    fn field_parts(&self) -> (String, String) {
        match self.field {
            Field::Whole => (ANY.to_owned(), String::new()),
            Field::Until(end) | Field::Within(end) => {
                let end = literal(&end.to_string());
                (format!("[^{end}]*"), format!("(?:{end}{ANY})?"))
            }
        }
    }

    fn search(&mut self, hir: &Hir) -> Option<()> {
        let (any, rest) = self.field_parts();
        // Where a field begins in the middle of a text there is no sign for its start: an alternative
        // that asks for it is one that nothing comes before.
        let alternatives = match (hir.kind(), self.field) {
            (HirKind::Alternation(all), Field::Within(_)) => all.as_slice(),
            _ => std::slice::from_ref(hir),
        };
        self.out.push_str("(?:");
        for (index, one) in alternatives.iter().enumerate() {
            if index > 0 {
                self.out.push('|');
            }
            let parts = match one.kind() {
                HirKind::Concat(parts) => parts.as_slice(),
                _ => std::slice::from_ref(one),
            };
            let starts = parts
                .first()
                .is_some_and(|first| *first.kind() == HirKind::Look(Look::Start));
            let at_start = starts && matches!(self.field, Field::Within(_));
            if !at_start {
                self.out.push_str(&any);
            }
            self.out.push_str("(?:");
            for part in &parts[usize::from(at_start)..] {
                self.print(part)?;
            }
            self.out.push(')');
        }
        self.out.push(')');
        self.out.push_str(&any);
        self.out.push_str(&rest);
        Some(())
    }

    fn print(&mut self, hir: &Hir) -> Option<()> {
        match hir.kind() {
            HirKind::Empty => self.out.push_str("(?:)"),
            HirKind::Look(look) => self.look(*look)?,
            HirKind::Literal(literal) => {
                for letter in std::str::from_utf8(&literal.0).ok()?.chars() {
                    if self.field.end() == Some(letter) {
                        self.never();
                    } else {
                        push_literal(&mut self.out, letter);
                    }
                }
            }
            HirKind::Class(class) => self.class(class)?,
            HirKind::Repetition(repetition) => {
                let times = repetition.max.unwrap_or(repetition.min).max(1);
                let around = self.repeats;
                self.repeats = around.checked_mul(times).filter(|all| *all <= MAX_REPEAT)?;
                self.out.push_str("(?:");
                self.print(&repetition.sub)?;
                self.out.push(')');
                self.repeats = around;
                let _ = match (repetition.min, repetition.max) {
                    (0, None) => write!(self.out, "*"),
                    (1, None) => write!(self.out, "+"),
                    (0, Some(1)) => write!(self.out, "?"),
                    (min, None) => write!(self.out, "{{{min},}}"),
                    (min, Some(max)) => write!(self.out, "{{{min},{max}}}"),
                };
                if self.groups && !repetition.greedy {
                    self.out.push('?');
                }
            }
            HirKind::Capture(capture) => {
                self.out.push_str(if self.groups { "(" } else { "(?:" });
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
        self.out.push_str(NEVER);
    }

    fn look(&mut self, look: Look) -> Option<()> {
        match look {
            Look::Start if matches!(self.field, Field::Within(_)) => return None,
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
                .collect(),
        };
        // All that is not ASCII, or nothing of it: a part can't be told.
        let others = match ranges.last() {
            Some((from, 0xff | LAST)) if *from <= 0x80 => true,
            Some((_, to)) if *to > 0x7f => return None,
            Some(_) | None => false,
        };
        ranges.retain(|(from, _)| *from < 0x80);
        let takes = |letter: u32| {
            let within = |(from, to): &(u32, u32)| (*from..=*to).contains(&letter);
            ranges.iter().any(within) && self.field.end().map(u32::from) != Some(letter)
        };
        // Named are those that are in it, or where all others are, too, those that are not.
        let named: Vec<u32> = (0..0x80)
            .filter(|letter| takes(*letter) != others)
            .collect();
        if named.is_empty() {
            self.out.push_str(if others { "[\\s\\S]" } else { NEVER });
            return Some(());
        }
        self.out.push_str(if others { "[^" } else { "[" });
        for run in named.chunk_by(|one, next| one + 1 == *next) {
            let _ = write!(self.out, "\\x{{{:x}}}", run[0]);
            if run.len() > 1 {
                let _ = write!(self.out, "-\\x{{{:x}}}", run[run.len() - 1]);
            }
        }
        self.out.push(']');
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use regex::RegexBuilder;

    use super::*;

    fn takes(regex: &str, text: &str) -> bool {
        let whole = format!("^(?:{regex})$");
        let regex = RegexBuilder::new(&whole).build().unwrap();
        regex.is_match(text)
    }

    /// A search, said as a match of the whole text, finds what the search finds.
    #[test]
    fn a_search_finds_what_it_should() {
        for pattern in [
            "a", "^a", "b$", "^a+$", "^$", "a|b", "^a|b$", "[^a]", "a.b", "\\d", "(a)(b)?",
            "a{2,3}", "x*",
        ] {
            let plain = RegexBuilder::new(pattern).unicode(true).build().unwrap();
            for text in [
                "", "a", "b", "ab", "aab", "ba", "a\nb", "axb", "7", "é", "aaa", "a?b",
            ] {
                let whole = search(pattern, false, Field::Whole).unwrap();
                assert_eq!(
                    takes(&whole, text),
                    plain.is_match(text),
                    "{pattern} {text:?}"
                );
                if text.contains('?') {
                    continue;
                }
                let until = search(pattern, false, Field::Until('?')).unwrap();
                for after in ["", "?", "?a", "?b", "?7", "?é"] {
                    let target = format!("{text}{after}");
                    assert_eq!(
                        takes(&until, &target),
                        plain.is_match(text),
                        "{pattern} {target:?}"
                    );
                }
                let within = format!("k={}", search(pattern, false, Field::Within('?')).unwrap());
                let target = format!("k={text}?a");
                assert_eq!(
                    takes(&within, &target),
                    plain.is_match(text),
                    "{pattern} {target:?}"
                );
            }
        }
    }

    #[test]
    fn what_re2_does_not_know_is_not_said() {
        for pattern in [
            "(?=a)b",
            "(?<!a)b",
            "(a)\\1",
            "a++",
            "(?>a)",
            "(?R)",
            "\\p{L}",
            "(",
            "a{1001}",
            "(a{100}){11}",
            "[\\xe9]",
        ] {
            assert_eq!(search(pattern, false, Field::Whole), None, "{pattern}");
        }
        assert_eq!(whole("a{900}{900}".to_owned()), Err(TooLarge));
        assert!(whole("a{50}".to_owned()).unwrap().engine_type.is_none());
        assert!(whole("a{500}".to_owned()).unwrap().engine_type.is_some());
    }
}
