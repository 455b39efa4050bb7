//! Owns `get`, `put` and `delete`. Must not know: HTTP beyond the client's.

use std::path::PathBuf;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::apply::{id_of, without_times};
use super::client::segments;
use super::summary::summary;
use super::{CliError, Env, Exit, Io, Output, ServerArgs, documents};
use crate::json;
use crate::keys::Kind;

#[derive(Clone, Debug, Args)]
pub(super) struct GetArgs {
    /// The kind: routes, services, upstreams, ssls, consumers, …
    kind: String,
    /// One of them
    id: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct PutArgs {
    /// The kind: routes, services, upstreams, ssls, consumers, …
    kind: String,
    /// Its id
    id: String,
    /// A JSON file, or - for standard input
    #[arg(short = 'f', long = "file", id = "document", value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct DeleteArgs {
    /// The kind: routes, services, upstreams, ssls, consumers, …
    kind: String,
    /// Its id
    id: String,
    /// Delete it even if others refer to it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// `get`
pub(super) async fn get(args: &GetArgs, env: &Env, io: &mut Io<'_>) -> Result<Exit, CliError> {
    let kind = documents::kind_named(&args.kind)?;
    let client = args.server.client(env)?;
    let directory = kind.directory();
    let (path, what) = match &args.id {
        Some(id) => (
            format!("{directory}/{}", segments(id)),
            format!("{directory}/{id}"),
        ),
        None => (directory.to_owned(), directory.to_owned()),
    };
    let body = client
        .get(&args.server.path(&path))
        .await?
        .or_rejected(what)?;
    match (args.server.output.output, &args.id) {
        (Output::Json, _) => io.json(&body)?,
        (Output::Table, Some(_)) => io.json(&body["value"])?,
        (Output::Table, None) => {
            let rows = body["list"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let rows = rows.iter().map(|row| cells(kind, row)).collect();
            io.table(&["id", "name", "what", "revision"], rows)?;
        }
    }
    Ok(Exit::Ok)
}

fn cells(kind: Kind, row: &Value) -> Vec<String> {
    let key = row["key"].as_str().unwrap_or_default();
    let name = row["value"]["name"].as_str().unwrap_or_default();
    vec![
        id_of(kind, key).unwrap_or(key).to_owned(),
        name.to_owned(),
        summary(kind, &row["value"]),
        row["modifiedIndex"].to_string(),
    ]
}

/// `put`
pub(super) async fn put(args: &PutArgs, env: &Env, io: &mut Io<'_>) -> Result<Exit, CliError> {
    let kind = documents::kind_named(&args.kind)?;
    let client = args.server.client(env)?;
    let text = documents::text_of(&args.file, io.input)?;
    let value: Value = json::strict(text.as_bytes()).map_err(|error| {
        CliError::Usage(format!("{} is not JSON: {error}", args.file.display()))
    })?;
    let item = format!("{}/{}", kind.directory(), args.id);
    let path = args
        .server
        .path(&format!("{}/{}", kind.directory(), segments(&args.id)));
    let reply = client
        .send(Method::PUT, &path, None, Some(&without_times(&value)))
        .await?;
    let created = reply.status == http::StatusCode::CREATED;
    let body = reply.or_rejected(format!("put {item}"))?;
    match args.server.output.output {
        Output::Json => io.json(&body)?,
        Output::Table if created => io.line(format_args!("created {item}"))?,
        Output::Table => io.line(format_args!("changed {item}"))?,
    }
    Ok(Exit::Ok)
}

/// `delete`
pub(super) async fn delete(
    args: &DeleteArgs,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let kind = documents::kind_named(&args.kind)?;
    let client = args.server.client(env)?;
    let item = format!("{}/{}", kind.directory(), args.id);
    let force = if args.force { "?force=true" } else { "" };
    let path = format!("{}/{}{force}", kind.directory(), segments(&args.id));
    let reply = client
        .send(Method::DELETE, &args.server.path(&path), None, None)
        .await?;
    let body = reply.or_rejected(format!("delete {item}"))?;
    match args.server.output.output {
        Output::Json => io.json(&body)?,
        Output::Table => io.line(format_args!("deleted {item}"))?,
    }
    Ok(Exit::Ok)
}
