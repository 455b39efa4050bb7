//! Owns how Prometheus sees probation. Must not know: how it is decided.

use std::fmt;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use super::ProbationStatus;
use crate::disk::{Disk, Kept};

/// Shows it through `registry`.
pub fn register(registry: &mut Registry, status: watch::Receiver<ProbationStatus>, disk: Disk) {
    registry.register_collector(Box::new(Reader { status, disk }));
}

#[derive(Debug)]
struct Reader {
    status: watch::Receiver<ProbationStatus>,
    disk: Disk,
}

impl Collector for Reader {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.status.borrow().clone();
        let setbacks: u32 = status.setbacks.iter().map(|setback| setback.times).sum();
        let refused = i64::try_from(status.quarantine.len()).unwrap_or(i64::MAX);
        // A clock that was set back makes it new, not older than it is.
        let age = self.disk.written_at(Kept::LastGood).map(|at| {
            let age = SystemTime::now().duration_since(at);
            i64::try_from(age.unwrap_or(Duration::ZERO).as_secs()).unwrap_or(i64::MAX)
        });
        for (name, help, value) in [
            (
                "on_probation",
                "Whether a crash now would be one of the configuration in force",
                Some(i64::from(status.on_probation)),
            ),
            (
                "setbacks",
                "Times that this agent died of a configuration, until another one is stable",
                Some(i64::from(setbacks)),
            ),
            (
                "quarantined_resources",
                "Versions of resources that this agent died of and refuses",
                Some(refused),
            ),
            (
                "last_good_age_seconds",
                "Since when the last good configuration is kept; absent if there is none",
                age,
            ),
        ] {
            let Some(value) = value else { continue };
            let (name, gauge) = (format!("bellwether_agent_{name}"), ConstGauge::new(value));
            gauge.encode(encoder.encode_descriptor(&name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
