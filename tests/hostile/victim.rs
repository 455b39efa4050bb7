//! Owns the server that is attacked, how much memory it has, and a node beside it that behaves. Must not
//! know: the attacks.

use std::fs;
use std::net::SocketAddr;

use serde_json::json;

use crate::harness::programs::Server;
use crate::harness::stream::Stream;

pub const ROUTE: &str = "type.googleapis.com/bellwether.v1.Route";
pub const CLUSTER: &str = "type.googleapis.com/bellwether.v1.Cluster";

/// A server, and a node that it serves.
#[derive(Debug)]
pub struct Victim {
    pub server: Server,
    witness: Stream,
    changes: usize,
    before_kib: usize,
}

impl Victim {
    pub async fn start(args: &[&str]) -> Self {
        let server = Server::embedded(args).await;
        let witness = Stream::open(&server.xds).await;
        let mut victim = Self {
            server,
            witness,
            changes: 0,
            before_kib: 0,
        };
        victim.witness.follow("witness", "default", ROUTE).await;
        let first = victim.witness.hear().await;
        victim.witness.ack(&first).await;
        victim.is_well().await;
        victim.before_kib = victim.peak_kib();
        victim
    }

    /// A change reaches the node that behaves.
    pub async fn is_well(&mut self) {
        self.changes += 1;
        let uri = format!("/{}", self.changes);
        self.server
            .put(
                "routes/witness",
                json!({"uri": uri, "plugins": {}, "upstream": {"nodes": {"127.0.0.1:1": 1}}}),
            )
            .await;
        loop {
            let heard = self.witness.hear().await;
            self.witness.ack(&heard).await;
            let mut all = heard.resources.iter();
            if let Some(route) = all.find(|resource| resource.name == "routes/witness") {
                let any = route.resource.as_ref().unwrap();
                let text = String::from_utf8_lossy(&any.value);
                if text.contains(&uri) {
                    return;
                }
            }
        }
    }

    /// The most memory it ever had is at most so much more than it had at the start.
    #[track_caller]
    pub fn grew_at_most(&self, mib: usize) {
        let grown = (self.peak_kib() - self.before_kib) / 1024;
        eprintln!("grew by {grown} MiB of {mib}");
        assert!(
            grown <= mib,
            "it took {grown} MiB more, {mib} were to be enough"
        );
    }

    fn peak_kib(&self) -> usize {
        let path = format!("/proc/{}/status", self.server.pid());
        let status = fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.unwrap().trim().split(' ').next();
        number.unwrap().parse().unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        let address = self.server.xds.split_once("://").unwrap().1;
        address.parse().unwrap()
    }
}
