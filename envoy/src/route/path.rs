//! Owns one path of a route, read as the agent reads it (`docs/apisix.md` §2.2), and how Envoy is told.
//! Must not know: hosts, priorities, other routes.

use crate::route::encoded;
use crate::route::re2::{self, ANY, TooLarge};
use crate::wire::route::route_match::PathSpecifier;

/// A path of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(String),
    /// One segment that is not empty.
    Parameter(String),
    /// Any text, also none.
    Any(Option<String>),
}

/// What APISIX calls the rest of a path that has no name of its own.
const NAMELESS_REST: &str = ":ext";

/// Where among a host's paths a pattern is tried: exact ones first, then the longest prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) exact: bool,
    /// The whole path, or what comes before the first wildcard.
    pub(crate) text: String,
}

impl Pattern {
    /// Reads a path; `None` if no request can meet it.
    pub(crate) fn parse(text: &str, parameters: bool) -> Option<Self> {
        if !text.starts_with(['/', '*']) || text.contains('\0') {
            return None;
        }
        Some(Self {
            text: text.to_owned(),
            tokens: tokens(text, parameters),
        })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn place(&self) -> Place {
        match self.tokens.as_slice() {
            [] => Place {
                exact: true,
                text: String::new(),
            },
            [Token::Literal(text)] => Place {
                exact: true,
                text: text.clone(),
            },
            [Token::Literal(prefix), ..] => Place {
                exact: false,
                text: prefix.clone(),
            },
            [Token::Parameter(_) | Token::Any(_), ..] => Place {
                exact: false,
                text: String::new(),
            },
        }
    }

    /// The names of its parameters.
    pub(crate) fn parameters(&self) -> Vec<&str> {
        self.tokens
            .iter()
            .filter_map(|token| match token {
                Token::Literal(_) => None,
                Token::Parameter(name) => Some(name.as_str()),
                Token::Any(name) => name.as_deref(),
            })
            .collect()
    }

    /// Envoy makes a slash of a backslash, so a path with one is never met; what it becomes is.
    pub(crate) fn has_backslash(&self) -> bool {
        self.text.contains('\\')
    }

    /// The condition on a path that Envoy has normalized.
    pub(crate) fn specifier(&self) -> Result<PathSpecifier, TooLarge> {
        let slashed;
        let tokens = match self.has_backslash() {
            true => {
                slashed = tokens(&self.text.replace('\\', "/"), true);
                &slashed
            }
            false => &self.tokens,
        };
        match tokens.as_slice() {
            [Token::Literal(path)] if encoded::is_plain(path) => {
                return Ok(PathSpecifier::Path(path.clone()));
            }
            [Token::Literal(prefix), Token::Any(_)] if encoded::is_plain(prefix) => {
                return Ok(PathSpecifier::Prefix(prefix.clone()));
            }
            [Token::Any(_)] => return Ok(PathSpecifier::Prefix(String::new())),
            _ => {}
        }
        let mut regex = String::new();
        for token in tokens {
            match token {
                Token::Literal(text) => regex.push_str(&encoded::path(text)),
                Token::Parameter(_) => regex.push_str("[^/]+"),
                Token::Any(_) => regex.push_str(ANY),
            }
        }
        re2::whole(regex).map(PathSpecifier::SafeRegex)
    }

    /// All paths that the pattern may take, and more: where the pattern itself is too large.
    pub(crate) fn superset(&self) -> PathSpecifier {
        let place = self.place();
        let plain: String = place
            .text
            .chars()
            .take_while(|letter| {
                letter.is_ascii() && encoded::is_plain(letter.encode_utf8(&mut [0; 4]))
            })
            .collect();
        PathSpecifier::Prefix(plain)
    }
}

/// Splits a path into tokens, as the agent does.
fn tokens(text: &str, parameters: bool) -> Vec<Token> {
    fn flush(literal: &mut String, token: Token, tokens: &mut Vec<Token>) {
        if !literal.is_empty() {
            tokens.push(Token::Literal(std::mem::take(literal)));
        }
        tokens.push(token);
    }
    let mut tokens = Vec::new();
    let mut literal = String::new();
    for (index, segment) in text.split('/').enumerate() {
        if index > 0 {
            literal.push('/');
        }
        let parameter = segment
            .strip_prefix(':')
            .filter(|name| parameters && !name.is_empty());
        if let Some(name) = parameter {
            flush(&mut literal, Token::Parameter(name.to_owned()), &mut tokens);
        } else if let Some(name) = segment.strip_prefix('*') {
            let name = if name.is_empty() { NAMELESS_REST } else { name };
            let token = Token::Any(Some(name.to_owned()));
            flush(&mut literal, token, &mut tokens);
        } else {
            let mut words = segment.split('*');
            literal.push_str(words.next().unwrap_or_default());
            for word in words {
                flush(&mut literal, Token::Any(None), &mut tokens);
                literal.push_str(word);
            }
        }
    }
    if !literal.is_empty() {
        tokens.push(Token::Literal(literal));
    }
    tokens
}
