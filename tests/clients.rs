//! The programs of `examples/clients`, each built by the commands of its README and run against real
//! servers: all of them do the same.

mod following;
mod rejecting;

use crate::harness::polyglot::{self, Language, Program};

/// Follows a server as node `me`; `None` where the language is not installed.
fn client(language: &Language, server: &str, more: &[&str]) -> Option<Program> {
    let built = polyglot::build("examples/clients", &["proto"], language)?;
    let server = server.trim_start_matches("http://");
    let args = [&["--server", server, "--node", "me"], more].concat();
    Some(built.start(&args, &[]))
}

/// The lines about resources, without what the client says of the connection.
fn changes(said: &str) -> Vec<&str> {
    let is_change = |line: &&str| {
        ["+ ", "~ ", "- ", "nack "]
            .iter()
            .any(|sign| line.starts_with(sign))
    };
    said.lines().filter(is_change).collect()
}

/// The same without versions: `+ Route routes/1`.
fn short(changes: &[&str]) -> Vec<String> {
    let words = |line: &&str| line.split(' ').take(3).collect::<Vec<_>>().join(" ");
    changes.iter().map(words).collect()
}

/// What a client of one's own needs is not much.
#[test]
fn each_is_small() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clients");
    for program in [
        "python/client.py",
        "go/main.go",
        "node/client.js",
        "java/src/main/java/Client.java",
    ] {
        let text = std::fs::read_to_string(folder.join(program)).unwrap();
        assert!(text.lines().count() < 150, "{program}");
    }
}
