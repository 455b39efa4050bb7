//! Owns the discovery port's metrics: counts what it is told of streams. Must not know: where they are
//! read.

use bellwether::name::{Name, TypeUrl};
use bellwether::rejection::Rejected;
use bellwether::session::Mark;
use bellwether_xds::nodes::Identity;
use bellwether_xds::{Observer, Peer, Status};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// One type of one fleet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfType {
    fleet: String,
    r#type: String,
}

/// One fleet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFleet {
    fleet: String,
}

/// The metrics of the discovery port. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct XdsMetrics {
    streams: Family<OfFleet, Gauge>,
    refused: Counter,
    responses: Family<OfFleet, Counter>,
    bytes: Family<OfFleet, Counter>,
    acks: Family<OfType, Counter>,
    nacks: Family<OfType, Counter>,
    rejected: Family<OfType, Counter>,
}

impl XdsMetrics {
    /// Registers them under `bellwether_xds_`.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("bellwether_xds");
        registry.register("streams", "Open discovery streams", metrics.streams.clone());
        registry.register(
            "refused",
            "Streams ended with an error of the client's",
            metrics.refused.clone(),
        );
        registry.register(
            "responses",
            "Discovery responses sent",
            metrics.responses.clone(),
        );
        registry.register(
            "sent_bytes",
            "Bytes of discovery responses sent",
            metrics.bytes.clone(),
        );
        registry.register(
            "acks",
            "Responses that nodes put in force",
            metrics.acks.clone(),
        );
        registry.register(
            "nacks",
            "Responses that nodes rejected in whole or in part",
            metrics.nacks.clone(),
        );
        registry.register(
            "rejected_resources",
            "Resources that nodes rejected",
            metrics.rejected.clone(),
        );
        metrics
    }
}

impl Observer for XdsMetrics {
    fn connected(&self, node: &Identity) {
        self.streams.get_or_create(&of_fleet(node)).inc();
    }

    fn sent(&self, node: &Identity, bytes: usize) {
        let fleet = of_fleet(node);
        self.responses.get_or_create(&fleet).inc();
        self.bytes.get_or_create(&fleet).inc_by(bytes as u64);
    }

    fn acked(&self, node: &Identity, type_url: &TypeUrl, _: &Mark, _: usize) {
        self.acks.get_or_create(&of_type(node, type_url)).inc();
    }

    fn nacked(&self, node: &Identity, type_url: &TypeUrl, _: &Mark, rejected: &[(Name, Rejected)]) {
        let of_type = of_type(node, type_url);
        self.nacks.get_or_create(&of_type).inc();
        let count = rejected.len() as u64;
        self.rejected.get_or_create(&of_type).inc_by(count);
    }

    fn disconnected(&self, node: &Identity) {
        self.streams.get_or_create(&of_fleet(node)).dec();
    }

    fn refused(&self, _: &Peer, _: &Status) {
        self.refused.inc();
    }
}

fn of_fleet(node: &Identity) -> OfFleet {
    OfFleet {
        fleet: node.group.clone(),
    }
}

fn of_type(node: &Identity, type_url: &TypeUrl) -> OfType {
    OfType {
        fleet: node.group.clone(),
        r#type: type_url.short().to_owned(),
    }
}
