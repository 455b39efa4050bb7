//! gRPC's own xDS clients in four languages, as programs use them: they dial `xds:///name` and find their
//! backends through us. The programs are in `tests/grpc_xds`.

mod backend;
mod caller;
mod falling_back;
mod following;
mod identified;
mod rejecting;
mod routing;

use serde_json::{Value, json};

/// What is dialled: a host that a route names.
const TARGET: &str = "xds:///names.test";

/// The method that the programs call, for the host that they dial.
fn route() -> Value {
    json!({"uri": "/bellwether.test.Names/*", "host": "names.test", "upstream_id": "names"})
}

/// Where the backends are.
fn upstream(backends: &[&backend::Backend]) -> Value {
    let nodes = backends.iter().map(|backend| (backend.node(), json!(1)));
    json!({"scheme": "grpc", "type": "roundrobin", "nodes": nodes.collect::<serde_json::Map<_, _>>()})
}
