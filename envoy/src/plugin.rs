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

use bellwether::name::Name;
use bellwether::plugins::is_run_by_agent;
use bellwether::wire::native;

use self::chain::{Effect, Fork};
use self::config::Options;
pub(crate) use self::consumers::Consumers;
pub(crate) use self::limit::Limits;
use self::order::Step;
pub(crate) use self::value::LONGEST_HEADER;
use crate::any::Any;
use crate::translator::View;
use crate::wire::hcm::HttpFilter;
use crate::wire::hcm::http_filter::ConfigType;
use crate::wire::http_filter::filter_chain::v3 as filter_chain;
use crate::wire::http_filter::router::v3::Router;
use crate::wire::matcher::RegexMatchAndSubstitute;
use crate::wire::route::{HeaderMatcher, RateLimit, RedirectAction};

/// The filter that runs a route's plugins, by the name that routes configure it with.
pub(crate) const FILTER: &str = "bellwether.plugins";

/// Branches of one route. More would make a list of routes that nobody can follow.
const MAX_BRANCHES: usize = 32;

/// The HTTP filters of every connection manager; the router is the last. They stay as they are when
/// routes change. What Envoy says of itself to upstreams (`x-envoy-…`) is left out.
pub(crate) fn http_filters(_view: &View<'_>) -> Vec<HttpFilter> {
    let router = Router {
        suppress_envoy_headers: true,
        ..Router::default()
    };
    vec![
        http_filter(FILTER, &filter_chain::FilterChainConfig::default()),
        http_filter("envoy.filters.http.router", &router),
    ]
}

fn http_filter(name: &str, config: &impl prost::Name) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(Any::pack(config))),
        ..HttpFilter::default()
    }
}

/// A plugin, or an option of one, that Envoy can't express. The route answers 503.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("needs {plugin}, which can't be expressed: {reason}")]
pub(crate) struct Unsupported {
    /// Its name.
    pub(crate) plugin: String,
    /// The global rule it stands in.
    pub(crate) rule: Option<Name>,
    /// Which option, and why.
    pub(crate) reason: String,
}

/// What a route's plugins depend on.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The route's name.
    pub(crate) name: &'a str,
    /// By name: they run before a route's own plugins.
    pub(crate) global_rules: &'a BTreeMap<Name, native::GlobalRule>,
    /// Who may authenticate.
    pub(crate) consumers: &'a Consumers,
    /// Whether there is a cluster of this name.
    pub(crate) has_cluster: &'a dyn Fn(&str) -> bool,
}

/// What becomes of a route.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Applied {
    /// In order; a request takes the first whose conditions it meets. The last has none.
    pub(crate) branches: Vec<Branch>,
    /// What is counted, for the route configuration.
    pub(crate) limits: Limits,
    /// How it differs harmlessly from APISIX; for the operator.
    pub(crate) notes: Vec<String>,
}

impl Applied {
    /// A route as it is.
    pub(crate) fn nothing() -> Self {
        Self {
            branches: vec![Branch::default()],
            limits: Limits::default(),
            notes: Vec::new(),
        }
    }
}

/// One way through a route.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Branch {
    /// All must match.
    pub(crate) headers: Vec<HeaderMatcher>,
    /// Must be true, besides.
    pub(crate) conditions: Vec<native::Expression>,
    /// What is done.
    pub(crate) action: Action,
    /// The path sent to the upstream, from the path without its query.
    pub(crate) path: Option<RegexMatchAndSubstitute>,
    /// The host sent to the upstream, where the cluster passes the client's own (`pass_host: pass`).
    pub(crate) host: Option<String>,
    /// What a request is counted for.
    pub(crate) rate_limits: Vec<RateLimit>,
    /// For `Route.typed_per_filter_config`.
    pub(crate) filter_config: BTreeMap<String, Any>,
}

/// What is done with a request in the end.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Action {
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
pub(crate) struct Share {
    /// `None`: the route's own.
    pub(crate) cluster: Option<String>,
    /// Relative to the others.
    pub(crate) weight: u32,
}

/// Whether plugins depend on [`Context::consumers`]: a route must be made again when they change.
#[must_use]
pub(crate) fn uses_consumers(plugins: &[native::Plugin]) -> bool {
    plugins.iter().any(|plugin| auth::is_auth(&plugin.name))
}

/// Whether plugins depend on [`Context::has_cluster`]: a route must be made again when clusters come
/// and go.
pub(crate) fn uses_clusters(plugins: &[native::Plugin]) -> bool {
    plugins.iter().any(|plugin| plugin.name == split::NAME)
}

/// The same for a route of a program without a proxy, a gRPC client: it runs no plugin, so it can honour
/// none but `traffic-split`, which is routing, and those that only observe. A client that skipped any
/// other would bypass it.
pub(crate) fn apply_to_grpc(
    plugins: &[native::Plugin],
    context: &Context<'_>,
) -> Result<Applied, Unsupported> {
    let global_rules = &BTreeMap::new();
    let (splits, others): (Vec<_>, Vec<_>) = plugins
        .iter()
        .cloned()
        .partition(|plugin| plugin.name == split::NAME);
    rule_in_grpc(&others)?;
    apply(
        &splits,
        &Context {
            global_rules,
            ..*context
        },
    )
}

/// The same for the plugins of a global rule.
pub(crate) fn rule_in_grpc(plugins: &[native::Plugin]) -> Result<Applied, Unsupported> {
    match plugins.iter().find(|one| !is_run_by_agent(&one.name)) {
        None => Ok(Applied::nothing()),
        Some(plugin) => Err(Unsupported {
            plugin: plugin.name.clone(),
            rule: None,
            reason: "a gRPC client runs no plugins".to_owned(),
        }),
    }
}

/// Makes Envoy's configuration of a route's plugins and of the global rules.
pub(crate) fn apply(
    plugins: &[native::Plugin],
    context: &Context<'_>,
) -> Result<Applied, Unsupported> {
    let globals = context
        .global_rules
        .iter()
        .flat_map(|(name, rule)| rule.plugins.iter().map(move |plugin| (Some(name), plugin)));
    let own = plugins.iter().map(|plugin| (None, plugin));
    let mut parts = globals
        .chain(own)
        .filter(|(_, plugin)| !is_run_by_agent(&plugin.name))
        .map(|(rule, plugin)| part(rule, plugin))
        .collect::<Result<Vec<_>, _>>()?;
    order::sort(&mut parts);
    let mut steps: Vec<Step> = Vec::new();
    let mut notes = Vec::new();
    for Part { mut step, options } in parts {
        if auth::is_auth(&step.plugin) {
            check_auth(&steps, &step)?;
        }
        let authenticated = steps.iter().any(|step| auth::is_auth(&step.plugin));
        let effects = compile(&step.plugin, options, authenticated, context, &mut notes);
        step.effects = effects.map_err(|reason| step.unsupported(reason))?;
        steps.push(step);
    }
    let (branches, limits) = branches(&steps, context.name)?;
    notes.sort();
    notes.dedup();
    Ok(Applied {
        branches,
        limits,
        notes,
    })
}

/// Two plugins that each name a consumer: which one counts is not ours to guess.
fn check_auth(before: &[Step], step: &Step) -> Result<(), Unsupported> {
    match before.iter().find(|step| auth::is_auth(&step.plugin)) {
        None => Ok(()),
        Some(first) => {
            let first = &first.plugin;
            let reason = format!("{first} is there too; only one can say who asks");
            Err(step.unsupported(reason))
        }
    }
}

/// A plugin whose options are still to be read.
struct Part {
    step: Step,
    options: Options,
}

/// Says when a plugin runs.
fn part(rule: Option<&Name>, plugin: &native::Plugin) -> Result<Part, Unsupported> {
    let read = || {
        let (priority, phase) =
            order::of(&plugin.name).ok_or_else(|| "it is not known here".to_owned())?;
        let mut options = Options::parse(&plugin.config)?;
        let priority = options.meta()?.priority.unwrap_or(priority);
        let step = Step {
            rule: rule.cloned(),
            phase,
            priority,
            plugin: plugin.name.clone(),
            effects: Vec::new(),
        };
        Ok(Part { step, options })
    };
    read().map_err(|reason| Unsupported {
        plugin: plugin.name.clone(),
        rule: rule.cloned(),
        reason,
    })
}

fn compile(
    plugin: &str,
    mut options: Options,
    authenticated: bool,
    context: &Context<'_>,
    notes: &mut Vec<String>,
) -> Result<Vec<Effect>, String> {
    options.authenticated = authenticated;
    let options = &mut options;
    let consumers = context.consumers;
    let mut said = Vec::new();
    let effects = match plugin {
        "request-id" => identity::request_id(options)?,
        "fault-injection" => fault::fault_injection(options)?,
        "cors" => cors::cors(options)?,
        "ip-restriction" => restriction::ip_restriction(options, &mut said)?,
        "key-auth" => auth::key_auth(options, consumers, &mut said)?,
        "basic-auth" => auth::basic_auth(options, consumers, &mut said)?,
        "jwt-auth" => jwt::jwt_auth(options, consumers, &mut said)?,
        "proxy-rewrite" => rewrite::proxy_rewrite(options)?,
        "response-rewrite" => rewrite::response_rewrite(options)?,
        "limit-count" => limit::limit_count(options, &mut said)?,
        "limit-req" => limit::limit_req(options, &mut said)?,
        "redirect" => redirect::redirect(options)?,
        split::NAME => split::traffic_split(options, context)?,
        _ => return Err("it is not known here".to_owned()),
    };
    options.finish()?;
    notes.extend(said.into_iter().map(|note| format!("{plugin}: {note}")));
    Ok(effects)
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
fn branches(steps: &[Step], name: &str) -> Result<(Vec<Branch>, Limits), Unsupported> {
    let mut all = vec![Open::default()];
    let mut responses = Vec::new();
    let mut limits = Limits::default();
    for step in steps {
        for effect in &step.effects {
            let open = all.iter_mut().filter(|open| !open.ended);
            match effect {
                Effect::Response(change) => responses.push(change.clone()),
                Effect::Filter(filter) => open.for_each(|open| open.add(step, filter)),
                Effect::Path(path) => {
                    for open in open {
                        if open.branch.path.replace(path.clone()).is_some() {
                            let reason = "the path is rewritten twice".to_owned();
                            return Err(step.unsupported(reason));
                        }
                    }
                }
                Effect::Host(host) => open.for_each(|open| open.branch.host = Some(host.clone())),
                Effect::Limit(limit) => {
                    let owner = step.rule.as_ref().map_or(name, Name::as_str);
                    let id = format!("{owner}/{}", step.plugin);
                    let (group, said, buckets) = limit.counted(step.rule.is_some(), &id);
                    limits.extend(&buckets);
                    open.for_each(|open| open.count(group, &said));
                }
                Effect::Forks(forks) => all = fork(&all, forks),
            }
        }
        if all.len() > MAX_BRANCHES {
            return Err(step.unsupported("the route would have too many branches".to_owned()));
        }
    }
    let close = |open| close(open, &responses);
    Ok((all.into_iter().map(close).collect(), limits))
}

impl Open {
    fn add(&mut self, step: &Step, filter: &chain::Filter) {
        let name = filter.name_in(step);
        if let Some(config) = &filter.per_route {
            let kept = &mut self.branch.filter_config;
            kept.insert(name.clone(), config.clone());
        }
        self.filters.push((name, filter.config.clone()));
    }

    /// One filter counts all limits of its group.
    fn count(&mut self, group: limit::Group, said: &[RateLimit]) {
        let name = group.name();
        if self.filters.iter().all(|(other, _)| *other != name) {
            self.filters.push((name, group.filter()));
        }
        self.branch.rate_limits.extend(said.iter().cloned());
    }
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
