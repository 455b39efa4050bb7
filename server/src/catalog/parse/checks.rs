//! Owns reading `checks`, with the defaults of APISIX. Must not know: how an endpoint is probed.

use bellwether::wire::native::HealthCheck;
use bellwether::wire::native::health_check::{Active, Kind, Passive, Thresholds};
use serde_json::Value;

use crate::catalog::read::{
    Fields, Read, boolean, count, one_of, some_of, some_seconds_as_ms, string,
};

/// What one side of a check starts from.
struct Defaults {
    successes: u32,
    healthy_statuses: &'static [u32],
    http_failures: u32,
    tcp_failures: u32,
    timeouts: u32,
    unhealthy_statuses: &'static [u32],
}

const ACTIVE: Defaults = Defaults {
    successes: 2,
    healthy_statuses: &[200, 302],
    http_failures: 5,
    tcp_failures: 2,
    timeouts: 3,
    unhealthy_statuses: &[429, 404, 500, 501, 502, 503, 504, 505],
};

const PASSIVE: Defaults = Defaults {
    successes: 5,
    healthy_statuses: &[
        200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307,
        308,
    ],
    http_failures: 5,
    tcp_failures: 2,
    timeouts: 7,
    unhealthy_statuses: &[429, 500, 503],
};

/// Milliseconds between two probes.
const INTERVAL_MS: u64 = 1000;

/// Thresholds are bytes in APISIX, and 255 is kept.
const THRESHOLD_MAX: u32 = 254;

/// Reads `checks`. Passive checks alone are refused, as in APISIX: nothing would heal an endpoint.
pub(super) fn checks(fields: Fields<'_>) -> Read<HealthCheck> {
    Ok(HealthCheck {
        active: Some(fields.required("active", |value| active(Fields::of(value)?))?),
        passive: fields.optional("passive", |value| passive(Fields::of(value)?))?,
    })
}

fn active(fields: Fields<'_>) -> Read<Active> {
    let interval = |side: &str| {
        let ms = fields.optional(side, |value| {
            Fields::of(value)?.optional("interval", some_seconds_as_ms)
        })?;
        Ok::<_, crate::catalog::Invalid>(ms.flatten().unwrap_or(INTERVAL_MS))
    };
    Ok(Active {
        kind: kind(fields)?.into(),
        timeout_ms: fields.or("timeout", 1000, some_seconds_as_ms)?,
        concurrency: fields.or("concurrency", 10, |value| count(value, 1, u32::MAX))?,
        method: fields.or("http_method", "GET".to_owned(), string)?,
        path: fields.or("http_path", "/".to_owned(), string)?,
        body: fields.or("http_req_body", String::new(), string)?,
        host: fields.or("host", String::new(), string)?,
        port: fields.or("port", 0, |value| count(value, 1, u32::from(u16::MAX)))?,
        request_headers: fields.or("req_headers", Vec::new(), |value| some_of(value, string))?,
        verify_certificate: fields.or("https_verify_certificate", true, boolean)?,
        healthy_interval_ms: interval("healthy")?,
        unhealthy_interval_ms: interval("unhealthy")?,
        thresholds: Some(thresholds(fields, &ACTIVE)?),
    })
}

fn passive(fields: Fields<'_>) -> Read<Passive> {
    Ok(Passive {
        kind: kind(fields)?.into(),
        thresholds: Some(thresholds(fields, &PASSIVE)?),
    })
}

fn kind(fields: Fields<'_>) -> Read<Kind> {
    let words = [
        ("http", Kind::Http),
        ("https", Kind::Https),
        ("tcp", Kind::Tcp),
    ];
    fields.or("type", Kind::Http, |value| one_of(value, &words))
}

fn thresholds(fields: Fields<'_>, default: &Defaults) -> Read<Thresholds> {
    let mut thresholds = Thresholds {
        successes: default.successes,
        healthy_statuses: default.healthy_statuses.to_vec(),
        http_failures: default.http_failures,
        tcp_failures: default.tcp_failures,
        timeouts: default.timeouts,
        unhealthy_statuses: default.unhealthy_statuses.to_vec(),
    };
    fields.optional("healthy", |value| {
        let side = Fields::of(value)?;
        thresholds.successes = side.or("successes", default.successes, threshold)?;
        if let Some(statuses) = side.optional("http_statuses", statuses)? {
            thresholds.healthy_statuses = statuses;
        }
        Ok(())
    })?;
    fields.optional("unhealthy", |value| {
        let side = Fields::of(value)?;
        thresholds.http_failures = side.or("http_failures", default.http_failures, threshold)?;
        thresholds.tcp_failures = side.or("tcp_failures", default.tcp_failures, threshold)?;
        thresholds.timeouts = side.or("timeouts", default.timeouts, threshold)?;
        if let Some(statuses) = side.optional("http_statuses", statuses)? {
            thresholds.unhealthy_statuses = statuses;
        }
        Ok(())
    })?;
    Ok(thresholds)
}

fn threshold(value: &Value) -> Read<u32> {
    count(value, 0, THRESHOLD_MAX)
}

fn statuses(value: &Value) -> Read<Vec<u32>> {
    some_of(value, |value| count(value, 200, 599))
}
