//! The main job, end to end: keys in a real store, real servers, real agents, real requests.

mod crowd;
mod etcd;
mod faults;
mod protocol;
mod rejections;
mod restored;
mod scale;
mod silent;

use serde_json::{Value, json};

use crate::harness::etcd::Etcd;

/// A route to one node.
fn route(uri: &str, node: &str) -> Value {
    json!({"uri": uri, "upstream": {"type": "roundrobin", "nodes": {node: 1}}})
}

/// A route as others write it: past the Admin API.
async fn put_route(etcd: &Etcd, id: &str, uri: &str, node: &str) {
    let value = route(uri, node).to_string();
    etcd.etcdctl(&["put", &format!("/apisix/routes/{id}"), &value])
        .await;
}
