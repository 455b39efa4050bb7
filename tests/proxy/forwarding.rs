//! What an endpoint sees of a request, and a client of a response.

use bellwether::name::TypeUrl;
use bellwether::wire::native::{self, cluster::PassHost, cluster::Scheme};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::rig::{Rig, endpoint, put, put_cluster, put_endpoints, put_route};
use crate::harness::http::Upstream;

/// §2: a path, a host and a method each find their route, and what finds none is APISIX's 404.
#[tokio::test]
async fn requests_go_where_their_route_says() {
    let (one, two) = (Upstream::start("one").await, Upstream::start("two").await);
    let rig = Rig::start().await;
    rig.edit(|edit| {
        for (name, upstream) in [("1", &one), ("2", &two)] {
            put_endpoints(edit, name, &[endpoint(upstream.address, 1)]);
            put_cluster(edit, name, |_| {});
        }
        put_route(edit, "hello", &["/hello"], "1", |_| {});
        put_route(edit, "user", &["/user/:id/*rest"], "2", |_| {});
        put_route(edit, "host", &["/hello"], "2", |route| {
            route.hosts = vec!["b.com".into()]
        });
        put_route(edit, "absent", &["/absent"], "no such cluster", |_| {});
    });
    let mut client = rig.http1().await;
    assert_eq!(client.get("/hello?x=1").await.json()["name"], "one");
    assert_eq!(client.get("/user/7/a/b").await.json()["name"], "two");
    let mut request = client.request("GET", "/hello", "");
    request
        .headers_mut()
        .insert("host", "b.com:80".parse().unwrap());
    assert_eq!(client.ask(request).await.json()["name"], "two");

    let missing = client.get("/nothing").await;
    assert_eq!(missing.status, 404);
    assert_eq!(missing.text(), "{\"error_msg\":\"404 Route Not Found\"}\n");
    assert_eq!(missing.headers["content-type"], "application/json");
    // The server sends clusters first; until one is here its routes answer 503.
    assert_eq!(client.get("/absent").await.status, 503);
    assert_eq!(client.get("/%zz").await.status, 400);
}

/// §3.4 pass_host, and the headers that tell who the client is.
#[tokio::test]
async fn an_endpoint_sees_the_host_and_the_client() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    let mut client = rig.http1().await;
    for (pass_host, want) in [
        (PassHost::Pass, "a.com".to_owned()),
        (PassHost::Node, upstream.address.to_string()),
        (PassHost::Rewrite, "other.org:81".to_owned()),
    ] {
        rig.forward(
            &[upstream.address],
            |cluster| {
                cluster.pass_host = pass_host.into();
                cluster.upstream_host = "other.org:81".into();
            },
            |_| {},
        );
        assert_eq!(client.get("/").await.json()["host"], want);
    }
    rig.forward_to(&[upstream.address]);
    let mut request = client.request("POST", "/a//b/../%63?q=%20", "text");
    for (name, value) in [
        ("x-forwarded-for", "9.9.9.9"),
        ("x-forwarded-proto", "gopher"),
        ("connection", "close-not, x-private"),
        ("x-private", "1"),
        ("keep-alive", "timeout=1"),
        ("te", "gzip"),
        ("upgrade", "h2c"),
        ("x-public", "2"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let answer = client.ask(request).await;
    let seen = answer.json();
    assert_eq!(seen["method"], "POST");
    assert_eq!(
        seen["target"], "/a//b/../%63?q=%20",
        "as the client sent it"
    );
    assert_eq!(seen["body"], "text");
    let headers = &seen["headers"];
    assert_eq!(headers["x-forwarded-for"], json!(["9.9.9.9, 127.0.0.1"]));
    assert_eq!(headers["x-real-ip"], json!(["127.0.0.1"]));
    assert_eq!(headers["x-forwarded-proto"], json!(["http"]));
    assert_eq!(headers["x-forwarded-host"], json!(["a.com"]));
    assert_eq!(
        headers["x-forwarded-port"],
        json!([rig.address.port().to_string()])
    );
    assert_eq!(headers["x-public"], json!(["2"]));
    for gone in ["x-private", "keep-alive", "te", "upgrade", "connection"] {
        assert!(headers.get(gone).is_none(), "{gone} in {headers}");
    }
    assert_eq!(answer.headers["server"], "up");
    assert_eq!(answer.headers["x-answer"], "kept");
    assert!(!answer.headers.contains_key("keep-alive"));
}

/// Every pair of protocols, and gRPC's trailers through each that has them.
#[tokio::test]
async fn both_protocols_go_in_and_out() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    for (scheme, version) in [(Scheme::Http, "HTTP/1.1"), (Scheme::Grpc, "HTTP/2.0")] {
        let change = |cluster: &mut native::Cluster| cluster.scheme = scheme.into();
        rig.forward(&[upstream.address], change, |_| {});
        for mut client in [rig.http1().await, rig.http2().await] {
            let request = client.request("POST", "/x?y", "text");
            let seen = client.ask(request).await.json();
            assert_eq!(seen["version"], version, "{scheme:?} {client:?}");
            assert_eq!(seen["host"], "a.com", "{scheme:?} {client:?}");
            assert_eq!(seen["target"], "/x?y");
            assert_eq!(seen["body"], "text");
            let mut request = client.request("POST", "/trailers", "");
            request
                .headers_mut()
                .insert("te", "trailers".parse().unwrap());
            let answer = client.ask(request).await;
            assert_eq!(answer.text(), "message");
            assert_eq!(answer.trailers.unwrap()["grpc-status"], "0", "{scheme:?}");
        }
    }
}

#[tokio::test]
async fn head_and_empty_answers_keep_the_connection() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    rig.forward_to(&[upstream.address]);
    let mut client = rig.http1().await;
    for _ in 0..3 {
        let request = client.request("HEAD", "/zeros/5", "");
        let answer = client.ask(request).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert_eq!(client.get("/status/204").await.status, 204);
        assert_eq!(client.get("/status/304").await.status, 304);
        assert_eq!(client.get("/hello").await.status, 200);
    }
    assert_eq!(upstream.requests(), 12);
    assert_eq!(upstream.connections(), 1, "one connection served them all");
}

/// A connection is closed after `requests`, and idle ones are not kept longer than told.
#[tokio::test]
async fn connections_are_kept_as_the_pool_says() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    let change = |cluster: &mut native::Cluster| {
        cluster.keepalive_pool = Some(native::KeepalivePool {
            size: 1,
            idle_timeout_ms: 60_000,
            requests: 5,
        });
    };
    rig.forward(&[upstream.address], change, |_| {});
    let mut client = rig.http1().await;
    for _ in 0..20 {
        client.get("/hello").await;
    }
    assert_eq!(upstream.connections(), 4);
}

/// DESIGN §8: what asks for a plugin that does not run here is closed, and everybody can see why.
#[tokio::test]
async fn a_plugin_that_does_not_run_closes_its_route() {
    let upstream = Upstream::start("up").await;
    let rig = Rig::start().await;
    let plugin = native::Plugin {
        name: "no-such-plugin".into(),
        config: r#"{"secret":"hush"}"#.into(),
    };
    let plugins = vec![plugin.clone()];
    rig.forward(&[upstream.address], |_| {}, |route| route.plugins = plugins);
    let mut client = rig.http1().await;
    let answer = client.get("/").await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.json()["error_msg"]
            .as_str()
            .unwrap()
            .contains("plugin")
    );
    let dump = rig.page("/config_dump").await;
    assert!(!dump.contains("hush"), "{dump}");
    let dump: serde_json::Value = serde_json::from_str(&dump).unwrap();
    assert_eq!(
        dump["unsupported"]["routes"],
        json!([{"route": "1", "plugins": ["no-such-plugin"]}])
    );
    let metrics = rig.page("/metrics").await;
    assert!(
        metrics.contains("bellwether_proxy_unsupported_routes 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("bellwether_proxy_requests_unsupported_total 1"),
        "{metrics}"
    );

    // A global rule closes all of them.
    rig.forward_to(&[upstream.address]);
    assert_eq!(client.get("/").await.status, 200);
    rig.edit(|edit| {
        let plugins = vec![plugin];
        put(
            edit,
            &TypeUrl::GLOBAL_RULE,
            "g",
            &native::GlobalRule { plugins },
        );
    });
    assert_eq!(client.get("/").await.status, 503);
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn the_admin_pages_tell_what_is_pending_and_in_force() {
    let rig = Rig::start().await;
    let block = rig.readiness.block("the first configuration");
    assert_eq!(
        rig.page("/ready").await,
        "pending: the first configuration\n"
    );
    drop(block);
    assert_eq!(rig.page("/ready").await, "ready\n");
    assert_eq!(rig.page("/livez").await, "alive\n");
    rig.forward_to(&["127.0.0.1:1".parse().unwrap()]);
    let dump: serde_json::Value = serde_json::from_str(&rig.page("/config_dump").await).unwrap();
    let route = &dump["resources"]["Route"][0];
    assert_eq!(route["name"], "1");
    assert_eq!(route["version"].as_str().unwrap().len(), 32);
    assert_eq!(route["resource"]["paths"], json!(["/*"]));
    assert_eq!(dump["resources"]["Endpoints"][0]["resource"][0]["port"], 1);
}

/// What an endpoint says after the status is its own; nginx passes it on.
#[tokio::test]
async fn the_words_after_a_status_are_the_endpoints() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rig = Rig::start().await;
    rig.forward_to(&[listener.local_addr().unwrap()]);
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        assert_ne!(stream.read(&mut head).await.unwrap(), 0);
        let answer = b"HTTP/1.1 299 Fine Indeed\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    });
    let mut client = TcpStream::connect(rig.address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answering.await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 299 Fine Indeed\r\n"),
        "{answer}"
    );
}
