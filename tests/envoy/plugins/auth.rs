//! Owns who is let in, and what the upstream is told of who it is. Must not know: Envoy's filters.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::tokens::{Es256, RSA_PUBLIC, hs256, rs256};
use super::{configure, envoy, to_a};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_lets_in_its_consumer() {
    let both = envoy(&[
        (
            "consumers/jack",
            json!({"username": "jack", "plugins": {"key-auth": {"key": "jack-key"}}}),
        ),
        ("consumers/rose", json!({"username": "rose"})),
        (
            "consumers/rose/credentials/one",
            json!({"plugins": {"key-auth": {"key": "rose-key"}}}),
        ),
        ("routes/1", to_a("/*", json!({"key-auth": {}}))),
        (
            "routes/2",
            to_a(
                "/hidden",
                json!({"key-auth": {"header": "X-Key", "query": "k", "hide_credentials": true}}),
            ),
        ),
    ])
    .await;
    both.said_all();
    for headers in [
        &[][..],
        &[("apikey", "other")],
        &[("apikey", "")],
        &[("x-consumer-username", "jack")],
    ] {
        let answer = both.get("/", headers).await;
        assert_eq!(answer.status, 401, "{headers:?}");
        assert!(answer.all("x-answer").is_empty());
    }
    let spoofed = [
        ("apikey", "jack-key"),
        ("x-consumer-username", "admin"),
        ("x-credential-identifier", "admin"),
        ("x-consumer-custom-id", "admin"),
    ];
    let answer = both.get("/", &spoofed).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.seen("x-consumer-username"), ["jack"]);
    assert_eq!(answer.seen("apikey"), ["jack-key"]);
    assert!(answer.seen("x-credential-identifier").is_empty());
    assert!(answer.seen("x-consumer-custom-id").is_empty());
    let answer = both.get("/?apikey=rose-key", &[]).await;
    assert_eq!(answer.seen("x-consumer-username"), ["rose"]);
    let answer = both.get("/hidden", &[("x-key", "rose-key")]).await;
    assert_eq!(answer.seen("x-consumer-username"), ["rose"]);
    assert!(answer.seen("x-key").is_empty());
    let answer = both.get("/hidden?a=1&k=jack-key", &[]).await;
    assert_eq!(answer.json()["target"], "/hidden?a=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_come_in_can_change() {
    let mut both = envoy(&[
        (
            "consumers/jack",
            json!({"username": "jack", "plugins": {"key-auth": {"key": "jack-key"}}}),
        ),
        ("routes/1", to_a("/*", json!({"key-auth": {}}))),
    ])
    .await;
    assert_eq!(both.get("/", &[("apikey", "jack-key")]).await.status, 200);
    // A consumer that goes is out at once; without any, nobody is let in.
    configure(
        &mut both,
        &[("routes/1", to_a("/*", json!({"key-auth": {}})))],
    )
    .await;
    both.said_all();
    assert_eq!(both.get("/", &[("apikey", "jack-key")]).await.status, 401);
    // One with plugins of its own can't be served as it should.
    configure(
        &mut both,
        &[
            (
                "consumers/jack",
                json!({"username": "jack", "plugins": {
                    "key-auth": {"key": "jack-key"}, "limit-count": {"count": 1, "time_window": 1},
                }}),
            ),
            ("routes/1", to_a("/*", json!({"key-auth": {}}))),
        ],
    )
    .await;
    assert_eq!(both.get("/", &[("apikey", "jack-key")]).await.status, 503);
    let told = both.unsupported();
    assert!(
        told.iter()
            .any(|line| line.contains("consumer jack") && line.contains("limit-count")),
        "{told:?}"
    );
    assert!(!format!("{told:?}").contains("jack-key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_lets_in_its_consumer() {
    let both = envoy(&[
        ("consumers/jack", json!({"username": "jack", "plugins": {"basic-auth": {"username": "j", "password": "p:w d"}}})),
        ("consumers/j", json!({"username": "j", "plugins": {"basic-auth": {"username": "jack", "password": "é"}}})),
        ("routes/1", to_a("/*", json!({"basic-auth": {}}))),
        ("routes/2", to_a("/hidden", json!({"basic-auth": {"hide_credentials": true}}))),
    ])
    .await;
    both.said_all();
    let basic = |user: &str| format!("Basic {}", STANDARD.encode(user));
    for (user, consumer) in [("j:p:w d", "jack"), ("jack:é", "j")] {
        let authorization = basic(user);
        let headers = [
            ("authorization", authorization.as_str()),
            ("x-consumer-username", "admin"),
        ];
        let answer = both.get("/", &headers).await;
        assert_eq!(answer.status, 200, "{user}");
        assert_eq!(answer.seen("x-consumer-username"), [consumer]);
        assert_eq!(
            answer.seen("authorization"),
            std::slice::from_ref(&authorization)
        );
        let answer = both.get("/hidden", &headers).await;
        assert_eq!(answer.seen("x-consumer-username"), [consumer]);
        assert!(answer.seen("authorization").is_empty());
    }
    for wrong in [
        basic("j:wrong"),
        basic("jack:p:w d"),
        basic("j"),
        basic(":"),
        "Bearer x".to_owned(),
    ] {
        let answer = both
            .get(
                "/",
                &[("authorization", &wrong), ("x-consumer-username", "j")],
            )
            .await;
        assert_eq!(answer.status, 401, "{wrong}");
        assert!(answer.all("www-authenticate")[0].starts_with("Basic"));
    }
    assert_eq!(
        both.get("/", &[("x-consumer-username", "j")]).await.status,
        401
    );
}

fn claims(key: &str) -> Value {
    json!({"key": key, "exp": 4_000_000_000_u64})
}

/// Consumers with tokens of all kinds, and routes for them.
fn holders(ec: &Es256) -> Vec<(&'static str, Value)> {
    vec![
        (
            "consumers/jack",
            json!({"username": "jack", "plugins": {"jwt-auth": {"key": "k-jack", "secret": "s-jack"}}}),
        ),
        (
            "consumers/rose",
            json!({"username": "rose", "plugins": {"jwt-auth": {
            "key": "k-rose", "secret": STANDARD.encode("s-rose"), "base64_secret": true}}}),
        ),
        (
            "consumers/sue",
            json!({"username": "sue", "plugins": {"jwt-auth": {"key": "k-sue", "secret": "s-jack"}}}),
        ),
        (
            "consumers/rsa",
            json!({"username": "rsa", "plugins": {"jwt-auth": {
            "key": "k-rsa", "algorithm": "RS256", "public_key": RSA_PUBLIC}}}),
        ),
        (
            "consumers/ec",
            json!({"username": "ec", "plugins": {"jwt-auth": {
            "key": "k-ec", "algorithm": "ES256", "public_key": ec.public_pem()}}}),
        ),
        ("routes/1", to_a("/*", json!({"jwt-auth": {}}))),
        (
            "routes/2",
            to_a("/hidden", json!({"jwt-auth": {"hide_credentials": true}})),
        ),
        (
            "routes/3",
            to_a(
                "/own",
                json!({"jwt-auth": {"header": "x-token", "key_claim_name": "iss"}}),
            ),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_in_its_consumer() {
    let ec = Es256::generate();
    let both = envoy(&holders(&ec)).await;
    let good = [
        (hs256("s-jack", &claims("k-jack")), "jack"),
        (hs256("s-jack", &claims("k-sue")), "sue"),
        (hs256("s-rose", &json!({"key": "k-rose"})), "rose"),
        (rs256(&claims("k-rsa")), "rsa"),
        (ec.sign(&claims("k-ec")), "ec"),
    ];
    for (token, consumer) in &good {
        for authorization in [
            format!("Bearer {token}"),
            format!("bearer {token}"),
            token.clone(),
        ] {
            let headers = [
                ("authorization", authorization.as_str()),
                ("x-consumer-username", "admin"),
            ];
            let answer = both.get("/", &headers).await;
            assert_eq!(answer.status, 200, "{consumer}: {}", answer.text());
            assert_eq!(answer.seen("x-consumer-username"), [*consumer]);
            assert_eq!(answer.seen("authorization").len(), 1);
            let hidden = both.get("/hidden", &headers).await;
            assert_eq!(hidden.seen("x-consumer-username"), [*consumer]);
            assert!(hidden.seen("authorization").is_empty());
        }
        assert_eq!(
            both.get(&format!("/?jwt={token}"), &[])
                .await
                .seen("x-consumer-username"),
            [*consumer]
        );
        let hidden = both.get(&format!("/hidden?jwt={token}&a=1"), &[]).await;
        assert_eq!(hidden.json()["target"], "/hidden?a=1");
        let cookie = format!("a=1; jwt={token}");
        let hidden = both.get("/hidden", &[("cookie", &cookie)]).await;
        assert_eq!(hidden.status, 401, "what can't be hidden is not taken");
        assert_eq!(
            both.get("/", &[("cookie", &cookie)])
                .await
                .seen("x-consumer-username"),
            [*consumer]
        );
    }
    let own = hs256("s-jack", &json!({"iss": "k-jack"}));
    assert_eq!(
        both.get("/own", &[("x-token", &own)])
            .await
            .seen("x-consumer-username"),
        ["jack"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_good_lets_in_nobody() {
    let both = envoy(&holders(&Es256::generate())).await;
    let good = hs256("s-jack", &claims("k-jack"));
    let header = "eyJhbGciOiJub25lIn0";
    let unsigned = format!("{header}.{}.", good.split('.').nth(1).unwrap());
    let bad = [
        ("another's key", hs256("s-rose", &claims("k-jack"))),
        ("no such key", hs256("s-jack", &claims("k-nobody"))),
        ("no claim", hs256("s-jack", &json!({}))),
        ("a number", hs256("s-jack", &json!({"key": 1}))),
        (
            "expired",
            hs256("s-jack", &json!({"key": "k-jack", "exp": 1_000_000_000})),
        ),
        (
            "not yet",
            hs256(
                "s-jack",
                &json!({"key": "k-jack", "nbf": 4_000_000_000_u64}),
            ),
        ),
        (
            "the public key as a secret",
            hs256(RSA_PUBLIC, &claims("k-rsa")),
        ),
        ("another's algorithm", rs256(&claims("k-jack"))),
        ("unsigned", unsigned),
        ("nothing", String::new()),
    ];
    for (why, token) in bad {
        let bearer = format!("Bearer {token}");
        for headers in [
            [("authorization", bearer.as_str())],
            [("authorization", token.as_str())],
        ] {
            let answer = both.get("/", &headers).await;
            assert!(
                matches!(answer.status, 401 | 403),
                "{why}: {}",
                answer.status
            );
            assert!(answer.all("x-answer").is_empty());
        }
    }
    assert_eq!(
        both.get("/", &[("x-consumer-username", "k-jack")])
            .await
            .status,
        401
    );
}
