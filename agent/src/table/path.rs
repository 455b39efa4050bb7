//! Owns one path of a route: how it is read (`docs/apisix.md` §2.2) and which request paths it takes.
//! Must not know: hosts, priorities, other routes.

/// A path of a route, ready to match.
#[derive(Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Exact,
    /// Everything that begins with the prefix.
    Prefix {
        prefix: usize,
        rest: Option<Box<str>>,
    },
    /// The whole path is checked token by token.
    Whole {
        prefix: usize,
        tokens: Box<[Token]>,
    },
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Literal(Box<str>),
    /// One segment that is not empty.
    Parameter(Box<str>),
    /// Any text, also none. The name is what `uri_param_` calls it, if it can be called.
    Any(Option<Box<str>>),
}

/// What APISIX calls the rest of a path that has no name of its own.
const NAMELESS_REST: &str = ":ext";

/// Where to look for a request path that this pattern may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Exact(&'a str),
    Prefix(&'a str),
}

/// Why a path is not a pattern.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It would never meet a request.
    #[error("does not begin with a slash")]
    NoSlash,
    /// No request path holds one.
    #[error("has a nul byte in it")]
    Nul,
}

impl Pattern {
    /// Reads a path. With `parameters`, a segment `:name` takes one segment; without, a colon is a colon.
    pub fn parse(text: &str, parameters: bool) -> Result<Self, PatternError> {
        if !text.starts_with(['/', '*']) {
            return Err(PatternError::NoSlash);
        }
        if text.contains('\0') {
            return Err(PatternError::Nul);
        }
        Ok(Self {
            text: text.into(),
            kind: Kind::of(text, parameters),
        })
    }

    /// The path as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn place(&self) -> Place<'_> {
        match &self.kind {
            Kind::Exact => Place::Exact(&self.text),
            Kind::Prefix { prefix, .. } | Kind::Whole { prefix, .. } => {
                Place::Prefix(&self.text[..*prefix])
            }
        }
    }

    /// Whether the pattern takes a normalized request path.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match &self.kind {
            Kind::Exact => path == &*self.text,
            Kind::Prefix { prefix, .. } => path.starts_with(&self.text[..*prefix]),
            Kind::Whole { tokens, .. } => walk(tokens, path).is_some(),
        }
    }

    /// The part of the path that a parameter or a rest stands for.
    #[must_use]
    pub fn capture<'p>(&self, path: &'p str, name: &str) -> Option<&'p str> {
        match &self.kind {
            Kind::Exact => None,
            Kind::Prefix { prefix, rest } => {
                let rest = rest.as_deref()?;
                (rest == name).then(|| path.get(*prefix..)).flatten()
            }
            Kind::Whole { tokens, .. } => {
                let captured = walk(tokens, path)?;
                tokens
                    .iter()
                    .zip(captured)
                    .find_map(|(token, part)| (token.name() == Some(name)).then_some(part))
            }
        }
    }
}

impl Kind {
    fn of(text: &str, parameters: bool) -> Self {
        let tokens = tokens(text, parameters);
        match tokens.as_slice() {
            [] | [Token::Literal(_)] => Self::Exact,
            [Token::Any(rest)] => Self::Prefix {
                prefix: 0,
                rest: rest.clone(),
            },
            [Token::Literal(prefix), Token::Any(rest)] => Self::Prefix {
                prefix: prefix.len(),
                rest: rest.clone(),
            },
            [first, ..] => Self::Whole {
                prefix: match first {
                    Token::Literal(prefix) => prefix.len(),
                    Token::Parameter(_) | Token::Any(_) => 0,
                },
                tokens: tokens.into(),
            },
        }
    }
}

impl Token {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Parameter(name) => Some(name),
            Self::Any(name) => name.as_deref(),
        }
    }
}

/// Splits a path into tokens. `*name` takes the rest only as the last segment and `*` inside a word
/// is any text; APISIX makes a regular expression of such words without escaping them, with
/// surprising outcomes, which is not repeated here.
fn tokens(text: &str, parameters: bool) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut literal = String::new();
    let flush = |literal: &mut String, token: Token, tokens: &mut Vec<Token>| {
        if !literal.is_empty() {
            tokens.push(Token::Literal(std::mem::take(literal).into()));
        }
        tokens.push(token);
    };
    for (index, segment) in text.split('/').enumerate() {
        if index > 0 {
            literal.push('/');
        }
        if let Some(name) = segment
            .strip_prefix(':')
            .filter(|n| parameters && !n.is_empty())
        {
            flush(&mut literal, Token::Parameter(name.into()), &mut tokens);
        } else if let Some(name) = segment.strip_prefix('*') {
            let name = if name.is_empty() { NAMELESS_REST } else { name };
            flush(&mut literal, Token::Any(Some(name.into())), &mut tokens);
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
        tokens.push(Token::Literal(literal.into()));
    }
    tokens
}

/// What each token takes of the path, or `None` if they don't take all of it. Text between two
/// wildcards is taken as early as it can be, the text behind the last one from the end, so the work
/// is at most the product of the two lengths however a client writes its path.
fn walk<'p>(tokens: &[Token], path: &'p str) -> Option<Vec<&'p str>> {
    let mut taken = Vec::with_capacity(tokens.len());
    let mut at = 0;
    let mut blocks = tokens
        .split_inclusive(|token| matches!(token, Token::Any(_)))
        .peekable();
    let mut after_any = false;
    while let Some(block) = blocks.next() {
        let (fixed, any) = match block.split_last() {
            Some((Token::Any(_), fixed)) => (fixed, true),
            _ => (block, false),
        };
        let last = !any && blocks.peek().is_none();
        let start = (at..=if after_any { path.len() } else { at })
            .filter(|&from| path.is_char_boundary(from))
            .find(|&from| {
                block_end(fixed, path, from).is_some_and(|end| !last || end == path.len())
            })?;
        if after_any {
            // The wildcard before this block takes what was skipped.
            taken.push(&path[at..start]);
        }
        at = start;
        for token in fixed {
            let end = token_end(token, path, at)?;
            taken.push(&path[at..end]);
            at = end;
        }
        after_any = any;
    }
    if after_any {
        taken.push(&path[at..]);
        at = path.len();
    }
    (at == path.len()).then_some(taken)
}

fn block_end(block: &[Token], path: &str, from: usize) -> Option<usize> {
    block
        .iter()
        .try_fold(from, |at, token| token_end(token, path, at))
}

fn token_end(token: &Token, path: &str, at: usize) -> Option<usize> {
    let rest = path.get(at..)?;
    match token {
        Token::Literal(text) => rest.starts_with(&**text).then(|| at + text.len()),
        Token::Parameter(_) => match rest.find('/').unwrap_or(rest.len()) {
            0 => None,
            length => Some(at + length),
        },
        Token::Any(_) => Some(path.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text, true).unwrap()
    }

    /// §2.2: no `*` and no `:` is exact; otherwise the text before the first of them is the prefix.
    #[test]
    fn a_pattern_is_looked_for_where_section_2_2_puts_it() {
        for (text, place) in [
            ("/a/b", Place::Exact("/a/b")),
            ("/a*", Place::Prefix("/a")),
            ("/a/*", Place::Prefix("/a/")),
            ("/*", Place::Prefix("/")),
            ("*", Place::Prefix("")),
            ("/a/:id", Place::Prefix("/a/")),
            ("/a/:id/*rest", Place::Prefix("/a/")),
            ("/a/*/b", Place::Prefix("/a/")),
            ("/v1/users:batch", Place::Exact("/v1/users:batch")),
            ("/a/:", Place::Exact("/a/:")),
        ] {
            assert_eq!(pattern(text).place(), place, "{text}");
        }
        let literal = Pattern::parse("/a/:id", false).unwrap();
        assert_eq!(literal.place(), Place::Exact("/a/:id"));
    }

    #[test]
    fn a_pattern_takes_what_section_2_2_says() {
        for (text, takes, leaves) in [
            ("/a", vec!["/a"], vec!["/a/", "/ab", "/"]),
            ("/a*", vec!["/a", "/ab", "/a/b"], vec!["/b", "/"]),
            ("/a/*", vec!["/a/", "/a/b/c"], vec!["/a", "/b"]),
            (
                "/a/:id",
                vec!["/a/1", "/a/x.y"],
                vec!["/a/", "/a/1/", "/a/1/2"],
            ),
            (
                "/a/:id/*rest",
                vec!["/a/1/", "/a/1/2/3"],
                vec!["/a/1", "/a//2"],
            ),
            ("/a/:id/b", vec!["/a/1/b"], vec!["/a/1/2/b", "/a/1/bb"]),
            (
                "/a/*/b",
                vec!["/a/x/b", "/a/x/y/b", "/a/b/b", "/a//b"],
                vec!["/a/x/bb", "/a/b"],
            ),
            (
                "/a/*/b/*/c",
                vec!["/a/1/b/2/c", "/a/1/b/b/2/c/c"],
                vec!["/a/1/b/c", "/a/1/2/c"],
            ),
            // Letters that mean something in a regular expression mean themselves.
            (
                "/v1.0+/*/x",
                vec!["/v1.0+/1/x"],
                vec!["/v110/1/x", "/v1.00/1/x"],
            ),
            ("/a*z", vec!["/az", "/a/b/z"], vec!["/a", "/azy"]),
            (
                "/*/:x/end",
                vec!["/q/r/end", "/q/s/r/end"],
                vec!["/r/end", "/q//end"],
            ),
        ] {
            let pattern = pattern(text);
            for path in takes {
                assert!(pattern.matches(path), "{text} takes {path}");
            }
            for path in leaves {
                assert!(!pattern.matches(path), "{text} leaves {path}");
            }
        }
    }

    #[test]
    fn parameters_and_rests_are_captured() {
        let both = pattern("/user/:id/*rest");
        assert_eq!(both.capture("/user/7/a/b", "id"), Some("7"));
        assert_eq!(both.capture("/user/7/a/b", "rest"), Some("a/b"));
        assert_eq!(both.capture("/user/7/a/b", "other"), None);
        assert_eq!(
            pattern("/files/*").capture("/files/x/y", ":ext"),
            Some("x/y")
        );
        assert_eq!(pattern("/files/*p").capture("/files/x/y", "p"), Some("x/y"));
        assert_eq!(pattern("/a/*m/b").capture("/a/x/b/b", "m"), Some("x/b"));
    }

    #[test]
    fn what_no_request_can_meet_is_refused() {
        assert_eq!(Pattern::parse("a", true), Err(PatternError::NoSlash));
        assert_eq!(Pattern::parse("", true), Err(PatternError::NoSlash));
        assert_eq!(Pattern::parse("/a\0", true), Err(PatternError::Nul));
    }
}
