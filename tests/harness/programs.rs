//! Owns our own two programs as real processes: built once, started on ports of their choice, asked
//! over their public ports. Must not know: what any one test wants to show.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::ask::{Asker, Reply};
use super::process::{Process, cargo};
use super::publisher::sum;

/// Far more than anything here needs on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The API key of every server in the tests.
pub const KEY: &str = "the-key-of-the-tests";

/// Waits until `look` gives something; panics with `what` when it does not.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        sleep(LOOK).await;
    }
}

/// The path of one of our programs, which the first caller builds.
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    BUILT.get_or_init(build)[name].clone()
}

/// The path of one of our examples, which is built.
pub fn example(name: &str) -> PathBuf {
    let built = Command::new(cargo())
        .args(["build", "--quiet", "--offline", "--message-format=json"])
        .args(["--example", name])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    let error = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{error}");
    String::from_utf8(built.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)))
        .expect("cargo says where the example is")
}

/// Cargo builds binaries of other packages only when told to. What is built already costs nothing.
fn build() -> BTreeMap<String, PathBuf> {
    let built = Command::new(cargo())
        .args([
            "build",
            "--quiet",
            "--bins",
            "--message-format=json",
            "--offline",
        ])
        .args(["-p", "bellwether-server", "-p", "bellwether-agent"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    String::from_utf8(built.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| {
            let path = PathBuf::from(message["executable"].as_str()?);
            let name = path.file_name()?.to_str()?.to_owned();
            Some((name, path))
        })
        .collect()
}

/// One of our programs.
#[derive(Debug)]
struct Running {
    process: Option<Process>,
    folder: TempDir,
    log: PathBuf,
    ask: Asker,
    /// More of its environment.
    environment: Vec<String>,
}

impl Running {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            process: None,
            log: folder.path().join("log"),
            folder,
            ask: Asker::new(),
            environment: Vec::new(),
        }
    }

    /// Starts it, and waits for the addresses it says after each of `phrases`.
    async fn start<const N: usize>(
        &mut self,
        name: &str,
        args: &[String],
        phrases: [&str; N],
    ) -> [String; N] {
        self.kill();
        let _ = std::fs::remove_file(&self.log);
        // The key comes from the environment, as in production; `env` keeps it out of ours.
        let mut all = vec![format!("BELLWETHER_ADMIN_KEY={KEY}")];
        all.extend_from_slice(&self.environment);
        all.push(program(name).display().to_string());
        all.extend_from_slice(args);
        self.process = Some(Process::start(Path::new("env"), &all, &self.log));
        eventually(&format!("{name} to say where it listens"), || async {
            let process = self.process.as_ref().unwrap();
            assert!(
                !process.has_ended(),
                "{name} {args:?} ended:\n{}",
                process.log_tail()
            );
            let said = self.log();
            let found = phrases.map(|phrase| {
                let rest = said.split_once(phrase)?.1;
                rest.split_once('\n').map(|(address, _)| address.to_owned())
            });
            found
                .iter()
                .all(Option::is_some)
                .then(|| found.map(Option::unwrap))
        })
        .await
    }

    fn kill(&mut self) {
        self.process = None;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }
}

/// A discovery server.
#[derive(Debug)]
pub struct Server {
    running: Running,
    args: Vec<String>,
    pub xds: String,
    pub admin: String,
}

impl Server {
    /// Over its own embedded store.
    pub async fn embedded(args: &[&str]) -> Self {
        let running = Running::new();
        let store = format!("embedded:{}", running.folder.path().join("data").display());
        Self::with(running, &store, args).await
    }

    /// Over this store.
    pub async fn over(store: &str, args: &[&str]) -> Self {
        Self::with(Running::new(), store, args).await
    }

    async fn with(running: Running, store: &str, more: &[&str]) -> Self {
        let mut args: Vec<String> = ["serve", "--store", store].map(str::to_owned).into();
        args.extend(more.iter().map(ToString::to_string));
        let listen = |option: &str| vec![option.to_owned(), "127.0.0.1:0".to_owned()];
        args.extend([listen("--xds-listen"), listen("--admin-listen")].concat());
        let mut server = Self {
            running,
            args,
            xds: String::new(),
            admin: String::new(),
        };
        server.restart().await;
        // From now on it comes back at the same place.
        let at = server.args.len();
        let address = |url: &str| url.split_once("://").unwrap().1.to_owned();
        server.args[at - 3] = address(&server.xds);
        server.args[at - 1] = address(&server.admin);
        server
    }

    /// Starts it again, where it was.
    pub async fn restart(&mut self) {
        let args = self.args.clone();
        let phrases = ["proxies connect to ", "the Admin API is at "];
        [self.xds, self.admin] = self.running.start("bellwether", &args, phrases).await;
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    pub fn signal(&self, name: &str) {
        self.running.process().signal(name);
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.process().pid()
    }

    pub fn log(&self) -> String {
        self.running.log()
    }

    /// A request to the Admin API.
    pub async fn call(&self, method: &str, path: &str, body: &str) -> Reply {
        let url = format!("{}{path}", self.admin);
        self.running
            .ask
            .ask(method, &url, &[("x-api-key", KEY)], body)
            .await
            .unwrap()
    }

    /// Writes one resource, which must be accepted.
    #[track_caller]
    pub fn put(&self, path: &str, body: Value) -> impl Future<Output = ()> {
        let path = format!("/apisix/admin/{path}");
        async move {
            let reply = self.call("PUT", &path, &body.to_string()).await;
            assert!(reply.status < 300, "{path}: {reply:?}");
        }
    }

    /// The status of the default fleet.
    pub async fn status(&self) -> Value {
        self.call("GET", "/v1/status", "").await.json()["list"][0].clone()
    }

    /// Every connected node.
    pub async fn nodes(&self) -> Vec<Value> {
        let reply = self.call("GET", "/v1/nodes", "").await.json();
        reply["list"].as_array().expect("a list").clone()
    }

    /// Waits until so many nodes hold the newest of everything.
    pub async fn nodes_in_sync(&self, count: usize) {
        eventually(&format!("{count} nodes in sync"), || async {
            let nodes = self.nodes().await;
            let synced = nodes.iter().filter(|node| node["in_sync"] == true).count();
            (synced == count && nodes.len() == count).then_some(())
        })
        .await;
    }

    /// Sum of a metric over its labels.
    pub async fn metric(&self, name: &str) -> u64 {
        sum(&self.call("GET", "/metrics", "").await.body, name)
    }
}

/// An agent.
#[derive(Debug)]
pub struct Agent {
    running: Running,
    args: Vec<String>,
    pub http: String,
    pub admin: String,
}

impl Agent {
    /// Follows these servers.
    pub async fn start(id: &str, servers: &[&str], more: &[&str]) -> Self {
        Self::with(Running::new(), id, servers, more).await
    }

    /// Something goes wrong in it on purpose, as `agent/src/fault.rs` says.
    pub async fn faulty(fault: &str, id: &str, servers: &[&str], more: &[&str]) -> Self {
        let mut running = Running::new();
        let fault = format!("BELLWETHER_AGENT_FAULT={fault}");
        running.environment.push(fault);
        Self::with(running, id, servers, more).await
    }

    async fn with(running: Running, id: &str, servers: &[&str], more: &[&str]) -> Self {
        let state = running.folder.path().join("state").display().to_string();
        let mut args: Vec<String> =
            vec!["--node-id".into(), id.into(), "--state-dir".into(), state];
        args.extend(["--server".to_owned(), servers.join(",")]);
        args.extend(more.iter().map(ToString::to_string));
        let listen = [
            "--http-listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ];
        args.extend(listen.map(str::to_owned));
        let mut agent = Self {
            running,
            args,
            http: String::new(),
            admin: String::new(),
        };
        agent.restart().await;
        agent
    }

    /// Starts it again, with what it has on disk.
    pub async fn restart(&mut self) {
        let args = self.args.clone();
        let phrases = ["proxying ", "/ready, /metrics and /config_dump are at "];
        [self.http, self.admin] = self.running.start("bellwether-agent", &args, phrases).await;
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    pub fn log(&self) -> String {
        self.running.log()
    }

    /// Other servers from the next start on.
    pub fn follow(&mut self, servers: &[&str]) {
        self.set("--server", &servers.join(","));
    }

    /// Another value of an option that it has, from the next start on.
    pub fn set(&mut self, option: &str, value: &str) {
        let at = self.args.iter().position(|arg| arg == option);
        self.args[at.expect("it has the option") + 1] = value.to_owned();
    }

    pub fn signal(&self, name: &str) {
        self.running.process().signal(name);
    }

    /// Whether it ended by itself.
    pub fn has_ended(&self) -> bool {
        self.running.process().has_ended()
    }

    /// SIGTERM, and waits until it is gone.
    pub async fn terminate(&mut self) {
        self.running.process().signal("TERM");
        eventually("the agent to end", || async {
            self.running.process().has_ended().then_some(())
        })
        .await;
        self.kill();
    }

    /// The folder that survives a restart.
    pub fn state_dir(&self) -> PathBuf {
        self.running.folder.path().join("state")
    }

    /// A request through the proxy.
    pub async fn get(&self, path: &str) -> Reply {
        self.running.ask.get(&format!("{}{path}", self.http)).await
    }

    /// A page of its own.
    pub async fn page(&self, path: &str) -> Reply {
        self.running.ask.get(&format!("{}{path}", self.admin)).await
    }

    /// Waits until a path is answered like this.
    pub async fn answers(&self, path: &str, status: u16, body: &str) {
        eventually(
            &format!("{path} to be answered {status} {body:?}"),
            || async {
                let reply = self.get(path).await;
                (reply.status == status && reply.body.contains(body)).then_some(())
            },
        )
        .await;
    }

    pub async fn is_ready(&self) {
        eventually("the agent to be ready", || async {
            (self.page("/ready").await.status == 200).then_some(())
        })
        .await;
    }
}
