//! What reaches a node that nothing vouches for, wherever secrets stand in the configuration.

use bellwether::name::TypeUrl;
use bellwether::wire::core::Node;
use bellwether::wire::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use bellwether::wire::native;
use bellwether::wire::status::{ClientStatusRequest, ClientStatusResponse};
use prost::Message;
use serde_json::json;
use tonic::Code;

use super::Rig;
use crate::harness::ask::Named;
use crate::harness::pki::Identity;
use crate::harness::programs::{Agent, eventually};
use crate::harness::stream::Stream;

/// In every secret of the configuration.
const HUSH: &str = "hush-hush-hush";
const SOTW: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const STATUS: &str = "/envoy.service.status.v3.ClientStatusDiscoveryService/StreamClientStatus";
const AGENTS: [&str; 3] = ["bellwether-agent", "envoy", "gRPC Go"];

/// What a user may write, with a secret in every place where there can be one.
async fn configured(up: &str) -> Rig {
    let rig = Rig::optional().await;
    let put = async |path: &str, value| rig.server.put(path, value).await;
    let to = json!({"type": "roundrobin", "nodes": {up: 1}});
    let pair = rig.pki.issue("upstream");
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let key = format!("{}{HUSH}\n", read(&pair.key));
    let ssl = json!({"cert": read(&pair.cert), "key": key, "snis": ["localhost"]});
    put("ssls/1", ssl).await;
    let tls = json!({"type": "roundrobin", "nodes": {up: 1}, "scheme": "https",
        "tls": {"client_cert": read(&pair.cert), "client_key": key}});
    put("upstreams/tls", tls).await;
    let probed = json!({"type": "roundrobin", "nodes": {up: 1}, "checks": {"active": {
        "http_path": "/", "req_headers": [format!("Authorization: Bearer {HUSH}")]}}});
    put("upstreams/probed", probed).await;
    let jack = json!({"username": "jack", "plugins": {"key-auth": {"key": HUSH}}});
    put("consumers", jack).await;
    let with = |uri: &str, plugins| json!({"uri": uri, "host": "a.com", "upstream": to, "plugins": plugins});
    for (id, plugins) in [
        (
            "oidc",
            json!({"openid-connect": {"client_id": "x", "client_secret": HUSH, "discovery": "http://x"}}),
        ),
        (
            "rewrite",
            json!({"proxy-rewrite": {"headers": {"set": {"Authorization": format!("Basic {HUSH}")}}}}),
        ),
        (
            "rewrite-old",
            json!({"proxy-rewrite": {"headers": {"X-Api-Key": HUSH}}}),
        ),
        ("unknown", json!({"no-such-plugin": {"whatever": HUSH}})),
        (
            "log",
            json!({"http-logger": {"uri": "http://x", "auth_header": HUSH}}),
        ),
        (
            "count",
            json!({"limit-count": {"count": 1, "time_window": 60, "policy": "redis", "redis_host": "x", "redis_password": HUSH}}),
        ),
        (
            "split",
            json!({"traffic-split": {"rules": [{"weighted_upstreams": [
            {"upstream": {"type": "roundrobin", "nodes": {up: 1}, "tls": {"client_cert": read(&pair.cert), "client_key": key}}}]}]}}),
        ),
        ("keyed", json!({"key-auth": {}})),
        (
            "open",
            json!({"proxy-rewrite": {"headers": {"set": {"X-Zone": "eu"}}}, "prometheus": {}}),
        ),
        ("plain", json!({})),
    ] {
        put(&format!("routes/{id}"), with(&format!("/{id}"), plugins)).await;
    }
    for upstream in ["tls", "probed"] {
        let route =
            json!({"uri": format!("/{upstream}"), "host": "a.com", "upstream_id": upstream});
        put(&format!("routes/{upstream}"), route).await;
    }
    rig
}

fn node(agent: &str) -> Option<Node> {
    Some(Node {
        id: "n".into(),
        user_agent_name: agent.into(),
        ..Node::default()
    })
}

async fn delta(
    rig: &Rig,
    by: Option<&Identity>,
    agent: &str,
    of: &str,
    name: &str,
) -> DeltaDiscoveryResponse {
    let mut stream = Stream::to(rig.endpoint(by), None).await.unwrap();
    stream
        .say(DeltaDiscoveryRequest {
            node: node(agent),
            type_url: of.into(),
            resource_names_subscribe: vec![name.into()],
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    stream.hear().await
}

async fn sotw(rig: &Rig, agent: &str, of: &str) -> DiscoveryResponse {
    let mut stream = Stream::dial(rig.endpoint(None), SOTW, None).await.unwrap();
    stream
        .say(DiscoveryRequest {
            node: node(agent),
            type_url: of.into(),
            resource_names: vec!["*".into()],
            ..DiscoveryRequest::default()
        })
        .await;
    stream.hear().await
}

fn has_secret(message: &impl Message) -> bool {
    let bytes = message.encode_to_vec();
    let has = |text: &str| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    has(HUSH) || has("PRIVATE KEY")
}

fn all_types() -> Vec<TypeUrl> {
    TypeUrl::NATIVE.into_iter().chain(TypeUrl::ENVOY).collect()
}

/// Every type, every kind of client, both variants.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_a_node_that_nothing_vouches_for() {
    let rig = configured("127.0.0.1:1").await;
    rig.server
        .put(
            "global_rules/1",
            json!({"plugins": {"datadog": {"constant_tags": [HUSH]}}}),
        )
        .await;
    let own = rig.pki.issue("own");
    // What it is about: an identified node gets all of it.
    eventually("the configuration to be served", || async {
        let rules = delta(
            &rig,
            Some(&own),
            AGENTS[0],
            TypeUrl::GLOBAL_RULE.as_str(),
            "*",
        )
        .await;
        has_secret(&rules).then_some(())
    })
    .await;
    for of in [
        TypeUrl::ROUTE,
        TypeUrl::CLUSTER,
        TypeUrl::CERTIFICATE,
        TypeUrl::CONSUMER,
    ] {
        let told = delta(&rig, Some(&own), AGENTS[0], of.as_str(), "*").await;
        assert!(has_secret(&told), "{of}");
    }
    for agent in AGENTS {
        for of in all_types() {
            let told = delta(&rig, None, agent, of.as_str(), "*").await;
            assert!(!has_secret(&told), "{agent} {of} delta: {told:?}");
            let told = sotw(&rig, agent, of.as_str()).await;
            assert!(
                !has_secret(&told),
                "{agent} {of} state of the world: {told:?}"
            );
        }
        for name in [
            "upstreams/tls",
            "upstreams/tls/client",
            "ssls/1",
            "consumers/jack",
        ] {
            for of in all_types() {
                let told = delta(&rig, None, agent, of.as_str(), name).await;
                assert!(!has_secret(&told), "{agent} {of} {name}: {told:?}");
            }
        }
    }
    for path in ["/v1/status", "/v1/nodes", "/v1/nodes/n", "/metrics"] {
        let reply = rig.server.call("GET", path, "").await;
        assert!(!reply.body.contains(HUSH), "{path}: {}", reply.body);
    }
    assert!(!rig.server.log().contains(HUSH));
}

/// What needs a secret answers 503, says why, and everything else is served. It heals with the key.
#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_secret_fails_closed_and_says_why() {
    let up = Named::start("up").await;
    let rig = configured(&up.node()).await;
    let ca = rig.file("ca.pem");
    let agent = Agent::start("a", &[&rig.server.xds], &["--server-ca-file", &ca]).await;
    let host = [("host", "a.com")];
    let status = async |path: &str| {
        let url = format!("{}{path}", agent.http);
        crate::harness::ask::Asker::new()
            .ask("GET", &url, &host, "")
            .await
            .unwrap()
            .status
    };
    eventually("the open route to be served", || async {
        (status("/plain").await == 200).then_some(())
    })
    .await;
    for path in ["/oidc", "/log", "/unknown", "/tls"] {
        assert_eq!(status(path).await, 503, "{path}");
    }
    assert_eq!(status("/probed").await, 200);
    let told = delta(
        &rig,
        None,
        AGENTS[0],
        TypeUrl::ROUTE.as_str(),
        "routes/oidc",
    )
    .await;
    let any = told.resources[0].resource.clone().unwrap();
    let route = native::Route::decode(any.value).unwrap();
    assert_eq!(route.plugins[0].name, "withheld:openid-connect");
    assert!(
        route.plugins[0].config.contains("nothing vouches"),
        "{}",
        route.plugins[0].config
    );

    let view = rig.server.status().await["translations"]["native_without_secrets"].clone();
    let said = view["unsupported"].to_string();
    for resource in [
        "routes/oidc",
        "routes/rewrite",
        "upstreams/tls",
        "upstreams/probed",
    ] {
        assert!(said.contains(resource), "{resource}: {said}");
    }
    for resource in ["routes/open", "routes/plain", "routes/keyed"] {
        assert!(!said.contains(resource), "{resource}: {said}");
    }

    // Without its key the upstream is nobody's secret.
    let open = json!({"type": "roundrobin", "nodes": {up.node(): 1}});
    rig.server.put("upstreams/tls", open).await;
    eventually("the route to heal", || async {
        (status("/tls").await == 200).then_some(())
    })
    .await;
    // A global rule that needs a secret stands before every route.
    rig.server
        .put(
            "global_rules/1",
            json!({"plugins": {"datadog": {"constant_tags": [HUSH]}}}),
        )
        .await;
    eventually("every route to fail closed", || async {
        (status("/plain").await == 503).then_some(())
    })
    .await;
}

/// What others hold is not for those that nothing vouches for: names of consumers and certificates are in it.
#[tokio::test(flavor = "multi_thread")]
async fn client_status_is_for_identified_callers() {
    let rig = configured("127.0.0.1:1").await;
    let own = rig.pki.issue("own");
    let mut known = Stream::to(rig.endpoint(Some(&own)), None).await.unwrap();
    known.follow("known", "", TypeUrl::CONSUMER.as_str()).await;
    known.hear().await;
    let ask = async |by: Option<&Identity>| {
        let endpoint = rig.endpoint(by);
        let mut asking: Stream<ClientStatusRequest, ClientStatusResponse> =
            Stream::dial(endpoint, STATUS, None).await?;
        asking.ask(ClientStatusRequest::default()).await
    };
    assert_eq!(ask(Some(&own)).await.unwrap().config.len(), 1);
    let refused = ask(None).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
}
