//! Owns the texts that plugins put in headers: nginx's variables become Envoy's commands, and what
//! Envoy would reject is refused. Must not know: any plugin.

use serde_json::{Map, Value};

use super::config::Read;

/// Headers that say how a message is sent. Envoy forbids `host`; others it would send as they are told.
const FRAMING: [&str; 9] = [
    "host",
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Bytes of a header's name, and of its value, in a configuration that Envoy takes.
pub(crate) const LONGEST_HEADER: usize = 16_384;

/// The name of a header that may be changed; Envoy forbids what begins with a colon.
pub(super) fn header_name(name: &str) -> Read<&str> {
    let is_token = !name.is_empty() && name.bytes().all(is_token);
    match name {
        _ if !is_token => Err(format!("{name:?} is not the name of a header")),
        _ if name.len() > LONGEST_HEADER => Err(too_long("the name", name)),
        _ if FRAMING
            .iter()
            .any(|framing| name.eq_ignore_ascii_case(framing)) =>
        {
            Err(format!("header {name} can't be changed as a header"))
        }
        _ => Ok(name),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Text that means itself in a header.
pub(super) fn literal(text: &str) -> Read<String> {
    if text.contains(['\0', '\r', '\n']) {
        return Err(format!("{text:?} can't stand in a header"));
    }
    within_limit(text.replace('%', "%%"))
}

fn within_limit(value: String) -> Read<String> {
    if value.len() > LONGEST_HEADER {
        return Err(too_long("the value", &value));
    }
    Ok(value)
}

fn too_long(what: &str, text: &str) -> String {
    let length = text.len();
    format!("{what} of a header has {length} bytes, more than {LONGEST_HEADER}")
}

/// Text with nginx's variables, in Envoy's words. Where nobody is `authenticated` there is no consumer.
pub(super) fn template(text: &str, authenticated: bool) -> Read<String> {
    let mut out = String::new();
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => out.push_str(&literal(text)?),
            Piece::Variable("consumer_name") if !authenticated => {}
            Piece::Variable(name) => out.push_str(&command(name)?),
        }
    }
    within_limit(out)
}

/// A part of a text with variables.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str),
}

/// Divides `a$b${c}` as APISIX does: a dollar sign before anything but a name is itself.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let after = &rest[at + 1..];
        let (name, end) = match after.strip_prefix('{') {
            Some(inner) => match inner.find('}') {
                Some(close) => (&inner[..close], at + close + 3),
                None => ("", at + 1),
            },
            None => {
                let length = after.bytes().take_while(|byte| is_word(*byte)).count();
                (&after[..length], at + 1 + length)
            }
        };
        if name.is_empty() || !name.bytes().all(is_word) {
            pieces.push(Piece::Text(&rest[..=at]));
            rest = after;
            continue;
        }
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        pieces.push(Piece::Variable(name));
        rest = &rest[end..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether a text has a variable.
pub(super) fn has_variable(text: &str) -> bool {
    pieces(text)
        .iter()
        .any(|piece| matches!(piece, Piece::Variable(_)))
}

/// What stands for a variable.
fn command(variable: &str) -> Read<String> {
    Ok(match variable {
        "remote_addr" => "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%".to_owned(),
        "remote_port" => "%DOWNSTREAM_REMOTE_PORT%".to_owned(),
        "http_host" => "%REQ(:AUTHORITY)%".to_owned(),
        "request_method" => "%REQ(:METHOD)%".to_owned(),
        "scheme" => "%REQ(X-FORWARDED-PROTO)%".to_owned(),
        "consumer_name" => format!("%REQ({})%", super::auth::CONSUMER),
        _ => match variable.strip_prefix("http_") {
            Some(name) if !name.is_empty() => format!("%REQ({})%", name.replace('_', "-")),
            _ => return Err(format!("variable ${variable} is not known to Envoy")),
        },
    })
}

/// Header values: a text, a number, or a list of them.
pub(super) fn values(value: &Value) -> Option<Vec<String>> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match value {
        Value::Array(list) => list.iter().map(one).collect(),
        value => Some(vec![one(value)?]),
    }
}

/// Pairs of names and values out of `{name: value}` or `["name: value"]`.
pub(super) fn pairs(option: &str, value: &Value) -> Read<Vec<(String, Vec<String>)>> {
    let odd = || format!("option {option} has a value that is not a text or a number");
    match value {
        Value::Object(map) => pairs_of(map).ok_or_else(odd),
        Value::Array(list) => list
            .iter()
            .map(|line| {
                let (name, value) = line
                    .as_str()
                    .and_then(|line| line.split_once(':'))
                    .ok_or_else(odd)?;
                Ok((name.trim().to_owned(), vec![value.trim().to_owned()]))
            })
            .collect(),
        _ => Err(odd()),
    }
}

fn pairs_of(map: &Map<String, Value>) -> Option<Vec<(String, Vec<String>)>> {
    map.iter()
        .map(|(name, value)| Some((name.clone(), values(value)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_told_from_text() {
        let read = |text| {
            pieces(text)
                .into_iter()
                .map(|piece| match piece {
                    Piece::Text(text) => format!("'{text}'"),
                    Piece::Variable(name) => name.to_owned(),
                })
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(read("a$b c"), "'a' b ' c'");
        assert_eq!(read("${uri}x$"), "uri 'x' '$'".replace("'x' '$'", "'x$'"));
        assert_eq!(
            read("$ {a} ${b"),
            "'$' ' {a} ' '$' '{b'".replace("' {a} ' '$'", "' {a} $'")
        );
        assert_eq!(read("$a$b"), "a b");
    }

    #[test]
    fn commands_of_envoy_can_not_be_smuggled_in() {
        assert_eq!(template("100% %REQ(x)%", true).unwrap(), "100%% %%REQ(x)%%");
        assert_eq!(
            template("$remote_addr", true).unwrap(),
            "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
        );
        assert_eq!(
            template("<$http_user_agent>", true).unwrap(),
            "<%REQ(user-agent)%>"
        );
        assert!(template("$upstream_addr", true).is_err());
        assert!(template("a\r\nb: c", true).is_err());
        assert!(header_name("Host").is_err() && header_name(":path").is_err());
        let long = "x".repeat(LONGEST_HEADER + 1);
        assert!(header_name(&long).is_err() && literal(&long).is_err());
        let half = "%".repeat(LONGEST_HEADER / 2 + 1);
        assert!(template(&half, true).is_err() && template(&half[1..], true).is_ok());
        assert!(header_name("a b").is_err() && header_name("").is_err());
    }
}
