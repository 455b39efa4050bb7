//! Owns `pin`, `unpin`, `freeze` and `unfreeze`: what people set above the rules of rollouts.
//! Must not know: what follows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::rollout::{SignedArgs, path, print_pins};
use super::{CliError, Env, Exit, Io, Output, ServerArgs};

/// Which nodes.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct WhoArgs {
    /// One node, by its id
    #[arg(long = "node", id = "pin_node", value_name = "ID")]
    node: Option<String>,
    /// The nodes with a label, or those that a selector takes: region=eu
    #[arg(long = "label", id = "pin_label", value_name = "LABEL=VALUE")]
    label: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct PinArgs {
    /// The release that they get: shop@42, or 42
    #[arg(id = "release", value_name = "RELEASE")]
    release: String,
    #[command(flatten)]
    who: WhoArgs,
    /// For how long: 2h
    #[arg(long = "for", id = "pin_for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    #[command(flatten)]
    signed: SignedArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct UnpinArgs {
    #[command(flatten)]
    who: WhoArgs,
    /// Who; without it, $USER
    #[arg(long, id = "rollout_author", value_name = "NAME")]
    author: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct FreezeArgs {
    /// The fleet; without it, the one that --fleet names
    #[arg(id = "rollout_fleet", value_name = "FLEET")]
    fleet: Option<String>,
    /// For how long: 2h
    #[arg(long = "for", id = "freeze_for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// From when, if not from now on: 2026-12-24T00:00:00Z
    #[arg(long = "from", id = "freeze_from", value_name = "DATE", value_parser = humantime::parse_rfc3339_weak)]
    from: Option<SystemTime>,
    /// Until when
    #[arg(long = "until", id = "freeze_until", value_name = "DATE", value_parser = humantime::parse_rfc3339_weak, conflicts_with = "freeze_for")]
    until: Option<SystemTime>,
    #[command(flatten)]
    signed: SignedArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct UnfreezeArgs {
    /// The fleet; without it, the one that --fleet names
    #[arg(id = "rollout_fleet", value_name = "FLEET")]
    fleet: Option<String>,
    /// Not the freeze in force, but those to come
    #[arg(long = "planned", id = "unfreeze_planned")]
    planned: bool,
    /// Who; without it, $USER
    #[arg(long, id = "rollout_author", value_name = "NAME")]
    author: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

impl WhoArgs {
    fn select(&self) -> String {
        match (&self.node, &self.label) {
            (Some(node), _) => format!("node={node}"),
            (None, label) => label.clone().unwrap_or_default(),
        }
    }
}

/// `pin`
pub(super) async fn pin(args: &PinArgs, env: &Env, io: &mut Io<'_>) -> Result<Exit, CliError> {
    let (fleet, seq) = super::release::named(&args.server, &args.release)?;
    let mut body = json!({ "select": args.who.select(), "release": seq });
    if let Some(time) = args.time {
        body["ttl"] = json!(time.as_secs());
    }
    let body = args.signed.sign(body, env);
    let what = format!("pin of {}", args.who.select());
    let done = send(
        &args.server,
        Method::POST,
        &fleet,
        "pins",
        &body,
        &what,
        env,
    )
    .await?;
    print(&done, &args.server, io)
}

/// `unpin`
pub(super) async fn unpin(args: &UnpinArgs, env: &Env, io: &mut Io<'_>) -> Result<Exit, CliError> {
    let body = json!({ "select": args.who.select() });
    let body = signed(&args.author, env, body);
    let what = format!("unpin of {}", args.who.select());
    let (server, fleet) = (&args.server, &args.server.fleet);
    let done = send(server, Method::DELETE, fleet, "pins", &body, &what, env).await?;
    print(&done, server, io)
}

fn print(pins: &Value, server: &ServerArgs, io: &mut Io<'_>) -> Result<Exit, CliError> {
    match server.output.output {
        Output::Json => io.json(pins)?,
        Output::Table => {
            let list: Vec<&Value> = pins["list"].as_array().into_iter().flatten().collect();
            print_pins(&list, io)?;
        }
    }
    Ok(Exit::Ok)
}

/// `freeze`
pub(super) async fn freeze(
    args: &FreezeArgs,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let fleet = args.fleet.as_ref().unwrap_or(&args.server.fleet);
    let begin = args.from.unwrap_or_else(SystemTime::now);
    let until = args.until.or(args.time.map(|time| begin + time));
    let mut body = args.signed.sign(json!({}), env);
    for (field, at) in [("from", args.from), ("until", until)] {
        if let Some(at) = at {
            body[field] = json!(millis(at));
        }
    }
    let what = format!("freeze of {fleet}");
    let done = send(&args.server, Method::PUT, fleet, "hold", &body, &what, env).await?;
    let said = match args.from {
        Some(_) => format!("{fleet} will be frozen"),
        None => format!("{fleet} is frozen: nothing goes forward, back always does"),
    };
    finish(&done, &said, &args.server, io)
}

/// `unfreeze`
pub(super) async fn unfreeze(
    args: &UnfreezeArgs,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let fleet = args.fleet.as_ref().unwrap_or(&args.server.fleet);
    let body = signed(&args.author, env, json!({ "planned": args.planned }));
    let what = format!("unfreeze of {fleet}");
    let (server, method) = (&args.server, Method::DELETE);
    let done = send(server, method, fleet, "hold", &body, &what, env).await?;
    let said = format!("{fleet} is no longer frozen");
    finish(&done, &said, server, io)
}

fn finish(
    done: &Value,
    said: &str,
    server: &ServerArgs,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    match server.output.output {
        Output::Json => io.json(done)?,
        Output::Table => io.line(said)?,
    }
    Ok(Exit::Ok)
}

async fn send(
    server: &ServerArgs,
    method: Method,
    fleet: &str,
    rest: &str,
    body: &Value,
    what: &str,
    env: &Env,
) -> Result<Value, CliError> {
    let client = server.client(env)?;
    let path = path(fleet, rest);
    let reply = client.send(method, &path, None, Some(body)).await?;
    reply.or_rejected(what)
}

fn signed(author: &Option<String>, env: &Env, mut body: Value) -> Value {
    let author = author.clone().or_else(|| env.get("USER").cloned());
    body["author"] = json!(author.unwrap_or_default());
    body
}

fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
