//! Owns `apply` and `diff`: reads files and the server, plans, and carries the plan out step by step.
//! Must not know: how the difference is found.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use futures_util::stream::{self, StreamExt as _};
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::client::{Client, segments};
use super::documents::{self, Documents};
use super::output::clean;
use super::plan::{Action, Held, Plan, Step};
use super::{CliError, Env, Exit, Io, Output, ServerArgs};
use crate::keys::{Item, Kind};

/// Requests at a time. The stores confirm those that wait together with one write to disk.
const IN_FLIGHT: usize = 16;

/// The files of `apply` and `diff`.
#[derive(Clone, Debug, Args)]
pub(super) struct FileArgs {
    /// A file, a directory of .json and .jsonl files, or - for standard input; can be given again
    #[arg(
        short = 'f',
        long = "file",
        id = "documents",
        value_name = "FILE|DIR",
        required = true
    )]
    files: Vec<PathBuf>,
    /// Delete what the files' kinds have on the server and no file wants; kinds that no file speaks of are
    /// left alone
    #[arg(long)]
    prune: bool,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    files: FileArgs,
    /// Show what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct DiffArgs {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// `diff`: 0 if nothing differs, 1 if something does.
pub(super) async fn diff(args: &DiffArgs, env: &Env, io: &mut Io<'_>) -> Result<Exit, CliError> {
    let client = args.server.client(env)?;
    let plan = plan(&args.files, &args.server, &client, io).await?;
    print(&plan, &args.server, io)?;
    Ok(match plan.steps.is_empty() {
        true => Exit::Ok,
        false => Exit::Failed,
    })
}

/// `apply`.
pub(super) async fn apply(args: &ApplyArgs, env: &Env, io: &mut Io<'_>) -> Result<Exit, CliError> {
    let client = args.server.client(env)?;
    let plan = plan(&args.files, &args.server, &client, io).await?;
    if args.dry_run || plan.steps.is_empty() {
        print(&plan, &args.server, io)?;
        return Ok(Exit::Ok);
    }
    let human = args.server.output.output == Output::Table;
    if human {
        io.line(&plan)?;
    }
    let outcomes = carry_out(&plan, &args.server, &client, human, io).await?;
    conclude(&plan, outcomes, human, io)
}

/// What became of one step.
#[derive(Debug)]
enum Outcome {
    Done,
    /// It was refused.
    Failed(CliError),
    /// No answer came, or one that does not tell.
    Unknown(CliError),
    /// It was not tried, because one before it failed.
    Skipped,
}

/// Does the steps, stage by stage, several at a time within a stage. After a failure nothing new is begun.
async fn carry_out(
    plan: &Plan,
    server: &ServerArgs,
    client: &Client,
    human: bool,
    io: &mut Io<'_>,
) -> Result<Vec<Outcome>, CliError> {
    let stopped = AtomicBool::new(false);
    let mut outcomes = Vec::new();
    for stage in plan.steps.chunk_by(|a, b| a.stage() == b.stage()) {
        let tries = stage
            .iter()
            .map(|step| try_step(step, server, client, &stopped));
        let mut tries = stream::iter(tries).buffered(IN_FLIGHT);
        while let Some(outcome) = tries.next().await {
            if human && matches!(outcome, Outcome::Done) {
                let step = &plan.steps[outcomes.len()];
                let (number, of) = (outcomes.len() + 1, plan.steps.len());
                let item = clean(&step.item.to_string());
                io.line(format_args!("[{number}/{of}] {}d {item}", step.verb()))?;
            }
            outcomes.push(outcome);
        }
    }
    Ok(outcomes)
}

async fn try_step(
    step: &Step,
    server: &ServerArgs,
    client: &Client,
    stopped: &AtomicBool,
) -> Outcome {
    if stopped.load(Ordering::Relaxed) {
        return Outcome::Skipped;
    }
    let outcome = send(step, server, client).await;
    if !matches!(outcome, Outcome::Done) {
        stopped.store(true, Ordering::Relaxed);
    }
    outcome
}

/// Says exactly what was done and what was not.
fn conclude(
    plan: &Plan,
    outcomes: Vec<Outcome>,
    human: bool,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let (mut applied, mut rest, mut unknown, mut failure) = (vec![], vec![], vec![], None);
    for (step, outcome) in plan.steps.iter().zip(outcomes) {
        let (list, error) = match outcome {
            Outcome::Done => (&mut applied, None),
            Outcome::Failed(error) => (&mut rest, Some(error)),
            Outcome::Unknown(error) => (&mut unknown, Some(error)),
            Outcome::Skipped => (&mut rest, None),
        };
        list.push(step.to_string());
        failure = failure.or(error);
    }
    if !human {
        let mut report = plan.to_json();
        report["applied"] = json!(applied);
        report["not_applied"] = json!(rest);
        report["not_known"] = json!(unknown);
        report["error"] = json!(failure.as_ref().map(ToString::to_string));
        io.json(&report)?;
    }
    let Some(error) = failure else {
        if human {
            let (done, unchanged) = (applied.len(), plan.unchanged);
            io.line(format_args!("applied {done}, {unchanged} unchanged"))?;
        }
        return Ok(Exit::Ok);
    };
    if human {
        let (done, of) = (applied.len(), plan.steps.len());
        io.line(format_args!("applied {done} of {of}: {}", list(&applied)))?;
        io.line(format_args!("not applied: {}", list(&rest)))?;
        if !unknown.is_empty() {
            io.line(format_args!(
                "not known whether applied: {}",
                list(&unknown)
            ))?;
        }
    }
    Err(error)
}

fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names => names.join(", "),
    }
}

fn print(plan: &Plan, server: &ServerArgs, io: &mut Io<'_>) -> Result<(), CliError> {
    match server.output.output {
        Output::Table => io.line(plan),
        Output::Json => io.json(&plan.to_json()),
    }
}

async fn plan(
    files: &FileArgs,
    server: &ServerArgs,
    client: &Client,
    io: &mut Io<'_>,
) -> Result<Plan, CliError> {
    let wanted: Documents = documents::load(&files.files, io.input)?;
    let mut held = BTreeMap::new();
    for kind in &wanted.kinds {
        held.extend(listing(*kind, server, client).await?);
    }
    Ok(Plan::new(wanted, held, files.prune))
}

/// What the server has of a kind.
async fn listing(
    kind: Kind,
    server: &ServerArgs,
    client: &Client,
) -> Result<Vec<(Item, Held)>, CliError> {
    let what = format!("listing {}", kind.directory());
    let body = client
        .get(&server.path(kind.directory()))
        .await?
        .or_rejected(&what)?;
    let strange = |reason: &str| CliError::Rejected {
        what: what.clone(),
        reason: format!("the answer is not a listing, {reason}"),
    };
    let list = body["list"]
        .as_array()
        .ok_or_else(|| strange("it has no list"))?;
    list.iter()
        .map(|row| {
            let id = row["key"].as_str().and_then(|key| id_of(kind, key));
            let revision = row["modifiedIndex"].as_u64();
            let (Some(id), Some(revision)) = (id, revision) else {
                return Err(strange("a row has no key or no modifiedIndex"));
            };
            let held = Held {
                etag: format!("\"{revision}\""),
                value: row["value"].clone(),
            };
            Ok((Item::new(kind, id), held))
        })
        .collect()
}

/// The id in a key, in either spelling of the directory.
pub(super) fn id_of(kind: Kind, key: &str) -> Option<&str> {
    [Some(kind.directory()), kind.old_directory()]
        .into_iter()
        .flatten()
        .find_map(|directory| key.rsplit_once(&format!("/{directory}/")))
        .map(|(_, id)| id)
}

/// One step, under the condition that nobody changed the item since it was planned.
async fn send(step: &Step, server: &ServerArgs, client: &Client) -> Outcome {
    let Item { kind, id } = &step.item;
    let path = server.path(&format!("{}/{}", kind.directory(), segments(id)));
    let (method, condition, body) = match &step.action {
        Action::Create { value, .. } => (
            Method::PUT,
            (header::IF_NONE_MATCH, "*".to_owned()),
            Some(value),
        ),
        Action::Update { value, held } => (
            Method::PUT,
            (header::IF_MATCH, held.etag.clone()),
            Some(value),
        ),
        Action::Delete { held } => (Method::DELETE, (header::IF_MATCH, held.etag.clone()), None),
    };
    let body = body.map(without_times);
    let what = match &step.action {
        Action::Create { source, .. } => format!("{step} ({source})"),
        Action::Update { .. } | Action::Delete { .. } => step.to_string(),
    };
    let reply = match client
        .send(method, &path, Some(condition), body.as_ref())
        .await
    {
        Ok(reply) => reply,
        Err(error) => return Outcome::Unknown(error),
    };
    let status = reply.status;
    if status == StatusCode::PRECONDITION_FAILED {
        return Outcome::Failed(CliError::Rejected {
            what,
            reason: "somebody changed it in the meantime; run the command again".to_owned(),
        });
    }
    match reply.or_rejected(what) {
        Ok(_) => Outcome::Done,
        Err(error) if status.is_server_error() => Outcome::Unknown(error),
        Err(error) => Outcome::Failed(error),
    }
}

/// A file may come from a `get`; the server does not take its own times back.
pub(super) fn without_times(value: &Value) -> Value {
    let mut value = value.clone();
    if let Value::Object(object) = &mut value {
        object.shift_remove("create_time");
        object.shift_remove("update_time");
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_end_of_keys() {
        assert_eq!(id_of(Kind::Route, "/a/routes/1"), Some("1"));
        assert_eq!(id_of(Kind::Route, "/routes/x/routes/1"), Some("1"));
        assert_eq!(id_of(Kind::Ssl, "/a/ssl/1"), Some("1"));
        assert_eq!(id_of(Kind::Secret, "/a/secrets/vault/1"), Some("vault/1"));
        assert_eq!(id_of(Kind::Route, "/a/services/1"), None);
    }
}
