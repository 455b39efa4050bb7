//! Owns one real etcd: started on ports of its own, asked until it is healthy, always stopped.
//! Must not know: Bellwether.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::pki::{Identity, Pki};
use super::process::Process;
use super::{install, ports};

/// How long a healthy answer is waited for: far more than a busy machine needs.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How often a starting etcd is asked.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

/// How to start it.
#[derive(Clone, Debug, Default)]
pub struct EtcdOptions {
    /// More arguments.
    pub args: Vec<String>,
    /// Serve TLS and want a client certificate.
    pub tls: bool,
}

impl EtcdOptions {
    /// With more arguments.
    pub fn args<const N: usize>(args: [&str; N]) -> Self {
        Self {
            args: args.into_iter().map(str::to_owned).collect(),
            tls: false,
        }
    }
}

/// A one-member cluster. Dropping it kills it.
#[derive(Debug)]
pub struct Etcd {
    process: Option<Process>,
    folder: TempDir,
    binaries: PathBuf,
    args: Vec<String>,
    client_port: u16,
    metrics_port: u16,
    tls: Option<(Pki, Identity)>,
    user: Option<String>,
}

impl Etcd {
    /// Starts one and waits until it is healthy.
    pub async fn start(options: EtcdOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = options.tls.then(|| Pki::new(&folder.path().join("pki")));
        let (client_port, peer_port, metrics_port) = (ports::free(), ports::free(), ports::free());
        let scheme = if options.tls { "https" } else { "http" };
        let client = format!("{scheme}://127.0.0.1:{client_port}");
        let peer = format!("http://127.0.0.1:{peer_port}");
        let mut args = vec![
            format!("--data-dir={}", folder.path().join("data").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            format!("--listen-metrics-urls=http://127.0.0.1:{metrics_port}"),
            // A lone member need not wait a second for other candidates.
            "--heartbeat-interval=20".to_owned(),
            "--election-timeout=200".to_owned(),
        ];
        let tls = pki.map(|pki| {
            let server = pki.issue("etcd");
            args.extend([
                "--client-cert-auth".to_owned(),
                format!("--trusted-ca-file={}", pki.ca().display()),
                format!("--cert-file={}", server.cert.display()),
                format!("--key-file={}", server.key.display()),
            ]);
            let client = pki.issue("root");
            (pki, client)
        });
        args.extend(options.args);
        let mut etcd = Self {
            process: None,
            folder,
            binaries: install::etcd(),
            args,
            client_port,
            metrics_port,
            tls,
            user: None,
        };
        etcd.restart().await;
        etcd
    }

    /// Starts it again after [`Self::kill`], with its data and on its ports.
    pub async fn restart(&mut self) {
        self.kill();
        let log = self.folder.path().join("etcd.log");
        self.process = Some(Process::start(
            &self.binaries.join("etcd"),
            &self.args,
            &log,
        ));
        let deadline = Instant::now() + START_PATIENCE;
        while !self.is_healthy().await {
            let process = self.process.as_ref().unwrap();
            assert!(
                !process.has_ended() && Instant::now() < deadline,
                "etcd does not start:\n{}",
                process.log_tail()
            );
            sleep(ASK_INTERVAL).await;
        }
    }

    /// SIGKILL. The data stays.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Deletes the data of a killed etcd: the next start is a new, empty store.
    pub fn wipe(&self) {
        assert!(self.process.is_none(), "wiping needs a killed etcd");
        std::fs::remove_dir_all(self.folder.path().join("data")).unwrap();
    }

    /// Adds an argument for the next start.
    pub fn add_arg(&mut self, arg: &str) {
        self.args.push(arg.to_owned());
    }

    /// SIGSTOP: connections stay open and nobody answers.
    pub fn stop_process(&self) {
        self.process.as_ref().expect("etcd runs").signal("STOP");
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.process.as_ref().expect("etcd runs").signal("CONT");
    }

    /// Where clients connect: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client_port)
    }

    /// Where it listens for clients.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.client_port))
    }

    /// A folder that lives as long as this etcd. The data is in `data`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The authority and the client's identity, with TLS.
    pub fn tls(&self) -> Option<(&Pki, &Identity)> {
        self.tls.as_ref().map(|(pki, client)| (pki, client))
    }

    /// Makes a user who may do everything and turns authentication on. Later calls of
    /// [`Self::etcdctl`] use it.
    pub async fn enable_auth(&mut self, password: &str) {
        let user = format!("root:{password}");
        self.etcdctl(&["user", "add", &user]).await;
        self.etcdctl(&["user", "grant-role", "root", "root"]).await;
        self.etcdctl(&["auth", "enable"]).await;
        self.user = Some(user);
    }

    /// Runs `etcdctl` and gives its output. Panics with its complaint if it fails.
    pub async fn etcdctl(&self, args: &[&str]) -> String {
        let mut command = Command::new(self.binaries.join("etcdctl"));
        command.arg(format!("--endpoints={}", self.endpoint()));
        if let Some((pki, client)) = self.tls() {
            command.arg("--cacert").arg(pki.ca());
            command.arg("--cert").arg(&client.cert);
            command.arg("--key").arg(&client.key);
        }
        if let Some(user) = &self.user {
            command.args(["--user", user]);
        }
        command.args(args).env("ETCDCTL_API", "3");
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output.unwrap().expect("etcdctl can be run");
        assert!(
            output.status.success(),
            "etcdctl {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("etcdctl writes text")
    }

    /// Its metrics, as Prometheus reads them.
    pub async fn metrics(&self) -> String {
        self.ask("/metrics").await.expect("etcd answers")
    }

    /// How often a gRPC method was called since the start: `Authenticate`, `Watch`, `Range`.
    pub async fn calls(&self, method: &str) -> u64 {
        self.count("grpc_server_started_total", method).await
    }

    /// How many messages it got for a gRPC method since the start.
    pub async fn messages(&self, method: &str) -> u64 {
        self.count("grpc_server_msg_received_total", method).await
    }

    async fn count(&self, metric: &str, method: &str) -> u64 {
        let (metric, label) = (format!("{metric}{{"), format!("grpc_method=\"{method}\""));
        self.metrics()
            .await
            .lines()
            .filter(|line| line.starts_with(&metric) && line.contains(&label))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .map(|count| count as u64)
            .sum()
    }

    async fn is_healthy(&self) -> bool {
        let answer = self.ask("/health").await;
        answer.is_some_and(|answer| answer.contains(r#""health":"true""#))
    }

    async fn ask(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics_port))
            .await
            .ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }
}
