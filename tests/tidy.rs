//! The house rules, as a test, so that they can't rot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::process::cargo;

/// Lines of production code in one file. Longer ones hold more than one idea.
const MAX_LINES: usize = 600;

/// Lines of one function. Longer ones can't be seen whole.
const MAX_FUNCTION_LINES: usize = 75;

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn name(&self) -> String {
        self.path
            .strip_prefix(root())
            .unwrap()
            .display()
            .to_string()
    }

    /// Without what is only compiled for tests.
    fn production(&self) -> &str {
        let end = self.text.find("#[cfg(test)]\nmod ").filter(|at| {
            // `mod tests;` in the middle of a file is a line, not the rest of it.
            self.text[*at..]
                .lines()
                .nth(1)
                .is_some_and(|line| line.ends_with('{'))
        });
        &self.text[..end.unwrap_or(self.text.len())]
    }

    fn is_test(&self) -> bool {
        let name = self.name();
        name.starts_with("tests/") || name.ends_with("tests.rs") || name.contains("/tests/")
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in [
        "proto/src",
        "envoy/src",
        "rollout/src",
        "xds/src",
        "server/src",
        "agent/src",
        "tests",
        "examples",
        "benches",
    ] {
        collect(&root().join(folder), &mut found);
    }
    assert!(found.len() > 20, "the walk found almost nothing");
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push(Source { path, text });
        }
    }
}

fn none_of(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

fn files_with(predicate: impl Fn(&Source) -> bool) -> Vec<String> {
    sources()
        .iter()
        .filter(|source| predicate(source))
        .map(Source::name)
        .collect()
}

#[test]
fn every_file_says_what_it_owns() {
    none_of(
        &files_with(|source| !source.text.starts_with("//! ")),
        "files without a module doc",
    );
}

#[test]
fn production_modules_say_what_they_must_not_know() {
    let entries = ["lib.rs", "main.rs", "wire.rs"];
    let silent = files_with(|source| {
        let is_entry = entries.iter().any(|entry| source.path.ends_with(entry));
        let product = ["proto/", "envoy/", "rollout/", "xds/", "server/", "agent/"]
            .iter()
            .any(|p| source.name().starts_with(p));
        let doc: String = source
            .text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        let told = doc.contains("Owns") && doc.contains("ust not know");
        product && !source.is_test() && !is_entry && !told
    });
    none_of(
        &silent,
        "files whose doc does not say what they own and must not know",
    );
}

#[test]
fn files_are_short() {
    none_of(
        &files_with(|source| !source.is_test() && source.production().lines().count() > MAX_LINES),
        "files with more than 600 lines of production code",
    );
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for source in sources() {
        let mut start = None;
        for (number, line) in source.production().lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let text = line.trim_start();
            let is_fn = [
                "fn ",
                "pub fn ",
                "pub(crate) fn ",
                "pub(super) fn ",
                "async fn ",
                "pub async fn ",
                "pub(super) async fn ",
                "pub(crate) async fn ",
                "const fn ",
            ]
            .iter()
            .any(|prefix| text.starts_with(prefix));
            if is_fn && start.is_none() {
                start = Some((number, indent));
            }
            if let Some((from, at)) = start
                && indent == at
                && (text == "}" || (number == from && text.ends_with('}')) || text.ends_with(';'))
            {
                if number - from > MAX_FUNCTION_LINES {
                    long.push(format!(
                        "{}:{} ({} lines)",
                        source.name(),
                        from + 1,
                        number - from
                    ));
                }
                start = None;
            }
        }
    }
    none_of(&long, "functions that can't be seen whole");
}

#[test]
fn nothing_is_left_to_do_or_skipped() {
    // Put together here, so that this file does not find itself.
    let marks = [
        ["to", "do!("],
        ["unimple", "mented!("],
        ["#[ig", "nore"],
        ["db", "g!("],
    ]
    .map(|m| m.concat());
    none_of(
        &files_with(|source| marks.iter().any(|mark| source.text.contains(mark))),
        "files with something left to do, or a test that is skipped",
    );
}

#[test]
fn production_code_does_not_unwrap() {
    let unwrap = [".unw", "rap()"].concat();
    none_of(
        &files_with(|source| {
            !source.is_test()
                && !source.name().starts_with("examples/")
                && source.production().contains(&unwrap)
        }),
        "files that unwrap outside of tests",
    );
}

#[test]
fn no_file_is_called_mod() {
    none_of(
        &files_with(|source| source.path.ends_with("mod.rs")),
        "mod.rs hides its folder's name",
    );
}

/// Facts about who may know whom.
#[test]
fn the_words_of_a_module_stay_in_it() {
    let only = |word: &str, homes: &[&str]| {
        let strangers = files_with(|source| {
            let name = source.name();
            let at_home = homes.iter().any(|home| name.starts_with(home));
            !source.is_test() && !at_home && source.production().contains(word)
        });
        none_of(
            &strangers,
            &format!("files that name {word} although only {homes:?} may"),
        );
    };
    only("etcd_client", &["server/src/store/etcd"]);
    only("redb::", &["server/src/store/embedded"]);
    only("\"/bellwether/", &["server/src/keys"]);
    only(
        "\"ssls\"",
        &[
            "server/src/keys.rs",
            "server/src/admin",
            "server/src/cli",
            "server/src/schema",
            "benches",
        ],
    );
    only(
        "SystemTime",
        &["xds/src", "server/src", "agent/src", "examples", "benches"],
    );
}

/// The arrows of the design: who may not import whom. What is below knows nothing of what is above.
#[test]
fn layers_know_only_what_is_below_them() {
    let layers: [(&str, &[&str]); 9] = [
        (
            "server/src/store",
            &["catalog", "admission", "admin", "cli", "publish", "app"],
        ),
        (
            "server/src/catalog",
            &["admission", "admin", "cli", "publish", "app"],
        ),
        (
            "server/src/admission",
            &["catalog", "store", "admin", "cli", "publish", "app"],
        ),
        ("server/src/admin", &["admission", "cli", "publish", "app"]),
        ("server/src/cli", &["admission", "publish", "app"]),
        (
            "agent/src/table",
            &["proxy", "subscribe", "apply", "held", "disk", "app"],
        ),
        (
            "agent/src/upstream",
            &["proxy", "subscribe", "apply", "held", "disk", "app"],
        ),
        (
            "agent/src/proxy",
            &["subscribe", "apply", "held", "disk", "admin", "app"],
        ),
        (
            "agent/src/subscribe",
            &["table", "proxy", "upstream", "admin", "app"],
        ),
    ];
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for (layer, above) in layers {
            let name = source.name();
            let is_in = name == format!("{layer}.rs") || name.starts_with(&format!("{layer}/"));
            for module in above.iter().filter(|_| is_in) {
                let import = format!("crate::{module}::");
                if source.production().contains(&import) {
                    wrong.push(format!("{name} imports {import}"));
                }
            }
        }
    }
    none_of(&wrong, "imports against the design");
}

/// A module that nobody names is never compiled, and its tests never run.
#[test]
fn every_test_file_is_run() {
    let names = |folder: PathBuf| {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
    };
    let mut lost = Vec::new();
    for parent in sources().iter().filter(|s| s.name().starts_with("tests/")) {
        let is_root = parent.path.ends_with("tests/main.rs");
        let folder = match is_root {
            true => root().join("tests"),
            false => parent.path.with_extension(""),
        };
        for child in names(folder).filter(|child| *child != parent.path) {
            let module = child.file_stem().unwrap().to_string_lossy();
            if !parent.text.contains(&format!("mod {module};")) {
                lost.push(child.display().to_string());
            }
        }
    }
    none_of(&lost, "test files that no module names");
}

/// What an error says stands in the middle of what others say.
#[test]
fn error_texts_are_parts_of_sentences() {
    let start = ["#[err", "or(\""].concat();
    // APISIX's own words, which its clients compare.
    let theirs = ["Key not found"];
    let mut odd = Vec::new();
    for source in sources() {
        for line in source.production().lines() {
            let Some(rest) = line.trim_start().strip_prefix(&start) else {
                continue;
            };
            let text = rest.split('"').next().unwrap_or_default();
            let is_ours = !theirs.contains(&text);
            if is_ours && (text.starts_with(char::is_uppercase) || text.ends_with('.')) {
                odd.push(format!("{}: {text}", source.name()));
            }
        }
    }
    none_of(&odd, "errors that begin in upper case or end with a stop");
}

/// Lints that a package does not ask for are not its lints.
#[test]
fn every_package_has_the_lints_of_the_workspace() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(workspace.contains("unsafe_code = \"forbid\""));
    for package in [".", "envoy", "xds", "server", "agent"] {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
        let asks = manifest.contains("[lints]\nworkspace = true");
        assert!(asks, "{package} does not have the lints of the workspace");
    }
}

/// The contract is pure: no sockets, no tasks, no clock.
#[test]
fn the_contract_does_no_io() {
    let words = [
        "tokio",
        "std::net",
        "std::fs",
        "Instant::now",
        "std::thread",
        "std::env",
    ];
    let impure = files_with(|source| {
        source.name().starts_with("proto/src")
            && !source.is_test()
            && words.iter().any(|word| {
                source
                    .production()
                    .lines()
                    .any(|l| !l.trim_start().starts_with("//") && l.contains(word))
            })
    });
    none_of(
        &impure,
        "files of the contract that do I/O or read the clock",
    );
}

fn tree(package: &str, inverted: &str) -> String {
    let out = Command::new(cargo())
        .args([
            "tree",
            "--offline",
            "-p",
            package,
            "-e",
            "normal",
            "-i",
            inverted,
        ])
        .current_dir(root())
        .output()
        .unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// That the server is the only etcd client is a fact of the graph.
#[test]
fn the_agent_can_not_speak_to_etcd() {
    assert!(
        tree("bellwether-server", "etcd-client").contains("bellwether-server"),
        "the check works"
    );
    assert_eq!(tree("bellwether-agent", "etcd-client"), "");
}

#[test]
fn server_and_agent_do_not_know_each_other() {
    assert_eq!(tree("bellwether-agent", "bellwether-server"), "");
    assert_eq!(tree("bellwether-server", "bellwether-agent"), "");
}

/// The discovery port is a library of its own: others serve what they like with it.
#[test]
fn the_discovery_port_knows_neither_stores_nor_programs() {
    assert!(
        tree("bellwether-server", "bellwether-xds").contains("bellwether-server"),
        "the check works"
    );
    for stranger in [
        "bellwether-server",
        "bellwether-agent",
        "bellwether-envoy",
        "etcd-client",
        "redb",
        "axum",
        "clap",
        "prometheus-client",
    ] {
        assert_eq!(tree("bellwether-xds", stranger), "", "{stranger}");
    }
}

#[test]
fn nothing_unexpected_lies_at_the_top() {
    let expected = [
        ".cargo",
        ".ci",
        ".git",
        ".gitignore",
        "Cargo.lock",
        "Cargo.toml",
        "README.md",
        "agent",
        "benches",
        "build.rs",
        "clippy.toml",
        "docs",
        "envoy",
        "examples",
        "proto",
        "rollout",
        "rust-toolchain.toml",
        "rustfmt.toml",
        "server",
        "target",
        "tests",
        "xds",
        "bellwether-data",
        "bellwether-agent-state",
    ];
    let strangers: Vec<_> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !expected.contains(&name.as_str()))
        .collect();
    none_of(&strangers, "things at the top that nobody expects there");
}
