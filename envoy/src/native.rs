//! Owns the native resources of a fleet, decoded, and what is different since the last look.
//! Must not know: Envoy.

use std::collections::{BTreeMap, BTreeSet};

use bellwether::name::{Name, TypeUrl};
use bellwether::set::{Difference, ResourceSet};
use bellwether::snapshot::Snapshot;
use bellwether::wire::native;
use prost::Message;

/// All native resources of a fleet, decoded.
#[derive(Debug, Default)]
pub(crate) struct Native {
    /// Routes by name: `routes/1`.
    pub(crate) routes: BTreeMap<Name, native::Route>,
    /// Clusters by name: `upstreams/1`, or the route or service that an upstream stands in.
    pub(crate) clusters: BTreeMap<Name, native::Cluster>,
    /// Endpoints by name.
    pub(crate) endpoints: BTreeMap<Name, native::Endpoints>,
    /// Certificates by name: `ssls/1`.
    pub(crate) certificates: BTreeMap<Name, native::Certificate>,
    /// Consumers by name: `consumers/jack`.
    pub(crate) consumers: BTreeMap<Name, native::Consumer>,
    /// Global rules by name: `global_rules/1`.
    pub(crate) global_rules: BTreeMap<Name, native::GlobalRule>,
}

/// Which native resources are new, different or gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    /// Routes.
    pub(crate) routes: BTreeSet<Name>,
    /// Clusters.
    pub(crate) clusters: BTreeSet<Name>,
    /// Endpoints.
    pub(crate) endpoints: BTreeSet<Name>,
    /// Certificates.
    pub(crate) certificates: BTreeSet<Name>,
    /// Consumers.
    pub(crate) consumers: BTreeSet<Name>,
    /// Global rules.
    pub(crate) global_rules: BTreeSet<Name>,
}

impl Native {
    /// Goes from one snapshot to the next. Costs what differs.
    pub(crate) fn update(&mut self, from: &Snapshot, to: &Snapshot) -> Touched {
        Touched {
            routes: follow(&mut self.routes, &TypeUrl::ROUTE, from, to),
            clusters: follow(&mut self.clusters, &TypeUrl::CLUSTER, from, to),
            endpoints: follow(&mut self.endpoints, &TypeUrl::ENDPOINTS, from, to),
            certificates: follow(&mut self.certificates, &TypeUrl::CERTIFICATE, from, to),
            consumers: follow(&mut self.consumers, &TypeUrl::CONSUMER, from, to),
            global_rules: follow(&mut self.global_rules, &TypeUrl::GLOBAL_RULE, from, to),
        }
    }

    /// Everything, as if it were new.
    #[must_use]
    pub(crate) fn all(&self) -> Touched {
        Touched {
            routes: self.routes.keys().cloned().collect(),
            clusters: self.clusters.keys().cloned().collect(),
            endpoints: self.endpoints.keys().cloned().collect(),
            certificates: self.certificates.keys().cloned().collect(),
            consumers: self.consumers.keys().cloned().collect(),
            global_rules: self.global_rules.keys().cloned().collect(),
        }
    }
}

impl Touched {
    /// Whether nothing is different.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn follow<M: Message + Default>(
    decoded: &mut BTreeMap<Name, M>,
    type_url: &TypeUrl,
    from: &Snapshot,
    to: &Snapshot,
) -> BTreeSet<Name> {
    let empty = ResourceSet::default();
    let set = |snapshot: &'_ Snapshot| {
        snapshot
            .published(type_url)
            .map(|published| published.set().clone())
    };
    let (old, new) = (set(from), set(to));
    let old = old.as_deref().unwrap_or(&empty);
    let new = new.as_deref().unwrap_or(&empty);
    let mut touched = BTreeSet::new();
    for difference in old.diff(new) {
        let name = match difference {
            Difference::Removed(old) => {
                decoded.remove(old.name());
                old.name()
            }
            Difference::Upsert(resource) => {
                // A server encodes what it serves itself; bytes that don't decode are no resource.
                match M::decode(resource.body()) {
                    Ok(message) => decoded.insert(resource.name().clone(), message),
                    Err(_) => decoded.remove(resource.name()),
                };
                resource.name()
            }
        };
        touched.insert(name.clone());
    }
    touched
}
