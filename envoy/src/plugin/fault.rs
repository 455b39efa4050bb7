//! Owns `fault-injection`. Must not know: other plugins.

use crate::wire::Duration;
use crate::wire::envoy::extensions::filters::common::fault::v3::{
    FaultDelay, fault_delay::FaultDelaySecifier,
};
use crate::wire::http_filter::fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType};

use super::chain::{self, Effect};
use super::config::{Options, Read, required};
use super::value::{has_variable, header_name, pairs, template};

/// The longest delay, a day: a stream that waits longer is a leak.
const MAX_DELAY_SECONDS: f64 = 86_400.0;

/// Waits, or answers, for a share of the requests.
pub(super) fn fault_injection(options: &mut Options) -> Read<Vec<Effect>> {
    let abort = options.map("abort")?;
    let delay = options.map("delay")?;
    if abort.is_none() && delay.is_none() {
        return Err("neither abort nor delay is there".to_owned());
    }
    let mut effects = Vec::new();
    let mut fault = HttpFault::default();
    if let Some(delay) = delay {
        fault.delay = read_delay(Options::of(&delay)).map_err(|error| within("delay", &error))?;
    }
    if let Some(abort) = abort {
        let (abort, changes) =
            read_abort(Options::of(&abort)).map_err(|error| within("abort", &error))?;
        fault.abort = Some(abort);
        effects.extend(changes);
    }
    effects.push(chain::filter("", &fault));
    Ok(effects)
}

fn within(option: &str, error: &str) -> String {
    error.replacen("option ", &format!("option {option}."), 1)
}

fn percentage(options: &mut Options) -> Read<Option<u32>> {
    match options.integer("percentage")? {
        None => Ok(None),
        Some(percent @ 0..=100) => Ok(u32::try_from(percent).ok()),
        Some(_) => Err("option percentage is not a share of 100".to_owned()),
    }
}

fn read_delay(mut options: Options) -> Read<Option<FaultDelay>> {
    options.refuse("vars", "faults can't depend on variables")?;
    let seconds = required("duration", options.number("duration")?)?;
    let percentage = percentage(&mut options)?;
    options.finish()?;
    if !(0.0..=MAX_DELAY_SECONDS).contains(&seconds) {
        return Err("option duration is not a time of at most a day".to_owned());
    }
    let milliseconds = (seconds * 1_000.0).round() as i64;
    if milliseconds == 0 {
        return Ok(None);
    }
    let delay = Duration {
        seconds: milliseconds / 1_000,
        nanos: i32::try_from(milliseconds % 1_000).unwrap_or_default() * 1_000_000,
    };
    Ok(Some(FaultDelay {
        percentage: Some(chain::percent(percentage.unwrap_or(100))),
        fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(delay)),
    }))
}

fn read_abort(mut options: Options) -> Read<(FaultAbort, Vec<Effect>)> {
    options.refuse("vars", "faults can't depend on variables")?;
    let status = required("http_status", options.integer("http_status")?)?;
    let body = options.text("body")?.unwrap_or_default();
    let headers = options.take("headers");
    let percentage = percentage(&mut options)?;
    options.finish()?;
    if !(200..600).contains(&status) {
        return Err("option http_status is not from 200 to 599".to_owned());
    }
    if has_variable(&body) {
        return Err("option body: no variable can stand in it".to_owned());
    }
    let mut changes = Vec::new();
    for (name, values) in headers
        .map(|headers| pairs("headers", &headers))
        .transpose()?
        .unwrap_or_default()
    {
        if percentage.is_some_and(|percent| percent < 100) {
            return Err("option headers: not for a share of the requests".to_owned());
        }
        for value in values {
            let change = chain::set(header_name(&name)?, &template(&value, false)?);
            changes.push(Effect::Response(change));
        }
    }
    let abort = FaultAbort {
        error_type: Some(ErrorType::HttpStatus(u32::try_from(status).unwrap_or(500))),
        percentage: Some(chain::percent(percentage.unwrap_or(100))),
        response_body: if body.is_empty() {
            "\n".to_owned()
        } else {
            body
        },
    };
    Ok((abort, changes))
}
