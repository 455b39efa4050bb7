//! Owns the tests of instances: registered, renewed, drained, lost, and what proxies make of it. Must not
//! know: releases, rollouts.

mod envoys;
mod gateways;
mod observers;
mod registry;
mod served;

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::process::Process;
use crate::harness::programs::{KEY, Server, eventually, program};

/// Seconds: the shortest time that a registration can hold.
const TTL: &str = "2";

/// An upstream that follows a service.
fn follows(service: &str) -> Value {
    json!({"type": "roundrobin", "discovery_type": "bellwether", "service_name": service})
}

/// `bellwether instance register` in a process of its own.
pub(crate) struct Registrar {
    process: Process,
    folder: TempDir,
}

impl Registrar {
    /// Waits until it says so.
    pub(crate) async fn start(
        server: &Server,
        service: &str,
        address: &str,
        more: &[&str],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = program("bellwether").display().to_string();
        let mut args = vec![format!("BELLWETHER_ADMIN_KEY={KEY}"), program];
        let own = ["instance", "register", service, address, "--ttl", TTL];
        args.extend(own.iter().chain(more).map(ToString::to_string));
        args.extend(["--admin".to_owned(), server.admin.clone()]);
        let process = Process::start(Path::new("env"), &args, &folder.path().join("log"));
        let registrar = Self { process, folder };
        registrar
            .says(&format!("registered {service} {address} in "), 1)
            .await;
        registrar
    }

    async fn says(&self, text: &str, times: usize) {
        eventually(&format!("{text:?} {times} times"), || async {
            (self.log().matches(text).count() == times).then_some(())
        })
        .await;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// SIGTERM: it drains what it registered.
    async fn stops(self) {
        self.process.signal("TERM");
        self.ends("drained ").await;
    }

    /// Waits until it ends by itself, with these words.
    async fn ends(self, words: &str) {
        eventually("the registrar to end", || async {
            self.process.has_ended().then_some(())
        })
        .await;
        let said = self.log();
        assert!(said.contains(words), "{said}");
        assert_eq!(self.process.exit_code(), Some(0), "{said}");
    }
}
