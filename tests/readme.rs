//! Owns the proof that every command in the README and in docs/ works as it stands, and that the code map
//! shows what is there. Must not know: how the programs do it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::ask::{Asker, Named};
use crate::harness::envoy::Envoy;
use crate::harness::etcd::{Etcd, EtcdOptions};
use crate::harness::install;
use crate::harness::ports;
use crate::harness::programs::{Agent, KEY, Server, eventually, program};
use crate::lane::Registrar;

/// Commands that CI runs itself, letter by letter.
const RUN_BY_CI: [&str; 2] = [
    "cargo run --release --example quickstart",
    "cargo test --workspace",
];

/// Commands that the other ones here stand on: the harness builds the same programs in another
/// profile, puts them on the path, and gives every program its key.
const DONE_BY_THE_HARNESS: [&str; 3] = [
    "cargo build --profile dist -p bellwether-server -p bellwether-agent",
    "export PATH=\"$PWD/target/dist:$PATH\"",
    "export BELLWETHER_ADMIN_KEY=choose-a-long-one",
];

/// What a command prints, and its exit code. A command that is not here is one that nobody has tried.
const SAYS: [(&str, &str, i32); 40] = [
    ("etcdctl put /apisix/routes/1 ", "OK", 0),
    ("etcdctl del /apisix/routes/1", "1", 0),
    ("bellwether inspect ", "routes an agent forwards: 1", 0),
    (
        "| bellwether put upstreams web -f -",
        "created upstreams/web",
        0,
    ),
    (
        "| bellwether put upstreams registered -f -",
        "created upstreams/registered",
        0,
    ),
    ("bellwether instance list web", "ALIVE", 0),
    ("bellwether instance drain web", "drained web", 0),
    (
        "curl -X PUT http://127.0.0.1:9180/v1/fleets/default/instances/",
        "\"alive\":true",
        0,
    ),
    ("> shop.json", "", 0),
    ("bellwether apply -f shop.json --dry-run", "1 to create", 0),
    ("bellwether apply -f shop.json", "applied 1", 0),
    ("bellwether diff -f shop.json", "1 unchanged", 0),
    ("bellwether get routes hello", "\"/hello\"", 0),
    ("bellwether get routes", "hello", 0),
    ("bellwether nodes --output json", "\"in_sync\"", 0),
    ("bellwether nodes a", "a of fleet default", 0),
    ("bellwether nodes", "IN SYNC", 0),
    ("bellwether status", "live", 0),
    ("bellwether settings", "listeners", 0),
    ("bellwether release create -m \"say", "default@2", 0),
    ("bellwether release create -m", "default@1", 0),
    ("bellwether fleet put cafe", "fleet cafe is defined", 0),
    ("bellwether fleet list", "/cafe", 0),
    ("bellwether fleet delete cafe", "deleted fleet cafe", 0),
    (
        "bellwether fleet put default",
        "fleet default is defined",
        0,
    ),
    ("| bellwether put routes bye -f -", "created routes/bye", 0),
    ("\"say goodbye\" --dry-run", "first", 0),
    ("bellwether rollout start default@2", "default@2", 0),
    ("bellwether rollout status", "default@2", 0),
    ("bellwether rollout abort", "", 0),
    ("bellwether rollout history", "not yet", 0),
    ("bellwether release list", "the shop opens", 0),
    ("bellwether release show 1", "native", 0),
    ("bellwether release diff 1 1", "CHANGE", 0),
    ("bellwether delete routes hello", "deleted routes/hello", 0),
    ("bellwether accept-store", "is taken as it is", 0),
    ("curl -X PUT http://127.0.0.1:9180/v1/", "listeners", 0),
    ("curl http://127.0.0.1:10000/hello", "up", 0),
    ("curl http://127.0.0.1:9080/hello", "up", 0),
    (
        "curl http://127.0.0.1:9080/hello",
        "{\"error_msg\":\"404 Route Not Found\"}",
        0,
    ),
];

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The lines of the blocks that begin with this fence.
fn blocks(markdown: &str, fence: &str) -> Vec<Vec<String>> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        if line == fence {
            let block = lines.by_ref().take_while(|line| *line != "```");
            blocks.push(block.map(str::to_owned).collect());
        }
    }
    blocks
}

/// Everything that the documented addresses stand for.
struct World {
    etcd: Etcd,
    upstream: Named,
    server: Option<Server>,
    agent: Option<Agent>,
    envoy: Option<Envoy>,
    registrar: Option<Registrar>,
    /// Where Envoy listens, instead of where the documentation says.
    envoy_port: u16,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        Self {
            etcd: Etcd::start(EtcdOptions::default()).await,
            upstream: Named::start("up").await,
            server: None,
            agent: None,
            envoy: None,
            registrar: None,
            envoy_port: ports::free(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A command with the documented addresses replaced by those in use here.
    fn here(&self, command: &str) -> String {
        let mut here = command
            .replace("http://127.0.0.1:2379", &self.etcd.endpoint())
            .replace("127.0.0.1:1980", &self.upstream.node())
            .replace("127.0.0.1:10000", &format!("127.0.0.1:{}", self.envoy_port))
            .replace("\"port\":10000", &format!("\"port\":{}", self.envoy_port));
        if let Some(server) = &self.server {
            here = here.replace("http://127.0.0.1:18000", &server.xds);
            here = here.replace("http://127.0.0.1:9180", &server.admin);
        }
        if let Some(agent) = &self.agent {
            here = here.replace("http://127.0.0.1:9080", &agent.http);
        }
        here
    }

    async fn run(&mut self, command: &str) {
        let here = self.here(command);
        let words: Vec<&str> = here.split_whitespace().collect();
        match words[..] {
            ["bellwether", "serve", "--store", store] => {
                self.server = Some(Server::over(store, &[]).await);
            }
            ["bellwether-agent", "--server", server, "--node-id", id] => {
                let agent = Agent::start(id, &[server], &[]).await;
                agent.is_ready().await;
                self.agent = Some(agent);
            }
            ["bellwether", "instance", "register", service, address] => {
                let server = self.server.as_ref().expect("the server runs");
                let registrar = Registrar::start(server, service, address, &[]).await;
                self.registrar = Some(registrar);
            }
            ["envoy", "-c", file] => self.start_envoy(file).await,
            ["curl", url] if self.is_envoys(url) => self.request_by_envoy(command, url).await,
            ["curl", url] => self.request(command, url).await,
            _ => self.shell(command, &here).await,
        }
    }

    /// With the documented bootstrap, but for the ports.
    async fn start_envoy(&mut self, file: &str) {
        let xds = &self.server.as_ref().expect("the server runs").xds;
        let (_, port) = xds.rsplit_once(':').unwrap();
        let here = text(file).replace("18000", port);
        self.envoy = Some(Envoy::start(serde_json::from_str(&here).unwrap()).await);
    }

    fn is_envoys(&self, url: &str) -> bool {
        url.contains(&format!(":{}/", self.envoy_port))
    }

    async fn request_by_envoy(&self, command: &str, url: &str) {
        let (_, said, _) = SAYS.iter().find(|(known, ..)| *known == command).unwrap();
        let ask = Asker::new();
        eventually("envoy to forward", || async {
            let reply = ask.ask("GET", url, &[], "").await.ok()?;
            (reply.status == 200 && reply.body.contains(said)).then_some(())
        })
        .await;
    }

    /// What a request is answered with depends on when it is sent, so any of what is documented will do,
    /// once it is there.
    async fn request(&self, command: &str, url: &str) {
        let agent = self.agent.as_ref().expect("the agent runs");
        let path = url.strip_prefix(&agent.http).expect("to the agent");
        let exists = !self
            .etcd
            .etcdctl(&["get", "/apisix/routes/1"])
            .await
            .is_empty();
        let says: Vec<_> = SAYS
            .iter()
            .filter(|(known, ..)| *known == command)
            .collect();
        let (_, said, _) = says[usize::from(!exists)];
        agent
            .answers(path, if exists { 200 } else { 404 }, said)
            .await;
    }

    async fn shell(&self, command: &str, here: &str) {
        let known = SAYS.iter().find(|(known, ..)| command.contains(known));
        let Some((_, said, code)) = known else {
            panic!("nobody has tried this command of the documentation: {command}");
        };
        let programs = program("bellwether")
            .parent()
            .unwrap()
            .display()
            .to_string();
        let path = std::env::var("PATH").unwrap();
        let path = format!("{programs}:{}:{path}", install::etcd().display());
        let mut shell = Command::new("sh");
        shell.args(["-c", here]).current_dir(self.folder.path());
        shell.env("PATH", path).env("BELLWETHER_ADMIN_KEY", KEY);
        shell.env("ETCDCTL_ENDPOINTS", self.etcd.endpoint());
        if let Some(server) = &self.server {
            shell.env("BELLWETHER_ADMIN", &server.admin);
        }
        let ran = tokio::task::spawn_blocking(move || shell.output()).await;
        let ran = ran.unwrap().unwrap();
        let out = String::from_utf8_lossy(&ran.stdout);
        let error = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(*code), "{command}\n{out}\n{error}");
        assert!(
            out.contains(said),
            "{command} does not say {said:?}:\n{out}"
        );
        if command.contains("put") || command.contains("apply") || command.contains("delete") {
            self.settle().await;
        }
    }

    /// Waits until what was written is in force, so that what is shown next shows it.
    async fn settle(&self) {
        let Some(server) = &self.server else { return };
        eventually("the server and its agent to be in step", || async {
            let status = server.status().await;
            let synced = status["store"]["state"] == "live";
            let nodes = server.nodes().await;
            let in_sync = nodes.iter().all(|node| node["in_sync"] == true);
            (synced && in_sync).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_as_it_stands() {
    let ci = text(".ci/run");
    let mut world = World::new().await;
    let mut ran = BTreeSet::new();
    for file in [
        "README.md",
        "docs/operations.md",
        "docs/apisix.md",
        "docs/protocol.md",
        "docs/endpoints.md",
    ] {
        for command in blocks(&text(file), "```sh").concat() {
            if RUN_BY_CI.contains(&command.as_str()) {
                assert!(ci.contains(&command), "{command:?} is not in .ci/run");
            } else if !DONE_BY_THE_HARNESS.contains(&command.as_str()) {
                world.run(&command).await;
            }
            ran.insert(command);
        }
    }
    for (known, ..) in SAYS {
        let used = ran.iter().any(|command| command.contains(known));
        assert!(used, "{known:?} is documented no more");
    }
}

#[test]
fn the_code_map_shows_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = blocks(&text("README.md"), "```text").pop().unwrap();
    // The paths of a line stand before the first gap.
    let paths: Vec<String> = map
        .iter()
        .flat_map(|line| {
            let mut words = line.trim_start().split("   ");
            let first = words.next().unwrap_or_default();
            let names: Vec<String> = first
                .split_whitespace()
                .take_while(|word| word.contains(['/', '.']))
                .map(str::to_owned)
                .collect();
            names
        })
        .collect();
    assert!(paths.len() > 20, "{paths:?}");
    for path in &paths {
        assert!(
            root.join(path).exists(),
            "{path} is in the code map and not there"
        );
    }
    let listed = Command::new("git")
        .args(["ls-files"])
        .current_dir(root)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let folders: BTreeSet<&str> = listed
        .lines()
        .filter_map(|file| file.split_once('/').map(|(folder, _)| folder))
        .collect();
    for folder in folders {
        let start = format!("{folder}/");
        let shown = paths.iter().any(|path| path.starts_with(&start));
        assert!(shown, "{folder}/ is not in the code map");
    }
}

/// Numbers are named with the command that prints them, and CI sees that it runs.
#[test]
fn every_benchmark_of_the_readme_is_run() {
    let ci = text(".ci/run");
    let readme = text("README.md");
    let named: Vec<&str> = readme
        .split('`')
        .filter(|code| code.starts_with("cargo bench "))
        .collect();
    assert_eq!(named.len(), 3, "{named:?}");
    for command in named {
        assert!(ci.contains(command), "{command:?} is not in .ci/run");
    }
}

/// A link to a file that is gone is worse than none.
#[test]
fn links_lead_somewhere() {
    for file in [
        "README.md",
        "docs/operations.md",
        "docs/apisix.md",
        "docs/protocol.md",
        "docs/endpoints.md",
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        for rest in text(file).split("](").skip(1) {
            let link = rest.split(')').next().unwrap();
            let local = !link.starts_with("http");
            let there = folder.parent().unwrap().join(link).exists();
            assert!(
                !local || there,
                "{file} links to {link}, which is not there"
            );
        }
    }
}
