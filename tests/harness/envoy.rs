//! Owns a real Envoy: installed once, started on loopback with what a test tells it, asked over its own
//! admin interface, and always stopped. Must not know: what any one test wants to show.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::ask::{Asker, Reply};
use super::install;
use super::ports;
use super::process::Process;
use super::programs::eventually;

/// The variants of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    StateOfTheWorld,
    Delta,
}

/// An Envoy.
#[derive(Debug)]
pub struct Envoy {
    process: Option<Process>,
    folder: TempDir,
    bootstrap: PathBuf,
    admin: String,
    ask: Asker,
}

/// What an Envoy is started with, so that it asks this discovery server for everything.
pub fn bootstrap(xds: &str, node: &str, fleet: &str, variant: Variant) -> Value {
    let address = xds.split_once("://").map_or(xds, |(_, address)| address);
    let (host, port) = address.rsplit_once(':').expect("host and port");
    let port: u16 = port.parse().expect("a port");
    let ads = json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "30s"});
    json!({
        "node": {"id": node, "cluster": fleet},
        "dynamic_resources": {
            "ads_config": {
                "api_type": match variant {
                    Variant::StateOfTheWorld => "GRPC",
                    Variant::Delta => "DELTA_GRPC",
                },
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "lds_config": ads,
            "cds_config": ads,
        },
        "static_resources": {"clusters": [{
            "name": "xds",
            "type": "STATIC",
            "connect_timeout": "5s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}},
                },
            },
            "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}},
            ]}]},
        }]},
    })
}

impl Envoy {
    /// Starts one and waits until its admin interface answers.
    pub async fn start(mut bootstrap: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = ports::free();
        bootstrap["admin"] = json!({
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        });
        let path = folder.path().join("bootstrap.json");
        std::fs::write(&path, bootstrap.to_string()).unwrap();
        let mut envoy = Self {
            process: None,
            folder,
            bootstrap: path,
            admin: format!("http://127.0.0.1:{port}"),
            ask: Asker::new(),
        };
        envoy.restart().await;
        envoy
    }

    /// Kills it, if it runs, and starts it again.
    pub async fn restart(&mut self) {
        self.kill();
        let args = [
            "--config-path",
            &self.bootstrap.display().to_string(),
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "warning",
            // It warns of each use of a deprecated field.
            "--component-log-level",
            "misc:error",
        ];
        let args = args.map(str::to_owned);
        let log = self.folder.path().join("envoy.log");
        self.process = Some(Process::start(&install::envoy(), &args, &log));
        eventually("envoy to answer", || async {
            let process = self.process.as_ref().unwrap();
            assert!(!process.has_ended(), "envoy ended:\n{}", process.log_tail());
            let url = format!("{}/server_info", self.admin);
            self.ask.ask("GET", &url, &[], "").await.ok()
        })
        .await;
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The end of what it wrote.
    pub fn log(&self) -> String {
        self.process
            .as_ref()
            .map(Process::log_tail)
            .unwrap_or_default()
    }

    /// A page of its admin interface.
    pub async fn page(&self, path: &str) -> Reply {
        self.ask.get(&format!("{}{path}", self.admin)).await
    }

    /// Waits until it has all it needs to serve.
    pub async fn is_ready(&self) {
        eventually("envoy to be ready", || async {
            (self.page("/ready").await.status == 200).then_some(())
        })
        .await;
    }

    /// All counters and gauges whose names match, by name.
    pub async fn stats(&self, filter: &str) -> Vec<(String, u64)> {
        let reply = self.page(&format!("/stats?filter={filter}")).await;
        reply
            .body
            .lines()
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(": ")?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect()
    }

    /// The sum of the counters whose names match.
    pub async fn sum(&self, filter: &str) -> u64 {
        self.stats(filter)
            .await
            .iter()
            .map(|(_, value)| value)
            .sum()
    }

    /// Nothing that it was ever sent was rejected.
    pub async fn rejected_nothing(&self) {
        let rejected: Vec<_> = self
            .stats("update_rejected")
            .await
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert!(rejected.is_empty(), "{rejected:?}\n{}", self.log());
    }

    /// What it has of one part of its configuration; null as long as there is none.
    pub async fn dump(&self, what: &str) -> Value {
        let reply = self.page(&format!("/config_dump?resource={what}")).await;
        match reply.status {
            200 => reply.json(),
            _ => Value::Null,
        }
    }
}
