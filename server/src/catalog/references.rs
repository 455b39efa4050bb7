//! Owns who refers to whom: the reverse edges that tell what to compile again, and the references of a
//! value that is not stored yet. Must not know: what is made from an item.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::address;
use super::parse::split_upstreams;
use crate::keys::{Item, Kind};

/// For each item that is referred to, there or not, who refers to it.
#[derive(Debug, Default)]
pub(super) struct References(BTreeMap<Item, BTreeSet<Item>>);

impl References {
    /// `from` referred to `before` and now refers to `after`.
    pub(super) fn replace(&mut self, from: &Item, before: &BTreeSet<Item>, after: &BTreeSet<Item>) {
        for gone in before.difference(after) {
            if let Some(referrers) = self.0.get_mut(gone) {
                referrers.remove(from);
                if referrers.is_empty() {
                    self.0.remove(gone);
                }
            }
        }
        for new in after.difference(before) {
            // Not `entry`: the key is cloned only when it is new.
            match self.0.get_mut(new) {
                Some(referrers) => {
                    referrers.insert(from.clone());
                }
                None => {
                    self.0.insert(new.clone(), BTreeSet::from([from.clone()]));
                }
            }
        }
    }

    /// Who refers to an item, in order.
    pub(super) fn of(&self, item: &Item) -> impl Iterator<Item = &Item> {
        self.0.get(item).into_iter().flatten()
    }
}

/// What a value points at, sorted, no item twice: `upstream_id`, `service_id`, `plugin_config_id`,
/// `group_id`, `tls.client_cert_id` of an upstream (inline or not), and the `upstream_id`s in a
/// `traffic-split`. What is not well formed points at nothing; [`super::check`] tells about it.
#[must_use]
pub fn references(kind: Kind, value: &Value) -> Vec<Item> {
    let mut found = BTreeSet::new();
    let mut add = |kind: Kind, id: Option<&Value>| {
        if let Some(id) = id.and_then(|id| address::id(id).ok()) {
            found.insert(Item::new(kind, id));
        }
    };
    match kind {
        Kind::Route => {
            add(Kind::Service, value.get("service_id"));
            add(Kind::PluginConfig, value.get("plugin_config_id"));
            add(Kind::Upstream, value.get("upstream_id"));
        }
        Kind::Service | Kind::StreamRoute => {
            add(Kind::Service, value.get("service_id"));
            add(Kind::Upstream, value.get("upstream_id"));
        }
        Kind::Consumer => add(Kind::ConsumerGroup, value.get("group_id")),
        Kind::Upstream
        | Kind::Ssl
        | Kind::ConsumerGroup
        | Kind::PluginConfig
        | Kind::GlobalRule
        | Kind::PluginMetadata
        | Kind::Proto
        | Kind::Secret => {}
    }
    let upstream = match kind {
        Kind::Upstream => Some(value),
        Kind::Route | Kind::Service | Kind::StreamRoute => value.get("upstream"),
        _ => None,
    };
    add(
        Kind::Ssl,
        upstream.and_then(|upstream| upstream.get("tls")?.get("client_cert_id")),
    );
    let split = value
        .get("plugins")
        .and_then(|plugins| plugins.get("traffic-split")?.as_object());
    found.extend(split_upstreams(split).map(|id| Item::new(Kind::Upstream, id)));
    found.into_iter().collect()
}
