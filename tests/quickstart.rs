//! Owns the proof that the quickstart tells the truth and leaves nothing behind.
//! Must not know: how the show is made.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::harness::process::cargo;
use crate::harness::programs::eventually;

/// The example's path, which the first caller builds.
fn quickstart() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = Command::new(cargo())
            .args(["build", "--quiet", "--offline", "--message-format=json"])
            .args(["--example", "quickstart"])
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
    })
}

#[test]
fn the_show_comes_true() {
    let shown = Command::new(quickstart()).arg("--once").output().unwrap();
    let (out, error) = (
        String::from_utf8_lossy(&shown.stdout).into_owned(),
        String::from_utf8_lossy(&shown.stderr).into_owned(),
    );
    assert_eq!(shown.status.code(), Some(0), "{out}\n{error}");
    let mut rest = out.as_str();
    // In this order.
    for fact in [
        "GET /products/7    through a: 200 catalog answers GET /products/7",
        "GET /products/7    through b: 200 catalog answers GET /products/7",
        "GET /offers        through b: 200 catalog",
        "GET /basket/ann    through b: 200 checkout",
        "$ bellwether nodes",
        "GET /offers        through a: 200 checkout",
        "GET /offers        through b: 200 checkout",
        "upstreams/checkout: endpoints: has 3 entries, more than this proxy's limit of 2",
        "GET /offers        through b: 200 checkout",
        "Kill the server",
        "agent a            100 of 100 requests answered",
        "agent b            100 of 100 requests answered",
        "serves from its disk",
        "GET /basket/ann    through b: 200 checkout",
        "GET /offers        through b: 200 catalog",
        "All of it came true.",
    ] {
        let Some(at) = rest.find(fact) else {
            panic!("{fact:?} is not shown, or too early, in:\n{out}");
        };
        rest = &rest[at + fact.len()..];
    }
}

#[test]
fn what_it_does_not_know_it_refuses() {
    let refused = Command::new(quickstart()).arg("--onec").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("usage: quickstart [--once]"));
}

/// However it dies: nobody may find a server of a quickstart that ended last week.
#[tokio::test]
async fn a_killed_quickstart_leaves_no_child() {
    // Its own folder can't outlive it here; nobody else could remove it after such an end.
    let folder = tempfile::tempdir().unwrap();
    let mut parent = Command::new(quickstart())
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(parent.stdout.take().unwrap()).lines();
    // The commands to try come last, when everything runs.
    let line = said.find(|line| {
        line.as_ref()
            .is_ok_and(|line| line.contains("/config_dump"))
    });
    line.expect("it gets to its end").unwrap();
    let children = children_of(parent.id());
    assert_eq!(children.len(), 3, "a server and two agents");
    parent.kill().unwrap();
    parent.wait().unwrap();
    eventually("the children to be gone", || async {
        children.iter().all(|child| !runs(*child)).then_some(())
    })
    .await;
}

fn children_of(parent: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap();
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|child| {
            // `PID (NAME) STATE PARENT …`
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
            fields.split(' ').nth(1) == Some(&parent.to_string())
        })
        .collect()
}

/// Whoever has ended and was not waited for does not run any more.
fn runs(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z "))
}
