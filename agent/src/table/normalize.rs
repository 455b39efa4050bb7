//! Owns the path that routes are matched on: nginx's `$uri`. Must not know: routes.

use std::borrow::Cow;

/// Why a request target can't be matched. The request is answered with 400, as nginx does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// `%` without two hexadecimal digits behind it.
    #[error("the path has a percent sign that is not followed by two hexadecimal digits")]
    Escape,
    /// `%00`.
    #[error("the path has a nul byte in it")]
    Nul,
    /// More `..` than there are segments to leave.
    #[error("the path leaves its root")]
    AboveRoot,
}

/// Decodes escapes, then merges slashes and resolves `.` and `..`, as nginx does with
/// `merge_slashes on`. A decoded slash or dot counts like a plain one. The upstream never sees the
/// outcome: it gets the request target as the client sent it.
pub fn normalize(path: &str) -> Result<Cow<'_, str>, BadPath> {
    if is_normal(path) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path)?;
    Ok(Cow::Owned(resolve(&decoded)?))
}

fn is_normal(path: &str) -> bool {
    !path.contains('%') && !path.contains("//") && !path.contains("/.")
}

fn decode(path: &str) -> Result<String, BadPath> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (Some(high), Some(low)) = (rest.next().and_then(hex), rest.next().and_then(hex)) else {
            return Err(BadPath::Escape);
        };
        match high << 4 | low {
            0 => return Err(BadPath::Nul),
            value => bytes.push(value),
        }
    }
    // A route's path is UTF-8, so bytes that are not can only stand where a wildcard takes them.
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

fn resolve(path: &str) -> Result<String, BadPath> {
    let Some(path) = path.strip_prefix('/') else {
        return Ok(path.to_owned());
    };
    let mut out = String::with_capacity(path.len() + 1);
    out.push('/');
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "" | "." => {}
            ".." => {
                if out.len() == 1 {
                    return Err(BadPath::AboveRoot);
                }
                out.pop();
                let parent = out.rfind('/').map_or(0, |slash| slash + 1);
                out.truncate(parent);
            }
            name => {
                out.push_str(name);
                if !last {
                    out.push('/');
                }
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_what_nginx_calls_uri() {
        for (raw, normal) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a//b///c", "/a/b/c"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/a/", "/a/"),
            ("/a//", "/a/"),
            ("/%61", "/a"),
            ("/a%2fb", "/a/b"),
            ("/a/%2e%2e/b", "/b"),
            ("/a%2F%2e%2e%2Fb", "/b"),
            ("/a%20b", "/a b"),
            ("/%e4%bd%a0", "/你"),
            ("/a%3Fb", "/a?b"),
            ("/a/.b/..c/", "/a/.b/..c/"),
            ("*", "*"),
        ] {
            assert_eq!(normalize(raw).as_deref(), Ok(normal), "{raw}");
        }
    }

    #[test]
    fn a_path_that_nginx_refuses_is_refused() {
        for (raw, why) in [
            ("/%", BadPath::Escape),
            ("/%1", BadPath::Escape),
            ("/%zz", BadPath::Escape),
            ("/%+1", BadPath::Escape),
            ("/a%00b", BadPath::Nul),
            ("/..", BadPath::AboveRoot),
            ("/a/../../b", BadPath::AboveRoot),
            ("/%2e%2e/etc", BadPath::AboveRoot),
        ] {
            assert_eq!(normalize(raw), Err(why), "{raw}");
        }
    }

    #[test]
    fn normalizing_a_normal_path_changes_nothing() {
        let once = normalize("/a//b/./c/../d%20e").unwrap().into_owned();
        assert_eq!(normalize(&once).unwrap(), once);
    }
}
