//! Owns probing endpoints, and judging them by real traffic (`docs/apisix.md` §3.5).
//! Must not know: how endpoints are found.

use std::collections::BTreeSet;
use std::time::Duration;

use bellwether::wire::native::health_check::{Active, Kind, Passive, Thresholds};

use super::tls::socket;
use super::{Work, duration};
use crate::any::Any;
use crate::plugin::LONGEST_HEADER;
use crate::wire::cluster::OutlierDetection;
use crate::wire::cluster::cluster::TransportSocketMatch;
use crate::wire::core::header_value_option::HeaderAppendAction;
use crate::wire::core::health_check::payload;
use crate::wire::core::health_check::{HealthChecker, HttpHealthCheck, Payload, TcpHealthCheck};
use crate::wire::core::transport_socket::ConfigType;
use crate::wire::core::{
    HeaderValue, HeaderValueOption, HealthCheck, RequestMethod, TransportSocket,
};
use crate::wire::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use crate::wire::tls::UpstreamTlsContext;
use crate::wire::types::{CodecClientType, Int64Range};
use crate::wire::{Struct, Value, cluster};

/// Failures in a row, if no counter is on.
const NEVER: u32 = u32::MAX;
/// The statuses that a probe may name; the end is not part of it.
const STATUSES: std::ops::Range<u32> = 100..600;
/// How long a probe may take, and how often there is one, if nothing is said (§3.5).
const PROBE_MS: u64 = 1_000;
/// How long an endpoint is left out that real traffic found bad; it is multiplied by how often that
/// happened. Probes let it in again before that.
const EJECTION: Duration = Duration::from_secs(30);
/// Headers of a probe that Envoy takes.
const MOST_HEADERS: usize = 1_000;
/// What probes by another protocol than the cluster's are matched by.
const PROBE: &str = "probe";

impl Work<'_> {
    pub(super) fn health(&mut self, cluster: &mut cluster::Cluster) {
        let Some(check) = &self.native.health_check else {
            return;
        };
        if let Some(active) = &check.active {
            let thresholds = active.thresholds.clone().unwrap_or_default();
            // With every counter off an endpoint is never found bad.
            if failures(&thresholds) != NEVER {
                let probe = self.probe(active, &thresholds, cluster);
                cluster.health_checks.extend(probe);
            }
        }
        if let Some(passive) = &check.passive {
            cluster.outlier_detection = Some(outliers(passive));
        }
    }

    fn probe(
        &mut self,
        active: &Active,
        thresholds: &Thresholds,
        cluster: &mut cluster::Cluster,
    ) -> Option<HealthCheck> {
        let encrypted = active.kind() == Kind::Https;
        let mut criteria = None;
        if active.kind() != Kind::Tcp && encrypted != self.encrypts() {
            if encrypted && active.verify_certificate {
                let what = "is not probed: a certificate can be verified in probes only where \
                    requests are encrypted too";
                self.made.cannot(&self.id, what);
                return None;
            }
            criteria = Some(marked());
            cluster.transport_socket_matches = vec![TransportSocketMatch {
                name: PROBE.to_owned(),
                r#match: Some(marked()),
                transport_socket: Some(if encrypted {
                    socket(&UpstreamTlsContext::default())
                } else {
                    raw()
                }),
            }];
        }
        let checker = match active.kind() {
            Kind::Tcp => HealthChecker::TcpHealthCheck(TcpHealthCheck::default()),
            Kind::Http | Kind::Https => {
                HealthChecker::HttpHealthCheck(self.http_probe(active, thresholds)?)
            }
        };
        let interval = |ms: u64| {
            Some(duration(Duration::from_millis(if ms == 0 {
                PROBE_MS
            } else {
                ms
            })))
        };
        let healthy = interval(active.healthy_interval_ms);
        let unhealthy = interval(active.unhealthy_interval_ms);
        Some(HealthCheck {
            timeout: interval(active.timeout_ms),
            interval: healthy,
            unhealthy_interval: unhealthy,
            // Envoy would probe once a minute where there is no traffic; APISIX keeps on.
            no_traffic_interval: healthy,
            no_traffic_healthy_interval: healthy,
            healthy_threshold: Some(thresholds.successes.max(1)),
            unhealthy_threshold: Some(failures(thresholds)),
            transport_socket_match_criteria: criteria,
            health_checker: Some(checker),
            ..HealthCheck::default()
        })
    }

    fn http_probe(&mut self, active: &Active, thresholds: &Thresholds) -> Option<HttpHealthCheck> {
        let name = if active.method.is_empty() {
            "GET"
        } else {
            &active.method
        };
        let method = RequestMethod::from_str_name(&name.to_ascii_uppercase()).filter(|method| {
            !matches!(
                method,
                RequestMethod::MethodUnspecified | RequestMethod::Connect
            )
        });
        let with_body = matches!(
            method,
            Some(
                RequestMethod::Post
                    | RequestMethod::Put
                    | RequestMethod::Patch
                    | RequestMethod::Options
            )
        );
        let Some(method) = method.filter(|_| with_body || active.body.is_empty()) else {
            let what = "is not probed: Envoy has no such method, or no body for it";
            self.made.cannot(&self.id, what);
            return None;
        };
        if active.path.chars().any(breaks_line) || active.host.chars().any(breaks_line) {
            let what = "is not probed: its probe's path or host can't stand in a request";
            self.made.cannot(&self.id, what);
            return None;
        }
        let http2 = matches!(
            self.scheme,
            bellwether::wire::native::cluster::Scheme::Grpc
                | bellwether::wire::native::cluster::Scheme::Grpcs
        );
        Some(HttpHealthCheck {
            host: active.host.clone(),
            path: if active.path.starts_with('/') {
                active.path.clone()
            } else {
                format!("/{}", active.path)
            },
            send: (!active.body.is_empty()).then(|| Payload {
                payload: Some(payload::Payload::Text(hex(active.body.as_bytes()))),
            }),
            request_headers_to_add: self.probe_headers(active),
            expected_statuses: good(thresholds),
            // A bad status counts; it does not decide alone.
            retriable_statuses: vec![range(STATUSES.start, STATUSES.end)],
            codec_client_type: if http2 {
                CodecClientType::Http2
            } else {
                CodecClientType::Http1
            }
            .into(),
            method: method.into(),
        })
    }

    fn probe_headers(&mut self, active: &Active) -> Vec<HeaderValueOption> {
        let lines = active.request_headers.iter();
        let mut headers: Vec<_> = lines.filter_map(|line| header(line)).collect();
        if headers.len() > MOST_HEADERS {
            let what = format!("is probed with {MOST_HEADERS} headers, as many as Envoy takes");
            self.made.cannot(&self.id, what);
            headers.truncate(MOST_HEADERS);
        }
        headers
    }
}

/// Envoy has one counter for all failures of probes. The lowest that is on is taken, so that an
/// endpoint that is gone is left out as soon as in APISIX.
fn failures(thresholds: &Thresholds) -> u32 {
    let counters = [
        thresholds.http_failures,
        thresholds.tcp_failures,
        thresholds.timeouts,
    ];
    counters
        .into_iter()
        .filter(|count| *count > 0)
        .min()
        .unwrap_or(NEVER)
}

/// A status that APISIX takes neither for good nor for bad changes nothing there. Here it counts as
/// good: an endpoint that answers 204 is not taken out.
fn good(thresholds: &Thresholds) -> Vec<Int64Range> {
    let healthy: BTreeSet<u32> = thresholds.healthy_statuses.iter().copied().collect();
    let mut bad: BTreeSet<u32> = thresholds.unhealthy_statuses.iter().copied().collect();
    bad.retain(|status| STATUSES.contains(status) && !healthy.contains(status));
    let mut ranges = Vec::new();
    let mut start = STATUSES.start;
    for status in bad.into_iter().chain([STATUSES.end]) {
        if status > start {
            ranges.push(range(start, status));
        }
        start = status + 1;
    }
    ranges
}

fn range(start: u32, end: u32) -> Int64Range {
    Int64Range {
        start: start.into(),
        end: end.into(),
    }
}

/// Ejects by failures in a row only: nobody asked for statistics. Statuses of the application and
/// failures to connect are counted apart, as in APISIX.
fn outliers(passive: &Passive) -> OutlierDetection {
    let thresholds = passive.thresholds.clone().unwrap_or_default();
    let local = [thresholds.tcp_failures, thresholds.timeouts];
    let local = local
        .into_iter()
        .filter(|count| *count > 0)
        .min()
        .unwrap_or(0);
    let on = |count: u32| Some(if count > 0 { 100 } else { 0 });
    let count = |count: u32| Some(count.max(1));
    OutlierDetection {
        consecutive_5xx: count(thresholds.http_failures),
        enforcing_consecutive_5xx: on(thresholds.http_failures),
        enforcing_consecutive_gateway_failure: Some(0),
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: count(local),
        enforcing_consecutive_local_origin_failure: on(local),
        enforcing_success_rate: Some(0),
        enforcing_local_origin_success_rate: Some(0),
        enforcing_failure_percentage: Some(0),
        enforcing_failure_percentage_local_origin: Some(0),
        base_ejection_time: Some(duration(EJECTION)),
        max_ejection_percent: Some(100),
        ..OutlierDetection::default()
    }
}

fn marked() -> Struct {
    let yes = Value {
        kind: Some(prost_types::value::Kind::BoolValue(true)),
    };
    Struct {
        fields: [(PROBE.to_owned(), yes)].into(),
    }
}

fn raw() -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.raw_buffer".to_owned(),
        config_type: Some(ConfigType::TypedConfig(Any::pack(&RawBuffer::default()))),
    }
}

/// What no part of a request has.
fn breaks_line(character: char) -> bool {
    matches!(character, '\0' | '\r' | '\n')
}

/// `Name: value`, as APISIX has it. A line that is no header is left out, as is one that Envoy would
/// not take from a configuration.
fn header(line: &str) -> Option<HeaderValueOption> {
    let (key, value) = line.split_once(':')?;
    let key = key.trim().to_ascii_lowercase();
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-_.!#$&'*+^`|~%".contains(&b);
    let value = value.trim();
    let good = !key.is_empty() && key.bytes().all(token) && key != "host";
    let longest = key.len().max(value.len() * 2);
    if !good || value.chars().any(char::is_control) || longest > LONGEST_HEADER {
        return None;
    }
    Some(HeaderValueOption {
        header: Some(HeaderValue {
            key,
            // A percent sign would begin a command.
            value: value.replace('%', "%%"),
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        keep_empty_value: true,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
