//! Owns `release`: cutting, listing, showing and comparing releases. Must not know: how they are kept.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::client::segment;
use super::{CliError, Env, Exit, Io, Output, ServerArgs};

#[derive(Clone, Debug, Args)]
pub(super) struct ReleaseArgs {
    #[command(subcommand)]
    command: ReleaseCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum ReleaseCommand {
    /// Cut a release of what is in force, and print its name
    Create {
        /// Why
        #[arg(
            short = 'm',
            long = "message",
            id = "release_reason",
            value_name = "REASON"
        )]
        reason: String,
        /// Who; without it, $USER
        #[arg(long, id = "release_author", value_name = "NAME")]
        author: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List the releases, oldest first
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one
    Show {
        /// Its name, shop@42, or its number
        #[arg(id = "release", value_name = "RELEASE")]
        release: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show what is different between two; exit code 1 if something is
    Diff {
        /// The first
        #[arg(id = "release_before", value_name = "BEFORE")]
        before: String,
        /// The second
        #[arg(id = "release_after", value_name = "AFTER")]
        after: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// `release`
pub(super) async fn release(
    args: &ReleaseArgs,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    match &args.command {
        ReleaseCommand::Create {
            reason,
            author,
            server,
        } => {
            let author = author.clone().or_else(|| env.get("USER").cloned());
            create(server, reason, &author.unwrap_or_default(), env, io).await
        }
        ReleaseCommand::List { server } => list(server, env, io).await,
        ReleaseCommand::Show { release, server } => show(server, release, env, io).await,
        ReleaseCommand::Diff {
            before,
            after,
            server,
        } => diff(server, before, after, env, io).await,
    }
}

async fn create(
    server: &ServerArgs,
    reason: &str,
    author: &str,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let path = path(&server.fleet);
    let body = json!({ "reason": reason, "author": author });
    let reply = server
        .client(env)?
        .send(Method::POST, &path, None, Some(&body))
        .await?;
    let made = reply.or_rejected(format!("release of {}", server.fleet))?;
    if server.output.output == Output::Json {
        io.json(&made)?;
        return Ok(Exit::Ok);
    }
    let name = text(&made, "name");
    match made["new"].as_bool() {
        Some(false) => io.line(format_args!("{name} (nothing has changed since)"))?,
        _ => io.line(name)?,
    }
    Ok(Exit::Ok)
}

async fn list(server: &ServerArgs, env: &Env, io: &mut Io<'_>) -> Result<Exit, CliError> {
    let reply = server.client(env)?.get(&path(&server.fleet)).await?;
    let body = reply.or_rejected(format!("releases of {}", server.fleet))?;
    if server.output.output == Output::Json {
        io.json(&body)?;
        return Ok(Exit::Ok);
    }
    let fields = [
        "name",
        "created",
        "author",
        "resources",
        "bytes",
        "revision",
        "reason",
    ];
    print_list(io, &body, "release", &fields)?;
    Ok(Exit::Ok)
}

async fn show(
    server: &ServerArgs,
    release: &str,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let (fleet, seq) = named(server, release)?;
    let reply = server
        .client(env)?
        .get(&format!("{}/{seq}", path(&fleet)))
        .await?;
    let one = reply.or_rejected(format!("release {fleet}@{seq}"))?;
    if server.output.output == Output::Json {
        io.json(&one)?;
        return Ok(Exit::Ok);
    }
    let shown = [
        "name",
        "digest",
        "created",
        "author",
        "reason",
        "revision",
        "resources",
        "bytes",
        "build",
    ];
    let rows = shown.map(|field| vec![field.to_owned(), text(&one, field)]);
    io.table(&["field", "value"], rows.to_vec())?;
    let mut rows = Vec::new();
    for (client, types) in one["clients"].as_object().into_iter().flatten() {
        for (kind, count) in types.as_object().into_iter().flatten() {
            rows.push(vec![client.clone(), kind.clone(), count.to_string()]);
        }
    }
    io.table(&["client", "type", "resources"], rows)?;
    Ok(Exit::Ok)
}

async fn diff(
    server: &ServerArgs,
    before: &str,
    after: &str,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let (fleet, from) = named(server, before)?;
    let (other, to) = named(server, after)?;
    if fleet != other {
        return Err(CliError::Usage(format!(
            "{before} and {after} are of different fleets, whose releases have nothing to do with each other"
        )));
    }
    let path = format!("{}/{from}/diff/{to}", path(&fleet));
    let body = server.client(env)?.get(&path).await?.or_rejected("diff")?;
    if server.output.output == Output::Json {
        io.json(&body)?;
    } else {
        let fields = [
            "change",
            "client",
            "type",
            "resource",
            "bytes_before",
            "bytes_after",
        ];
        print_list(io, &body, "change", &fields)?;
        if body["total"] != 0 {
            let (touched, all) = (&body["nodes"]["touched"], &body["nodes"]["connected"]);
            io.line(format_args!(
                "touches {touched} of the {all} nodes that are connected to this server"
            ))?;
        }
    }
    Ok(match body["list"].as_array() {
        Some(changed) if !changed.is_empty() => Exit::Failed,
        Some(_) | None => Exit::Ok,
    })
}

/// A table of these fields, the first one under this name.
fn print_list(io: &mut Io<'_>, body: &Value, first: &str, fields: &[&str]) -> Result<(), CliError> {
    let list = body["list"].as_array().into_iter().flatten();
    let rows = list.map(|one| fields.iter().map(|field| text(one, field)).collect());
    let others = fields.iter().skip(1).map(|field| field.replace('_', " "));
    let header: Vec<String> = std::iter::once(first.to_owned()).chain(others).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    io.table(&header, rows.collect())
}

fn path(fleet: &str) -> String {
    format!("/v1/fleets/{}/releases", segment(fleet))
}

/// Fleet and number of `shop@42`, or of `42` in the fleet that `--fleet` names.
pub(super) fn named(server: &ServerArgs, release: &str) -> Result<(String, u64), CliError> {
    let (fleet, seq) = release.rsplit_once('@').unwrap_or((&server.fleet, release));
    let seq = seq.parse().map_err(|_| {
        CliError::Usage(format!(
            "{release:?} is not a release: name it as shop@42, or as 42"
        ))
    })?;
    Ok((fleet.to_owned(), seq))
}

fn text(one: &Value, field: &str) -> String {
    match &one[field] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
