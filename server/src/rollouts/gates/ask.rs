//! Owns how one gate is asked, and how its answer is read: whatever is not a clear answer is none.
//! Must not know: when it is asked, or what follows.

use bellwether_rollout::gate::Verdict;
use bellwether_rollout::policy::Gate;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::http::{exchange, shown};

/// What a gate is asked about. A webhook gets it as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Question {
    pub(super) fleet: String,
    pub(super) rollout: u64,
    pub(super) stage: String,
    pub(super) release: String,
    pub(super) digest: String,
    pub(super) exposure: u64,
}

/// What people call a gate that is asked elsewhere; none for one that is not.
pub(super) fn name(gate: &Gate) -> Option<&str> {
    match gate {
        Gate::Health { .. } => None,
        Gate::Query { name, .. } | Gate::Webhook { name, .. } => Some(name),
    }
}

/// Asks.
pub(super) async fn ask(gate: &Gate, question: &Question) -> Verdict {
    let answer = match gate {
        Gate::Health { .. } => return Verdict::Pass,
        Gate::Query {
            url,
            query,
            min_milli,
            max_milli,
            ..
        } => {
            let base = url.trim_end_matches('/');
            let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
            let url = format!("{base}/api/v1/query?query={query}");
            let answer = exchange(Method::GET, &url, None).await;
            let value = answer.and_then(|answer| value_of(&answer).map_err(|why| from(&url, &why)));
            value.map(|value| within(value, *min_milli, *max_milli))
        }
        Gate::Webhook { url, .. } => {
            let body = serde_json::to_vec(question).unwrap_or_default();
            let answer = exchange(Method::POST, url, Some(body)).await;
            answer.and_then(|answer| verdict_of(&answer).map_err(|why| from(url, &why)))
        }
    };
    answer.unwrap_or_else(Verdict::Inconclusive)
}

fn from(url: &str, why: &str) -> String {
    format!("{} {why}", shown(url))
}

type Answer = (u16, bytes::Bytes);

/// The one value in the answer of a Prometheus.
fn value_of((status, body): &Answer) -> Result<f64, String> {
    if *status != 200 {
        return Err(format!("answers with status {status}"));
    }
    let odd = || "does not answer as Prometheus does".to_owned();
    let body: Value = serde_json::from_slice(body).map_err(|_| odd())?;
    let data = &body["data"];
    let result = data["result"].as_array().ok_or_else(odd)?;
    let pair = match data["resultType"].as_str() {
        Some("scalar") => &data["result"],
        Some("vector") => match &result[..] {
            [one] => &one["value"],
            [] => return Err("has no value".to_owned()),
            many => return Err(format!("has {} values, and one is asked for", many.len())),
        },
        _ => return Err("has neither a vector nor a scalar".to_owned()),
    };
    let value = pair[1].as_str().and_then(|text| text.parse::<f64>().ok());
    match value {
        Some(value) if value.is_finite() => Ok(value),
        Some(value) => Err(format!("has the value {value}")),
        None => Err(odd()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "bounds are written by people")]
fn within(value: f64, min_milli: Option<i64>, max_milli: Option<i64>) -> Verdict {
    let bound = |milli: i64| milli as f64 / 1_000.0;
    match (min_milli.map(bound), max_milli.map(bound)) {
        (Some(min), _) if value < min => Verdict::Fail(format!("{value} is below {min}")),
        (_, Some(max)) if value > max => Verdict::Fail(format!("{value} is above {max}")),
        _ => Verdict::Pass,
    }
}

#[derive(Deserialize)]
struct Said {
    verdict: String,
    #[serde(default)]
    reason: String,
}

/// Characters of a reason that somebody else gives.
const MAX_REASON: usize = 300;

fn verdict_of((status, body): &Answer) -> Result<Verdict, String> {
    if *status != 200 {
        return Err(format!("answers with status {status}"));
    }
    let said: Said = serde_json::from_slice(body)
        .map_err(|_| "does not answer with a verdict as JSON".to_owned())?;
    let reason: String = said.reason.chars().take(MAX_REASON).collect();
    match said.verdict.as_str() {
        "pass" => Ok(Verdict::Pass),
        "fail" if reason.is_empty() => Ok(Verdict::Fail("it says no".to_owned())),
        "fail" => Ok(Verdict::Fail(reason)),
        _ => Err("says neither pass nor fail".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(body: &str) -> Result<f64, String> {
        value_of(&(200, body.to_owned().into()))
    }

    fn vector(values: &[&str]) -> String {
        let each = values
            .iter()
            .map(|value| format!(r#"{{"metric":{{}},"value":[1,"{value}"]}}"#));
        let all: Vec<String> = each.collect();
        format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#,
            all.join(",")
        )
    }

    #[test]
    fn one_finite_value_is_an_answer_and_nothing_else() {
        assert_eq!(value(&vector(&["1.5"])), Ok(1.5));
        let scalar = r#"{"data":{"resultType":"scalar","result":[1,"2"]}}"#;
        assert_eq!(value(scalar), Ok(2.0));
        let matrix = r#"{"data":{"resultType":"matrix","result":[]}}"#;
        for (body, reason) in [
            (vector(&[]).as_str(), "no value"),
            (&vector(&["1", "2"]), "2 values"),
            (&vector(&["NaN"]), "NaN"),
            (&vector(&["+Inf"]), "inf"),
            (&vector(&["x"]), "as Prometheus does"),
            (matrix, "neither"),
            ("<html>", "as Prometheus does"),
            ("{}", "as Prometheus does"),
        ] {
            let error = value(body).unwrap_err();
            assert!(error.contains(reason), "{body}: {error}");
        }
        assert!(value_of(&(503, vector(&["1"]).into())).is_err());
    }

    #[test]
    fn bounds_are_part_of_what_is_well() {
        let verdict = |value| within(value, Some(500), Some(2_000));
        assert_eq!(verdict(0.5), Verdict::Pass);
        assert_eq!(verdict(2.0), Verdict::Pass);
        assert_eq!(verdict(2.5), Verdict::Fail("2.5 is above 2".to_owned()));
        assert_eq!(verdict(0.25), Verdict::Fail("0.25 is below 0.5".to_owned()));
    }

    #[test]
    fn only_a_clear_word_is_a_verdict() {
        let verdict = |body: &'static str| verdict_of(&(200, body.into()));
        assert_eq!(verdict(r#"{"verdict":"pass"}"#), Ok(Verdict::Pass));
        let failed = Ok(Verdict::Fail("slow".to_owned()));
        assert_eq!(verdict(r#"{"verdict":"fail","reason":"slow"}"#), failed);
        for odd in [r#"{"verdict":"PASS"}"#, "{}", "pass", ""] {
            assert!(verdict(odd).is_err(), "{odd}");
        }
        assert!(verdict_of(&(302, r#"{"verdict":"pass"}"#.into())).is_err());
    }
}
