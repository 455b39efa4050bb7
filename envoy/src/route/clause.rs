//! Owns conjunctions of what Envoy can ask of a request beside its path, and disjunctions of those.
//! Must not know: where a condition came from.

use std::collections::BTreeSet;

use crate::wire::matcher::{FilterStateMatcher, StringMatcher};
use crate::wire::route::header_matcher::HeaderMatchSpecifier;
use crate::wire::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use crate::wire::route::route_match::PathSpecifier;
use crate::wire::route::{CookieMatcher, HeaderMatcher, QueryParameterMatcher, RouteMatch};

/// Clauses of one route and path. Each is a route of Envoy's, of which it tries one after the other.
pub(crate) const MAX_CLAUSES: usize = 64;

/// All of it must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Clause {
    pub(crate) headers: Vec<HeaderMatcher>,
    pub(crate) query: Vec<QueryParameterMatcher>,
    pub(crate) cookies: Vec<CookieMatcher>,
    pub(crate) filter_state: Vec<FilterStateMatcher>,
}

impl Clause {
    pub(crate) fn header(matcher: HeaderMatcher) -> Self {
        Self {
            headers: vec![matcher],
            ..Self::default()
        }
    }

    pub(crate) fn query(name: &str, specifier: QueryParameterMatchSpecifier) -> Self {
        Self {
            query: vec![QueryParameterMatcher {
                name: name.to_owned(),
                query_parameter_match_specifier: Some(specifier),
            }],
            ..Self::default()
        }
    }

    pub(crate) fn cookie(name: &str, text: StringMatcher, invert: bool) -> Self {
        Self {
            cookies: vec![CookieMatcher {
                name: name.to_owned(),
                string_match: Some(text),
                invert_match: invert,
            }],
            ..Self::default()
        }
    }

    pub(crate) fn filter_state(matcher: FilterStateMatcher) -> Self {
        Self {
            filter_state: vec![matcher],
            ..Self::default()
        }
    }

    /// Both.
    pub(crate) fn and(&self, other: &Self) -> Self {
        fn both<T: Clone + PartialEq>(left: &[T], right: &[T]) -> Vec<T> {
            let mut all = left.to_vec();
            for one in right {
                if !all.contains(one) {
                    all.push(one.clone());
                }
            }
            all
        }
        Self {
            headers: both(&self.headers, &other.headers),
            query: both(&self.query, &other.query),
            cookies: both(&self.cookies, &other.cookies),
            filter_state: both(&self.filter_state, &other.filter_state),
        }
    }

    /// With a path.
    pub(crate) fn into_match(self, path: PathSpecifier) -> RouteMatch {
        RouteMatch {
            path_specifier: Some(path),
            headers: self.headers,
            query_parameters: self.query,
            cookies: self.cookies,
            filter_state: self.filter_state,
            ..RouteMatch::default()
        }
    }
}

/// A condition on a header's text. One that is missing does not match, inverted or not.
pub(crate) fn header(name: &str, text: StringMatcher, invert: bool) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        invert_match: invert,
        treat_missing_header_as_empty: false,
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(text)),
    }
}

/// Whether a header is there.
pub(crate) fn header_is_present(name: &str, present: bool) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        invert_match: !present,
        treat_missing_header_as_empty: false,
        header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
    }
}

/// What is known of a condition: clauses of which one holds if it does, and clauses of which one holds
/// wherever Envoy can't tell. The latter come first, and there the route is closed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) yes: Vec<Clause>,
    pub(crate) closed: Vec<Clause>,
    /// Why something is closed always, for the operator.
    pub(crate) reasons: BTreeSet<String>,
}

impl Known {
    pub(crate) fn always() -> Self {
        Self::clauses(vec![Clause::default()])
    }

    pub(crate) fn never() -> Self {
        Self::default()
    }

    pub(crate) fn constant(holds: bool) -> Self {
        if holds { Self::always() } else { Self::never() }
    }

    pub(crate) fn clauses(yes: Vec<Clause>) -> Self {
        Self {
            yes,
            ..Self::default()
        }
    }

    /// Nothing is known: every request may be one.
    pub(crate) fn nothing(reason: impl Into<String>) -> Self {
        Self {
            yes: Vec::new(),
            closed: vec![Clause::default()],
            reasons: BTreeSet::from([reason.into()]),
        }
    }

    /// Both hold.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let clauses = (self.yes.len() + self.closed.len())
            .saturating_mul(other.yes.len() + other.closed.len());
        if clauses > MAX_CLAUSES {
            return Self::too_many();
        }
        let mut all = Self {
            reasons: self.reasons.union(&other.reasons).cloned().collect(),
            ..Self::default()
        };
        for left in &self.closed {
            all.closed
                .extend(other.closed.iter().map(|right| left.and(right)));
            all.closed
                .extend(other.yes.iter().map(|right| left.and(right)));
        }
        for left in &self.yes {
            all.closed
                .extend(other.closed.iter().map(|right| left.and(right)));
            all.yes
                .extend(other.yes.iter().map(|right| left.and(right)));
        }
        all
    }

    /// One of them holds.
    pub(crate) fn or(mut self, other: Self) -> Self {
        self.yes.extend(other.yes);
        self.closed.extend(other.closed);
        self.reasons.extend(other.reasons);
        if self.yes.len() + self.closed.len() > MAX_CLAUSES {
            return Self::too_many();
        }
        self
    }

    fn too_many() -> Self {
        Self::nothing(format!(
            "its condition comes to more than {MAX_CLAUSES} alternatives"
        ))
    }
}
