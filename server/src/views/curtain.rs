//! Owns what of a fleet's native resources a node is shown that nothing vouches for: the same, without
//! what holds a secret. What needs one fails closed, with a reason. A change costs what it touches.
//! Must not know: who such a node is, or how it is served.

use std::collections::{BTreeMap, BTreeSet};

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::resource::Resource;
use bellwether::set::{Difference, ResourceSet};
use bellwether::snapshot::{Changes, Snapshot};
use bellwether::wire::native;
use bellwether::wire::native::route::Action;
use prost::Message;
use serde_json::json;

use super::secret;

/// What the name of a plugin begins with whose settings are not shown. No proxy runs a plugin of such a
/// name, so every proxy fails closed where it stands.
const WITHHELD: &str = "withheld:";

/// Why, for people.
const WHY: &str = "may hold secrets, and nothing vouches for this node";

/// What was shown so far.
#[derive(Debug, Default)]
pub(super) struct Curtain {
    seen: Snapshot,
    /// Clusters that are not shown.
    hidden: BTreeSet<Name>,
    /// The routes to each cluster.
    users: BTreeMap<Name, BTreeSet<Name>>,
    /// What is not shown as it is, and what becomes of it.
    notes: BTreeMap<ResourceId, Vec<String>>,
}

impl Curtain {
    /// What is different for those who are shown this, now that `native` is in force.
    pub(super) fn update(&mut self, native: &Snapshot) -> Changes {
        let old = std::mem::replace(&mut self.seen, native.clone());
        let mut changes = Changes::default();
        let mut stale = BTreeSet::new();
        each(&old, native, &TypeUrl::ENDPOINTS, |resource, is_there| {
            let shown = is_there.then(|| resource.clone());
            put(&mut changes, resource.id(), shown);
        });
        each(&old, native, &TypeUrl::GLOBAL_RULE, |resource, is_there| {
            self.notes.remove(resource.id());
            let shown = is_there.then(|| self.rule(resource)).flatten();
            put(&mut changes, resource.id(), shown);
        });
        each(&old, native, &TypeUrl::CLUSTER, |resource, is_there| {
            let name = resource.name();
            self.notes.remove(resource.id());
            let shown = is_there.then(|| self.cluster(resource)).flatten();
            let hides = is_there && shown.is_none();
            let hid = match hides {
                true => !self.hidden.insert(name.clone()),
                false => self.hidden.remove(name),
            };
            if hid != hides {
                stale.extend(self.users.get(name).into_iter().flatten().cloned());
            }
            put(&mut changes, resource.id(), shown);
        });
        each(&old, native, &TypeUrl::ROUTE, |resource, _| {
            stale.insert(resource.name().clone());
        });
        let route = |snapshot: &Snapshot, name: &Name| {
            let published = snapshot.published(&TypeUrl::ROUTE)?;
            published.set().get(name).cloned()
        };
        for name in stale {
            if let Some(before) = route(&old, &name) {
                self.unlink(&before);
            }
            let id = ResourceId::new(TypeUrl::ROUTE, name.clone());
            self.notes.remove(&id);
            let shown = route(native, &name).and_then(|resource| self.route(&resource));
            put(&mut changes, &id, shown);
        }
        changes
    }

    /// What is not shown as it is, and what becomes of it.
    pub(super) fn notes(&self) -> impl Iterator<Item = (&ResourceId, &String)> {
        let all = self.notes.iter();
        all.flat_map(|(id, notes)| notes.iter().map(move |note| (id, note)))
    }

    fn route(&mut self, resource: &Resource) -> Option<Resource> {
        for id in resource.refers() {
            let users = self.users.entry(id.name.clone()).or_default();
            users.insert(resource.name().clone());
        }
        let mut route = native::Route::decode(resource.body()).ok()?;
        let mut notes = veil(&mut route.plugins);
        let mut refers = resource.refers().to_vec();
        if let Some(Action::Cluster(cluster)) = &route.action
            && self.hidden.contains(cluster.as_str())
        {
            let reason = format!("{cluster} presents a client certificate, whose key {WHY}");
            notes.push(format!("answers 503: {reason}"));
            let respond = native::DirectResponse {
                status: 503,
                reason,
            };
            route.action = Some(Action::Respond(respond));
            refers.clear();
        }
        self.shown(resource, notes, &route, refers)
    }

    fn rule(&mut self, resource: &Resource) -> Option<Resource> {
        let mut rule = native::GlobalRule::decode(resource.body()).ok()?;
        let notes = veil(&mut rule.plugins);
        self.shown(resource, notes, &rule, resource.refers().to_vec())
    }

    /// `None`: it is of no use without its secret.
    fn cluster(&mut self, resource: &Resource) -> Option<Resource> {
        let mut cluster = native::Cluster::decode(resource.body()).ok()?;
        let tls = cluster.tls.as_ref();
        if tls
            .is_some_and(|tls| tls.client_key_pair.is_some() || !tls.client_certificate.is_empty())
        {
            let note = format!("is not told: it presents a client certificate, whose key {WHY}");
            self.notes.insert(resource.id().clone(), vec![note]);
            return None;
        }
        let mut notes = Vec::new();
        if let Some(check) = &mut cluster.health_check
            && let Some(active) = &check.active
            && active
                .request_headers
                .iter()
                .any(|line| secret::is_in_header(line))
        {
            notes.push(format!("is not probed: the headers of its probes {WHY}"));
            check.active = None;
        }
        self.shown(resource, notes, &cluster, resource.refers().to_vec())
    }

    /// The resource itself where nothing had to be changed, so that its bytes are shared.
    fn shown(
        &mut self,
        resource: &Resource,
        notes: Vec<String>,
        message: &impl Message,
        refers: Vec<ResourceId>,
    ) -> Option<Resource> {
        if notes.is_empty() {
            return Some(resource.clone());
        }
        let id = resource.id().clone();
        self.notes.insert(id.clone(), notes);
        Some(Resource::new(id, message, refers))
    }

    fn unlink(&mut self, route: &Resource) {
        for id in route.refers() {
            if let Some(users) = self.users.get_mut(&id.name) {
                users.remove(route.name());
                if users.is_empty() {
                    self.users.remove(&id.name);
                }
            }
        }
    }
}

/// What differs of a type, each with whether it is still there.
fn each(from: &Snapshot, to: &Snapshot, type_url: &TypeUrl, mut look: impl FnMut(&Resource, bool)) {
    let set = |snapshot: &Snapshot| {
        let published = snapshot.published(type_url);
        published.map(|published| published.set().as_ref().clone())
    };
    let old: ResourceSet = set(from).unwrap_or_default();
    let new: ResourceSet = set(to).unwrap_or_default();
    for difference in old.diff(&new) {
        match difference {
            Difference::Removed(resource) => look(resource, false),
            Difference::Upsert(resource) => look(resource, true),
        }
    }
}

fn put(changes: &mut Changes, id: &ResourceId, shown: Option<Resource>) {
    match shown {
        Some(resource) => changes.upserts.push(resource),
        None => changes.removals.push(id.clone()),
    }
}

/// Takes the settings out of plugins that may hold secrets; says what becomes of each.
fn veil(plugins: &mut [native::Plugin]) -> Vec<String> {
    let mut notes = Vec::new();
    for plugin in plugins.iter_mut() {
        if secret::is_in_plugin(&plugin.name, &plugin.config) {
            notes.push(format!(
                "answers 503: the settings of {} {WHY}",
                plugin.name
            ));
            plugin.config = json!({ "reason": format!("its settings {WHY}") }).to_string();
            plugin.name.insert_str(0, WITHHELD);
        }
    }
    plugins.sort_by(|a, b| a.name.cmp(&b.name));
    notes
}

#[cfg(test)]
mod tests;
