//! Owns the proof that APISIX's plugins work through a real Envoy: who is let in, what the upstream and
//! the client see, limits, faults, redirects, splits; and that what can't be expressed closes its route.
//! Must not know: Envoy's filters.

mod auth;
mod limits;
mod random;
mod rewrites;
mod served;
mod tokens;
mod traffic;

use serde_json::{Value, json};

use crate::envoy::rig::{Ask, Both};
use crate::harness::envoy::Variant;
use crate::harness::http::Answer;

/// An Envoy with some keys.
async fn envoy(config: &[(&str, Value)]) -> Both {
    let mut both = Both::start(Variant::Delta).await;
    configure(&mut both, config).await;
    both
}

async fn configure(both: &mut Both, config: &[(&str, Value)]) {
    let config: Vec<_> = config
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    both.configure(&config).await;
}

/// An Envoy with one route for everything, which forwards to `a`.
async fn route(plugins: Value) -> Both {
    envoy(&[("routes/1", to_a("/*", plugins))]).await
}

fn to_a(uri: &str, plugins: Value) -> Value {
    json!({"uri": uri, "upstream_id": "a", "plugins": plugins})
}

fn ask(method: &str, target: &str, headers: &[(&str, &str)]) -> Ask {
    Ask {
        method: method.to_owned(),
        host: "shop.test".to_owned(),
        target: target.to_owned(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

impl Both {
    async fn say(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask_envoy(&ask(method, target, headers)).await
    }

    async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.say("GET", target, headers).await
    }

    /// The statuses of as many requests.
    async fn statuses(&self, count: usize, headers: &[(&str, &str)]) -> Vec<u16> {
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(self.get("/", headers).await.status);
        }
        statuses
    }

    /// Nothing was left out, and nothing was rejected.
    #[track_caller]
    fn said_all(&self) {
        assert_eq!(self.unsupported(), Vec::<String>::new());
    }
}

impl Answer {
    /// The values of a header of the answer.
    fn all(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap()).collect()
    }

    /// The values of a header that the upstream saw.
    #[track_caller]
    fn seen(&self, name: &str) -> Vec<String> {
        let told = self.json();
        let values = told["headers"][name]
            .as_array()
            .cloned()
            .unwrap_or_default();
        values
            .iter()
            .map(|value| value.as_str().unwrap().to_owned())
            .collect()
    }
}

/// A route that can't be expressed answers 503, says what is missing, and leaves others alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_expressed_closes_its_route_and_is_told() {
    let both = envoy(&[
        ("routes/1", to_a("/1", json!({"openid-connect": {}}))),
        (
            "routes/2",
            to_a(
                "/2",
                json!({"limit-count": {"count": 1, "time_window": 1, "policy": "redis"}}),
            ),
        ),
        (
            "routes/3",
            to_a(
                "/3",
                json!({"cors": {"_meta": {"filter": [["arg_a", "==", "1"]]}}}),
            ),
        ),
        ("routes/4", to_a("/4", json!({"prometheus": {}}))),
        (
            "routes/5",
            to_a(
                "/5",
                json!({"openid-connect": {"_meta": {"disable": true}}}),
            ),
        ),
        (
            "routes/6",
            to_a("/6", json!({"key-auth": {"hide_credential": true}})),
        ),
    ])
    .await;
    for closed in ["/1", "/2", "/3", "/6"] {
        let answer = both.get(closed, &[]).await;
        assert_eq!(answer.status, 503, "{closed}: {answer:?}");
        assert_eq!(answer.all("x-answer"), Vec::<&str>::new());
    }
    for open in ["/4", "/5"] {
        assert_eq!(both.get(open, &[]).await.status, 200, "{open}");
    }
    let told = both.unsupported();
    for (route, words) in [
        ("routes/1", "openid-connect"),
        (
            "routes/2",
            "limit-count, which can't be expressed: option policy",
        ),
        (
            "routes/3",
            "cors, which can't be expressed: option _meta.filter",
        ),
        (
            "routes/6",
            "key-auth, which can't be expressed: option hide_credential is not known",
        ),
    ] {
        let is_told = told
            .iter()
            .any(|line| line.contains(route) && line.contains(words));
        assert!(is_told, "{route} {words}: {told:?}");
    }
    assert_eq!(told.len(), 4, "{told:?}");
}
