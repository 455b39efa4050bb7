//! Owns the tests of what Envoy would reject and others take: it is not sent, it is named, and the rest is
//! served. Must not know: how the translation is done.

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

use crate::envoy::served::{Served, certified, node};
use crate::harness::envoy::Variant;
use crate::harness::http::Upstream;
use crate::harness::programs::eventually;

/// `status_request` as a feature that a certificate asks for (RFC 7633).
const MUST_STAPLE: ([u64; 9], [u8; 5]) = ([1, 3, 6, 1, 5, 5, 7, 1, 24], [0x30, 3, 2, 1, 5]);

/// A certificate that is unusual, with its key.
fn unusual(change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let mut params = CertificateParams::new(vec!["unfit.test".to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn nameless(params: &mut CertificateParams) {
    params.subject_alt_names.clear();
    params.distinguished_name = DistinguishedName::new();
}

fn stapled(params: &mut CertificateParams) {
    let extension = CustomExtension::from_oid_content(&MUST_STAPLE.0, MUST_STAPLE.1.to_vec());
    params.custom_extensions.push(extension);
}

fn signs_certificates(params: &mut CertificateParams) {
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
}

fn named_in(status: &Value, what: &str) -> bool {
    let told = status["translations"]["envoy"]["unsupported"].as_array();
    let mut resources = told.into_iter().flatten().map(|one| &one["resource"]);
    resources.any(|resource| resource == what)
}

/// A certificate that Envoy does not take harms no other, in no order.
async fn certificates(variant: Variant) {
    let served = Served::start(variant).await;
    let server = &served.server;
    let unfit = [
        unusual(nameless),
        unusual(stapled),
        unusual(signs_certificates),
    ];
    for (id, (certificate, key)) in unfit.iter().enumerate() {
        let name = format!("n{id}.unfit.test");
        let ssl = json!({"snis": [name], "cert": certificate, "key": key});
        server.put(&format!("ssls/unfit-{id}"), ssl).await;
    }
    let (first, ssl) = certified(&["a.com"]);
    server.put("ssls/a", ssl).await;
    served.comes_to_show("a.com", &first).await;
    let (wide, ssl) = certified(&["*.unfit.test"]);
    server.put("ssls/wide", ssl).await;
    served.comes_to_show("other.unfit.test", &wide).await;
    let status = server.status().await;
    for id in 0..unfit.len() {
        // Its name is its own: a wildcard may ask clients for less.
        assert!(!served.shows(&format!("n{id}.unfit.test"), &wide).await);
        assert!(named_in(&status, &format!("ssls/unfit-{id}")), "{status}");
    }
    // One of two pairs that is unfit.
    let (second, mut ssl) = certified(&["two.com"]);
    ssl["certs"] = json!([unfit[1].0]);
    ssl["keys"] = json!([unfit[1].1]);
    server.put("ssls/two", ssl).await;
    served.comes_to_show("two.com", &second).await;
    assert!(named_in(&server.status().await, "ssls/two"));
    // Healed.
    let (healed, ssl) = certified(&["n1.unfit.test"]);
    server.put("ssls/unfit-1", ssl).await;
    served.comes_to_show("n1.unfit.test", &healed).await;
    assert!(served.shows("a.com", &first).await);
    served.envoy.rejected_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_envoy_does_not_take_harms_no_other_by_state_of_the_world() {
    certificates(Variant::StateOfTheWorld).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_envoy_does_not_take_harms_no_other_by_delta() {
    certificates(Variant::Delta).await;
}

/// An Envoy that starts anew with all of it does not wait for what never comes.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_unfit_delays_no_start() {
    for variant in [Variant::StateOfTheWorld, Variant::Delta] {
        let mut served = Served::start(variant).await;
        let (certificate, key) = unusual(stapled);
        let ssl = json!({"snis": ["unfit.test"], "cert": certificate, "key": key});
        served.server.put("ssls/unfit", ssl).await;
        let (good, ssl) = certified(&["a.com"]);
        served.server.put("ssls/a", ssl).await;
        served.comes_to_show("a.com", &good).await;
        served.envoy.restart().await;
        served.comes_to_show("a.com", &good).await;
        let timeouts = served.envoy.sum("rds.*init_fetch_timeout").await;
        assert_eq!(timeouts, 0);
        served.envoy.rejected_nothing().await;
    }
}

/// Upstreams that go to the limits of what Envoy takes.
#[tokio::test(flavor = "multi_thread")]
async fn upstreams_at_the_limits_are_taken() {
    let served = Served::start(Variant::Delta).await;
    let server = &served.server;
    let one = Upstream::start("one").await;
    let port = one.address.port();
    let probed = |active: Value| json!({"nodes": node(&one), "checks": {"active": active}});
    let headers: Vec<String> = (0..1_100).map(|n| format!("x-{n}: y")).collect();
    // The first is the one that answers; the others are only asked if it does not.
    let levels = |host: &str| {
        let level = |n: i32| json!({"host": host, "port": port, "weight": 1, "priority": -n});
        let rest = |n: u16| json!({"host": "127.0.0.2", "port": 1_000 + n, "weight": 1, "priority": -i32::from(n)});
        let all: Vec<Value> = [level(0)].into_iter().chain((1..300).map(rest)).collect();
        json!({"nodes": all})
    };
    let (certificate, key) = unusual(signs_certificates);
    let unfit = json!({"nodes": node(&one), "scheme": "https", "tls": {"client_cert": certificate, "client_key": key}});
    for (name, upstream) in [
        ("line", probed(json!({"http_path": "/a\r\nb: c"}))),
        ("zero", probed(json!({"http_path": "/a\u{0}"}))),
        ("headers", probed(json!({"req_headers": headers}))),
        ("levels", levels("127.0.0.1")),
        ("names", levels("localhost")),
        ("unfit", unfit),
    ] {
        let route = json!({"uri": format!("/{name}"), "upstream": upstream});
        server.put(&format!("routes/{name}"), route).await;
        let status = if name == "unfit" { 503 } else { 200 };
        served
            .answers("a.com", &format!("/{name}"), status, "")
            .await;
    }
    eventually("what is left out to be named", || async {
        let status = server.status().await;
        let named = ["line", "zero", "levels", "names", "headers", "unfit"]
            .into_iter()
            .all(|name| named_in(&status, &format!("routes/{name}")));
        named.then_some(())
    })
    .await;
    served.envoy.rejected_nothing().await;
}

/// One plugin that Envoy would reject would keep every other change of a route from it.
#[tokio::test(flavor = "multi_thread")]
async fn plugins_at_the_limits_are_taken_or_closed() {
    let served = Served::start(Variant::StateOfTheWorld).await;
    let server = &served.server;
    let one = Upstream::start("one").await;
    let long = "x".repeat(16_385);
    for (name, plugins) in [
        (
            "value",
            json!({"proxy-rewrite": {"headers": {"set": {"x-a": long}}}}),
        ),
        (
            "answer",
            json!({"response-rewrite": {"headers": {"set": {"x-a": long}}}}),
        ),
        ("name", json!({"request-id": {"header_name": long}})),
        (
            "cors",
            json!({"cors": {"allow_origins": "http://a.com", "allow_headers": long}}),
        ),
        (
            "count",
            json!({"limit-count": {"count": 1, "time_window": 1, "key": "http_a\nb"}}),
        ),
        (
            "many",
            json!({"limit-count": {"count": 1, "time_window": 1, "key": format!("http_{long}")}}),
        ),
    ] {
        let route = json!({"uri": format!("/{name}"), "upstream": {"nodes": node(&one)}, "plugins": plugins});
        server.put(&format!("routes/{name}"), route).await;
        served.answers("a.com", &format!("/{name}"), 503, "").await;
        let status = server.status().await;
        assert!(named_in(&status, &format!("routes/{name}")), "{status}");
    }
    let route = json!({"uri": "/x", "upstream": {"nodes": node(&one)}});
    server.put("routes/x", route).await;
    served.answers("a.com", "/x", 200, "one").await;
    served.envoy.rejected_nothing().await;
}
