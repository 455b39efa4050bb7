//! Owns what runs in the show, and how it is started, stopped and asked. Must not know: the story.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::ask::{Asker, Reply, until};
use crate::process::{Process, tail, this_binary};
use crate::upstream;

/// What the server and the agent say before the addresses they chose.
const SERVER_SAYS: [&str; 2] = ["proxies connect to ", "the Admin API is at "];
const AGENT_SAYS: [&str; 2] = ["proxying ", "/config_dump are at "];

/// One of our programs, and where it listens.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    binary: &'static str,
    args: Vec<String>,
    listen: [&'static str; 2],
    says: [&'static str; 2],
    /// `http://127.0.0.1:PORT`: of the server xDS and admin, of an agent proxy and admin. Kept over a restart.
    pub(crate) urls: [String; 2],
    process: Option<Process>,
}

/// Everything that runs, in one temporary folder. Dropping it ends all of it.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) server: Program,
    /// One without limits of its own, and one that takes no more than two endpoints in a cluster.
    pub(crate) agents: [Program; 2],
    /// `127.0.0.1:PORT` of the two upstreams.
    pub(crate) catalog: String,
    pub(crate) checkout: String,
    pub(crate) key: String,
    asker: Asker,
    folder: TempDir,
}

impl Stage {
    /// The upstreams run; nothing else does yet.
    pub(crate) async fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("bellwether-quickstart-")
            .tempdir()
            .context("can't make a temporary folder")?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let agent = |name: &'static str, more: &[&str]| {
            let mut args = vec!["--node-id".to_owned(), name.to_owned()];
            args.extend(["--state-dir".to_owned(), path(name)]);
            args.extend(more.iter().map(ToString::to_string));
            let listen = ["--http-listen", "--admin-listen"];
            Program::new(name, "bellwether-agent", args, listen, AGENT_SAYS)
        };
        let agents = [agent("a", &[]), agent("b", &["--max-endpoints", "2"])];
        let args = ["serve", "--store", &format!("embedded:{}", path("store"))].map(str::to_owned);
        let listen = ["--xds-listen", "--admin-listen"];
        Ok(Self {
            server: Program::new("server", "bellwether", args.into(), listen, SERVER_SAYS),
            agents,
            catalog: upstream::start("catalog").await?.to_string(),
            checkout: upstream::start("checkout").await?.to_string(),
            key: format!("quickstart-{:016x}", rand::random::<u64>()),
            asker: Asker::new(),
            folder,
        })
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Starts the server: on ports of its choice at first, on the same ones later.
    pub(crate) async fn start_server(&mut self) -> anyhow::Result<()> {
        let log = self.folder.path().join("server.log");
        self.server.start(&self.key, &[], log).await
    }

    /// Starts an agent of the server.
    pub(crate) async fn start_agent(&mut self, index: usize) -> anyhow::Result<()> {
        let agent = &mut self.agents[index];
        let log = self.folder.path().join(format!("agent-{}.log", agent.name));
        let server = ["--server".to_owned(), self.server.urls[0].clone()];
        agent.start(&self.key, &server, log).await
    }

    /// Waits until an agent has a name in its newest configuration on disk. It goes there a moment after
    /// it is in force, so a kill before that costs the newest change.
    pub(crate) async fn kept_on_disk(&self, agent: usize, name: &str) -> anyhow::Result<()> {
        let agent = self.agents[agent].name;
        let file = self.folder.path().join(agent).join("candidate");
        until(&format!("agent {agent} keeps {name} on disk"), async || {
            let content = std::fs::read(&file).context("it is not written yet")?;
            let mut windows = content.windows(name.len());
            ensure!(windows.any(|at| at == name.as_bytes()), "it is not in it");
            Ok(())
        })
        .await
    }

    /// A request through an agent.
    pub(crate) async fn through(&self, agent: usize, path: &str) -> anyhow::Result<Reply> {
        let url = format!("{}{path}", self.agents[agent].urls[0]);
        self.asker.get(&url, None).await
    }

    /// A page of the Admin API.
    pub(crate) async fn admin(&self, path: &str) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.server.urls[1]);
        let reply = self.asker.get(&url, Some(&self.key)).await?;
        ensure!(reply.status == 200, "{path}: {reply}");
        serde_json::from_str(&reply.body).with_context(|| format!("{path} is not JSON"))
    }

    /// Runs the command line, with this input; what it printed.
    pub(crate) async fn bellwether(&self, args: &[&str], input: &str) -> anyhow::Result<String> {
        let mut command = this_binary(&self.key)?;
        command.arg("bellwether").args(args);
        command.env("BELLWETHER_ADMIN", &self.server.urls[1]);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = input.to_owned();
        let run = move || {
            let mut child = command.spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // A command that does not read its input may be gone already.
                let _ = stdin.write_all(input.as_bytes());
            }
            child.wait_with_output()
        };
        let output = tokio::task::spawn_blocking(run).await?;
        let output = output.context("can't run the command line")?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "bellwether {args:?}: {error}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The end of every child's log.
    pub(crate) fn log_tails(&self) -> String {
        ["server", "agent-a", "agent-b"]
            .map(|name| {
                let log = self.folder.path().join(format!("{name}.log"));
                format!("--- the end of {name}'s log\n{}", tail(&log))
            })
            .join("\n")
    }
}

impl Program {
    fn new(
        name: &'static str,
        binary: &'static str,
        args: Vec<String>,
        listen: [&'static str; 2],
        says: [&'static str; 2],
    ) -> Self {
        Self {
            name,
            binary,
            args,
            listen,
            says,
            urls: ["http://127.0.0.1:0"; 2].map(str::to_owned),
            process: None,
        }
    }

    async fn start(&mut self, key: &str, more: &[String], log: PathBuf) -> anyhow::Result<()> {
        self.kill();
        let mut args = [&self.args[..], more].concat();
        for (option, url) in self.listen.iter().zip(&self.urls) {
            args.extend([(*option).to_owned(), url.replacen("http://", "", 1)]);
        }
        let mut process = Process::start(self.binary, &args, key, log)?;
        let says = self.says;
        let what = format!("{} says where it listens", self.name);
        self.urls = until(&what, async || {
            let said = process.log();
            let urls = says.map(|phrase| {
                let rest = said.split_once(phrase)?.1;
                rest.split_once('\n').map(|(url, _)| url.to_owned())
            });
            let [Some(first), Some(second)] = urls else {
                process.must_run()?;
                anyhow::bail!("it has not said so yet");
            };
            Ok([first, second])
        })
        .await?;
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }
}
