//! Owns the live view of a rollout: drawn anew on a terminal, a line for every change in a pipe.
//! Must not know: how one looks.

use std::time::Duration;

use serde_json::Value;

use super::super::{CliError, Env, Exit, Io, Output, ServerArgs};
use super::{path, view};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How often a server that does not answer is asked again, before it is given up: it may be restarted.
const ATTEMPTS: u32 = 60;

/// Until no rollout is under way.
pub(super) async fn follow(
    server: &ServerArgs,
    fleet: &str,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let client = server.client(env)?;
    let path = path(fleet, "rollout");
    let (mut before, mut target, mut missed) = (None, Value::Null, 0);
    loop {
        let reply = match client.get(&path).await {
            Ok(reply) if !reply.status.is_server_error() => reply,
            Ok(reply) if missed >= ATTEMPTS => {
                reply.or_rejected(format!("rollout of {fleet}"))?;
                continue;
            }
            Err(error) if missed >= ATTEMPTS || before.is_none() => return Err(error),
            Ok(_) | Err(_) => {
                missed += 1;
                tokio::time::sleep(LOOK).await;
                continue;
            }
        };
        missed = 0;
        let status = reply.or_rejected(format!("rollout of {fleet}"))?;
        let key = view::key(&status);
        if io.terminal && server.output.output == Output::Table {
            // From the top, and nothing of what was there before.
            write!(io.out, "\u{1b}[2J\u{1b}[H")?;
            view::status(&status, io)?;
            io.out.flush()?;
        } else if before.as_ref() != Some(&key) {
            match server.output.output {
                Output::Json => io.line(&status)?,
                Output::Table => io.line(view::summary(&status))?,
            }
            io.out.flush()?;
        }
        before = Some(key);
        let rollout = &status["rollout"];
        if rollout.is_null() {
            let reached = target.is_null() || status["stable"]["digest"] == target;
            return Ok(if reached { Exit::Ok } else { Exit::Failed });
        }
        target = match rollout["phase"].as_str() {
            // What everybody goes back to is what there is to reach.
            Some("rolling back") if target.is_null() => rollout["base"]["digest"].clone(),
            Some("rolling back") => target,
            _ => rollout["target"]["digest"].clone(),
        };
        tokio::time::sleep(LOOK).await;
    }
}
