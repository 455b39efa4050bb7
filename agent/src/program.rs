//! Owns the life of a `bellwether-agent` process. Must not know: how the agent does its work.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::error;
use tracing_subscriber::EnvFilter;

use crate::app;
use crate::config::AgentArgs;
use crate::watchdog::Limits;

/// The command line can't be used, or a port or folder can't.
const UNUSABLE: u8 = 2;

/// Runs an agent to its end.
pub async fn run(args: Vec<OsString>) -> ExitCode {
    let args = match AgentArgs::read(args) {
        Ok(args) => args,
        Err(error) => {
            // If it can't be printed there is nobody left to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(UNUSABLE));
        }
    };
    match serve(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bellwether-agent: {error:#}");
            ExitCode::from(UNUSABLE)
        }
    }
}

async fn serve(args: &AgentArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log)
        .with_context(|| format!("can't read --log {:?}", args.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let bound = app::bind(args).await?;
    if !args.watchdog.is_zero() {
        let limits = Limits {
            answer: args.watchdog,
            change: args.change_limit,
        };
        bound.watch(limits).context("can't start the watchdog")?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "proxying http://{}", bound.http)?;
    writeln!(
        out,
        "/ready, /metrics and /config_dump are at http://{}",
        bound.admin
    )?;
    out.flush()?;
    let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            interrupted = tokio::signal::ctrl_c() => {
                if let Err(error) = interrupted {
                    error!(%error, "can't listen for interrupts");
                }
            }
        }
    };
    bound.run(stop).await
}
