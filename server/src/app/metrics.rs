//! Owns the metrics of fleets and how all metrics become text. Must not know: who scrapes them.

mod staged;

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::fleet::{FleetStatus, StoreState};
use crate::fleets::Served;
use staged::StagedGauges;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFleet {
    fleet: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    fleet: String,
    kind: String,
}

/// Gauges that are read off the fleets' status when somebody asks.
#[derive(Clone, Debug, Default)]
struct FleetGauges {
    revision: Family<OfFleet, Gauge>,
    synced_to: Family<OfFleet, Gauge>,
    store_live: Family<OfFleet, Gauge>,
    store_frozen: Family<OfFleet, Gauge>,
    resyncs: Family<OfFleet, Gauge>,
    bad_keys: Family<OfFleet, Gauge>,
    warnings: Family<OfFleet, Gauge>,
    keys: Family<OfKind, Gauge>,
    resources: Family<OfKind, Gauge>,
}

impl FleetGauges {
    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("bellwether_fleet");
        registry.register(
            "revision",
            "Store revision of the last change in force",
            self.revision.clone(),
        );
        registry.register(
            "synced_to",
            "Store revision up to which every change is known",
            self.synced_to.clone(),
        );
        registry.register(
            "store_live",
            "1 while changes arrive from the store",
            self.store_live.clone(),
        );
        registry.register(
            "store_frozen",
            "1 while the store contradicts itself and an operator must decide",
            self.store_frozen.clone(),
        );
        registry.register(
            "store_resyncs",
            "Times that everything was read again",
            self.resyncs.clone(),
        );
        registry.register(
            "bad_keys",
            "Keys that are not in force as they stand",
            self.bad_keys.clone(),
        );
        registry.register(
            "warnings",
            "Keys that are in force but not as meant",
            self.warnings.clone(),
        );
        registry.register("keys", "Keys in force", self.keys.clone());
        registry.register("resources", "Resources served", self.resources.clone());
    }

    /// A fleet that is not served any more is not told of.
    fn clear(&self) {
        for family in [
            &self.revision,
            &self.synced_to,
            &self.store_live,
            &self.store_frozen,
            &self.resyncs,
            &self.bad_keys,
            &self.warnings,
        ] {
            family.clear();
        }
        self.keys.clear();
        self.resources.clear();
    }

    fn set(&self, status: &FleetStatus) {
        let fleet = OfFleet {
            fleet: status.fleet.clone(),
        };
        let set = |family: &Family<OfFleet, Gauge>, value: u64| {
            family
                .get_or_create(&fleet)
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.revision, status.revision);
        set(&self.synced_to, status.synced_to);
        set(
            &self.store_live,
            (status.store.state == StoreState::Live).into(),
        );
        set(
            &self.store_frozen,
            (status.store.state == StoreState::Frozen).into(),
        );
        set(&self.resyncs, status.store.resyncs);
        set(&self.bad_keys, status.problems.len() as u64);
        set(&self.warnings, status.warnings.len() as u64);
        for (family, counts) in [
            (&self.keys, &status.keys),
            (&self.resources, &status.resources),
        ] {
            for (kind, count) in counts {
                let of_kind = OfKind {
                    fleet: status.fleet.clone(),
                    kind: kind.clone(),
                };
                family
                    .get_or_create(&of_kind)
                    .set(i64::try_from(*count).unwrap_or(i64::MAX));
            }
        }
    }
}

/// Every metric of the server in Prometheus' text format, as of now.
pub(super) fn text(
    mut registry: Registry,
    fleets: Served,
) -> Arc<dyn Fn() -> String + Send + Sync> {
    let gauges = FleetGauges::default();
    gauges.register(&mut registry);
    let staged_gauges = StagedGauges::default();
    staged_gauges.register(&mut registry);
    Arc::new(move || {
        gauges.clear();
        staged_gauges.clear();
        for fleet in fleets.borrow().values() {
            gauges.set(&fleet.status.borrow());
            if let Some(staged) = fleet.staged() {
                staged_gauges.set(staged);
            }
        }
        let mut text = String::new();
        encode(&mut text, &registry).expect("writing to a string does not fail");
        text
    })
}
