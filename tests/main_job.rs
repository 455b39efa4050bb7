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

/// A route to one node.
fn route(uri: &str, node: &str) -> Value {
    json!({"uri": uri, "upstream": {"type": "roundrobin", "nodes": {node: 1}}})
}
