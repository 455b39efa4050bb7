//! Owns the proxy's counters and how Prometheus reads them. Counters live where they are counted
//! (in a route, in an upstream), so that a request takes no lock and no look-up to count.
//! Must not know: how a request is served.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::table::Table;

/// Routes that have time series of their own; the rest is counted together as `other`. A scrape of
/// so many is about 2 MB.
const ROUTE_SERIES_MAX: usize = 10_000;

/// Clusters that have time series of their own.
const CLUSTER_SERIES_MAX: usize = 10_000;

/// Upper bounds of the latency histogram, in seconds.
const LATENCY_BOUNDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0,
];

/// Status classes, from 1xx.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Requests that a route took, by status class.
#[derive(Debug, Default)]
pub struct RouteStats {
    by_class: [AtomicU64; CLASSES.len()],
}

impl RouteStats {
    /// Counts one answer.
    pub fn answered(&self, status: http::StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(count) = self.by_class.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Why an attempt to forward failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamFailure {
    /// No connection.
    Connect,
    /// No connection in time, or nothing came or went for too long.
    Timeout,
    /// The connection broke before the response did begin.
    Reset,
    /// The response broke off.
    Truncated,
}

const FAILURES: [(UpstreamFailure, &str); 4] = [
    (UpstreamFailure::Connect, "connect"),
    (UpstreamFailure::Timeout, "timeout"),
    (UpstreamFailure::Reset, "reset"),
    (UpstreamFailure::Truncated, "truncated"),
];

/// What went wrong with a cluster's endpoints.
#[derive(Debug, Default)]
pub struct UpstreamStats {
    failures: [AtomicU64; FAILURES.len()],
}

impl UpstreamStats {
    /// Counts one failed attempt.
    pub fn failed(&self, why: UpstreamFailure) {
        let index = FAILURES.iter().position(|(failure, _)| *failure == why);
        if let Some(count) = index.and_then(|index| self.failures.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Failed attempts of a kind.
    #[must_use]
    pub fn failures(&self, why: UpstreamFailure) -> u64 {
        let index = FAILURES.iter().position(|(failure, _)| *failure == why);
        index
            .and_then(|index| self.failures.get(index))
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

/// Counters of the proxy as a whole.
#[derive(Debug, Default)]
pub struct Metrics {
    latency: Histogram,
    /// Answers with 5xx, of endpoints or our own.
    errors: AtomicU64,
    /// Requests that no route took, by status class.
    pub unmatched: RouteStats,
    /// Requests refused because a plugin they need does not run here.
    pub unsupported: AtomicU64,
    /// Connections of clients that are open.
    pub connections: AtomicI64,
    /// Connections of clients since the start.
    pub accepted: AtomicU64,
    /// Tunnels (websockets) that are open.
    pub tunnels: AtomicI64,
}

impl Metrics {
    /// Makes the counters and shows them, with those in the table, through `registry`.
    pub fn new(registry: &mut Registry, table: Arc<ArcSwap<Table>>) -> Arc<Self> {
        let metrics = Arc::new(Self::default());
        registry.register_collector(Box::new(Reader {
            metrics: metrics.clone(),
            table,
        }));
        metrics
    }

    /// Counts a request that was served to the end.
    pub fn served(&self, took: Duration, status: http::StatusCode) {
        self.latency.observe(took);
        if status.is_server_error() {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was served since the start.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            buckets: read(&self.latency.buckets),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }
}

/// Requests served to the end since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    buckets: [u64; BUCKETS],
    /// Of these, answered with 5xx.
    pub errors: u64,
}

impl Totals {
    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let count = |at: usize| {
            let of = |totals: &Self| totals.buckets.get(at).copied().unwrap_or_default();
            of(self).saturating_sub(of(before))
        };
        Self {
            buckets: std::array::from_fn(count),
            errors: self.errors.saturating_sub(before.errors),
        }
    }

    /// How many.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The time that this part of them took at most (0.5: half of them). It is estimated within a bucket of
    /// the histogram, as Prometheus does; beyond the last bound it is that bound.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Duration {
        let rank = self.requests() as f64 * part;
        let (mut below, mut lower) = (0.0, 0.0);
        for (count, bound) in self.buckets.iter().zip(LATENCY_BOUNDS) {
            let count = *count as f64;
            if count > 0.0 && below + count >= rank {
                let seconds = lower + (bound - lower) * ((rank - below) / count);
                return Duration::from_secs_f64(seconds.max(0.0));
            }
            (below, lower) = (below + count, bound);
        }
        Duration::from_secs_f64(if self.requests() == 0 { 0.0 } else { lower })
    }
}

const BUCKETS: usize = LATENCY_BOUNDS.len() + 1;

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

impl Histogram {
    fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let index = LATENCY_BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let bounds = LATENCY_BOUNDS.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds
            .zip(
                self.buckets
                    .iter()
                    .map(|count| count.load(Ordering::Relaxed)),
            )
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        encoder
            .encode_descriptor(
                "bellwether_proxy_request_seconds",
                "From a request's head to the end of its response",
                None,
                MetricType::Histogram,
            )?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

/// Reads all counters when Prometheus asks.
#[derive(Debug)]
struct Reader {
    metrics: Arc<Metrics>,
    table: Arc<ArcSwap<Table>>,
}

impl Collector for Reader {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let table = self.table.load_full();
        self.encode_totals(&mut encoder, &table)?;
        self.encode_routes(&mut encoder, &table)?;
        encode_clusters(&mut encoder, &table)?;
        self.metrics.latency.encode(&mut encoder)
    }
}

impl Reader {
    fn encode_totals(&self, encoder: &mut DescriptorEncoder<'_>, table: &Table) -> fmt::Result {
        let metrics = &self.metrics;
        let size = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        for (name, help, value) in [
            ("routes", "Routes in force", size(table.route_count())),
            ("clusters", "Clusters in force", size(table.cluster_count())),
            (
                "unsupported_routes",
                "Routes that answer 503 because they ask for a plugin that this proxy does not run",
                size(table.unsupported_route_count()),
            ),
            (
                "connections",
                "Connections of clients that are open",
                metrics.connections.load(Ordering::Relaxed),
            ),
            (
                "tunnels",
                "Upgraded connections that are open",
                metrics.tunnels.load(Ordering::Relaxed),
            ),
        ] {
            let name = format!("bellwether_proxy_{name}");
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(&name, help, None, gauge.metric_type())?)?;
        }
        for (name, help, value) in [
            (
                "connections_accepted",
                "Connections of clients since the start",
                &metrics.accepted,
            ),
            (
                "requests_unsupported",
                "Requests answered 503 because a plugin does not run here",
                &metrics.unsupported,
            ),
        ] {
            let name = format!("bellwether_proxy_{name}");
            let counter = ConstCounter::new(value.load(Ordering::Relaxed));
            counter.encode(encoder.encode_descriptor(
                &name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        Ok(())
    }

    fn encode_routes(&self, encoder: &mut DescriptorEncoder<'_>, table: &Table) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "bellwether_proxy_requests",
            "Requests by route and status class; an empty route is none",
            None,
            MetricType::Counter,
        )?;
        let mut other = [0_u64; CLASSES.len()];
        let mut own = 0;
        for route in table.routes() {
            let counts = read(&route.stats.by_class);
            if counts.iter().all(|count| *count == 0) {
                continue;
            }
            if own == ROUTE_SERIES_MAX {
                other.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
                continue;
            }
            own += 1;
            encode_classes(&mut family, route.name.as_str(), &counts)?;
        }
        encode_classes(&mut family, "other", &other)?;
        encode_classes(&mut family, "", &read(&self.metrics.unmatched.by_class))
    }
}

fn read<const N: usize>(counts: &[AtomicU64; N]) -> [u64; N] {
    std::array::from_fn(|index| {
        counts
            .get(index)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    })
}

fn encode_classes(
    family: &mut prometheus_client::encoding::MetricEncoder<'_>,
    route: &str,
    counts: &[u64; CLASSES.len()],
) -> fmt::Result {
    for (class, count) in CLASSES.iter().zip(counts).filter(|(_, count)| **count > 0) {
        family
            .encode_family(&[("route", route), ("status", *class)])?
            .encode_counter::<NoLabelSet, u64, u64>(count, None)?;
    }
    Ok(())
}

fn encode_clusters(encoder: &mut DescriptorEncoder<'_>, table: &Table) -> fmt::Result {
    let mut family = encoder.encode_descriptor(
        "bellwether_proxy_upstream_failures",
        "Failed attempts to forward, by cluster and kind",
        None,
        MetricType::Counter,
    )?;
    for upstream in table.upstreams().take(CLUSTER_SERIES_MAX) {
        let counts = read(&upstream.stats.failures);
        for ((_, kind), count) in FAILURES.iter().zip(counts).filter(|(_, count)| *count > 0) {
            family
                .encode_family(&[("cluster", upstream.cluster.name.as_str()), ("kind", *kind)])?
                .encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Limits, Matching};

    #[test]
    fn the_counters_come_out_as_prometheus_reads_them() {
        let table = Table::empty(Limits::default(), Matching::default());
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry, Arc::new(ArcSwap::new(table)));
        metrics.unmatched.answered(http::StatusCode::NOT_FOUND);
        metrics.served(Duration::from_millis(3), http::StatusCode::OK);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "bellwether_proxy_requests_total{route=\"\",status=\"4xx\"} 1",
            "bellwether_proxy_routes 0",
            "bellwether_proxy_request_seconds_bucket{le=\"0.005\"} 1",
            "bellwether_proxy_request_seconds_bucket{le=\"+Inf\"} 1",
            "bellwether_proxy_request_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn quantiles_are_of_what_came_since() {
        let metrics = Metrics::default();
        metrics.served(Duration::from_secs(60), http::StatusCode::OK);
        let before = metrics.totals();
        assert_eq!(
            before.quantile(0.5),
            Duration::from_secs(10),
            "the last bound"
        );
        assert_eq!(before.since(&before).quantile(0.99), Duration::ZERO);
        for n in 0..100 {
            let (took, status) = match n {
                0..90 => (1, http::StatusCode::OK),
                _ => (400, http::StatusCode::BAD_GATEWAY),
            };
            metrics.served(Duration::from_millis(took), status);
        }
        let window = metrics.totals().since(&before);
        assert_eq!((window.requests(), window.errors), (100, 10));
        assert!(window.quantile(0.5) <= Duration::from_millis(1));
        let p99 = window.quantile(0.99).as_millis();
        assert!((250..=500).contains(&p99), "{p99} ms");
    }
}
