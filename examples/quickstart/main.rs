//! The quickstart: a discovery server with an embedded store, two agents and two upstreams in one process
//! tree. Shows a configuration loaded, changed, rejected and outlived, then stays up to be tried.
//!
//! ```sh
//! cargo run --release --example quickstart            # stays up until Ctrl-C
//! cargo run --release --example quickstart -- --once  # ends after the show; exit code 1 if it went wrong
//! ```
//!
//! The server and the agents are this same binary, started again with a first word that says which program
//! to be. `quickstart bellwether …` is the command line, so that nothing else has to be built to try it.

mod ask;
mod process;
mod say;
mod stage;
mod story;
mod upstream;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use stage::Stage;

/// The command line can't be understood.
const UNUSABLE: u8 = 2;

/// The show did not come true.
const FAILED: u8 = 1;

/// What a shell says of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<_> = args
        .iter()
        .take(2)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => show(false).await,
        ["--once"] => show(true).await,
        [process::CHILD, program] => {
            let program = program.to_owned();
            process::end_with_the_parent();
            become_program(&program, args.split_off(1)).await
        }
        ["bellwether", ..] => become_program("bellwether", args).await,
        _ => {
            say::error("usage: quickstart [--once]");
            ExitCode::from(UNUSABLE)
        }
    }
}

/// Runs one of our two programs; its name is the first argument, as ever.
async fn become_program(program: &str, args: Vec<OsString>) -> ExitCode {
    match program {
        "bellwether-agent" => bellwether_agent::program::run(args).await,
        _ => bellwether_server::program::run(args).await,
    }
}

async fn show(once: bool) -> ExitCode {
    let mut stage = match Stage::new().await {
        Ok(stage) => stage,
        Err(error) => {
            say::error(&format!("the quickstart can't start: {error:#}"));
            return ExitCode::from(FAILED);
        }
    };
    tokio::select! {
        told = story::tell(&mut stage) => if let Err(error) = told {
            say::error(&format!("\nThis did not come true: {error:#}\n{}", stage.log_tails()));
            return ExitCode::from(FAILED);
        },
        _ = told_to_stop() => return ExitCode::from(INTERRUPTED),
    }
    if once {
        say::line("\nAll of it came true.");
        return ExitCode::SUCCESS;
    }
    story::what_to_try(&stage);
    match told_to_stop().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::error(&format!("{error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

/// Ctrl-C or SIGTERM. Whoever waits for it drops the stage, which ends every child.
async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.context("can't listen for Ctrl-C"),
    }
}
