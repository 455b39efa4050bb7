//! Owns the parts that plugins are put together from: filters, changes of headers, forks.
//! Must not know: any plugin.

use super::Action;
use super::limit::Limit;
use super::order::Step;
use crate::any::Any;
use crate::wire::core::TypedExtensionConfig;
use crate::wire::core::header_value_option::HeaderAppendAction;
use crate::wire::core::{HeaderValue, HeaderValueOption};
use crate::wire::envoy::config::common::mutation_rules::v3::{HeaderMutation, header_mutation};
use crate::wire::http_filter::fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType};
use crate::wire::http_filter::filter_chain::v3 as filter_chain;
use crate::wire::http_filter::header_mutation::v3 as mutation;
use crate::wire::matcher::RegexMatchAndSubstitute;
use crate::wire::matcher::{StringMatcher, string_matcher::MatchPattern};
use crate::wire::route::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
use crate::wire::types::FractionalPercent;

use bellwether::wire::native::Expression;

/// One change of a header.
pub(super) type Change = HeaderMutation;

/// What a plugin does to a route.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    /// Runs for requests that got so far.
    Filter(Filter),
    /// Changes every answer, Envoy's own too.
    Response(Change),
    /// Changes the path sent to the upstream.
    Path(RegexMatchAndSubstitute),
    /// Changes the host sent to the upstream.
    Host(String),
    /// Counts requests.
    Limit(Limit),
    /// Divides the requests.
    Forks(Vec<Fork>),
}

/// A filter of the route's chain.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    /// Which of its plugin's filters it is; empty if it is the only one.
    pub(super) part: &'static str,
    pub(super) config: Any,
    /// What this filter wants to find in the route itself.
    pub(super) per_route: Option<Any>,
}

impl Filter {
    /// A name that no other filter of a route has.
    pub(super) fn name_in(&self, step: &Step) -> String {
        let mut name = String::new();
        if let Some(rule) = &step.rule {
            name = format!("{rule}/");
        }
        name.push_str(&step.plugin);
        if !self.part.is_empty() {
            name.push('/');
            name.push_str(self.part);
        }
        name
    }
}

/// Where requests that meet the conditions go.
#[derive(Debug, Clone, Default)]
pub(super) struct Fork {
    pub(super) headers: Vec<HeaderMatcher>,
    pub(super) condition: Option<Expression>,
    pub(super) action: Action,
    /// The request is answered: nothing runs after it.
    pub(super) ends: bool,
}

impl Fork {
    pub(super) fn is_unconditional(&self) -> bool {
        self.headers.is_empty() && self.condition.is_none()
    }
}

/// A filter from its message.
pub(super) fn filter<M: prost::Name>(part: &'static str, message: &M) -> Effect {
    Effect::Filter(Filter {
        part,
        config: Any::pack(message),
        per_route: None,
    })
}

/// Changes of the request's headers.
pub(super) fn requests(part: &'static str, changes: Vec<Change>) -> Effect {
    let message = mutation::HeaderMutation {
        mutations: Some(mutation::Mutations {
            request_mutations: changes,
            ..Default::default()
        }),
        ..Default::default()
    };
    filter(part, &message)
}

/// Changes of the response's headers, as a filter.
pub(super) fn responses(changes: Vec<Change>) -> Any {
    Any::pack(&mutation::HeaderMutation {
        mutations: Some(mutation::Mutations {
            response_mutations: changes,
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// Sets a header, in place of all that there are.
pub(super) fn set(name: &str, value: &str) -> Change {
    change(name, value, HeaderAppendAction::OverwriteIfExistsOrAdd)
}

/// Adds a header to those that there are.
pub(super) fn add(name: &str, value: &str) -> Change {
    change(name, value, HeaderAppendAction::AppendIfExistsOrAdd)
}

/// Adds a header that is not there.
pub(super) fn add_if_absent(name: &str, value: &str) -> Change {
    change(name, value, HeaderAppendAction::AddIfAbsent)
}

/// Removes a header.
pub(super) fn remove(name: &str) -> Change {
    HeaderMutation {
        action: Some(header_mutation::Action::Remove(name.to_owned())),
    }
}

fn change(name: &str, value: &str, action: HeaderAppendAction) -> Change {
    HeaderMutation {
        action: Some(header_mutation::Action::Append(HeaderValueOption {
            header: Some(HeaderValue {
                key: name.to_owned(),
                value: value.to_owned(),
            }),
            append_action: action.into(),
            // What is set to nothing is sent with nothing; what a variable leaves empty is not sent.
            keep_empty_value: value.is_empty(),
        })),
    }
}

/// An answer, for requests that match.
pub(super) fn answer(
    part: &'static str,
    status: u32,
    body: &str,
    headers: Vec<HeaderMatcher>,
) -> Effect {
    let message = HttpFault {
        abort: Some(FaultAbort {
            error_type: Some(ErrorType::HttpStatus(status)),
            percentage: Some(percent(100)),
            // An empty one would be Envoy's own text.
            response_body: if body.is_empty() { "\n" } else { body }.to_owned(),
        }),
        headers,
        ..Default::default()
    };
    filter(part, &message)
}

/// A share of a hundred.
pub(super) fn percent(numerator: u32) -> FractionalPercent {
    FractionalPercent {
        numerator,
        ..Default::default()
    }
}

/// A header that is exactly this.
pub(super) fn header_is(name: &str, value: &str) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(exact(value))),
        ..Default::default()
    }
}

/// A text that is exactly this.
pub(super) fn exact(text: &str) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(MatchPattern::Exact(text.to_owned())),
        ..Default::default()
    }
}

/// The chain of a route.
pub(super) fn per_route(filters: Vec<(String, Any)>) -> Any {
    let filters = filters
        .into_iter()
        .map(|(name, config)| TypedExtensionConfig {
            name,
            typed_config: Some(config),
        })
        .collect();
    Any::pack(&filter_chain::FilterChainConfigPerRoute {
        filter_chain: Some(filter_chain::FilterChain { filters }),
    })
}
