//! Owns what the proxy does to headers: hop-by-hop ones, and those that tell an endpoint who the
//! client is. Must not know: routes, connections.

use std::fmt::Write;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};

use crate::variable::View;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// The one protocol that a connection may be upgraded to. To pass on others, `h2c` above all, would
/// open a tunnel through the proxy's rules.
const WEBSOCKET: &str = "websocket";

/// Takes out what is meant for one connection only (RFC 9110 §7.6.1), with all that `Connection` names.
/// `te: trailers` stays: gRPC needs it.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
            .filter_map(|token| HeaderName::try_from(token).ok())
            // A client must not have the proxy forget where a request goes or how long it is.
            .filter(|name| *name != HOST && *name != CONTENT_LENGTH && *name != TE)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    let wants_trailers = tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, UPGRADE, TE] {
        headers.remove(name);
    }
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if headers.remove(TRANSFER_ENCODING).is_some() {
        // The length is in the chunks; another one can only be there to mislead somebody.
        headers.remove(CONTENT_LENGTH);
    }
}

/// Makes a client's headers an endpoint's, as APISIX does: the address is appended to
/// `X-Forwarded-For`, the other `X-Forwarded-*` say what this proxy saw.
pub(super) fn to_endpoint(headers: &mut HeaderMap, view: &View<'_>) {
    remove_hop_by_hop(headers);
    // hyper answers the client itself, when the endpoint begins to take the body.
    headers.remove(EXPECT);
    let client = view.client.ip().to_canonical().to_string();
    let mut chain = String::new();
    for value in headers.get_all(&X_FORWARDED_FOR) {
        if let Ok(value) = value.to_str() {
            let _ = write!(chain, "{value}, ");
        }
    }
    chain.push_str(&client);
    set(headers, X_FORWARDED_FOR, &chain);
    set(headers, X_REAL_IP, &client);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(view.scheme()));
    set(headers, X_FORWARDED_HOST, view.host);
    let mut port = [0; 5];
    set(
        headers,
        X_FORWARDED_PORT,
        decimal(view.local.port(), &mut port),
    );
}

fn decimal(number: u16, digits: &mut [u8; 5]) -> &str {
    use std::io::Write;
    let mut rest = digits.as_mut_slice();
    let _ = write!(rest, "{number}");
    let left = rest.len();
    digits
        .get(..5 - left)
        .and_then(|written| std::str::from_utf8(written).ok())
        .unwrap_or_default()
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whether a request asks for a websocket.
pub(super) fn wants_websocket(headers: &HeaderMap) -> bool {
    tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
        && tokens(headers, &UPGRADE).any(|token| token.eq_ignore_ascii_case(WEBSOCKET))
}

/// Asks for a websocket, or grants one.
pub(super) fn upgrade(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
}

fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn headers_of_one_connection_go_no_further() {
        let mut all = headers(&[
            ("connection", "close, X-Private, host, content-length"),
            ("x-private", "1"),
            ("host", "a.com"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip, trailers"),
            ("upgrade", "h2c"),
            ("x-public", "2"),
        ]);
        remove_hop_by_hop(&mut all);
        let want = headers(&[("host", "a.com"), ("x-public", "2"), ("te", "trailers")]);
        assert_eq!(all, want);
    }

    /// A length besides chunks is how requests are smuggled.
    #[test]
    fn chunks_outlaw_a_length() {
        let mut all = headers(&[("transfer-encoding", "chunked"), ("content-length", "3")]);
        remove_hop_by_hop(&mut all);
        assert!(all.is_empty());
        let mut all = headers(&[("content-length", "3"), ("connection", "content-length")]);
        remove_hop_by_hop(&mut all);
        assert_eq!(all, headers(&[("content-length", "3")]));
    }

    #[test]
    fn only_a_websocket_is_an_upgrade() {
        let asks = |connection, upgrade| {
            wants_websocket(&headers(&[
                ("connection", connection),
                ("upgrade", upgrade),
            ]))
        };
        assert!(asks("keep-alive, Upgrade", "WebSocket"));
        assert!(!asks("keep-alive", "websocket"));
        assert!(!asks("upgrade, http2-settings", "h2c"));
    }

    #[test]
    fn a_port_is_written_in_full() {
        for (port, text) in [(0, "0"), (80, "80"), (65_535, "65535")] {
            assert_eq!(decimal(port, &mut [0; 5]), text);
        }
    }
}
