//! Owns request variables: nginx's, as APISIX names them (`docs/apisix.md` §2.5).
//! Must not know: who compares them with what.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::header::{COOKIE, HOST, HeaderName};
use http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::table::path::Pattern;
use crate::table::route::Route;

/// The name of a variable, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// `uri` and `document_uri`: the normalized path.
    Uri,
    /// `request_uri` and `real_request_uri`: the target as the client sent it.
    RequestUri,
    /// `host`: without port, in lower case.
    Host,
    /// `http_*`.
    Header(HeaderName),
    /// `arg_*`: the first value, decoded.
    Arg(Box<str>),
    /// `cookie_*`.
    Cookie(Box<str>),
    /// `remote_addr`.
    RemoteAddr,
    /// `remote_port`.
    RemotePort,
    /// `request_method`.
    RequestMethod,
    /// `scheme`.
    Scheme,
    /// `query_string` and `args`.
    QueryString,
    /// `is_args`: a question mark if there is a query.
    IsArgs,
    /// `https`: `on`, or empty.
    Https,
    /// `server_addr`.
    ServerAddr,
    /// `server_port`.
    ServerPort,
    /// `server_protocol`.
    ServerProtocol,
    /// `uri_param_*`: what a parameter of the route's path took.
    UriParam(Box<str>),
    /// `route_id`.
    RouteId,
    /// `route_name`.
    RouteName,
    /// `service_id`.
    ServiceId,
    /// `service_name`.
    ServiceName,
    /// A name that nginx has no value for either: always absent.
    Absent,
}

/// A variable that this proxy can't give a value, although APISIX can. To treat it as absent would
/// change which requests match without anybody knowing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("variable {0:?} is read from the request's body, which this proxy does not look into")]
pub struct NeedsBody(String);

/// Prefixes of variables that are read from a body.
const BODY_PREFIXES: [&str; 3] = ["post_arg_", "post_arg.", "graphql_"];

impl Variable {
    /// Reads a name without its dollar sign.
    pub fn parse(name: &str) -> Result<Self, NeedsBody> {
        if BODY_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || name == "request_body" {
            return Err(NeedsBody(name.to_owned()));
        }
        let prefixed = name.strip_prefix("http_").map(header);
        Ok(match name {
            "uri" | "document_uri" => Self::Uri,
            "request_uri" | "real_request_uri" => Self::RequestUri,
            "host" => Self::Host,
            "remote_addr" | "realip_remote_addr" => Self::RemoteAddr,
            "remote_port" | "realip_remote_port" => Self::RemotePort,
            "request_method" => Self::RequestMethod,
            "scheme" => Self::Scheme,
            "query_string" | "args" => Self::QueryString,
            "is_args" => Self::IsArgs,
            "https" => Self::Https,
            "server_addr" => Self::ServerAddr,
            "server_port" => Self::ServerPort,
            "server_protocol" => Self::ServerProtocol,
            "content_type" | "content_length" => header(name),
            "route_id" => Self::RouteId,
            "route_name" => Self::RouteName,
            "service_id" => Self::ServiceId,
            "service_name" => Self::ServiceName,
            _ => prefixed
                .or_else(|| name.strip_prefix("arg_").map(|arg| Self::Arg(arg.into())))
                .or_else(|| name.strip_prefix("cookie_").map(|c| Self::Cookie(c.into())))
                .or_else(|| {
                    name.strip_prefix("uri_param_")
                        .map(|p| Self::UriParam(p.into()))
                })
                .unwrap_or(Self::Absent),
        })
    }
}

fn header(name: &str) -> Variable {
    let name = name.replace('_', "-");
    HeaderName::try_from(name).map_or(Variable::Absent, Variable::Header)
}

/// What a request shows of itself.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Its head.
    pub parts: &'a Parts,
    /// Its normalized path.
    pub path: &'a str,
    /// Its host, without port, in lower case.
    pub host: &'a str,
    /// Its host as the client wrote it.
    pub raw_host: &'a str,
    /// Who sent it.
    pub client: SocketAddr,
    /// Where it came in.
    pub local: SocketAddr,
    /// Whether it came in by TLS.
    pub secure: bool,
    /// The route and its path that are being tried, or that took it.
    pub matched: Option<(&'a Route, &'a Pattern)>,
}

impl<'a> View<'a> {
    /// The scheme that the client used.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// The value of a variable; `None` is nil.
    #[must_use]
    pub fn get(&self, variable: &Variable) -> Option<Cow<'a, str>> {
        match variable {
            Variable::Uri => Some(self.path.into()),
            Variable::RequestUri => Some(
                self.parts
                    .uri
                    .path_and_query()
                    .map_or("/", http::uri::PathAndQuery::as_str)
                    .into(),
            ),
            Variable::Host => Some(self.host.into()),
            Variable::Header(name) if *name == HOST => {
                Some(self.raw_host.into()).filter(|host: &Cow<'_, str>| !host.is_empty())
            }
            Variable::Header(name) => self.header(name),
            Variable::Arg(name) => self.arg(name),
            Variable::Cookie(name) => self.cookie(name),
            Variable::RemoteAddr => Some(self.client.ip().to_canonical().to_string().into()),
            Variable::RemotePort => Some(self.client.port().to_string().into()),
            Variable::RequestMethod => Some(self.parts.method.as_str().into()),
            Variable::Scheme => Some(self.scheme().into()),
            Variable::QueryString => self.parts.uri.query().map(Cow::from),
            Variable::IsArgs => Some(
                if self
                    .parts
                    .uri
                    .query()
                    .is_some_and(|query| !query.is_empty())
                {
                    "?"
                } else {
                    ""
                }
                .into(),
            ),
            Variable::Https => Some(if self.secure { "on" } else { "" }.into()),
            Variable::ServerAddr => Some(self.local.ip().to_canonical().to_string().into()),
            Variable::ServerPort => Some(self.local.port().to_string().into()),
            Variable::ServerProtocol => Some(format!("{:?}", self.parts.version).into()),
            Variable::UriParam(name) => {
                let (_, pattern) = self.matched?;
                pattern.capture(self.path, name).map(Cow::from)
            }
            Variable::RouteId => self.of_route(|route| &route.id),
            Variable::RouteName => self.of_route(|route| &route.display_name),
            Variable::ServiceId => self.of_route(|route| &route.service_id),
            Variable::ServiceName => self.of_route(|route| &route.service_name),
            Variable::Absent => None,
        }
    }

    fn of_route(&self, field: fn(&Route) -> &str) -> Option<Cow<'a, str>> {
        let (route, _) = self.matched?;
        Some(field(route))
            .filter(|text| !text.is_empty())
            .map(Cow::from)
    }

    /// Several headers of a name are one value, as nginx has it since 1.23.
    fn header(&self, name: &HeaderName) -> Option<Cow<'a, str>> {
        let mut values = self.parts.headers.get_all(name).iter();
        let first = String::from_utf8_lossy(values.next()?.as_bytes());
        let mut joined = first;
        for value in values {
            let joined = joined.to_mut();
            joined.push_str(", ");
            joined.push_str(&String::from_utf8_lossy(value.as_bytes()));
        }
        Some(joined)
    }

    fn arg(&self, name: &str) -> Option<Cow<'a, str>> {
        self.parts.uri.query()?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key) == name).then(|| decode(value))
        })
    }

    fn cookie(&self, name: &str) -> Option<Cow<'a, str>> {
        self.parts
            .headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|header| header.to_str().ok())
            .flat_map(|header| header.split(';'))
            .find_map(|pair| {
                let (key, value) = pair.trim().split_once('=')?;
                (key == name).then(|| value.into())
            })
    }
}

/// Decodes one side of a query's pair: `+` is a space, as `ngx.req.get_uri_args` has it.
fn decode(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return percent_decode_str(&spaced)
            .decode_utf8_lossy()
            .into_owned()
            .into();
    }
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn value(name: &str) -> Option<String> {
        let (parts, ()) = Request::post("/a%20b?x=1&y=a+b%21&x=2&flag")
            .header("user-agent", "curl")
            .header("x-many", "1")
            .header("x-many", "2")
            .header("cookie", "a=1; session=s%3D; b=")
            .body(())
            .unwrap()
            .into_parts();
        let view = View {
            parts: &parts,
            path: "/a b",
            host: "a.com",
            raw_host: "A.com:80",
            client: "10.1.2.3:4567".parse().unwrap(),
            local: "[::ffff:10.0.0.1]:80".parse().unwrap(),
            secure: false,
            matched: None,
        };
        view.get(&Variable::parse(name).unwrap())
            .map(Cow::into_owned)
    }

    /// §2.5: the variables that a condition may name.
    #[test]
    fn variables_have_nginx_values() {
        for (name, want) in [
            ("uri", Some("/a b")),
            ("request_uri", Some("/a%20b?x=1&y=a+b%21&x=2&flag")),
            ("host", Some("a.com")),
            ("http_host", Some("A.com:80")),
            ("http_user_agent", Some("curl")),
            ("http_x_many", Some("1, 2")),
            ("http_missing", None),
            ("arg_x", Some("1")),
            ("arg_y", Some("a b!")),
            ("arg_flag", Some("")),
            ("arg_z", None),
            ("cookie_session", Some("s%3D")),
            ("cookie_b", Some("")),
            ("cookie_c", None),
            ("remote_addr", Some("10.1.2.3")),
            ("remote_port", Some("4567")),
            ("request_method", Some("POST")),
            ("scheme", Some("http")),
            ("args", Some("x=1&y=a+b%21&x=2&flag")),
            ("document_uri", Some("/a b")),
            ("real_request_uri", Some("/a%20b?x=1&y=a+b%21&x=2&flag")),
            ("realip_remote_addr", Some("10.1.2.3")),
            ("is_args", Some("?")),
            ("https", Some("")),
            ("server_addr", Some("10.0.0.1")),
            ("server_port", Some("80")),
            ("route_id", None),
            ("made_up", None),
        ] {
            assert_eq!(value(name).as_deref(), want, "{name}");
        }
    }

    #[test]
    fn what_would_need_the_body_is_refused() {
        for name in [
            "post_arg_name",
            "post_arg.a.b",
            "graphql_name",
            "request_body",
        ] {
            assert!(Variable::parse(name).is_err(), "{name}");
        }
    }
}
