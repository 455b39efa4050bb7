//! Owns where Envoy finds a variable's value (`docs/apisix.md` §2.5), and how a test on it is asked there.
//! Must not know: how tests are joined.

use http::HeaderName;
use ipnet::IpNet;

use crate::Client;
use crate::route::clause::{Clause, Known, header, header_is_present};
use crate::route::encoded;
use crate::route::re2::{self, ANY, Field};
use crate::route::test::{Set, Test};
use crate::wire::matcher::{
    AddressMatcher, FilterStateMatcher, StringMatcher, filter_state_matcher::Matcher,
};
use crate::wire::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use crate::wire::xds::core::v3::CidrRange;

/// The client's address in the filter state of a connection, put there by the listener, since a route of
/// Envoy's can't ask for it otherwise.
pub(crate) const REMOTE_ADDRESS: &str = "bellwether.remote_address";

/// Bytes of a name of a parameter or a cookie that Envoy takes.
const LONGEST_NAME: usize = 1_024;

/// Why nothing is known.
const TOO_LARGE: &str = "its condition makes a regular expression that is too large";

/// What a variable of a route is for Envoy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The same for every request of this route and client, or always absent.
    Constant(Option<String>),
    /// A header that may be there once, several times, or not.
    Header(String),
    Method,
    /// The Host as the client wrote it.
    Authority,
    /// Without port, in lower case.
    Host,
    Path,
    Query,
    Argument(String),
    Cookie(String),
    RemoteAddress,
    /// One of two values, by whether a header matches an expression.
    Choice(&'static str, &'static str, [&'static str; 2]),
    /// Envoy has it nowhere.
    Nowhere,
}

/// Headers that Envoy changes before it looks for a route.
const CHANGED: [&str; 8] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-client-cert",
    "x-request-id",
    "connection",
    "upgrade",
    "te",
    "transfer-encoding",
];

/// What is known of the route itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) client: Client,
    pub(crate) route_id: &'a str,
    pub(crate) route_name: &'a str,
    pub(crate) service_id: &'a str,
    pub(crate) service_name: &'a str,
    /// Names of the path's parameters.
    pub(crate) parameters: &'a [&'a str],
}

/// Prefixes of variables that are read from a body. The agent refuses them.
const BODY: [&str; 3] = ["post_arg_", "post_arg.", "graphql_"];

impl Subject {
    /// Reads the name of a variable.
    pub(crate) fn of(name: &str, facts: &Facts<'_>) -> Self {
        let text = |text: &str| Self::Constant(Some(text.to_owned()).filter(|t| !t.is_empty()));
        if BODY.iter().any(|prefix| name.starts_with(prefix)) || name == "request_body" {
            return Self::Nowhere;
        }
        let subject = match name {
            "uri" | "document_uri" => Self::Path,
            "host" => Self::Host,
            "remote_addr" | "realip_remote_addr" => Self::RemoteAddress,
            "request_method" => Self::Method,
            "query_string" | "args" => Self::Query,
            "scheme" => Self::Choice("x-forwarded-proto", "https", ["https", "http"]),
            "https" => Self::Choice("x-forwarded-proto", "https", ["on", ""]),
            "is_args" => Self::Choice(":path", "[^?]*\\?(?s:.+)", ["?", ""]),
            "request_uri" | "real_request_uri" | "remote_port" | "realip_remote_port"
            | "server_addr" | "server_port" | "server_protocol" => Self::Nowhere,
            "content_type" | "content_length" => Self::header(name),
            "route_id" => text(facts.route_id),
            "route_name" => text(facts.route_name),
            "service_id" => text(facts.service_id),
            "service_name" => text(facts.service_name),
            _ => Self::prefixed(name, facts),
        };
        match facts.client {
            Client::Envoy => subject,
            Client::Grpc => subject.in_grpc(),
        }
    }

    fn prefixed(name: &str, facts: &Facts<'_>) -> Self {
        if let Some(name) = name.strip_prefix("http_") {
            return Self::header(name);
        }
        if let Some(name) = name.strip_prefix("arg_") {
            let known = !name.is_empty() && name.len() <= LONGEST_NAME;
            let plain = encoded::is_plain(name) && !name.contains('/');
            return match known && plain {
                true => Self::Argument(name.to_owned()),
                false => Self::Nowhere,
            };
        }
        if let Some(name) = name.strip_prefix("cookie_") {
            let known = !name.is_empty() && name.len() <= LONGEST_NAME;
            return match known && HeaderName::try_from(name).is_ok() {
                true => Self::Cookie(name.to_owned()),
                false => Self::Nowhere,
            };
        }
        if let Some(name) = name.strip_prefix("uri_param_")
            && facts.parameters.contains(&name)
        {
            return Self::Nowhere;
        }
        // A name that nginx has no value for either.
        Self::Constant(None)
    }

    fn header(name: &str) -> Self {
        match HeaderName::try_from(name.replace('_', "-")) {
            Ok(name) if name == http::header::HOST => Self::Authority,
            Ok(name) if CHANGED.contains(&name.as_str()) => Self::Nowhere,
            Ok(name) if name.as_str().starts_with("x-envoy-") => Self::Nowhere,
            Ok(name) => Self::Header(name.as_str().to_owned()),
            Err(_) => Self::Constant(None),
        }
    }

    /// A gRPC client sees the metadata of a call, its path, and nothing else (A28).
    fn in_grpc(self) -> Self {
        match self {
            Self::Method => Self::Constant(Some("POST".to_owned())),
            Self::Query | Self::Argument(_) => Self::Constant(None),
            Self::Constant(_) | Self::Header(_) => self,
            Self::Choice(":path", _, [_, no]) => Self::Constant(Some(no.to_owned())),
            Self::Authority
            | Self::Host
            | Self::Path
            | Self::Cookie(_)
            | Self::RemoteAddress
            | Self::Choice(..)
            | Self::Nowhere => Self::Nowhere,
        }
    }

    /// What is known of a test on it.
    pub(crate) fn ask(&self, variable: &str, test: &Test, client: Client) -> Known {
        let unknown = || {
            Known::nothing(format!(
                "its condition asks for {variable:?} in a way that can't be told here"
            ))
        };
        let known = match self {
            Self::Nowhere => return unknown(),
            Self::Constant(value) => {
                return test
                    .holds(value.as_deref())
                    .map_or_else(unknown, Known::constant);
            }
            Self::Choice(name, regex, values) => {
                return choice(name, regex, values, test).unwrap_or_else(unknown);
            }
            _ if test.set == Set::Nothing && test.absent == test.negated => {
                return Known::constant(test.absent);
            }
            Self::Header(name) => in_header(name, test, client),
            Self::Method => always_there(":method", test, re2::literal, Field::Whole, ""),
            Self::Authority => in_header(":authority", test, client),
            Self::Host => host(test),
            Self::Path => path(test),
            Self::Query => query(test),
            Self::Argument(name) => argument(name, test),
            Self::Cookie(name) => cookie(name, test),
            Self::RemoteAddress => remote_address(test),
        };
        match known {
            Ok(known) => known,
            Err(Unsaid::Set) => unknown(),
            Err(Unsaid::TooLarge) => Known::nothing(TOO_LARGE),
        }
    }
}

/// Why a test can't be asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unsaid {
    Set,
    TooLarge,
}

impl From<re2::TooLarge> for Unsaid {
    fn from(_: re2::TooLarge) -> Self {
        Self::TooLarge
    }
}

/// An expression for the set. A set without a value has one that nothing matches.
fn regex(set: &Set, form: fn(&str) -> String, field: Field) -> Result<String, Unsaid> {
    match set.regex(form, field) {
        Some(regex) => Ok(regex),
        None if matches!(set, Set::Search { .. }) => Err(Unsaid::Set),
        None => Ok(re2::NEVER.to_owned()),
    }
}

fn choice(name: &str, of: &str, values: &[&str; 2], test: &Test) -> Option<Known> {
    let [yes, no] = values;
    Some(match (test.holds(Some(yes))?, test.holds(Some(no))?) {
        (true, true) => Known::always(),
        (false, false) => Known::never(),
        (yes, _) => Known::clauses(vec![Clause::header(header(
            name,
            re2::text(of.to_owned()).ok()?,
            !yes,
        ))]),
    })
}

fn in_header(name: &str, test: &Test, client: Client) -> Result<Known, Unsaid> {
    let mut known = Known::default();
    let absent = || Clause::header(header_is_present(name, false));
    if test.set == Set::Nothing {
        // Only whether it is there; the two other cases are constant.
        known
            .yes
            .push(Clause::header(header_is_present(name, test.negated)));
        return Ok(known);
    }
    let text = match &test.set {
        Set::Texts(texts) if texts.len() == 1 => re2::exact(&texts[0]),
        set => re2::text(regex(set, re2::literal, Field::Whole)?)?,
    };
    if test.negated && client == Client::Grpc {
        // Clients differ on whether one that is missing is inverted.
        known.yes.push(Clause {
            headers: vec![header_is_present(name, true), header(name, text, true)],
            ..Clause::default()
        });
    } else {
        known
            .yes
            .push(Clause::header(header(name, text, test.negated)));
    }
    if test.absent {
        known.yes.push(absent());
    }
    if let Some(doubt) = test.set.doubtful() {
        let doubt = re2::text(doubt.to_owned())?;
        known
            .closed
            .push(Clause::header(header(name, doubt, false)));
    }
    Ok(known)
}

/// A test on a header of Envoy's that is always there, whose text `after` ends.
fn always_there(
    name: &str,
    test: &Test,
    form: fn(&str) -> String,
    field: Field,
    after: &str,
) -> Result<Known, Unsaid> {
    let set = regex(&test.set, form, field)?;
    // A search says by itself what comes after.
    let after = if matches!(test.set, Set::Search { .. }) {
        ""
    } else {
        after
    };
    let ask = |regex: String, invert| -> Result<Clause, Unsaid> {
        Ok(Clause::header(header(name, re2::text(regex)?, invert)))
    };
    let mut known = Known::clauses(vec![ask(format!("{set}{after}"), test.negated)?]);
    if let Some(doubt) = test.set.doubtful() {
        known
            .closed
            .push(ask(format!("(?:{doubt}){after}"), false)?);
    }
    Ok(known)
}

/// What may come after a host.
pub(crate) const PORT: &str = "\\.?(?::(?s:.*))?";

fn host(test: &Test) -> Result<Known, Unsaid> {
    fn form(text: &str) -> String {
        // The variable is in lower case, so that a text which is not never equals it.
        match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => re2::NEVER.to_owned(),
            false => format!("(?i:{})", re2::literal(text)),
        }
    }
    let mut known = always_there(":authority", test, form, Field::Until(':'), PORT)?;
    if matches!(test.set, Set::Search { .. }) {
        let other = "\\[(?s:.*)|[^:]*[A-Z](?s:.*)|[^:]*\\.(?::(?s:.*))?".to_owned();
        let other = re2::text(other)?;
        known
            .closed
            .push(Clause::header(header(":authority", other, false)));
    }
    Ok(known)
}

fn path(test: &Test) -> Result<Known, Unsaid> {
    let after = format!("(?:\\?{ANY})?");
    let mut known = always_there(":path", test, encoded::path, Field::Until('?'), &after)?;
    if matches!(test.set, Set::Search { .. }) {
        let escaped = re2::text(format!("[^?]*%{ANY}"))?;
        known
            .closed
            .push(Clause::header(header(":path", escaped, false)));
    }
    Ok(known)
}

/// The query as it is written, only for whole texts.
fn query(test: &Test) -> Result<Known, Unsaid> {
    let ask = |regex: String, invert| -> Result<Clause, Unsaid> {
        Ok(Clause::header(header(":path", re2::text(regex)?, invert)))
    };
    let there = || ask(format!("[^?]*\\?{ANY}"), false);
    let mut known = Known::default();
    match &test.set {
        Set::Nothing => {}
        Set::Texts(_) => {
            let set = regex(&test.set, re2::literal, Field::Whole)?;
            known.yes.push(ask(format!("[^?]*\\?{set}"), test.negated)?);
            if test.negated {
                known.yes[0] = known.yes[0].and(&there()?);
            }
        }
        Set::Search { .. } | Set::Numbers(_) | Set::Addresses(_) => return Err(Unsaid::Set),
    }
    if test.set == Set::Nothing && test.negated {
        known.yes.push(there()?);
    }
    if test.absent {
        known.yes.push(ask("[^?]*".to_owned(), false)?);
    }
    Ok(known)
}

fn argument(name: &str, test: &Test) -> Result<Known, Unsaid> {
    use QueryParameterMatchSpecifier::{PresentMatch, StringMatch};
    let is = |regex: String| -> Result<Clause, Unsaid> {
        Ok(Clause::query(name, StringMatch(re2::text(regex)?)))
    };
    let in_path = |regex: String, invert| -> Result<Clause, Unsaid> {
        Ok(Clause::header(header(":path", re2::text(regex)?, invert)))
    };
    let there = |there| Clause::query(name, PresentMatch(there));
    let before = format!("[^?]*\\?(?:{ANY}&)?");
    let mut known = Known::default();
    // A name that is escaped for no reason: Envoy would not see it, the agent does.
    let odd_name = format!(
        "{before}[^=&]*%{}[^=&]*(?:[=&]{ANY})?",
        encoded::UNRESERVED_HEX
    );
    known.closed.push(in_path(odd_name, false)?);
    if test.set == Set::Nothing {
        known.yes.push(there(test.negated));
        return Ok(known);
    }
    let set = regex(&test.set, encoded::argument, Field::Whole)?;
    let odd_value = match &test.set {
        Set::Texts(_) => format!("{ANY}%{}{ANY}", encoded::UNRESERVED_HEX),
        _ => format!("{ANY}[%+]{ANY}"),
    };
    known.closed.push(is(odd_value)?);
    if let Some(doubt) = test.set.doubtful() {
        known.closed.push(is(doubt.to_owned())?);
    }
    if test.negated {
        // Envoy can't invert a question about a parameter, only one about the whole target. That would
        // look at every parameter of the name, and only the first counts.
        let own = re2::literal(name);
        let twice = format!("{before}{own}(?:=[^&]*)?&(?:{ANY}&)?{own}(?:[=&]{ANY})?");
        known.closed.push(in_path(twice, false)?);
        let value = match &test.set {
            Set::Texts(texts) if texts.iter().any(String::is_empty) => format!("(?:={set})?"),
            Set::Search { pattern, caseless } => {
                // Without a value: only the expression could tell whether it takes the empty text.
                known
                    .closed
                    .push(in_path(format!("{before}{own}(?:&{ANY})?"), false)?);
                let search = re2::search(pattern, *caseless, Field::Within('&'));
                format!("={}", search.ok_or(Unsaid::Set)?)
            }
            _ => format!("={set}"),
        };
        let one = in_path(format!("{before}{own}{value}(?:&{ANY})?"), true)?;
        known.yes.push(one.and(&there(true)));
    } else {
        known.yes.push(is(set)?);
    }
    if test.absent {
        known.yes.push(there(false));
    }
    Ok(known)
}

fn cookie(name: &str, test: &Test) -> Result<Known, Unsaid> {
    let there = |there: bool| -> Result<Clause, Unsaid> {
        Ok(Clause::cookie(name, re2::text(ANY.to_owned())?, !there))
    };
    let mut known = Known::default();
    if test.set == Set::Nothing {
        known.yes.push(there(test.negated)?);
        return Ok(known);
    }
    let text = || -> Result<StringMatcher, Unsaid> {
        Ok(re2::text(regex(&test.set, re2::literal, Field::Whole)?)?)
    };
    // One that is missing matches if inverted.
    let one = Clause::cookie(name, text()?, test.negated);
    match (test.negated, test.absent) {
        (true, true) | (false, false) => known.yes.push(one),
        (true, false) => known.yes.push(one.and(&there(true)?)),
        (false, true) => known.yes.extend([one, there(false)?]),
    }
    if let Some(doubt) = test.set.doubtful() {
        let doubt = re2::text(doubt.to_owned())?;
        known.closed.push(Clause::cookie(name, doubt, false));
    }
    Ok(known)
}

fn remote_address(test: &Test) -> Result<Known, Unsaid> {
    let blocks: Vec<IpNet> = match &test.set {
        Set::Addresses(blocks) => blocks.clone(),
        // As text, an address has one form only.
        Set::Texts(texts) => texts
            .iter()
            .filter_map(|text| {
                let ip: std::net::IpAddr = text.parse().ok()?;
                (ip.to_canonical().to_string() == *text).then(|| IpNet::from(ip))
            })
            .collect(),
        Set::Nothing => Vec::new(),
        Set::Search { .. } | Set::Numbers(_) => return Err(Unsaid::Set),
    };
    if blocks.is_empty() {
        return Ok(Known::constant(test.negated));
    }
    Ok(Known::clauses(vec![within_blocks(&blocks, test.negated)]))
}

/// Clients whose address is in one of the blocks, or in none.
pub(crate) fn within_blocks(blocks: &[IpNet], invert: bool) -> Clause {
    let ranges = blocks
        .iter()
        .map(|block| CidrRange {
            address_prefix: block.network().to_string(),
            prefix_len: Some(u32::from(block.prefix_len())),
        })
        .collect();
    Clause::filter_state(FilterStateMatcher {
        key: REMOTE_ADDRESS.to_owned(),
        matcher: Some(Matcher::AddressMatch(AddressMatcher {
            ranges,
            invert_match: invert,
        })),
    })
}
