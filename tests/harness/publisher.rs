//! Owns a discovery server whose snapshots a test makes by hand, so that it can send anything, with the
//! Admin API's view of its nodes. Must not know: what is sent.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};

use bellwether::snapshot::{Changes, Snapshot};
use bellwether_server::admin::{self, AdminState, Keys};
use bellwether_server::metrics::XdsMetrics;
use bellwether_xds::nodes::Nodes;
use bellwether_xds::{Discovery, Groups};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ask::{Asker, Reply};

/// The group that every node is in.
const FLEET: &str = "default";

/// What all servers in this process warn of.
static LOG: OnceLock<Log> = OnceLock::new();

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn keep() {
        LOG.get_or_init(|| {
            let log = Self::default();
            let writer = log.clone();
            tracing_subscriber::fmt()
                .with_ansi(false)
                .with_max_level(tracing::Level::WARN)
                .with_writer(move || writer.clone())
                .init();
            log
        });
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The server. Dropping it ends all of it at once.
#[derive(Debug)]
pub struct Publisher {
    /// `HOST:PORT`
    pub xds: String,
    admin: String,
    key: String,
    ask: Asker,
    groups: Groups,
    newest: Mutex<Snapshot>,
    /// Never said: it is killed.
    _going_down: watch::Sender<bool>,
    tasks: [JoinHandle<()>; 2],
}

impl Publisher {
    /// Sends what `changes` make of nothing.
    pub async fn start(changes: Changes) -> Self {
        Log::keep();
        let snapshot = Snapshot::default()
            .next("1", changes)
            .expect("it is consistent");
        Self::bind("127.0.0.1:0", snapshot).await
    }

    async fn bind(at: &str, snapshot: Snapshot) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let xds = listener.local_addr().unwrap().to_string();
        let groups = Groups::by(|_, _| FLEET.to_owned());
        groups.set(FLEET, snapshot.clone());
        let (_going_down, goes_down) = watch::channel(false);
        let mut registry = Registry::default();
        let nodes = Nodes::start();
        let discovery = Discovery {
            admission: Arc::new(groups.clone()),
            observer: Arc::new(XdsMetrics::new(&mut registry)),
            nodes: nodes.clone(),
            going_down: goes_down,
        };
        let (keys, key) = Keys::generate();
        let state = AdminState {
            fleets: watch::channel(Arc::default()).1,
            nodes,
            directory: None,
            rollouts: bellwether_server::rollouts::Rollouts::default(),
            keys: Arc::new(keys),
            metrics: Arc::new(move || {
                let mut text = String::new();
                encode(&mut text, &registry).unwrap();
                text
            }),
            metrics_need_key: false,
        };
        let admin_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = format!("http://{}", admin_listener.local_addr().unwrap());
        let tasks = [
            tokio::spawn(async move { bellwether_xds::serve(listener, discovery).await.unwrap() }),
            tokio::spawn(async move {
                axum::serve(admin_listener, admin::router(state))
                    .await
                    .unwrap();
            }),
        ];
        Self {
            xds,
            admin,
            key,
            ask: Asker::new(),
            groups,
            newest: Mutex::new(snapshot),
            _going_down,
            tasks,
        }
    }

    /// The next snapshot.
    pub fn publish(&self, label: &str, changes: Changes) {
        let mut newest = self.newest.lock().unwrap();
        *newest = newest.next(label, changes).expect("it is consistent");
        self.groups.set(FLEET, newest.clone());
    }

    async fn call(&self, path: &str) -> Reply {
        let url = format!("{}{path}", self.admin);
        let key = [("x-api-key", self.key.as_str())];
        self.ask.ask("GET", &url, &key, "").await.unwrap()
    }

    /// `/v1/nodes`
    pub async fn nodes(&self) -> Vec<Value> {
        let reply = self.call("/v1/nodes").await.json();
        reply["list"].as_array().expect("a list").clone()
    }

    /// What a node rejected of all types: name and reason. `None` while it is not connected.
    pub async fn rejected_by(&self, id: &str) -> Option<Vec<(String, String)>> {
        let nodes = self.nodes().await;
        let node = nodes.iter().find(|node| node["id"] == id)?;
        let types = node["types"].as_array().expect("a list");
        let rejected = types
            .iter()
            .flat_map(|of| of["rejected"].as_array().expect("a list"));
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        Some(
            rejected
                .map(|one| (text(&one["name"]), text(&one["reason"])))
                .collect(),
        )
    }

    /// What it has warned of, and others that run beside it.
    pub fn log(&self) -> String {
        let log = LOG.get().expect("it was kept from the start");
        String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned()
    }

    /// Sum of a metric over its labels.
    pub async fn metric(&self, name: &str) -> u64 {
        sum(&self.call("/metrics").await.body, name)
    }
}

/// Sum of a metric over its labels.
pub fn sum(metrics: &str, name: &str) -> u64 {
    metrics
        .lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

impl Drop for Publisher {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
