//! A discovery server of your own: any resources, under versions of your own, for whoever speaks xDS.
//! `cargo run --example embed`, then press Enter to move the cluster.

use std::sync::Arc;

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::{rejection::Rejected, resource::Resource, session::Mark, snapshot::Snapshot};
use bellwether_envoy::wire::cluster::Cluster;
use bellwether_xds::nodes::{Identity, Nodes};
use bellwether_xds::{Discovery, Groups, Observer, serve};
use tokio::{net::TcpListener, sync::watch};

/// Tells what nodes make of what they are sent.
struct Printer;

impl Observer for Printer {
    fn acked(&self, node: &Identity, of: &TypeUrl, at: &Mark, resources: usize) {
        let (of, at) = (of.short(), &at.label);
        println!("ACK of {}: {resources} x {of} at {at}", node.id);
    }

    fn nacked(&self, node: &Identity, _: &TypeUrl, _: &Mark, rejected: &[(Name, Rejected)]) {
        for (name, why) in rejected {
            println!("NACK of {}: {name}: {}", node.id, why.reason);
        }
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let groups = Groups::by_cluster();
    let (_stop, going_down) = watch::channel(false);
    let discovery = Discovery {
        admission: Arc::new(groups.clone()),
        observer: Arc::new(Printer),
        nodes: Nodes::start(),
        going_down,
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("nodes connect to http://{}", listener.local_addr()?);
    tokio::spawn(serve(listener, discovery));
    let (mut snapshot, mut lines) = (Snapshot::default(), std::io::stdin().lines());
    for turn in 1.. {
        let name = format!("backend-{turn}");
        let id = ResourceId::new(TypeUrl::ENVOY_CLUSTER, name.as_str());
        let cluster = Cluster {
            name,
            ..Cluster::default()
        };
        let all = vec![Resource::new(id, &cluster, Vec::new())];
        let next = snapshot.replace(format!("v{turn}"), all);
        snapshot = next.expect("nothing refers to what is not there");
        groups.set("shop", snapshot.clone());
        if lines.next().is_none() {
            break;
        }
    }
    Ok(())
}
