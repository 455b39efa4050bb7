//! Owns `proxy-rewrite` and `response-rewrite`. Must not know: other plugins.

use serde_json::{Map, Value};

use super::chain::{self, Change, Effect};
use super::config::{Options, Read};
use super::regex;
use super::value::{header_name, pairs, template};

/// Another path, host and headers for the upstream.
pub(super) fn proxy_rewrite(options: &mut Options) -> Read<Vec<Effect>> {
    options.refuse("method", "Envoy can't change the method")?;
    options.refuse("scheme", "the upstream decides it")?;
    let why = "the path is always a normal one";
    options.only("use_real_request_uri_unsafe", &Value::Bool(false), why)?;
    let mut effects = Vec::new();
    let uri = options.text("uri")?;
    let pairs = options.texts("regex_uri")?;
    match (uri, pairs) {
        (Some(uri), _) => {
            let mut substitution = String::new();
            regex::push_literal(&mut substitution, plain_path("uri", &uri)?);
            effects.push(Effect::Path(regex::replace(substitution)));
        }
        (None, Some(pairs)) => effects.push(Effect::Path(regex_uri(&pairs)?)),
        (None, None) => {}
    }
    if let Some(host) = options.text("host")? {
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host) {
            return Err(format!("option host: {host:?} is not a host"));
        }
        effects.push(Effect::Host(host));
    }
    let changes = headers(options, true)?;
    if !changes.is_empty() {
        effects.push(chain::requests("", changes));
    }
    Ok(effects)
}

fn regex_uri(pairs: &[String]) -> Read<crate::wire::matcher::RegexMatchAndSubstitute> {
    let [pattern, target] = pairs else {
        return Err("option regex_uri: only one pair can be tried".to_owned());
    };
    let plain: String = target
        .chars()
        .filter(|letter| !"${}".contains(*letter))
        .collect();
    plain_path("regex_uri", &plain)?;
    regex::substitute(pattern, target)
        .ok_or_else(|| format!("option regex_uri: RE2 can't replace {pattern:?} by {target:?}"))
}

/// A path that is sent as it is written: APISIX would encode other letters, and move a query.
fn plain_path<'a>(option: &str, path: &'a str) -> Read<&'a str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:@!&'()*+,;=".contains(&byte);
    if path.bytes().all(is_plain) {
        Ok(path)
    } else {
        Err(format!("option {option}: {path:?} is not just a path"))
    }
}

/// Other headers for the client. They change every answer, as in APISIX.
pub(super) fn response_rewrite(options: &mut Options) -> Read<Vec<Effect>> {
    options.refuse("status_code", "Envoy can't change the status")?;
    options.refuse("body", "Envoy can't change the body")?;
    options.refuse("filters", "Envoy can't change the body")?;
    options.only(
        "body_base64",
        &Value::Bool(false),
        "Envoy can't change the body",
    )?;
    options.only(
        "vars",
        &Value::Array(Vec::new()),
        "a change can't depend on variables",
    )?;
    let changes = headers(options, false)?;
    Ok(changes.into_iter().map(Effect::Response).collect())
}

/// `headers`, with what to add, remove and set in that order, or just what to set.
fn headers(options: &mut Options, keeps_empty: bool) -> Read<Vec<Change>> {
    let authenticated = options.authenticated;
    let Some(headers) = options.map("headers")? else {
        return Ok(Vec::new());
    };
    let mut changes = Vec::new();
    if is_flat(&headers) {
        push(
            &mut changes,
            "headers",
            &Value::Object(headers),
            Kind::SetOrRemove,
            authenticated,
        )?;
        return Ok(changes);
    }
    let mut verbs = Options::of(&headers);
    if let Some(value) = verbs.take("add") {
        push(
            &mut changes,
            "headers.add",
            &value,
            Kind::Add,
            authenticated,
        )?;
    }
    for name in verbs.texts("remove")?.unwrap_or_default() {
        changes.push(chain::remove(header_name(&name)?));
    }
    if let Some(value) = verbs.take("set") {
        let kind = if keeps_empty {
            Kind::Set
        } else {
            Kind::SetOrRemove
        };
        push(&mut changes, "headers.set", &value, kind, authenticated)?;
    }
    verbs
        .finish()
        .map_err(|error| error.replacen("option ", "option headers.", 1))?;
    Ok(changes)
}

/// APISIX 2 knew only headers to set. One that is named like a verb has a text, not an object.
fn is_flat(headers: &Map<String, Value>) -> bool {
    let is_verb = |name: &str, value: &Value| {
        matches!(name, "add" | "set" | "remove") && (value.is_object() || value.is_array())
    };
    !headers.iter().any(|(name, value)| is_verb(name, value))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Add,
    Set,
    /// An empty value removes the header.
    SetOrRemove,
}

fn push(
    changes: &mut Vec<Change>,
    option: &str,
    value: &Value,
    kind: Kind,
    authenticated: bool,
) -> Read<()> {
    for (name, values) in pairs(option, value)? {
        let name = header_name(&name)?;
        let within = |error: String| format!("option {option}: {error}");
        for (at, value) in values.iter().enumerate() {
            let text = template(value, authenticated).map_err(within)?;
            changes.push(match kind {
                Kind::SetOrRemove if value.is_empty() => chain::remove(name),
                Kind::Set | Kind::SetOrRemove if at == 0 => chain::set(name, &text),
                _ => chain::add(name, &text),
            });
        }
    }
    Ok(())
}
