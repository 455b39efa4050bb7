//! Owns the check that a regular expression is one the proxies can compile. Must not know: where it
//! stands, or what is matched with it.

use fancy_regex::RegexBuilder;

use super::invalid::Invalid;
use super::read::Read;

/// Bytes of one pattern.
const PATTERN_BYTES_MAX: usize = 8 << 10;

/// Bytes of memory that one compiled pattern may take: `(a{1000}){1000}` is short and huge. This is what
/// regular expressions have by default; `\w{100}` needs half of it, because `\w` is Unicode's.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// Steps of the program of one compiled pattern: one that calls itself is expanded without an end.
const PROGRAM_STEPS_MAX: usize = 1 << 16;

/// Checks the syntax, in the dialect of the agent (close to PCRE, with look-around).
pub(super) fn check(pattern: &str, caseless: bool) -> Read<()> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(Invalid::new(format!(
            "the regular expression has more than {PATTERN_BYTES_MAX} bytes"
        )));
    }
    match RegexBuilder::new(pattern)
        .case_insensitive(caseless)
        .delegate_size_limit(COMPILED_BYTES_MAX)
        .max_prog_size(PROGRAM_STEPS_MAX)
        .build()
    {
        Ok(_) => Ok(()),
        // The details of the two are not told: they may repeat the pattern, and that may be a secret.
        Err(fancy_regex::Error::ParseError(at, _)) => Err(Invalid::new(format!(
            "is not a valid regular expression, at byte {at}"
        ))),
        Err(_) => Err(Invalid::new(
            "is not a valid regular expression, or one that is too large",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_around_is_known_and_nonsense_and_giants_are_refused() {
        assert_eq!(check("^/a(?!b)\\d+$", false), Ok(()));
        assert_eq!(check(r"^[\w-]{1,64}$", false), Ok(()));
        for bad in [
            "(",
            "[z-a]",
            "(?:(?:a{1000}){1000}){1000}",
            "(?<n>",
            r"(?<x>a|\g<x>b)",
            &"(".repeat(5000),
        ] {
            assert!(check(bad, true).is_err(), "{bad}");
        }
    }
}
