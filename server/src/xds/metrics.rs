//! Owns the discovery port's metrics. Must not know: where they are read.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// One type of one fleet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfType {
    pub(super) fleet: String,
    pub(super) r#type: String,
}

/// One fleet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfFleet {
    pub(super) fleet: String,
}

/// The metrics of the discovery port. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct XdsMetrics {
    pub(super) streams: Family<OfFleet, Gauge>,
    pub(super) refused: Counter,
    pub(super) responses: Family<OfFleet, Counter>,
    pub(super) bytes: Family<OfFleet, Counter>,
    pub(super) acks: Family<OfType, Counter>,
    pub(super) nacks: Family<OfType, Counter>,
    pub(super) rejected: Family<OfType, Counter>,
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
