//! Many routes: all of them load, and a change costs what it touches.

use serde_json::json;

use bellwether_server::store::etcd::{EtcdConfig, EtcdStore};
use bellwether_server::store::{Store, Txn, Write};

use crate::harness::ask::Named;
use crate::harness::etcd::{Etcd, EtcdOptions};
use crate::harness::programs::{Agent, Server};
use crate::harness::stream::Stream;

const ROUTES: usize = 10_000;
const UPSTREAMS: usize = 1_000;

async fn fill(store: &EtcdStore, node: &str) {
    let upstreams = (0..UPSTREAMS).map(|n| {
        (
            format!("/apisix/upstreams/{n}"),
            json!({"type": "roundrobin", "nodes": {node: 1}}),
        )
    });
    let routes = (0..ROUTES).map(|n| {
        let value = json!({"uri": format!("/r/{n}"), "upstream_id": (n % UPSTREAMS).to_string()});
        (format!("/apisix/routes/{n}"), value)
    });
    let puts: Vec<Write> = upstreams
        .chain(routes)
        .map(|(key, value)| Write::Put {
            key,
            value: value.to_string().into(),
            lease: None,
        })
        .collect();
    for chunk in puts.chunks(100) {
        store
            .commit(Txn {
                guards: Vec::new(),
                writes: chunk.to_vec(),
            })
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_routes_load_and_one_change_sends_one_resource() {
    let up = Named::start("up").await;
    let etcd = Etcd::start(EtcdOptions::default()).await;
    let config = EtcdConfig {
        endpoints: vec![etcd.endpoint()],
        ..EtcdConfig::default()
    };
    let store = EtcdStore::new(config).unwrap();
    fill(&store, &up.node()).await;
    let server = Server::over(&format!("etcd:{}", etcd.endpoint()), &[]).await;
    let agent = Agent::start("a", &[&server.xds], &[]).await;
    agent.is_ready().await;
    for n in [0, 4_999, 9_999] {
        assert_eq!(agent.get(&format!("/r/{n}")).await.body, "up");
    }
    let resources = server.status().await["resources"].clone();
    assert_eq!(resources["Route"], ROUTES);
    assert_eq!(resources["Cluster"], UPSTREAMS);

    let mut stream = Stream::open(&server.xds).await;
    for type_url in ["Endpoints", "Cluster", "Route"] {
        stream
            .follow(
                "n",
                "",
                &format!("type.googleapis.com/bellwether.v1.{type_url}"),
            )
            .await;
    }
    let mut held = 0;
    while held < ROUTES + 2 * UPSTREAMS {
        let response = stream.hear().await;
        held += response.resources.len();
        stream.ack(&response).await;
    }
    server.nodes_in_sync(2).await;
    let responses = server.metric("bellwether_xds_responses_total").await;

    let changed = json!({"uri": "/changed", "upstream_id": "7"}).to_string();
    etcd.etcdctl(&["put", "/apisix/routes/7", &changed]).await;
    let response = stream.hear().await;
    let names: Vec<_> = response.resources.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["routes/7"]);
    stream.ack(&response).await;
    agent.answers("/changed", 200, "up").await;
    server.nodes_in_sync(2).await;
    assert_eq!(
        server.metric("bellwether_xds_responses_total").await - responses,
        2,
        "one to each of two nodes"
    );
}
