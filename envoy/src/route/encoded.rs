//! Owns text as it stands in a request target: escaped, or not, as the client likes.
//! Must not know: routes.
//!
//! Envoy takes back escapes of unreserved letters in a path before it looks for a route, and of slashes
//! if it is told to (`normalize_path`, `path_with_escaped_slashes_action`), and leaves all others; the
//! agent takes back all. So a path that may come escaped is matched in both forms.

use std::fmt::Write;

use crate::route::re2;

/// RFC 3986 §2.3: to escape these or not makes no difference, so nobody escapes them who means well.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The second and third letter of an escape of an unreserved letter.
pub(crate) const UNRESERVED_HEX: &str =
    "(?:2[dDeE]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aAeE])";

/// Whether a text has one form only.
pub(crate) fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| is_unreserved(byte) || byte == b'/')
}

/// The forms that a part of a path comes in, once normalized.
pub(crate) fn path(text: &str) -> String {
    forms(
        text,
        |byte| is_unreserved(byte) || byte == b'/',
        |byte| match byte {
            b'?' | b'#' | b'%' | b'\\' | 0..=b' ' | 0x7f => None,
            byte => Some(re2::literal(&char::from(byte).to_string())),
        },
    )
}

/// The forms that the value of a query's parameter comes in, but for escapes of unreserved letters.
pub(crate) fn argument(text: &str) -> String {
    forms(text, is_unreserved, |byte| match byte {
        b'&' | b'#' | b'+' | 0..=0x1f | 0x7f => None,
        b' ' => Some("\\+".to_owned()),
        byte => Some(re2::literal(&char::from(byte).to_string())),
    })
}

fn forms(
    text: &str,
    only_plain: impl Fn(u8) -> bool,
    raw: impl Fn(u8) -> Option<String>,
) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        let mut buffer = [0; 4];
        let bytes = letter.encode_utf8(&mut buffer).as_bytes();
        if let [byte] = bytes {
            if only_plain(*byte) {
                out.push_str(&re2::literal(&letter.to_string()));
                continue;
            }
            match raw(*byte) {
                Some(raw) => {
                    let _ = write!(out, "(?:{raw}|{})", escape(*byte));
                }
                None => out.push_str(&escape(*byte)),
            }
        } else {
            for byte in bytes {
                out.push_str(&escape(*byte));
            }
        }
    }
    out
}

/// `%2F` in either case.
fn escape(byte: u8) -> String {
    let mut out = "%".to_owned();
    for digit in format!("{byte:x}")
        .chars()
        .rev()
        .chain(['0'])
        .take(2)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        if digit.is_ascii_alphabetic() {
            let _ = write!(out, "[{digit}{}]", digit.to_ascii_uppercase());
        } else {
            out.push(digit);
        }
    }
    out
}
