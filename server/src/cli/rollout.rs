//! Owns `rollout` and `rollback`: what people want of rollouts, said to the Admin API. Must not know: the
//! rules of rollouts, or how they are shown.

mod follow;
mod policy_file;
mod view;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

pub(super) use self::view::print_pins;

use super::client::segment;
use super::{CliError, Env, Exit, Io, Output, ServerArgs};

#[derive(Clone, Debug, Args)]
pub(super) struct RolloutArgs {
    #[command(subcommand)]
    command: RolloutCommand,
}

/// Who wants it, and why.
#[derive(Clone, Debug, Args)]
pub(super) struct SignedArgs {
    /// Why
    #[arg(
        short = 'm',
        long = "message",
        id = "rollout_reason",
        value_name = "REASON"
    )]
    pub(super) reason: Option<String>,
    /// Who; without it, $USER
    #[arg(long, id = "rollout_author", value_name = "NAME")]
    pub(super) author: Option<String>,
}

/// A fleet's rollout, whichever it is.
#[derive(Clone, Debug, Args)]
struct OfFleetArgs {
    /// The fleet; without it, the one that --fleet names
    #[arg(id = "rollout_fleet", value_name = "FLEET")]
    fleet: Option<String>,
    #[command(flatten)]
    signed: SignedArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum RolloutCommand {
    /// Roll a release out
    Start(StartArgs),
    /// Show the rollout under way: its stages, its nodes, its gates, and what it waits for
    Status {
        /// The fleet; without it, the one that --fleet names
        #[arg(id = "rollout_fleet", value_name = "FLEET")]
        fleet: Option<String>,
        /// Go on until it is over; exit code 1 if its release is not stable then
        #[arg(long = "watch", id = "rollout_watch")]
        watch: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Let it wait; who has the release keeps it
    Pause(OfFleetArgs),
    /// Let it go on; its stage is counted and watched anew
    Resume(OfFleetArgs),
    /// Take every node back to what was stable before
    Abort(OfFleetArgs),
    /// End its stage without what it waits for
    Promote(OfFleetArgs),
    /// Approve what is to be rolled out
    Approve(OfFleetArgs),
    /// Take the nodes of this one server back at once, though the store be away; to be said to each server
    ForceBase(OfFleetArgs),
    /// Let a release be rolled out again that failed
    Unquarantine {
        /// Its name, shop@42, or its number
        #[arg(id = "release", value_name = "RELEASE")]
        release: String,
        #[command(flatten)]
        signed: SignedArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show what happened, oldest first
    History {
        /// The fleet; without it, the one that --fleet names
        #[arg(id = "rollout_fleet", value_name = "FLEET")]
        fleet: Option<String>,
        /// Only the last of it
        #[arg(long = "limit", id = "history_limit", value_name = "N")]
        limit: Option<usize>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Clone, Debug, Args)]
struct StartArgs {
    /// Its name, shop@42, or its number
    #[arg(id = "release", value_name = "RELEASE")]
    release: String,
    /// How: safe, fast, emergency, the fleet's own, or a file with a policy as TOML or JSON
    #[arg(long = "policy", id = "rollout_policy", value_name = "NAME|FILE")]
    policy: Option<String>,
    /// In place of the rollout under way, whose release the nodes lose
    #[arg(long = "hotfix", id = "rollout_hotfix")]
    hotfix: bool,
    /// Only show whom it would take
    #[arg(long = "dry-run", id = "rollout_dry_run")]
    dry_run: bool,
    #[command(flatten)]
    signed: SignedArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct RollbackArgs {
    /// The fleet, or the release to go back to: shop, shop@42
    #[arg(id = "rollback_to", value_name = "FLEET[@N]")]
    to: Option<String>,
    /// At once, even if it was not stable lately
    #[arg(long = "now", id = "rollback_now")]
    now: bool,
    /// Never roll out again what is left, until `unquarantine`
    #[arg(long = "quarantine", id = "rollback_quarantine")]
    quarantine: bool,
    /// How, if it is rolled out in stages
    #[arg(long = "policy", id = "rollout_policy", value_name = "NAME|FILE")]
    policy: Option<String>,
    #[command(flatten)]
    signed: SignedArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl SignedArgs {
    /// With these two in the body.
    pub(super) fn sign(&self, mut body: Value, env: &Env) -> Value {
        let author = self.author.clone().or_else(|| env.get("USER").cloned());
        body["author"] = json!(author.unwrap_or_default());
        if let Some(reason) = &self.reason {
            body["reason"] = json!(reason);
        }
        body
    }
}

/// `rollout`
pub(super) async fn rollout(
    args: &RolloutArgs,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    match &args.command {
        RolloutCommand::Start(args) => start(args, env, io).await,
        RolloutCommand::Status {
            fleet,
            watch,
            server,
        } => {
            let fleet = fleet.as_ref().unwrap_or(&server.fleet);
            match watch {
                true => follow::follow(server, fleet, env, io).await,
                false => status(server, fleet, env, io).await,
            }
        }
        RolloutCommand::Pause(args) => act(args, "pause", env, io).await,
        RolloutCommand::Resume(args) => act(args, "resume", env, io).await,
        RolloutCommand::Abort(args) => act(args, "abort", env, io).await,
        RolloutCommand::Promote(args) => act(args, "promote", env, io).await,
        RolloutCommand::Approve(args) => act(args, "approve", env, io).await,
        RolloutCommand::ForceBase(args) => force_base(args, env, io).await,
        RolloutCommand::Unquarantine {
            release,
            signed,
            server,
        } => unquarantine(server, release, signed, env, io).await,
        RolloutCommand::History {
            fleet,
            limit,
            server,
        } => {
            let fleet = fleet.as_ref().unwrap_or(&server.fleet);
            history(server, fleet, *limit, env, io).await
        }
    }
}

async fn start(args: &StartArgs, env: &Env, io: &mut Io<'_>) -> Result<Exit, CliError> {
    let (fleet, seq) = super::release::named(&args.server, &args.release)?;
    let mut body = json!({
        "release": seq,
        "supersede": args.hotfix,
        "dry_run": args.dry_run,
    });
    if let Some(policy) = &args.policy {
        body["policy"] = policy_file::policy(policy)?;
    }
    let body = args.signed.sign(body, env);
    let reply = args
        .server
        .client(env)?
        .send(Method::POST, &path(&fleet, "rollout"), None, Some(&body))
        .await?;
    let done = reply.or_rejected(format!("rollout of {fleet}@{seq}"))?;
    if args.server.output.output == Output::Json {
        io.json(&done)?;
        return Ok(Exit::Ok);
    }
    view::plan(&done["plan"], io)?;
    if !args.dry_run {
        io.line(said(&done, &format!("{fleet}@{seq}")))?;
    }
    Ok(Exit::Ok)
}

/// What became of it, in a line.
fn said(status: &Value, release: &str) -> String {
    let rollout = &status["rollout"];
    let (id, phase) = (&rollout["id"], view::text(rollout, "phase"));
    match rollout["target"]["name"].as_str() {
        Some(target) if target == release => format!("rollout {id} of {release} is {phase}"),
        Some(target) => format!("{release} is next, after rollout {id} of {target}"),
        None => format!("nothing is under way in {}", view::text(status, "fleet")),
    }
}

async fn status(
    server: &ServerArgs,
    fleet: &str,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let reply = server.client(env)?.get(&path(fleet, "rollout")).await?;
    let status = reply.or_rejected(format!("rollout of {fleet}"))?;
    match server.output.output {
        Output::Json => io.json(&status)?,
        Output::Table => view::status(&status, io)?,
    }
    Ok(Exit::Ok)
}

async fn act(args: &OfFleetArgs, verb: &str, env: &Env, io: &mut Io<'_>) -> Result<Exit, CliError> {
    let fleet = args.fleet.as_ref().unwrap_or(&args.server.fleet);
    let mut body = args.signed.sign(json!({}), env);
    if verb == "approve"
        && let Some(body) = body.as_object_mut()
    {
        body.remove("reason");
    }
    let path = path(fleet, &format!("rollout/{verb}"));
    let client = args.server.client(env)?;
    let reply = client.send(Method::POST, &path, None, Some(&body)).await?;
    let status = reply.or_rejected(format!("{verb} rollout of {fleet}"))?;
    match args.server.output.output {
        Output::Json => io.json(&status)?,
        Output::Table => io.line(view::summary(&status))?,
    }
    Ok(Exit::Ok)
}

async fn force_base(args: &OfFleetArgs, env: &Env, io: &mut Io<'_>) -> Result<Exit, CliError> {
    let fleet = args.fleet.as_ref().unwrap_or(&args.server.fleet);
    let body = args.signed.sign(json!({}), env);
    let path = path(fleet, "rollout/force-base");
    let client = args.server.client(env)?;
    let reply = client.send(Method::POST, &path, None, Some(&body)).await?;
    let forced = reply.or_rejected(format!("force {fleet} back"))?;
    match args.server.output.output {
        Output::Json => io.json(&forced)?,
        Output::Table => io.line(format_args!(
            "the nodes of this server go back to {}; the other servers must be told too",
            view::text(&forced, "to")
        ))?,
    }
    Ok(Exit::Ok)
}

async fn unquarantine(
    server: &ServerArgs,
    release: &str,
    signed: &SignedArgs,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let (fleet, seq) = super::release::named(server, release)?;
    let what = format!("unquarantine {fleet}@{seq}");
    let client = server.client(env)?;
    let reply = client
        .get(&path(&fleet, &format!("releases/{seq}")))
        .await?;
    let digest = view::text(&reply.or_rejected(&what)?, "digest");
    let path = path(&fleet, &format!("quarantine/{digest}"));
    let body = signed.sign(json!({}), env);
    let reply = client
        .send(Method::DELETE, &path, None, Some(&body))
        .await?;
    let status = reply.or_rejected(what)?;
    match server.output.output {
        Output::Json => io.json(&status)?,
        Output::Table => io.line(format_args!("{fleet}@{seq} may be rolled out again"))?,
    }
    Ok(Exit::Ok)
}

async fn history(
    server: &ServerArgs,
    fleet: &str,
    limit: Option<usize>,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let limit = limit.map_or(String::new(), |limit| format!("?limit={limit}"));
    let path = format!("{}{limit}", path(fleet, "history"));
    let reply = server.client(env)?.get(&path).await?;
    let body = reply.or_rejected(format!("history of {fleet}"))?;
    match server.output.output {
        Output::Json => io.json(&body)?,
        Output::Table => view::history(&body, io)?,
    }
    Ok(Exit::Ok)
}

/// `rollback`
pub(super) async fn rollback(
    args: &RollbackArgs,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let server = &args.server;
    let (fleet, seq) = match args.to.as_deref() {
        None => (server.fleet.clone(), None),
        Some(to) if to.contains('@') => {
            let (fleet, seq) = super::release::named(server, to)?;
            (fleet, Some(seq))
        }
        Some(fleet) => (fleet.to_owned(), None),
    };
    let mut body = json!({ "now": args.now, "quarantine": args.quarantine });
    if let Some(seq) = seq {
        body["release"] = json!(seq);
    }
    if let Some(policy) = &args.policy {
        body["policy"] = policy_file::policy(policy)?;
    }
    let body = args.signed.sign(body, env);
    let client = server.client(env)?;
    let reply = client
        .send(Method::POST, &path(&fleet, "rollback"), None, Some(&body))
        .await?;
    let status = reply.or_rejected(format!("rollback of {fleet}"))?;
    if server.output.output == Output::Json {
        io.json(&status)?;
        return Ok(Exit::Ok);
    }
    if status["plan"].is_object() {
        io.line("it was not stable lately, so it is rolled out in stages:")?;
        view::plan(&status["plan"], io)?;
    }
    io.line(view::summary(&status))?;
    Ok(Exit::Ok)
}

/// The path of something of a fleet.
pub(super) fn path(fleet: &str, rest: &str) -> String {
    format!("/v1/fleets/{}/{rest}", segment(fleet))
}

/// The file that a policy is in, if it names one.
fn file_of(policy: &str) -> Option<PathBuf> {
    let path = PathBuf::from(policy);
    let is_file = path.is_file() || policy.contains(['/', '.']);
    is_file.then_some(path)
}
