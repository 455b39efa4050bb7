//! Owns the ways through one route: its plugins may divide its requests and send them elsewhere.
//! Must not know: what a plugin is.

use std::collections::BTreeSet;

use bellwether::name::Name;
use bellwether::wire::native::{self, Expression};

use crate::plugin::{Action as Told, Applied, Branch, Share};
use crate::route::action;
use crate::translator::{Client, View};
use crate::wire::core::RuntimeFractionalPercent;
use crate::wire::route::route::Action;
use crate::wire::route::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use crate::wire::route::weighted_cluster::ClusterWeight;
use crate::wire::route::{HeaderMatcher, Route, RouteAction, RouteMatch, WeightedCluster};
use crate::wire::types::FractionalPercent;
use crate::wire::types::fractional_percent::DenominatorType;

/// What shares of requests are counted in.
const MILLION: u64 = 1_000_000;

/// Why a share can't go where the route itself would.
const NO_UPSTREAM: &str = "the route has no upstream of its own";

/// One way: who goes it, and what becomes of them.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) headers: Vec<HeaderMatcher>,
    pub(crate) conditions: Vec<Expression>,
    /// How many in a million go this way or one before it; `None`: all.
    fraction: Option<u32>,
    pub(crate) route: Route,
}

impl Way {
    /// Lets only its share pass. Envoy throws the dice once for a request, so shares add up.
    pub(crate) fn limit(&self, matched: &mut RouteMatch) {
        matched.runtime_fraction = self.fraction.map(|numerator| RuntimeFractionalPercent {
            default_value: Some(FractionalPercent {
                numerator,
                denominator: DenominatorType::Million.into(),
            }),
            ..RuntimeFractionalPercent::default()
        });
    }
}

/// All ways, in order, and the clusters that they lead to. `base` is what the route does by itself.
pub(crate) fn ways(
    view: &View<'_>,
    native: &native::Route,
    base: &Route,
    applied: Applied,
    clusters: &mut BTreeSet<Name>,
) -> Result<Vec<Way>, String> {
    let mut ways = Vec::new();
    for branch in applied.branches {
        let mut make = |fraction, route: &Route| {
            let mut route = route.clone();
            finish(&mut route, &branch);
            ways.push(Way {
                headers: branch.headers.clone(),
                conditions: branch.conditions.clone(),
                fraction,
                route,
            });
        };
        match &branch.action {
            Told::Keep => make(None, base),
            Told::Redirect(redirect) => {
                let action = Some(Action::Redirect(redirect.clone()));
                make(
                    None,
                    &Route {
                        action,
                        ..Route::default()
                    },
                );
            }
            Told::Split(shares) if view.client == Client::Grpc => {
                make(None, &weighted(view, native, base, shares, clusters)?);
            }
            Told::Split(shares) => {
                for (fraction, cluster) in divided(shares) {
                    match cluster {
                        None if matches!(base.action, Some(Action::Route(_))) => {
                            make(fraction, base);
                        }
                        None => return Err(NO_UPSTREAM.to_owned()),
                        Some(cluster) => {
                            let route = to_cluster(view, native, cluster)?;
                            clusters.insert(Name::from(cluster));
                            make(fraction, &route);
                        }
                    }
                }
            }
        }
    }
    Ok(ways)
}

fn to_cluster(view: &View<'_>, native: &native::Route, cluster: &str) -> Result<Route, String> {
    let message = view.native.clusters.get(&Name::from(cluster));
    let message = message.ok_or_else(|| format!("{cluster} does not exist"))?;
    let forward = action::forward(cluster, native, message, view.client);
    Ok(Route {
        action: Some(Action::Route(forward)),
        ..Route::default()
    })
}

/// One route to several clusters: a gRPC client throws the dice anew for each route (A28).
fn weighted(
    view: &View<'_>,
    native: &native::Route,
    base: &Route,
    shares: &[Share],
    clusters: &mut BTreeSet<Name>,
) -> Result<Route, String> {
    let mut weights = Vec::new();
    let mut hashes = Vec::new();
    for share in shares.iter().filter(|share| share.weight > 0) {
        let route = match &share.cluster {
            Some(cluster) => {
                clusters.insert(Name::from(cluster.as_str()));
                to_cluster(view, native, cluster)?
            }
            None => base.clone(),
        };
        let Some(Action::Route(forward)) = route.action else {
            return Err(NO_UPSTREAM.to_owned());
        };
        let Some(ClusterSpecifier::Cluster(name)) = forward.cluster_specifier else {
            return Err(NO_UPSTREAM.to_owned());
        };
        weights.push(ClusterWeight {
            name,
            weight: Some(share.weight),
            ..ClusterWeight::default()
        });
        if !forward.hash_policy.is_empty() && !hashes.contains(&forward.hash_policy) {
            hashes.push(forward.hash_policy);
        }
    }
    if hashes.len() > 1 {
        return Err("its upstreams hash by different keys".to_owned());
    }
    let forward = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: weights,
            ..WeightedCluster::default()
        })),
        hash_policy: hashes.pop().unwrap_or_default(),
        ..RouteAction::default()
    };
    Ok(Route {
        action: Some(Action::Route(forward)),
        ..Route::default()
    })
}

/// The shares as steps of a ladder from 0 to a million; the last takes the rest.
fn divided(shares: &[Share]) -> Vec<(Option<u32>, Option<&str>)> {
    let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
    let taken: Vec<&Share> = shares.iter().filter(|share| share.weight > 0).collect();
    let mut sum = 0;
    let last = taken.len().saturating_sub(1);
    let steps = taken.into_iter().enumerate().map(|(at, share)| {
        sum += u64::from(share.weight);
        let step = u32::try_from(sum * MILLION / total.max(1)).ok();
        (step.filter(|_| at < last), share.cluster.as_deref())
    });
    steps.collect()
}

fn finish(route: &mut Route, branch: &Branch) {
    route
        .typed_per_filter_config
        .clone_from(&branch.filter_config);
    let Some(Action::Route(forward)) = &mut route.action else {
        return;
    };
    forward.regex_rewrite.clone_from(&branch.path);
    forward.rate_limits.clone_from(&branch.rate_limits);
    if let Some(host) = &branch.host {
        // What an upstream asks for is stronger (`docs/apisix.md` §3.4).
        forward
            .host_rewrite_specifier
            .get_or_insert_with(|| HostRewriteSpecifier::HostRewriteLiteral(host.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(cluster: Option<&str>, weight: u32) -> Share {
        Share {
            cluster: cluster.map(str::to_owned),
            weight,
        }
    }

    #[test]
    fn shares_add_up_to_all() {
        let shares = [
            share(Some("a"), 1),
            share(None, 0),
            share(None, 2),
            share(Some("b"), 1),
        ];
        assert_eq!(
            divided(&shares),
            [
                (Some(250_000), Some("a")),
                (Some(750_000), None),
                (None, Some("b"))
            ]
        );
        assert_eq!(divided(&[share(None, 7)]), [(None, None)]);
        let large = [share(Some("a"), u32::MAX), share(None, 1)];
        assert_eq!(divided(&large)[0].0, Some(999_999));
    }
}
