//! Owns the life of one child process: this binary again, as another program. It ends when its owner drops
//! it, and also when this process dies, however that comes. Must not know: what the child does.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

/// The first word of a child's command line.
pub(crate) const CHILD: &str = "child";

/// Lines of a log that are shown when something went wrong.
const TAIL_LINES: usize = 15;

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program of ours, with a fresh log file.
    pub(crate) fn start(
        program: &str,
        args: &[String],
        key: &str,
        log: PathBuf,
    ) -> anyhow::Result<Self> {
        let file =
            File::create(&log).with_context(|| format!("can't write the log {}", log.display()))?;
        let mut command = this_binary(key)?;
        let child = command
            .args([CHILD, program])
            .args(args)
            // Kept open as long as we live: see `end_with_the_parent`.
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("can't start {program}"))?;
        Ok(Self { child, log })
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails if it ended by itself.
    pub(crate) fn must_run(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait().context("can't ask for a child")? {
            None => Ok(()),
            Some(status) => anyhow::bail!("it ended by itself: {status}"),
        }
    }
}

impl Drop for Process {
    /// SIGKILL, and waits until it is gone.
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This binary, to be run with nothing of ours in the environment but the API key.
pub(crate) fn this_binary(key: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("can't find this binary")?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BELLWETHER_") {
            command.env_remove(name);
        }
    }
    command.env("BELLWETHER_ADMIN_KEY", key);
    Ok(command)
}

/// In a child: ends this process when its standard input does. The other end of it is the parent's, so the
/// kernel closes it even when the parent is killed.
pub(crate) fn end_with_the_parent() {
    std::thread::spawn(|| {
        // Nothing is ever written there. An error means the same as the end.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
}

/// The end of a log file.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
