//! Owns substitutions by regular expressions of plugins. Must not know: RE2's dialect, what is matched.

use std::fmt::Write;

use crate::route::re2::{self, Field};
use crate::wire::matcher::{RegexMatchAndSubstitute, RegexMatcher, StringMatcher};

/// The highest group that RE2's substitutions can name.
const MAX_GROUP: usize = 9;

/// A search for `pattern` anywhere, as a condition on a whole text.
pub(super) fn search(pattern: &str) -> Option<StringMatcher> {
    re2::text(re2::search(pattern, false, Field::Whole)?).ok()
}

/// The substitution of the first match of `pattern` by `template` (`$0` to `$9`, `$$`), which leaves
/// what is around it.
pub(super) fn substitute(pattern: &str, template: &str) -> Option<RegexMatchAndSubstitute> {
    let (printed, groups) = re2::with_groups(pattern)?;
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
        pattern: Some(re2::whole(format!("^((?s:.*?))({printed})((?s:.*))$")).ok()?),
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
