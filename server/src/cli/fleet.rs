//! Owns `fleet`: defining, listing, showing and deleting fleets. Must not know: how one is served.

use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::client::segment;
use super::{CliError, Env, Exit, Io, Output, ServerArgs, documents};
use crate::json;

#[derive(Clone, Debug, Args)]
pub(super) struct FleetArgs {
    #[command(subcommand)]
    command: FleetCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum FleetCommand {
    /// Define a fleet, or define it anew; what is not given stays as it is
    Put(Box<PutArgs>),
    /// List the fleets
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one as JSON
    Get {
        /// Its name
        #[arg(id = "fleet_name", value_name = "NAME")]
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Serve a fleet no more; its keys stay, and its nodes keep what they have
    Delete {
        /// Its name
        #[arg(id = "fleet_name", value_name = "NAME")]
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Clone, Debug, Args)]
struct PutArgs {
    /// Its name
    #[arg(id = "fleet_name", value_name = "NAME")]
    name: String,
    /// What the keys of its configuration start with; needed where the fleet is new
    #[arg(long, id = "fleet_prefix", value_name = "PREFIX")]
    prefix: Option<String>,
    /// The store it is in, by the name that servers were given by --other-store
    #[arg(long = "store", id = "fleet_store", value_name = "NAME")]
    store: Option<String>,
    /// How a change reaches its nodes
    #[arg(long = "mode", id = "fleet_mode", value_enum)]
    mode: Option<ModeArg>,
    /// Which keys under the prefix are read
    #[arg(long = "layout", id = "fleet_layout", value_enum)]
    layout: Option<LayoutArg>,
    /// The policy of rollouts that name none: safe, fast, emergency, or a JSON or TOML file
    #[arg(long = "policy", id = "fleet_policy", value_name = "NAME|FILE")]
    policy: Option<String>,
    /// Cut a release and roll it out when nothing has changed for so long, like 30s
    #[arg(
        long = "release-after",
        id = "fleet_release_after",
        value_name = "TIME"
    )]
    release_after: Option<String>,
    /// Releases to keep besides those in use
    #[arg(long = "keep-releases", id = "fleet_keep", value_name = "N")]
    keep_releases: Option<usize>,
    #[command(flatten)]
    server: ServerArgs,
}

/// How a change reaches the nodes of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    /// Every node at once
    Direct,
    /// As releases, in stages
    Staged,
}

/// Which keys under a prefix are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LayoutArg {
    /// Those of APISIX
    Apisix,
    /// Those of hand-written Go gateways besides
    GoGateway,
}

/// `fleet`
pub(super) async fn fleet(args: &FleetArgs, env: &Env, io: &mut Io<'_>) -> Result<Exit, CliError> {
    match &args.command {
        FleetCommand::Put(args) => put(args, env, io).await,
        FleetCommand::List { server } => list(server, env, io).await,
        FleetCommand::Get { name, server } => {
            let reply = server.client(env)?.get(&path(name)).await?;
            io.json(&reply.or_rejected(format!("fleet {name}"))?)?;
            Ok(Exit::Ok)
        }
        FleetCommand::Delete { name, server } => {
            let client = server.client(env)?;
            let reply = client.send(Method::DELETE, &path(name), None, None).await?;
            let body = reply.or_rejected(format!("delete fleet {name}"))?;
            said(server, io, &body, &format!("deleted fleet {name}"))
        }
    }
}

async fn put(args: &PutArgs, env: &Env, io: &mut Io<'_>) -> Result<Exit, CliError> {
    let (name, server) = (&args.name, &args.server);
    let client = server.client(env)?;
    let mut definition = match client.get(&path(name)).await?.or_rejected(name.clone()) {
        Ok(mut known) => {
            // What is only shown.
            for field in ["name", "admin", "problem"] {
                known.as_object_mut().and_then(|known| known.remove(field));
            }
            known
        }
        Err(CliError::Rejected { .. }) if args.prefix.is_some() => json!({}),
        Err(CliError::Rejected { reason, .. }) => {
            return Err(CliError::Rejected {
                what: format!("put fleet {name} without --prefix"),
                reason,
            });
        }
        Err(error) => return Err(error),
    };
    let policy = args.policy.as_deref().map(|policy| read_policy(policy, io));
    let mode = args.mode.map(|mode| match mode {
        ModeArg::Direct => "direct",
        ModeArg::Staged => "staged",
    });
    let layout = args.layout.map(|layout| match layout {
        LayoutArg::Apisix => "apisix",
        LayoutArg::GoGateway => "go_gateway",
    });
    let said_fields = [
        ("prefix", args.prefix.as_ref().map(|prefix| json!(prefix))),
        ("store", args.store.as_ref().map(|store| json!(store))),
        ("mode", mode.map(|mode| json!(mode))),
        ("layout", layout.map(|layout| json!(layout))),
        ("policy", policy.transpose()?),
        (
            "release_after",
            args.release_after.as_ref().map(|after| json!(after)),
        ),
        ("keep_releases", args.keep_releases.map(|keep| json!(keep))),
    ];
    for (field, value) in said_fields {
        if let Some(value) = value {
            definition[field] = value;
        }
    }
    let reply = client
        .send(Method::PUT, &path(name), None, Some(&definition))
        .await?;
    let body = reply.or_rejected(format!("put fleet {name}"))?;
    said(server, io, &body, &format!("fleet {name} is defined"))
}

/// A policy by its name, or from a file: JSON, or TOML if it ends so.
pub(super) fn read_policy(policy: &str, io: &mut Io<'_>) -> Result<Value, CliError> {
    let is_name = !policy.contains(['/', '.']) && !Path::new(policy).exists();
    if is_name && policy != "-" {
        return Ok(json!(policy));
    }
    let text = documents::text_of(Path::new(policy), io.input)?;
    let is_toml = Path::new(policy)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    let read = match is_toml {
        true => toml::from_str(&text).map_err(|error| error.to_string()),
        false => json::strict(text.as_bytes()).map_err(|error| error.to_string()),
    };
    read.map_err(|error| CliError::Usage(format!("the policy {policy} can't be read: {error}")))
}

async fn list(server: &ServerArgs, env: &Env, io: &mut Io<'_>) -> Result<Exit, CliError> {
    let reply = server.client(env)?.get("/v1/fleets").await?;
    let body = reply.or_rejected("fleets")?;
    if server.output.output == Output::Json {
        io.json(&body)?;
        return Ok(Exit::Ok);
    }
    let fields = ["name", "mode", "prefix", "store", "problem"];
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let list = body["list"].as_array().into_iter().flatten();
    let rows = list.map(|one| fields.iter().map(|field| text(one, field)).collect());
    io.table(
        &["fleet", "mode", "prefix", "store", "problem"],
        rows.collect(),
    )?;
    Ok(Exit::Ok)
}

fn said(server: &ServerArgs, io: &mut Io<'_>, body: &Value, done: &str) -> Result<Exit, CliError> {
    match server.output.output {
        Output::Json => io.json(body)?,
        Output::Table => io.line(done)?,
    }
    Ok(Exit::Ok)
}

fn path(name: &str) -> String {
    format!("/v1/fleets/{}", segment(name))
}
