//! They call what they dial through what we tell them, and follow what changes.

use envoy_types::pb::envoy::admin::v3::ClientResourceStatus::Acked;

use super::backend::Backend;
use super::caller::{Caller, ME};
use super::{TARGET, route, upstream};
use crate::harness::polyglot::{Language, in_every_language};
use crate::harness::programs::Server;

in_every_language!(follows_endpoints, outlives_its_server);

/// From one backend to two and to another, by the Admin API, without one failed call; everything is
/// acknowledged, in its own eyes and in ours.
async fn follows_endpoints(language: &Language) {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let server = Server::embedded(&[]).await;
    server.put("upstreams/names", upstream(&[&a])).await;
    server.put("routes/names", route()).await;
    let Some(caller) = Caller::dial(language, TARGET, &[&server.xds]).await else {
        return;
    };
    caller.hears_only(&["a"]).await;
    server.put("upstreams/names", upstream(&[&a, &b])).await;
    caller.hears_only(&["a", "b"]).await;
    server.put("upstreams/names", upstream(&[&b])).await;
    caller.hears_only(&["b"]).await;
    assert_eq!(caller.errors(), [""; 0]);

    let view = caller
        .sees(&[
            ("Listener", "names.test", Acked),
            ("RouteConfiguration", "names.test", Acked),
            ("Cluster", "upstreams/names", Acked),
            ("ClusterLoadAssignment", "upstreams/names", Acked),
        ])
        .await;
    assert!(
        view.values()
            .all(|(_, version, error)| !version.is_empty() && error.is_empty())
    );
    server.nodes_in_sync(1).await;
    let node = server.nodes().await.remove(0);
    assert_eq!(node["id"], ME);
    let agent = node["user_agent"].as_str().unwrap();
    assert!(agent.starts_with("gRPC "), "{agent}");
    assert_eq!(node["types"].as_array().unwrap().len(), 4, "{node}");
    assert_eq!(server.metric("bellwether_xds_nacks_total").await, 0);
}

/// R103: calls go on while nobody discovers, and changes are followed when somebody does again.
async fn outlives_its_server(language: &Language) {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut server = Server::embedded(&[]).await;
    server.put("upstreams/names", upstream(&[&a])).await;
    server.put("routes/names", route()).await;
    let Some(caller) = Caller::dial(language, TARGET, &[&server.xds]).await else {
        return;
    };
    caller.hears_only(&["a"]).await;
    server.kill();
    caller.goes_on().await;
    server.restart().await;
    server.put("upstreams/names", upstream(&[&b])).await;
    caller.hears_only(&["b"]).await;
    server.nodes_in_sync(1).await;
    assert_eq!(caller.errors(), [""; 0]);
}
