//! Owns which endpoints of a snapshot follow services, found once, and what they are as of now.
//! Must not know: how the snapshot came about, or who is served it.

use std::collections::{BTreeMap, BTreeSet};

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::resource::Resource;
use bellwether::snapshot::{Changes, Inconsistent, Snapshot};
use bellwether::wire::native;
use bellwether_envoy::Client;
use prost::Message;

use super::Instances;

/// The endpoints of one snapshot that follow services. Made once for a snapshot; to lay instances over it
/// costs what they touch.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// The names of endpoints, by service.
    services: BTreeMap<String, BTreeSet<Name>>,
    /// The clusters that use endpoints, decoded, by the name of the endpoints.
    clusters: BTreeMap<Name, Vec<(Name, native::Cluster)>>,
}

impl Overlay {
    /// Looks through the native resources of a snapshot.
    #[must_use]
    pub fn of(native: &Snapshot) -> Self {
        let mut overlay = Self::default();
        let mut followed = BTreeSet::new();
        for resource in all(native, &TypeUrl::ENDPOINTS) {
            // A server encoded what is in a snapshot; bytes that don't decode are no resource.
            let message = native::Endpoints::decode(resource.body()).unwrap_or_default();
            if !message.service_name.is_empty() {
                followed.insert(resource.name().clone());
                let names = overlay.services.entry(message.service_name).or_default();
                names.insert(resource.name().clone());
            }
        }
        for resource in all(native, &TypeUrl::CLUSTER) {
            let of_it =
                |id: &&ResourceId| id.type_url == TypeUrl::ENDPOINTS && followed.contains(&id.name);
            let Some(endpoints) = resource.refers().iter().find(of_it) else {
                continue;
            };
            let message = native::Cluster::decode(resource.body()).unwrap_or_default();
            let users = overlay.clusters.entry(endpoints.name.clone()).or_default();
            users.push((resource.name().clone(), message));
        }
        overlay
    }

    /// The services that are followed.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// What must change of the native resources so that these services have the endpoints they have now. The
    /// same goes for the native resources that are shown without secrets: endpoints hold none.
    #[must_use]
    pub fn native<'a>(
        &self,
        services: impl IntoIterator<Item = &'a str>,
        instances: &Instances,
    ) -> Changes {
        let mut changes = Changes::default();
        for (service, names) in self.named(services) {
            let message = endpoints(service, instances);
            let ids = names
                .iter()
                .map(|name| ResourceId::new(TypeUrl::ENDPOINTS, name.clone()));
            let made = ids.map(|id| Resource::new(id, &message, Vec::new()));
            changes.upserts.extend(made);
        }
        changes
    }

    /// The same for what is made of them for a kind of client. `made` is that snapshot: its clusters are
    /// configuration, and stay as they are.
    #[must_use]
    pub fn translated<'a>(
        &self,
        client: Client,
        made: &Snapshot,
        services: impl IntoIterator<Item = &'a str>,
        instances: &Instances,
    ) -> Changes {
        let mut changes = Changes::default();
        let Some(clusters) = made.published(&TypeUrl::ENVOY_CLUSTER) else {
            return changes;
        };
        for (service, names) in self.named(services) {
            let message = endpoints(service, instances);
            let users = names.iter().filter_map(|name| self.clusters.get(name));
            for (name, native) in users.flatten() {
                // Some are not shown to everybody.
                let Some(cluster) = clusters.set().get(name) else {
                    continue;
                };
                let made = bellwether_envoy::assignment(client, name, native, &message, cluster);
                changes.upserts.extend(made);
            }
        }
        changes
    }

    fn named<'a>(
        &self,
        services: impl IntoIterator<Item = &'a str>,
    ) -> impl Iterator<Item = (&'a str, &BTreeSet<Name>)> {
        let found = |service| Some((service, self.services.get(service)?));
        services.into_iter().filter_map(found)
    }
}

/// A snapshot as a release holds it: what follows a service has no endpoints there. They are none of its
/// content, so that two releases of the same keys are the same whoever was registered.
///
/// # Errors
/// Never, for a snapshot that is consistent.
pub fn without_instances(native: &Snapshot) -> Result<Snapshot, Inconsistent> {
    let overlay = Overlay::of(native);
    let changes = overlay.native(overlay.services(), &Instances::default());
    native.next("", changes)
}

/// The endpoints of a service as of now.
pub(crate) fn endpoints(service: &str, instances: &Instances) -> native::Endpoints {
    native::Endpoints {
        endpoints: instances.endpoints(service),
        service_name: service.to_owned(),
    }
}

fn all<'a>(native: &'a Snapshot, type_url: &TypeUrl) -> impl Iterator<Item = &'a Resource> {
    let published = native.published(type_url);
    published
        .into_iter()
        .flat_map(|published| published.set().iter().map(std::convert::AsRef::as_ref))
}
