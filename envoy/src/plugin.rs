//! Owns what a route's plugins become in Envoy: filters that run for this route alone, in APISIX's
//! order, conditions that divide the route, and another action. What can't be said exactly enough is
//! an error that names the plugin and its option, and the route fails closed.
//! Must not know: how requests find the route, or who asks.
//!
//! Every connection manager has one filter, `filter_chain`, which runs nothing by itself: each route
//! carries its own chain. A change of a route or of a consumer never touches a listener.

mod auth;
mod chain;
mod config;
mod consumers;
mod cors;
mod fault;
mod identity;
mod jwk;
mod jwt;
mod limit;
mod order;
mod redirect;
mod regex;
mod restriction;
mod rewrite;
mod split;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bellwether::plugins::is_run_by_agent;
use bellwether::wire::native;

use self::chain::{Effect, Fork};
use self::config::Options;
pub use self::consumers::Consumers;
use self::order::Step;
use crate::any::Any;
use crate::wire::hcm::HttpFilter;
use crate::wire::hcm::http_filter::ConfigType;
use crate::wire::http_filter::filter_chain::v3 as filter_chain;
use crate::wire::matcher::RegexMatchAndSubstitute;
use crate::wire::route::{HeaderMatcher, RedirectAction};

/// The filter that runs a route's plugins, by the name that routes configure it with.
pub const FILTER: &str = "bellwether.plugins";

/// Branches of one route. More would make a list of routes that nobody can follow.
const MAX_BRANCHES: usize = 32;

/// The HTTP filters of every connection manager, before the router. They do nothing until a route's
/// `typed_per_filter_config` says what.
#[must_use]
pub fn http_filters() -> Vec<HttpFilter> {
    vec![HttpFilter {
        name: FILTER.to_owned(),
        is_optional: false,
        disabled: false,
        config_type: Some(ConfigType::TypedConfig(Any::pack(
            &filter_chain::FilterChainConfig::default(),
        ))),
    }]
}

/// A plugin, or an option of one, that Envoy can't express. The route answers 503.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin {plugin} can't be run by Envoy: {reason}")]
pub struct Unsupported {
    /// Its name.
    pub plugin: String,
    /// Which option, and why.
    pub reason: String,
}

/// What a route's plugins depend on.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// By name, in the order of their names: they run before a route's own plugins.
    pub global_rules: &'a BTreeMap<String, native::GlobalRule>,
    /// Who may authenticate.
    pub consumers: &'a Consumers,
    /// Whether the snapshot has a cluster of this name.
    pub has_cluster: &'a dyn Fn(&str) -> bool,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

/// What becomes of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// In order; a request takes the first whose conditions it meets. The last has none.
    pub branches: Vec<Branch>,
    /// How it differs harmlessly from APISIX; for the operator.
    pub notes: Vec<String>,
}

/// One way through a route.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Branch {
    /// All must match.
    pub headers: Vec<HeaderMatcher>,
    /// Must be true, besides.
    pub conditions: Vec<native::Expression>,
    /// What is done.
    pub action: Action,
    /// The path sent to the upstream, from the path without its query.
    pub path: Option<RegexMatchAndSubstitute>,
    /// The host sent to the upstream, where the cluster passes the client's own (`pass_host: pass`).
    pub host: Option<String>,
    /// For `Route.typed_per_filter_config`.
    pub filter_config: BTreeMap<String, Any>,
}

/// What is done with a request in the end.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Action {
    /// What the route does anyway.
    #[default]
    Keep,
    /// The client is sent elsewhere.
    Redirect(RedirectAction),
    /// Several clusters share the requests.
    Split(Vec<Share>),
}

/// A cluster and its weight; the weights of all are more than 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// `None`: the route's own.
    pub cluster: Option<String>,
    /// Relative to the others.
    pub weight: u32,
}

/// Whether the plugins depend on [`Context::consumers`], so that the route must be made again when
/// they change.
#[must_use]
pub fn uses_consumers(plugins: &[native::Plugin]) -> bool {
    plugins
        .iter()
        .any(|plugin| auth::is_auth(plugin.name.as_str()))
}

/// Whether a program without a proxy, a gRPC client, can honour these plugins: none but those that only
/// observe. A client that skipped any other would bypass it.
pub fn apply_to_grpc<'a>(
    plugins: impl IntoIterator<Item = &'a native::Plugin>,
) -> Result<(), Unsupported> {
    match plugins
        .into_iter()
        .find(|plugin| !is_run_by_agent(&plugin.name))
    {
        None => Ok(()),
        Some(plugin) => Err(Unsupported {
            plugin: plugin.name.clone(),
            reason: "a gRPC client runs no plugins".to_owned(),
        }),
    }
}

/// Makes Envoy's configuration of a route's plugins and of the global rules.
pub fn apply(plugins: &[native::Plugin], context: &Context<'_>) -> Result<Applied, Unsupported> {
    let mut notes = Vec::new();
    let mut steps = Vec::new();
    let globals = context
        .global_rules
        .iter()
        .flat_map(|(name, rule)| rule.plugins.iter().map(move |plugin| (Some(name), plugin)));
    for (rule, plugin) in globals.chain(plugins.iter().map(|plugin| (None, plugin))) {
        if is_run_by_agent(&plugin.name) {
            continue;
        }
        let unsupported = |reason: String| Unsupported {
            plugin: plugin.name.clone(),
            reason: match rule {
                Some(rule) => format!("{reason} (in {rule})"),
                None => reason,
            },
        };
        let step = compile(plugin, rule.map(String::as_str), context, &mut notes);
        steps.push(step.map_err(unsupported)?);
    }
    check_auth(&steps)?;
    order::sort(&mut steps);
    let branches = branches(&steps)?;
    notes.sort();
    notes.dedup();
    Ok(Applied { branches, notes })
}

/// Two plugins that each name a consumer: which one counts is not ours to guess.
fn check_auth(steps: &[Step]) -> Result<(), Unsupported> {
    let mut auth = steps.iter().filter(|step| auth::is_auth(&step.plugin));
    let first = auth.next();
    match (first, auth.next()) {
        (Some(first), Some(second)) => Err(Unsupported {
            plugin: second.plugin.clone(),
            reason: format!("{} is there too; only one can say who asks", first.plugin),
        }),
        _ => Ok(()),
    }
}

fn compile(
    plugin: &native::Plugin,
    rule: Option<&str>,
    context: &Context<'_>,
    notes: &mut Vec<String>,
) -> Result<Step, String> {
    let (priority, phase) =
        order::of(&plugin.name).ok_or_else(|| "it is not known here".to_owned())?;
    let mut options = Options::parse(&plugin.config)?;
    let meta = options.meta()?;
    let mut said = Vec::new();
    let effects = match plugin.name.as_str() {
        "request-id" => identity::request_id(&mut options)?,
        "fault-injection" => fault::fault_injection(&mut options)?,
        "cors" => cors::cors(&mut options)?,
        "ip-restriction" => restriction::ip_restriction(&mut options, &mut said)?,
        "key-auth" => auth::key_auth(&mut options, context.consumers, &mut said)?,
        "basic-auth" => auth::basic_auth(&mut options, context.consumers, &mut said)?,
        "jwt-auth" => jwt::jwt_auth(&mut options, context.consumers, &mut said)?,
        "proxy-rewrite" => rewrite::proxy_rewrite(&mut options)?,
        "response-rewrite" => rewrite::response_rewrite(&mut options)?,
        "limit-count" => limit::limit_count(&mut options, &mut said)?,
        "limit-req" => limit::limit_req(&mut options, &mut said)?,
        "redirect" => redirect::redirect(&mut options)?,
        "traffic-split" => split::traffic_split(&mut options, context)?,
        _ => return Err("it is not known here".to_owned()),
    };
    options.finish()?;
    notes.extend(
        said.into_iter()
            .map(|note| format!("{}: {note}", plugin.name)),
    );
    Ok(Step {
        rule: rule.map(str::to_owned),
        phase,
        priority: meta.priority.unwrap_or(priority),
        plugin: plugin.name.clone(),
        effects,
    })
}

/// A branch whose chain still grows.
#[derive(Clone, Default)]
struct Open {
    branch: Branch,
    filters: Vec<(String, Any)>,
    /// It was answered: what runs later never sees the request.
    ended: bool,
}

/// Runs through the steps as a request would.
fn branches(steps: &[Step]) -> Result<Vec<Branch>, Unsupported> {
    let mut all = vec![Open::default()];
    let mut responses = Vec::new();
    for step in steps {
        let unsupported = |reason: &str| Unsupported {
            plugin: step.plugin.clone(),
            reason: reason.to_owned(),
        };
        for effect in &step.effects {
            match effect {
                Effect::Response(change) => responses.push(change.clone()),
                Effect::Filter(filter) => {
                    for open in all.iter_mut().filter(|open| !open.ended) {
                        let name = filter.name_in(step);
                        if let Some(config) = &filter.per_route {
                            let kept = &mut open.branch.filter_config;
                            kept.insert(name.clone(), config.clone());
                        }
                        open.filters.push((name, filter.config.clone()));
                    }
                }
                Effect::Path(path) => {
                    for open in all.iter_mut().filter(|open| !open.ended) {
                        if open.branch.path.replace(path.clone()).is_some() {
                            return Err(unsupported("the path is rewritten twice"));
                        }
                    }
                }
                Effect::Host(host) => {
                    for open in all.iter_mut().filter(|open| !open.ended) {
                        open.branch.host = Some(host.clone());
                    }
                }
                Effect::Forks(forks) => all = fork(&all, forks),
            }
        }
        if all.len() > MAX_BRANCHES {
            return Err(unsupported("the route would have too many branches"));
        }
    }
    Ok(all
        .into_iter()
        .map(|open| close(open, &responses))
        .collect())
}

/// Divides every branch that is not answered yet. What meets no fork's conditions goes on as before.
fn fork(all: &[Open], forks: &[Fork]) -> Vec<Open> {
    let mut divided = Vec::new();
    for open in all {
        let mut rest = !open.ended;
        for fork in forks {
            if !rest {
                break;
            }
            let mut taken = open.clone();
            taken.branch.headers.extend(fork.headers.iter().cloned());
            taken.branch.conditions.extend(fork.condition.clone());
            taken.branch.action = fork.action.clone();
            taken.ended = fork.ends;
            rest = !fork.is_unconditional();
            divided.push(taken);
        }
        if rest || open.ended {
            divided.push(open.clone());
        }
    }
    divided
}

fn close(open: Open, responses: &[chain::Change]) -> Branch {
    let Open {
        mut branch,
        mut filters,
        ..
    } = open;
    if !responses.is_empty() {
        // First for requests is last for responses: it sees every answer, whoever gave it.
        let config = chain::responses(responses.to_vec());
        filters.insert(0, ("responses".to_owned(), config));
    }
    if !filters.is_empty() {
        let config = chain::per_route(filters);
        branch.filter_config.insert(FILTER.to_owned(), config);
    }
    branch
}
