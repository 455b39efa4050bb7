//! Owns the nonces of a stream: never empty, never used twice (R13). Must not know: what they stand for.

use std::fmt;

/// One nonce. Text only on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Nonce(u64);

impl Nonce {
    /// The one after.
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Whether a node's text is this nonce, to the letter.
    pub(super) fn is(self, text: &str) -> bool {
        let canonical = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        text.bytes().all(canonical)
            && !text.starts_with('0')
            && u64::from_str_radix(text, 16) == Ok(self.0)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_its_text_and_no_other() {
        let nonce = Nonce(0xa0);
        assert!(nonce.is(&nonce.to_string()));
        for other in ["", "0a0", "A0", "+a0", "a1", "a0 ", "fffffffffffffffff"] {
            assert!(!nonce.is(other), "{other:?}");
        }
    }
}
