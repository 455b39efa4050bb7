//! Owns Envoy's clusters, with their endpoints. Must not know: routes, listeners.

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::wire::native;

use crate::made::Made;
use crate::translator::View;

/// What must be looked at to make a cluster, besides itself.
pub(crate) fn uses(cluster: &native::Cluster) -> Vec<ResourceId> {
    let mut uses = vec![ResourceId::new(
        TypeUrl::ENDPOINTS,
        cluster.endpoints.as_str(),
    )];
    let certificate = cluster.tls.as_ref().map(|tls| &tls.client_certificate);
    if let Some(name) = certificate.filter(|name| !name.is_empty()) {
        uses.push(ResourceId::new(TypeUrl::CERTIFICATE, name.as_str()));
    }
    uses
}

pub(crate) fn compile(_view: &View<'_>, _name: &Name, _cluster: &native::Cluster) -> Made {
    Made::default()
}
