//! Owns `redirect`. Must not know: other plugins.

use serde_json::Value;

use crate::wire::matcher::{RegexMatcher, StringMatcher, string_matcher::MatchPattern};
use crate::wire::route::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use crate::wire::route::{HeaderMatcher, RedirectAction, header_matcher::HeaderMatchSpecifier};

use super::Action;
use super::chain::{self, Effect, Fork};
use super::config::{Options, Read};
use super::regex;
use super::value::{Piece, pieces};

/// The port of HTTPS, where none is named.
const HTTPS: u32 = 443;

/// Sends the client elsewhere.
pub(super) fn redirect(options: &mut Options) -> Read<Vec<Effect>> {
    options.refuse("regex_uri", "a redirect can't depend on the path")?;
    options.only("encode_uri", &Value::Bool(false), "nothing is encoded")?;
    let code = options.integer("ret_code")?.unwrap_or(302);
    let append = options.flag("append_query_string", false)?;
    let to_https = options.flag("http_to_https", false)?;
    let port = options.integer("ret_port")?;
    let uri = options.text("uri")?;
    match (uri, to_https) {
        (None, true) if append => {
            Err("option append_query_string: not with http_to_https".to_owned())
        }
        (None, true) => http_to_https(port),
        // APISIX does nothing with what is neither.
        (None, false) => Ok(Vec::new()),
        (Some(_), true) => Err("option uri: not with http_to_https".to_owned()),
        (Some(uri), false) => {
            let mut action =
                target(&uri, append).map_err(|error| format!("option uri: {error}"))?;
            action.response_code = response_code(code)?.into();
            Ok(vec![Effect::Forks(vec![Fork {
                action: Action::Redirect(action),
                ends: true,
                ..Default::default()
            }])])
        }
    }
}

fn response_code(code: i64) -> Read<RedirectResponseCode> {
    Ok(match code {
        301 => RedirectResponseCode::MovedPermanently,
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => {
            return Err(format!(
                "option ret_code: Envoy does not redirect with {code}"
            ));
        }
    })
}

/// Requests that came without TLS: 301 for GET and HEAD, 308 for others, so that they stay what they
/// are.
fn http_to_https(port: Option<i64>) -> Read<Vec<Effect>> {
    let port = match port {
        None => HTTPS,
        Some(port) => u32::try_from(port)
            .ok()
            .filter(|port| (1..=65_535).contains(port))
            .ok_or("option ret_port is not a port")?,
    };
    let fork = |code: RedirectResponseCode, methods: Option<HeaderMatcher>| {
        let mut headers = vec![chain::header_is("x-forwarded-proto", "http")];
        headers.extend(methods);
        Fork {
            headers,
            condition: None,
            action: Action::Redirect(RedirectAction {
                scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::HttpsRedirect(true)),
                port_redirect: port,
                response_code: code.into(),
                ..Default::default()
            }),
            ends: true,
        }
    };
    let reads = HeaderMatcher {
        name: ":method".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(MatchPattern::SafeRegex(RegexMatcher {
                regex: "GET|HEAD".to_owned(),
                ..Default::default()
            })),
            ..Default::default()
        })),
        ..Default::default()
    };
    Ok(vec![Effect::Forks(vec![
        fork(RedirectResponseCode::MovedPermanently, Some(reads)),
        fork(RedirectResponseCode::PermanentRedirect, None),
    ])])
}

/// `[scheme://host[:port]]` and a path. Envoy always sends a whole URL, with what is not changed taken
/// from the request.
fn target(uri: &str, append: bool) -> Read<RedirectAction> {
    let mut action = RedirectAction {
        strip_query: !append,
        ..Default::default()
    };
    let mut path = uri;
    if let Some((scheme, rest)) = uri
        .split_once("://")
        .filter(|(scheme, _)| !scheme.contains('/'))
    {
        let at = authority_end(rest);
        let (authority, tail) = rest.split_at(at);
        path = tail;
        let default = match scheme {
            "http" => 80,
            "https" => HTTPS,
            "$scheme" => 0,
            _ => return Err(format!("scheme {scheme:?} is not known here")),
        };
        if default != 0 {
            let scheme = scheme.to_owned();
            action.scheme_rewrite_specifier = Some(SchemeRewriteSpecifier::SchemeRedirect(scheme));
        }
        set_authority(&mut action, authority, default)?;
    } else if !uri.starts_with('/') && !uri.starts_with("$uri") && !uri.starts_with("$request_uri")
    {
        return Err(format!("{uri:?} is neither a path nor a URL"));
    }
    set_path(&mut action, path, append)?;
    Ok(action)
}

/// Where the host ends: at a path, which may be a variable.
fn authority_end(rest: &str) -> usize {
    let ends = ["/", "?", "$request_uri", "$uri", "${uri}", "${request_uri}"];
    ends.iter()
        .filter_map(|end| rest.find(end))
        .min()
        .unwrap_or(rest.len())
}

fn set_authority(action: &mut RedirectAction, authority: &str, default: u32) -> Read<()> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => {
            let port: u16 = port
                .parse()
                .map_err(|_| format!("{authority:?} has no port"))?;
            (host, u32::from(port))
        }
        None => (authority, default),
    };
    match host {
        // With its port, so nothing is changed.
        "$http_host" if port == default => return Ok(()),
        "$host" | "${host}" => {}
        host if host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
            && !host.is_empty() =>
        {
            host.clone_into(&mut action.host_redirect);
        }
        _ => return Err(format!("host {host:?} can't be told")),
    }
    if port == 0 {
        return Err("a host without a scheme keeps no port".to_owned());
    }
    action.port_redirect = port;
    Ok(())
}

fn set_path(action: &mut RedirectAction, path: &str, append: bool) -> Read<()> {
    match pieces(path).as_slice() {
        [Piece::Variable("request_uri")] if append => {
            Err("the query would be there twice".to_owned())
        }
        [Piece::Variable("request_uri")] => {
            action.strip_query = false;
            Ok(())
        }
        [Piece::Variable("uri")] => Ok(()),
        [] => {
            action.path_rewrite_specifier =
                Some(PathRewriteSpecifier::PathRedirect("/".to_owned()));
            Ok(())
        }
        parts => {
            if path.contains('?') && append {
                return Err("a query can't be added to another".to_owned());
            }
            let mut substitution = String::new();
            for part in parts {
                match part {
                    Piece::Text(text) if text.bytes().all(is_plain) => {
                        regex::push_literal(&mut substitution, text);
                    }
                    Piece::Variable("uri") => substitution.push_str("\\0"),
                    Piece::Text(text) => return Err(format!("{text:?} is not part of a URL")),
                    Piece::Variable(name) => {
                        return Err(format!("variable ${name} is not known to Envoy"));
                    }
                }
            }
            let rewrite = regex::replace(substitution);
            action.path_rewrite_specifier = Some(PathRewriteSpecifier::RegexRewrite(rewrite));
            Ok(())
        }
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~/:@!&'()*+,;=?%#$".contains(&byte)
}
