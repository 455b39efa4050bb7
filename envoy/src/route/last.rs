//! Owns what becomes of requests that no route takes: the global rules run for them too, then they are
//! answered 404. Must not know: routes.

use std::collections::{BTreeMap, BTreeSet};

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::wire::native;
use http::StatusCode;
use prost::Message;

use crate::plugin::{self, Action, Applied, Consumers, Context, Limits, Unsupported};
use crate::route::action::{self, CLOSED};
use crate::route::clause::{Clause, Known};
use crate::route::compile::on;
use crate::route::subject::Facts;
use crate::route::way::{Way, ways};
use crate::translator::{Client, View};
use crate::wire::route::Route;
use crate::wire::route::route_match::PathSpecifier;

/// What can't be expressed of which global rule, and what becomes of it.
pub(crate) type Problems = Vec<(ResourceId, String)>;

/// What becomes of requests that no route takes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Last {
    /// Encoded.
    pub(crate) routes: Vec<Vec<u8>>,
    /// What global rules count.
    pub(crate) limits: Limits,
}

/// Says what becomes of them, or which global rules close all routes.
pub(crate) fn last(view: &View<'_>, consumers: &Consumers) -> Result<Last, Problems> {
    let applied = rules(view, consumers)?;
    let limits = applied.limits.only(true);
    let mut base = Route::default();
    action::answer(&mut base, StatusCode::NOT_FOUND, None, view.client);
    let none = native::Route::default();
    let made = ways(view, &none, &base, applied, &mut BTreeSet::new());
    let facts = Facts {
        client: view.client,
        route_id: "",
        route_name: "",
        service_id: "",
        service_name: "",
        parameters: &[],
    };
    let mut routes = Vec::new();
    // Without a split there is nothing that ways could miss.
    for way in made.unwrap_or_default() {
        let known = on(&way, &Known::always(), &facts);
        routes.extend(
            known
                .closed
                .into_iter()
                .map(|clause| closed(clause, view.client)),
        );
        routes.extend(known.yes.into_iter().map(|clause| open(clause, &way)));
    }
    Ok(Last { routes, limits })
}

/// What the global rules do together. Where there is no route there is nothing to split.
fn rules(view: &View<'_>, consumers: &Consumers) -> Result<Applied, Problems> {
    let global_rules = &view.native.global_rules;
    if view.client == Client::Grpc {
        return each(view, |_, rule| plugin::rule_in_grpc(&rule.plugins))
            .map(|()| Applied::nothing());
    }
    let has_cluster = |name: &str| view.native.clusters.contains_key(name);
    let apply = |global_rules: &BTreeMap<Name, native::GlobalRule>| {
        let context = Context {
            name: "",
            global_rules,
            consumers,
            has_cluster: &has_cluster,
        };
        plugin::apply(&[], &context)
    };
    each(view, |name, rule| {
        apply(&BTreeMap::from([(name.clone(), rule.clone())]))
    })?;
    let mut applied = apply(global_rules).map_err(|unsupported| {
        let first = global_rules.keys().next().cloned();
        let rule = unsupported.rule.clone().or(first);
        rule.map(|rule| problem(rule, &unsupported))
            .into_iter()
            .collect::<Problems>()
    })?;
    for branch in &mut applied.branches {
        if matches!(branch.action, Action::Split(_)) {
            branch.action = Action::Keep;
        }
    }
    Ok(applied)
}

/// Asks for every rule, so that the operator is told of all at once.
fn each(
    view: &View<'_>,
    apply: impl Fn(&Name, &native::GlobalRule) -> Result<Applied, Unsupported>,
) -> Result<(), Problems> {
    let rules = view.native.global_rules.iter();
    let problems: Problems = rules
        .filter_map(|(name, rule)| Some(problem(name.clone(), &apply(name, rule).err()?)))
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

fn problem(rule: Name, unsupported: &Unsupported) -> (ResourceId, String) {
    let id = ResourceId::new(TypeUrl::GLOBAL_RULE, rule);
    (id, format!("{unsupported}; every request is answered 503"))
}

fn everything() -> PathSpecifier {
    PathSpecifier::Prefix(String::new())
}

fn closed(clause: Clause, client: Client) -> Vec<u8> {
    let mut route = Route {
        r#match: Some(clause.into_match(everything())),
        ..Route::default()
    };
    let status = StatusCode::SERVICE_UNAVAILABLE;
    action::answer(&mut route, status, Some(CLOSED), client);
    route.encode_to_vec()
}

fn open(clause: Clause, way: &Way) -> Vec<u8> {
    let mut matched = clause.into_match(everything());
    way.limit(&mut matched);
    let route = Route {
        r#match: Some(matched),
        ..way.route.clone()
    };
    route.encode_to_vec()
}
