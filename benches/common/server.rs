//! Owns the server that is measured: a process of its own, over an embedded store that is filled before
//! it starts. Must not know: the load, or what is measured.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use bellwether_server::store::embedded::{EmbeddedOptions, EmbeddedStore};
use bellwether_server::store::{Store, Txn, Write};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// The first argument of a process that is the server.
pub(crate) const ROLE: &str = "server";

const KEY: &str = "the-key-of-the-benchmark";

/// Clock ticks a second in `/proc`; 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// The server's own life.
pub(crate) async fn run(mut args: Vec<OsString>) -> ExitCode {
    // What stands behind our own two words is a command line of its own.
    args.drain(..2);
    let name = OsString::from("bellwether");
    bellwether_server::program::run(std::iter::once(name).chain(args).collect()).await
}

/// The process, and where it listens.
pub(crate) struct Server {
    child: Child,
    pub(crate) xds: String,
    admin: String,
    client: Client<HttpConnector, Full<Bytes>>,
    _folder: tempfile::TempDir,
}

/// Resident memory.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) kib: u64,
}

impl Server {
    /// Over a store with these keys.
    pub(crate) async fn start(keys: Vec<(String, String)>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let data = folder.path().join("data");
        let store = EmbeddedStore::open(&data, EmbeddedOptions::default()).await;
        fill(&store.expect("a fresh store opens"), keys).await;
        let mut child = Command::new(std::env::current_exe().expect("we know ourselves"))
            .args([ROLE, "serve", "--log", "error", "--store"])
            .arg(format!("embedded:{}", data.display()))
            .args([
                "--xds-listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .env("BELLWETHER_ADMIN_KEY", KEY)
            .stdout(Stdio::piped())
            .spawn()
            .expect("we can start ourselves");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut address = || {
            let line = lines
                .next()
                .expect("the server says where it listens")
                .expect("text");
            line.rsplit(' ').next().expect("a word").to_owned()
        };
        let (xds, admin) = (address(), address());
        Self {
            child,
            xds,
            admin,
            client: Client::builder(TokioExecutor::new()).build_http(),
            _folder: folder,
        }
    }

    /// What the Admin API answers, which must be that all went well.
    pub(crate) async fn call(&self, method: &str, path: &str, body: String) -> Value {
        let (status, answer) = self.ask(method, path, body).await;
        assert!(status.is_success(), "{method} {path}: {status}: {answer}");
        answer
    }

    /// What the Admin API answers, whatever it is.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: String) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.admin))
            .header("x-api-key", KEY)
            .body(Full::from(body))
            .expect("a request");
        let answer = self
            .client
            .request(request)
            .await
            .expect("the server answers");
        let status = answer.status();
        let body = answer
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    pub(crate) fn memory(&self) -> Memory {
        self.status("VmRSS:")
    }

    pub(crate) fn peak_memory(&self) -> Memory {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> Memory {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the server runs");
        let line = status
            .lines()
            .find(|line| line.starts_with(field))
            .expect("Linux says so");
        let kib = line
            .split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse().ok());
        Memory {
            kib: kib.expect("a number"),
        }
    }

    /// Time on processors since it started.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("the server runs");
        let after_name = stat.rsplit(')').next().expect("a name in parentheses");
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks: f64 = [11, 12]
            .iter()
            .map(|at| fields[*at].parse::<f64>().expect("a number"))
            .sum();
        Duration::from_secs_f64(ticks / TICKS)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Before the server reads it: faster than through the Admin API, and not what is measured.
async fn fill(store: &dyn Store, keys: Vec<(String, String)>) {
    let writes = keys.into_iter().map(|(key, value)| Write::Put {
        key,
        value: value.into(),
        lease: None,
    });
    let writes: Vec<Write> = writes.collect();
    for chunk in writes.chunks(100) {
        let txn = Txn {
            guards: Vec::new(),
            writes: chunk.to_vec(),
        };
        store.commit(txn).await.expect("a fresh store takes writes");
    }
}
