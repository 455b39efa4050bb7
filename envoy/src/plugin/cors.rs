//! Owns `cors`. Must not know: other plugins.

use crate::any::Any;
use crate::wire::http_filter::cors::v3 as filter;
use crate::wire::matcher::StringMatcher;

use super::chain::{self, Effect, Filter};
use super::config::{Options, Read};
use super::regex;
use super::value::literal;

/// What `**` means for methods.
const METHODS: &str = "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE";

/// Every OPTIONS request is answered, and every answer says who may read it. Envoy's filter decides
/// about origins that are listed; what else is said means nothing without an allowed origin.
pub(super) fn cors(options: &mut Options) -> Read<Vec<Effect>> {
    let mut or_star = |name| {
        let text = options.text(name)?;
        Read::Ok(text.unwrap_or_else(|| "*".to_owned()))
    };
    let origins = or_star("allow_origins")?;
    let methods = or_star("allow_methods")?;
    let headers = or_star("allow_headers")?;
    let exposed = options.text("expose_headers")?;
    let age = options.integer("max_age")?.unwrap_or(5);
    let credentials = options.flag("allow_credential", false)?;
    let patterns = options.texts("allow_origins_by_regex")?;
    let why = "origins only come from the plugin itself";
    options.refuse("allow_origins_by_metadata", why)?;
    options.refuse("timing_allow_origins", "it is not known to Envoy")?;
    options.refuse("timing_allow_origins_by_regex", "it is not known to Envoy")?;
    let star = [&origins, &methods, &headers]
        .iter()
        .any(|text| *text == "*");
    if credentials && (star || exposed.as_deref() == Some("*")) {
        return Err("option allow_credential: not together with *".to_owned());
    }

    let mut effects = Vec::new();
    let mut say = |change| effects.push(Effect::Response(change));
    let listed = listed(&origins, patterns.as_deref())?;
    if listed.is_none() {
        say(chain::set("access-control-allow-origin", "*"));
        if origins == "**" {
            // Nothing is set where the request names no origin.
            say(chain::set("access-control-allow-origin", "%REQ(origin)%"));
        }
        if credentials {
            say(chain::set("access-control-allow-credentials", "true"));
        }
    }
    if origins != "*" || listed.is_some() {
        say(chain::add("vary", "Origin"));
    }
    let methods = if methods == "**" { METHODS } else { &methods };
    say(chain::set(
        "access-control-allow-methods",
        &literal(methods)?,
    ));
    say(chain::set("access-control-max-age", &age.to_string()));
    if let Some(exposed) = exposed.filter(|exposed| !exposed.is_empty()) {
        let exposed = literal(&exposed)?;
        say(chain::set("access-control-expose-headers", &exposed));
    }
    let headers = match headers.as_str() {
        "**" => "%REQ(access-control-request-headers)%".to_owned(),
        headers => literal(headers)?,
    };
    say(chain::set("access-control-allow-headers", &headers));

    if let Some(listed) = listed {
        effects.push(Effect::Filter(Filter {
            part: "origins",
            config: Any::pack(&filter::Cors {}),
            per_route: Some(Any::pack(&policy(listed, credentials))),
        }));
    }
    let options_method = vec![chain::header_is(":method", "OPTIONS")];
    effects.push(chain::answer("preflight", 200, "", options_method));
    Ok(effects)
}

/// The origins that may ask, or `None` for all.
fn listed(origins: &str, patterns: Option<&[String]>) -> Read<Option<Vec<StringMatcher>>> {
    if let Some(patterns) = patterns {
        let read = patterns.iter().map(|pattern| {
            regex::search(pattern).ok_or_else(|| {
                format!("option allow_origins_by_regex: RE2 does not know {pattern:?}")
            })
        });
        return read.collect::<Read<_>>().map(Some);
    }
    if matches!(origins, "*" | "**") {
        return Ok(None);
    }
    let all = origins.split(',').filter(|origin| !origin.is_empty());
    Ok(Some(all.map(chain::exact).collect()))
}

fn policy(listed: Vec<StringMatcher>, credentials: bool) -> filter::CorsPolicy {
    filter::CorsPolicy {
        allow_origin_string_match: listed,
        allow_credentials: Some(credentials),
        forward_not_matching_preflights: Some(false),
        ..Default::default()
    }
}
