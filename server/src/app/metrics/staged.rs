//! Owns the metrics of what staged fleets are served, and of their rollouts as this server sees them.
//! Must not know: who scrapes them, or what follows from the numbers.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::OfFleet;
use crate::staged::Staged;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InPhase {
    fleet: String,
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfNodes {
    fleet: String,
    are: &'static str,
}

/// Gauges that are read off when somebody asks.
#[derive(Clone, Debug, Default)]
pub(super) struct StagedGauges {
    generation: Family<OfFleet, Gauge>,
    stable: Family<OfFleet, Gauge>,
    target: Family<OfFleet, Gauge>,
    phase: Family<InPhase, Gauge>,
    nodes: Family<OfNodes, Gauge>,
}

impl StagedGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("bellwether_rollout");
        registry.register(
            "generation",
            "Store revision of the decision that is in force here",
            self.generation.clone(),
        );
        registry.register(
            "stable_release",
            "Number of the release that is stable; 0 if none is",
            self.stable.clone(),
        );
        registry.register(
            "target_release",
            "Number of the release that is being rolled out; 0 if none is",
            self.target.clone(),
        );
        registry.register(
            "phase",
            "1 for the phase that the rollout is in",
            self.phase.clone(),
        );
        registry.register(
            "nodes",
            "Nodes at this server that the rollout exposes, and what became of them",
            self.nodes.clone(),
        );
    }

    pub(super) fn clear(&self) {
        for family in [&self.generation, &self.stable, &self.target] {
            family.clear();
        }
        self.phase.clear();
        self.nodes.clear();
    }

    pub(super) fn set(&self, staged: &Staged) {
        let Some(view) = staged.view.borrow().clone() else {
            return;
        };
        let of = || OfFleet {
            fleet: view.fleet.to_string(),
        };
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let state = &view.state;
        let stable = state.stable.map_or(0, |release| release.seq);
        let rollout = state.rollout.as_deref();
        let target = rollout.map_or(0, |rollout| rollout.start.target.seq);
        for (family, value) in [
            (&self.generation, view.generation),
            (&self.stable, stable),
            (&self.target, target),
        ] {
            family.get_or_create(&of()).set(number(value));
        }
        let Some(rollout) = rollout else {
            return;
        };
        let in_phase = InPhase {
            fleet: view.fleet.to_string(),
            phase: rollout.phase.name(),
        };
        self.phase.get_or_create(&in_phase).set(1);
        let exposed = staged.counted.borrow().counted.evidence.exposed();
        for (are, nodes) in [
            ("exposed", exposed.connected),
            ("stable", exposed.stable),
            ("rejecting", exposed.rejected),
            ("failed", exposed.failed),
            ("missing", exposed.missing),
        ] {
            let fleet = view.fleet.to_string();
            let of_nodes = OfNodes { fleet, are };
            self.nodes.get_or_create(&of_nodes).set(number(nodes));
        }
    }
}
