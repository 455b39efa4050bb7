//! Owns what plugins change on the way: paths, hosts, headers of both sides, redirects, ids.
//! Must not know: Envoy's filters.

use serde_json::{Value, json};

use super::{configure, envoy, route, to_a};

#[tokio::test(flavor = "multi_thread")]
async fn cors_says_who_may_read() {
    let mut both = route(json!({"cors": {}})).await;
    both.said_all();
    let answer = both.get("/", &[("origin", "http://a.test")]).await;
    assert_eq!(answer.all("access-control-allow-origin"), ["*"]);
    assert_eq!(answer.all("access-control-allow-methods"), ["*"]);
    assert_eq!(answer.all("access-control-allow-headers"), ["*"]);
    assert_eq!(answer.all("access-control-max-age"), ["5"]);
    assert!(answer.all("vary").is_empty());
    let preflight = both.say("OPTIONS", "/", &[]).await;
    assert_eq!(preflight.status, 200);
    assert!(preflight.all("x-answer").is_empty(), "it is answered here");
    assert_eq!(preflight.all("access-control-allow-origin"), ["*"]);

    let listed = json!({"cors": {
        "allow_origins": "http://a.test,http://b.test:8080", "allow_methods": "GET,PUT",
        "allow_headers": "x-a", "expose_headers": "x-b", "max_age": 60, "allow_credential": true,
    }});
    configure(&mut both, &[("routes/1", to_a("/*", listed))]).await;
    let preflight = [
        ("origin", "http://b.test:8080"),
        ("access-control-request-method", "PUT"),
    ];
    for (method, headers) in [("GET", &preflight[..1]), ("OPTIONS", &preflight)] {
        let answer = both.say(method, "/", headers).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.all("x-answer").is_empty(), method == "OPTIONS");
        assert_eq!(
            answer.all("access-control-allow-origin"),
            ["http://b.test:8080"]
        );
        assert_eq!(answer.all("access-control-allow-credentials"), ["true"]);
        assert_eq!(answer.all("access-control-allow-methods"), ["GET,PUT"]);
        assert_eq!(answer.all("access-control-allow-headers"), ["x-a"]);
        assert_eq!(answer.all("access-control-expose-headers"), ["x-b"]);
        assert_eq!(answer.all("access-control-max-age"), ["60"]);
        assert_eq!(answer.all("vary"), ["Origin"]);
    }
    for origin in ["http://c.test", "http://a.test.evil", "null"] {
        let headers = [("origin", origin), ("access-control-request-method", "PUT")];
        for (method, headers) in [("GET", &headers[..1]), ("OPTIONS", &headers)] {
            let answer = both.say(method, "/", headers).await;
            assert_eq!(answer.status, 200);
            assert!(
                answer.all("access-control-allow-origin").is_empty(),
                "{origin}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cors_lets_all_read_or_those_that_match() {
    let mut both = route(json!({})).await;
    let forced = json!({"cors": {
        "allow_origins": "**", "allow_methods": "**", "allow_headers": "**", "allow_credential": true,
    }});
    let matched = json!({"cors": {"allow_origins_by_regex": [".*\\.a\\.test$"]}});
    configure(
        &mut both,
        &[
            ("routes/1", to_a("/*", forced)),
            ("routes/2", to_a("/re", matched)),
        ],
    )
    .await;
    both.said_all();
    let headers = [
        ("origin", "http://x.test"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "x-c, x-d"),
    ];
    let answer = both.say("OPTIONS", "/", &headers).await;
    assert_eq!(answer.all("access-control-allow-origin"), ["http://x.test"]);
    assert_eq!(answer.all("access-control-allow-headers"), ["x-c, x-d"]);
    assert_eq!(answer.all("access-control-allow-credentials"), ["true"]);
    let answer = both.get("/re", &[("origin", "http://y.a.test")]).await;
    assert_eq!(
        answer.all("access-control-allow-origin"),
        ["http://y.a.test"]
    );
    let answer = both.get("/re", &[("origin", "http://y.a.test.evil")]).await;
    assert!(answer.all("access-control-allow-origin").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_lead_where_they_should() {
    let redirect = |options| json!({"redirect": options});
    let both = envoy(&[
        ("routes/1", to_a("/path", redirect(json!({"uri": "/new"})))),
        ("routes/2", to_a("/keep", redirect(json!({"uri": "/new", "append_query_string": true, "ret_code": 307})))),
        ("routes/3", to_a("/other/*", redirect(json!({"uri": "https://b.test/x", "ret_code": 301})))),
        ("routes/4", to_a("/all/*", redirect(json!({"uri": "https://$host$request_uri", "ret_code": 308})))),
        ("routes/5", to_a("/more", redirect(json!({"uri": "$uri/index.html"})))),
        ("routes/6", to_a("/tls/*", redirect(json!({"http_to_https": true})))),
        // Nothing that runs later sees the request; what ran before does.
        ("routes/7", to_a("/order", json!({
            "redirect": {"uri": "/new"}, "response-rewrite": {"headers": {"set": {"x-r": "1"}}},
            "limit-count": {"count": 1, "time_window": 1000},
        }))),
        ("routes/8", to_a("/auth", json!({"redirect": {"uri": "/new"}, "key-auth": {}}))),
    ])
    .await;
    both.said_all();
    for (method, target, status, location) in [
        ("GET", "/path?a=1", 302, "http://shop.test/new"),
        ("GET", "/keep?a=1", 307, "http://shop.test/new?a=1"),
        ("GET", "/other/y?a=1", 301, "https://b.test:443/x"),
        (
            "GET",
            "/all/y?a=1&b=%20",
            308,
            "https://shop.test:443/all/y?a=1&b=%20",
        ),
        ("GET", "/more", 302, "http://shop.test/more/index.html"),
        ("GET", "/tls/y?a=1", 301, "https://shop.test:443/tls/y?a=1"),
        ("HEAD", "/tls/y", 301, "https://shop.test:443/tls/y"),
        ("POST", "/tls/y?a=1", 308, "https://shop.test:443/tls/y?a=1"),
    ] {
        let answer = both.say(method, target, &[]).await;
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
        assert_eq!(answer.all("location"), [location], "{method} {target}");
    }
    for _ in 0..3 {
        let answer = both.get("/order", &[]).await;
        assert_eq!(answer.status, 302);
        assert_eq!(answer.all("x-r"), ["1"]);
    }
    assert_eq!(both.get("/auth", &[]).await.status, 401);
}

fn rewrites() -> Vec<(&'static str, Value)> {
    let rewrite = |options| json!({"proxy-rewrite": options});
    vec![
        (
            "routes/1",
            to_a("/uri/*", rewrite(json!({"uri": "/fixed/path"}))),
        ),
        (
            "routes/2",
            to_a(
                "/re/*",
                rewrite(json!({"regex_uri": ["^/re/(.*)/(.*)$", "/$2-${1}"]})),
            ),
        ),
        (
            "routes/3",
            to_a("/part/*", rewrite(json!({"regex_uri": ["a+", "<"]}))),
        ),
        (
            "routes/4",
            to_a("/once/*", rewrite(json!({"regex_uri": ["a(b)?", "_$0_"]}))),
        ),
        (
            "routes/5",
            to_a("/host", rewrite(json!({"host": "inner.test"}))),
        ),
        (
            "routes/6",
            to_a(
                "/headers",
                rewrite(json!({"headers": {
                    "set": {"X-Set": "50% of $remote_addr", "x-old": "new", "x-empty": ""},
                    "add": {"x-add": "2", "x-agent": "<$http_user_agent>"},
                    "remove": ["x-gone"],
                }})),
            ),
        ),
        (
            "routes/7",
            to_a("/flat", rewrite(json!({"headers": {"x-flat": 7}}))),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_sees_what_proxy_rewrite_says() {
    let both = envoy(&rewrites()).await;
    let told = both.unsupported();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("routes/3") && told[0].contains("regex_uri"),
        "{told:?}"
    );
    assert_eq!(both.get("/part/a", &[]).await.status, 503);
    for (target, seen) in [
        ("/uri/x?q=1", "/fixed/path?q=1"),
        ("/re/one/two?q=1", "/two-one?q=1"),
        ("/re/one/two/three", "/three-one/two"),
        ("/re/one", "/re/one"),
        ("/once/aba?q=ab", "/once/_ab_a?q=ab"),
    ] {
        let answer = both.get(target, &[]).await;
        assert_eq!(answer.json()["target"], seen, "{target}");
        assert!(answer.seen("x-envoy-original-path").is_empty());
    }
    assert_eq!(both.get("/host", &[]).await.json()["host"], "inner.test");
    let headers = [
        ("x-old", "old"),
        ("x-add", "1"),
        ("x-gone", "1"),
        ("user-agent", "me"),
    ];
    let answer = both.get("/headers", &headers).await;
    assert_eq!(answer.seen("x-set"), ["50% of 127.0.0.1"]);
    assert_eq!(answer.seen("x-old"), ["new"]);
    assert_eq!(answer.seen("x-empty"), [""]);
    assert_eq!(answer.seen("x-add"), ["1", "2"]);
    assert_eq!(answer.seen("x-agent"), ["<me>"]);
    assert!(answer.seen("x-gone").is_empty());
    assert_eq!(
        both.get("/flat", &[("x-flat", "1")]).await.seen("x-flat"),
        ["7"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_sees_what_response_rewrite_says() {
    let both = envoy(&[
        (
            "routes/1",
            to_a(
                "/*",
                json!({"response-rewrite": {"headers": {
                    "set": {"x-set": "$remote_addr", "x-answer": "changed"},
                    "add": ["x-add: 1", "x-add: a: b"],
                    "remove": ["content-type"],
                }}}),
            ),
        ),
        (
            "routes/2",
            to_a(
                "/denied",
                json!({
                    "key-auth": {}, "response-rewrite": {"headers": {"x-flat": "1"}},
                }),
            ),
        ),
        (
            "routes/3",
            to_a("/body", json!({"response-rewrite": {"body": "x"}})),
        ),
    ])
    .await;
    let answer = both.get("/", &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.all("x-set"), ["127.0.0.1"]);
    assert_eq!(answer.all("x-answer"), ["changed"]);
    assert_eq!(answer.all("x-add"), ["1", "a: b"]);
    assert!(answer.all("content-type").is_empty());
    let denied = both.get("/denied", &[]).await;
    assert_eq!((denied.status, denied.all("x-flat")), (401, vec!["1"]));
    assert_eq!(both.get("/body", &[]).await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_an_id() {
    let both = envoy(&[
        ("routes/1", to_a("/*", json!({"request-id": {}}))),
        (
            "routes/2",
            to_a(
                "/own",
                json!({"request-id": {"header_name": "x-own", "include_in_response": false}}),
            ),
        ),
        ("routes/3", to_a("/none", json!({}))),
        (
            "routes/4",
            to_a("/nano", json!({"request-id": {"algorithm": "nanoid"}})),
        ),
    ])
    .await;
    let (first, second) = (both.get("/", &[]).await, both.get("/", &[]).await);
    let ids = [first.seen("x-request-id"), second.seen("x-request-id")];
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[0][0].len(), 36);
    assert_eq!(first.all("x-request-id"), ids[0]);
    let given = both.get("/", &[("x-request-id", "mine")]).await;
    assert_eq!(given.seen("x-request-id"), ["mine"]);
    assert_eq!(given.all("x-request-id"), ["mine"]);
    let own = both.get("/own", &[]).await;
    assert_eq!(own.seen("x-own").len(), 1);
    assert!(own.all("x-own").is_empty());
    assert!(both.get("/none", &[]).await.seen("x-request-id").is_empty());
    assert_eq!(both.get("/nano", &[]).await.status, 503);
}
