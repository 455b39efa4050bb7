//! Owns the comparison of both proxies on one table of requests. Must not know: what is in the table.

use proptest::prelude::ProptestConfig;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

use crate::envoy::rig::{Ask, Both, Outcome, UPSTREAMS};
use crate::envoy::table::groups;
use crate::envoy::{nasty, random};
use crate::harness::envoy::Variant;

pub(crate) fn ask(line: &crate::envoy::table::Line) -> Ask {
    let (method, host, target, headers, _) = line;
    Ask {
        method: (*method).to_owned(),
        host: (*host).to_owned(),
        target: (*target).to_owned(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

pub(crate) fn expected(answer: &str) -> Outcome {
    answer
        .parse()
        .map_or_else(|_| Outcome::Upstream(answer.to_owned()), Outcome::Status)
}

/// `docs/apisix.md` §2: one table, both proxies, equal answers.
#[tokio::test(flavor = "multi_thread")]
async fn both_proxies_answer_the_table_alike_by_delta() {
    table(Variant::Delta).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_proxies_answer_the_table_alike_by_state_of_the_world() {
    table(Variant::StateOfTheWorld).await;
}

async fn table(variant: Variant) {
    let mut both = Both::start(variant).await;
    let mut asked = 0;
    let mut wrong = Vec::new();
    for group in groups() {
        let config: Vec<_> = group
            .config
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        both.configure(&config).await;
        for line in &group.requests {
            asked += 1;
            let want = expected(line.4);
            let [(agent, said), (envoy, told)] = both.ask(&ask(line)).await;
            if agent != want || envoy != want {
                wrong.push(format!(
                    "{}: {line:?}: agent {agent:?}, envoy {envoy:?}",
                    group.name
                ));
            }
            // What Envoy says by itself has no body of ours.
            let by_route = told.headers.get("content-type") == said.headers.get("content-type");
            if matches!(envoy, Outcome::Status(_)) && by_route && said.body != told.body {
                wrong.push(format!("{line:?}: {:?} but {:?}", said.body, told.body));
            }
        }
    }
    both.envoy.rejected_nothing().await;
    assert!(
        wrong.is_empty(),
        "{asked} asked:\n{}\n{:#?}",
        wrong.join("\n"),
        both.unsupported()
    );
    assert!(asked >= 60, "{asked}");
}

/// Configurations of the random run.
const CONFIGS: usize = 250;
/// Requests for each.
const REQUESTS: usize = 24;
/// Of a hundred answers of Envoy, how many may be that it can't tell.
const CLOSED_PERCENT: usize = 15;

/// Whatever is valid is taken, and every request that the agent answers Envoy answers alike, or it
/// says that it can't tell.
#[tokio::test(flavor = "multi_thread")]
async fn both_proxies_answer_alike_whatever_the_configuration() {
    let mut runner = seeded();
    let mut both = Both::start(Variant::Delta).await;
    let (mut asked, mut closed, mut forwarded) = (0, 0, 0);
    let mut wrong = Vec::new();
    for number in 0..CONFIGS {
        let config = random::config().new_tree(&mut runner).unwrap().current();
        both.configure(&config).await;
        for _ in 0..REQUESTS {
            let ask = random::ask().new_tree(&mut runner).unwrap().current();
            let [(agent, _), (envoy, told)] = both.ask(&ask).await;
            asked += 1;
            if told.body.starts_with(CANNOT_TELL) {
                closed += 1;
            } else if agent != envoy {
                let [(_, _), (again, _)] = both.ask(&ask).await;
                let state = both.state().await;
                wrong.push(format!(
                    "configuration {number}, request {asked}: {ask:?}: agent {agent:?}, envoy {envoy:?}, \
                     then {again:?}; {state} in {config:#?}"
                ));
            } else if matches!(envoy, Outcome::Upstream(_)) {
                forwarded += 1;
            }
        }
        assert!(
            wrong.len() < 5,
            "{asked} asked, {closed} closed:\n{}",
            wrong.join("\n")
        );
    }
    both.envoy.rejected_nothing().await;
    println!("{asked} asked, {forwarded} forwarded alike, {closed} closed by envoy alone");
    assert!(
        wrong.is_empty(),
        "{asked} asked, {closed} closed:\n{}",
        wrong.join("\n")
    );
    assert!(
        closed * 100 < asked * CLOSED_PERCENT,
        "{closed} of {asked} closed"
    );
    assert!(forwarded * 4 > asked, "{forwarded} of {asked} forwarded");
}

/// What took any path before does not pass for the configuration that is waited for: its answers would
/// look like a difference between the proxies.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_takes_every_path_is_not_taken_for_the_next() {
    let mut both = Both::start(Variant::Delta).await;
    for name in UPSTREAMS {
        let route = json!({"uri": "/*", "upstream_id": name});
        both.configure(&[("routes/all".to_owned(), route)]).await;
        assert!(!both.serves("/mark-of-the-next").await, "{name}");
    }
}

/// R113: whatever the catalog takes, Envoy takes what is made of it.
#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_whatever_the_catalog_takes() {
    let mut runner = seeded();
    let mut both = Both::start(Variant::Delta).await;
    let (mut served, mut closed) = (0, 0);
    for _ in 0..CONFIGS {
        let config = nasty::config().new_tree(&mut runner).unwrap().current();
        both.configure_anything(&config).await;
        served += both.served();
        closed += both.unsupported().len();
    }
    both.envoy.rejected_nothing().await;
    println!("{served} routes served, {closed} notes on what can't be expressed");
    assert!(served > CONFIGS, "{served}");
}

/// How Envoy's answer begins where it can't tell whether a route takes a request.
pub(crate) const CANNOT_TELL: &[u8] =
    b"{\"error_msg\":\"503 Service Unavailable: this proxy can't tell";

/// A run that finds something says which by its configuration; another seed by `PROPTEST_RNG_SEED`.
pub(crate) fn seeded() -> TestRunner {
    let seed: u64 = std::env::var("PROPTEST_RNG_SEED").map_or(7, |seed| seed.parse().unwrap());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(ProptestConfig::default(), rng)
}
