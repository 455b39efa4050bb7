//! Owns `settings`: showing, writing and forgetting the settings of a fleet. Must not know: what they mean.

use std::path::PathBuf;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::client::segment;
use super::{CliError, Env, Exit, Io, Output, ServerArgs, documents};
use crate::json;

#[derive(Clone, Debug, Args)]
pub(super) struct SettingsArgs {
    /// A JSON file with the new settings, whole, or - for standard input
    #[arg(
        short = 'f',
        long = "file",
        id = "settings_file",
        value_name = "FILE",
        conflicts_with = "settings_reset"
    )]
    file: Option<PathBuf>,
    /// Go back to the defaults
    #[arg(long = "reset", id = "settings_reset")]
    reset: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// `settings`
pub(super) async fn settings(
    args: &SettingsArgs,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let fleet = &args.server.fleet;
    let what = format!("settings of {fleet}");
    let path = format!("/v1/fleets/{}/settings", segment(fleet));
    let client = args.server.client(env)?;
    let is_json = args.server.output.output == Output::Json;
    let (body, done) = match &args.file {
        None if args.reset => {
            let reply = client.send(Method::DELETE, &path, None, None).await?;
            let body = reply.or_rejected(format!("reset {what}"))?;
            (body, format!("reset {what}"))
        }
        None => {
            io.json(&client.get(&path).await?.or_rejected(what)?)?;
            return Ok(Exit::Ok);
        }
        Some(file) => {
            let text = documents::text_of(file, io.input)?;
            let value: Value = json::strict(text.as_bytes()).map_err(|error| {
                CliError::Usage(format!("{} is not JSON: {error}", file.display()))
            })?;
            let reply = client.send(Method::PUT, &path, None, Some(&value)).await?;
            let body = reply.or_rejected(format!("put {what}"))?;
            (body, format!("changed {what}"))
        }
    };
    match is_json {
        true => io.json(&body)?,
        false => io.line(done)?,
    }
    Ok(Exit::Ok)
}
