//! Owns `limit-count` and `limit-req` as buckets of tokens in each Envoy. Must not know: who else
//! counts; nothing is shared between Envoys.
//!
//! `limit-count` counts within a window that begins with the first request; a bucket of as many tokens
//! that fills once in the same time admits as much in the long run, and never more than APISIX does
//! around the end of a window (twice the count). `limit-req` admits `burst + 1` at once and `rate` a
//! second; what APISIX would delay within the burst passes at once.

use std::collections::BTreeMap;

use serde_json::json;

use crate::any::Any;
use crate::wire::Duration;
use crate::wire::core::RuntimeFractionalPercent;
use crate::wire::envoy::extensions::common::ratelimit::v3::{
    LocalRateLimitDescriptor, XRateLimitHeadersRfcVersion, rate_limit_descriptor::Entry,
};
use crate::wire::http_filter::local_ratelimit::v3::LocalRateLimit;
use crate::wire::route::rate_limit::Action;
use crate::wire::route::rate_limit::action::{
    ActionSpecifier, GenericKey, HeaderValueMatch, RemoteAddress, RequestHeaders,
};
use crate::wire::route::{HeaderMatcher, RateLimit, header_matcher::HeaderMatchSpecifier};
use crate::wire::types::{HttpStatus, StatusCode, TokenBucket};

use super::auth::CONSUMER;
use super::chain::{self, Effect};
use super::config::{Options, Read, required};
use super::value::{LONGEST_HEADER, Piece, pieces};

/// Clients that one filter of one Envoy counts; the one that was seen longest ago is forgotten first.
const MAX_KEYS: u32 = 100_000;

/// The longest time that a bucket takes to fill, a year.
const MAX_SECONDS: i64 = 366 * 86_400;

/// Keys of descriptors: which limit, the client's address, a header, and that it is not there.
const LIMIT: &str = "limit";
const ADDRESS: &str = "remote_address";
const HEADER: &str = "header";
const ABSENT: &str = "absent";

/// So many requests in a time.
pub(super) fn limit_count(options: &mut Options, notes: &mut Vec<String>) -> Read<Vec<Effect>> {
    options.refuse("rules", "one limit is all that can be counted")?;
    options.refuse("group", "no counter is shared between routes")?;
    options.only(
        "window_type",
        &json!("fixed"),
        "Envoy knows no sliding window",
    )?;
    let count = required("count", options.integer("count")?)?;
    let seconds = required("time_window", options.integer("time_window")?)?;
    let count = u32::try_from(count)
        .ok()
        .filter(|count| *count > 0)
        .ok_or("option count is not a number of requests")?;
    if !(1..=MAX_SECONDS).contains(&seconds) {
        return Err("option time_window is not from a second to a year".to_owned());
    }
    let quota = options.flag("show_limit_quota_header", true)?;
    let bucket = TokenBucket {
        max_tokens: count,
        tokens_per_fill: Some(count),
        fill_interval: Some(Duration { seconds, nanos: 0 }),
    };
    limit(options, bucket, quota, notes)
}

/// So many requests a second.
pub(super) fn limit_req(options: &mut Options, notes: &mut Vec<String>) -> Read<Vec<Effect>> {
    let rate = required("rate", options.number("rate")?)?;
    let burst = required("burst", options.number("burst")?)?;
    if !(rate > 0.0 && rate < 1e9) {
        return Err("option rate is not a number of requests a second".to_owned());
    }
    if !(0.0..1e9).contains(&burst) {
        return Err("option burst is not a number of requests".to_owned());
    }
    let nodelay = options.flag("nodelay", false)?;
    if !nodelay && burst >= 1.0 {
        notes.push("requests within the burst pass at once, they are not delayed".to_owned());
    }
    let (tokens, seconds) = match rate.fract() == 0.0 {
        true => (rate as u32, 1),
        // Rounded down: never more than is asked for.
        false => ((rate * 1_000.0).floor().min(4e9) as u32, 1_000),
    };
    if tokens == 0 {
        return Err("option rate is less than one in a thousand seconds".to_owned());
    }
    let bucket = TokenBucket {
        max_tokens: burst.floor() as u32 + 1,
        tokens_per_fill: Some(tokens),
        fill_interval: Some(Duration { seconds, nanos: 0 }),
    };
    limit(options, bucket, false, notes)
}

/// What both have in common.
fn limit(
    options: &mut Options,
    bucket: TokenBucket,
    quota: bool,
    notes: &mut Vec<String>,
) -> Read<Vec<Effect>> {
    options.only(
        "policy",
        &json!("local"),
        "nothing is counted in common by several Envoys",
    )?;
    // A local counter never fails.
    options.take("allow_degradation");
    let status = options.integer("rejected_code")?.unwrap_or(503);
    // Envoy answers 429 in place of what is no error, and refuses what has no name.
    let status = i32::try_from(status)
        .ok()
        .filter(|status| (400..600).contains(status))
        .and_then(|status| StatusCode::try_from(status).ok())
        .ok_or("option rejected_code is not an error that Envoy knows")?;
    if options.text("rejected_msg")?.is_some() {
        notes.push("rejected_msg is not sent; Envoy says \"local_rate_limited\"".to_owned());
    }
    let kind = options.text("key_type")?;
    let key = options.text("key")?;
    let kind = kind.as_deref().unwrap_or("var");
    Ok(vec![Effect::Limit(Limit {
        status: status.into(),
        quota,
        counted: Counted::read(kind, key.as_deref(), options.authenticated)?,
        bucket,
    })])
}

/// A limit of one plugin.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    status: i32,
    quota: bool,
    counted: Counted,
    bucket: TokenBucket,
}

impl Limit {
    /// Who counts it, what a request that is counted says, and the buckets. `id` is like no other
    /// limit's.
    pub(super) fn counted(&self, global: bool, id: &str) -> (Group, Vec<RateLimit>, Limits) {
        let group = Group {
            global,
            status: self.status,
            quota: self.quota,
        };
        let (said, buckets) = self.counted.descriptors(id, &self.bucket);
        let limits = Limits(BTreeMap::from([(group, buckets)]));
        (group, said, limits)
    }
}

/// Limits that one filter counts. Those of global rules are counted before it is known who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    global: bool,
    status: i32,
    quota: bool,
}

impl Group {
    /// The name of its filter, in chains and in the route configuration.
    pub(super) fn name(self) -> String {
        let scope = if self.global {
            "global_rules/limits"
        } else {
            "limits"
        };
        let quota = if self.quota { "/told" } else { "" };
        format!("{scope}/{}{quota}", self.status)
    }

    /// Its filter, which counts whatever the route configuration says.
    pub(super) fn filter(self) -> Any {
        Any::pack(&self.message(Vec::new()))
    }

    fn message(self, descriptors: Vec<LocalRateLimitDescriptor>) -> LocalRateLimit {
        let headers = match self.quota {
            true => XRateLimitHeadersRfcVersion::DraftVersion03,
            false => XRateLimitHeadersRfcVersion::Off,
        };
        LocalRateLimit {
            stat_prefix: "limits".to_owned(),
            status: Some(HttpStatus { code: self.status }),
            // Who is counted by no other bucket is not limited.
            token_bucket: Some(TokenBucket {
                max_tokens: u32::MAX,
                tokens_per_fill: Some(u32::MAX),
                fill_interval: Some(Duration {
                    seconds: 1,
                    nanos: 0,
                }),
            }),
            always_consume_default_token_bucket: Some(false),
            filter_enabled: Some(always()),
            filter_enforced: Some(always()),
            enable_x_ratelimit_headers: headers.into(),
            max_dynamic_descriptors: Some(MAX_KEYS),
            descriptors,
            ..Default::default()
        }
    }
}

/// The buckets of limits. They stand in the route configuration, once: in a route there would be one for
/// each of its paths, hosts and ways, and a client could choose.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Limits(BTreeMap<Group, Vec<LocalRateLimitDescriptor>>);

impl Limits {
    /// Adds those of others.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (group, buckets) in &other.0 {
            let all = self.0.entry(*group).or_default();
            all.extend(buckets.iter().cloned());
        }
    }

    /// Those of global rules, or those of a route alone.
    #[must_use]
    pub(crate) fn only(&self, global: bool) -> Self {
        let of = self.0.iter().filter(|(group, _)| group.global == global);
        Self(
            of.map(|(group, buckets)| (*group, buckets.clone()))
                .collect(),
        )
    }

    /// For `RouteConfiguration.typed_per_filter_config`.
    pub(crate) fn filter_config(self) -> BTreeMap<String, Any> {
        let all = self.0.into_iter();
        all.map(|(group, buckets)| (group.name(), Any::pack(&group.message(buckets))))
            .collect()
    }
}

fn always() -> RuntimeFractionalPercent {
    RuntimeFractionalPercent {
        default_value: Some(chain::percent(100)),
        ..Default::default()
    }
}

/// What requests are told apart by.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Counted {
    /// Nothing.
    Together,
    /// The client's address, and these headers.
    By { address: bool, headers: Vec<String> },
}

impl Counted {
    fn read(kind: &str, key: Option<&str>, authenticated: bool) -> Read<Self> {
        let key = key.unwrap_or("remote_addr");
        let variables = match kind {
            "constant" => return Ok(Self::Together),
            "var" => vec![key],
            "var_combination" => {
                let variables = pieces(key).into_iter().filter_map(|piece| match piece {
                    Piece::Variable(name) => Some(name),
                    Piece::Text(_) => None,
                });
                variables.collect()
            }
            _ => return Err(format!("option key_type: {kind:?} is not known here")),
        };
        let mut address = variables.is_empty();
        let mut headers = Vec::new();
        for variable in variables {
            match (variable, variable.strip_prefix("http_")) {
                ("remote_addr", _) => address = true,
                // Nobody says who asks: what a client writes there counts for nothing.
                ("consumer_name", _) if !authenticated => address = true,
                ("consumer_name", _) => headers.push(CONSUMER.to_owned()),
                ("http_host", _) | (_, None) => {
                    return Err(format!(
                        "option key: requests can't be counted by ${variable}"
                    ));
                }
                (_, Some(name)) => headers.push(header(variable, name)?),
            }
        }
        headers.sort();
        headers.dedup();
        if headers.len() > 1 {
            return Err("option key: requests can't be counted by several headers".to_owned());
        }
        Ok(Self::By { address, headers })
    }

    /// What a request counts for, and the buckets. Who has not the header is counted by address.
    fn descriptors(
        &self,
        id: &str,
        bucket: &TokenBucket,
    ) -> (Vec<RateLimit>, Vec<LocalRateLimitDescriptor>) {
        let mut alternatives = Vec::new();
        match self {
            Self::Together => alternatives.push((Vec::new(), Vec::new())),
            Self::By { address, headers } => match headers.first() {
                None => alternatives.push((vec![remote_address()], vec![entry(ADDRESS, "")])),
                Some(header) => {
                    let mut actions = vec![request_header(header)];
                    let mut entries = vec![entry(HEADER, "")];
                    if *address {
                        actions.push(remote_address());
                        entries.push(entry(ADDRESS, ""));
                    }
                    alternatives.push((actions, entries));
                    let actions = vec![has_not(header), remote_address()];
                    alternatives.push((actions, vec![entry(ABSENT, HEADER), entry(ADDRESS, "")]));
                }
            },
        }
        alternatives
            .into_iter()
            .map(|(mut actions, mut entries)| {
                actions.insert(0, limit_id(id));
                entries.insert(0, entry(LIMIT, id));
                let said = RateLimit {
                    actions,
                    ..Default::default()
                };
                let descriptor = LocalRateLimitDescriptor {
                    entries,
                    token_bucket: Some(*bucket),
                };
                (said, descriptor)
            })
            .unzip()
    }
}

/// The header that a variable stands for.
fn header(variable: &str, name: &str) -> Read<String> {
    let name = http::HeaderName::try_from(name.replace('_', "-"));
    let name = name
        .ok()
        .filter(|name| name.as_str().len() <= LONGEST_HEADER);
    let name = name.map(|name| name.as_str().to_owned());
    name.ok_or_else(|| format!("option key: {variable:?} is not a variable of a header"))
}

fn entry(key: &str, value: &str) -> Entry {
    Entry {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn action(specifier: ActionSpecifier) -> Action {
    Action {
        action_specifier: Some(specifier),
    }
}

fn limit_id(id: &str) -> Action {
    action(ActionSpecifier::GenericKey(GenericKey {
        descriptor_key: LIMIT.to_owned(),
        descriptor_value: id.to_owned(),
        ..Default::default()
    }))
}

fn remote_address() -> Action {
    action(ActionSpecifier::RemoteAddress(RemoteAddress {}))
}

fn request_header(name: &str) -> Action {
    action(ActionSpecifier::RequestHeaders(RequestHeaders {
        header_name: name.to_owned(),
        descriptor_key: HEADER.to_owned(),
        skip_if_absent: false,
    }))
}

fn has_not(name: &str) -> Action {
    action(ActionSpecifier::HeaderValueMatch(HeaderValueMatch {
        descriptor_key: ABSENT.to_owned(),
        descriptor_value: HEADER.to_owned(),
        expect_match: Some(false),
        headers: vec![HeaderMatcher {
            name: name.to_owned(),
            header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
            ..Default::default()
        }],
        ..Default::default()
    }))
}
