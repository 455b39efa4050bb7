//! Owns the life of one child process: it ends when its owner drops it, and also when the test binary
//! dies, however that comes. Must not know: what it runs.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Starts the program, says its process id, waits until its own input ends, kills the program, and ends
/// as it ended. The other end of that input is ours, so the kernel closes it for us whatever happens.
const GUARD: &str = r#"log=$1; shift; "$@" >>"$log" 2>&1 & echo $!; exec 2>/dev/null; read -r _; kill -9 $!; wait $!"#;

/// The cargo that runs the tests. What the tests were built with may be another one, whose builds are not
/// these.
pub fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into())
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    guard: Child,
    pid: u32,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose output is appended to a log file.
    pub fn start(program: &Path, args: &[String], log: &Path) -> Self {
        File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("the log of a component can be written");
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(log)
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh can be run");
        let mut line = String::new();
        BufReader::new(guard.stdout.take().expect("stdout is piped"))
            .read_line(&mut line)
            .expect("the guard says a process id");
        Self {
            pid: line.trim().parse().expect("the guard says a process id"),
            guard,
            log: log.to_owned(),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it ended by itself.
    pub fn has_ended(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .map_or(true, |stat| stat.contains(") Z "))
    }

    /// The exit code of a program that ended by itself; 128 and its signal if it was killed.
    pub fn exit_code(mut self) -> Option<i32> {
        drop(self.guard.stdin.take());
        self.guard.wait().expect("the guard ends").code()
    }

    /// Sends a signal: `STOP`, `CONT`, `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.pid.to_string()])
            .status()
            .expect("kill can be run");
        assert!(status.success(), "can't send SIG{name} to {}", self.pid);
    }

    /// The end of what it wrote.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Process {
    /// SIGKILL, and waits until it is gone.
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}\n---", self.log.display(), self.log_tail());
        }
    }
}
