//! Owns the life of a `bellwether` process: reads the command line, runs what it asks for, says how it
//! ended. Must not know: how any command does its work.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::error;

use crate::app;
use crate::cli::{self, Env, Exit, InspectArgs, Io, Run, ServeArgs};

/// Environment variables that are ours.
const PREFIX: &str = "BELLWETHER_";

/// Who runs a command, for what is signed by its author.
const USER: &str = "USER";

/// Runs one command to its end.
pub async fn run(args: Vec<OsString>) -> ExitCode {
    let env: Env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with(PREFIX) || name == USER)
        .collect::<BTreeMap<_, _>>();
    let (mut input, mut out, mut err) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let mut io = Io {
        terminal: out.is_terminal(),
        input: &mut input,
        out: &mut out,
        err: &mut err,
    };
    let done = match cli::run(args, &env, &mut io).await {
        Run::Finished(exit) => return ExitCode::from(exit.code()),
        Run::Serve(args) => serve(&args, &env).await,
        Run::Inspect(args) => inspect(&args, &mut io).await,
    };
    match done {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            // The last words of a process that could not go on.
            let _ = writeln!(std::io::stderr(), "bellwether: {error:#}");
            ExitCode::from(Exit::Unusable.code())
        }
    }
}

async fn serve(args: &ServeArgs, env: &Env) -> anyhow::Result<Exit> {
    app::init_logging(&args.log)?;
    let key = env.get(cli::ADMIN_KEY_VARIABLE).map(String::as_str);
    let bound = app::bind(args, key).await?;
    let mut out = std::io::stdout();
    let scheme = if bound.tls { "https" } else { "http" };
    writeln!(out, "proxies connect to {scheme}://{}", bound.xds)?;
    writeln!(out, "the Admin API is at http://{}", bound.admin)?;
    if let Some(key) = &bound.made_key {
        writeln!(out, "API key, made now and shown only here: {key}")?;
    }
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
    bound.run(stop).await?;
    Ok(Exit::Ok)
}

async fn inspect(args: &InspectArgs, io: &mut Io<'_>) -> anyhow::Result<Exit> {
    let store = app::open_store(&args.store).await?;
    let exit = cli::inspect::run(args, store, io).await?;
    Ok(exit)
}
