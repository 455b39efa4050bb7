//! Owns `apply` and `diff`: reads files and the server, plans, and carries the plan out step by step.
//! Must not know: how the difference is found.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::client::{Client, segments};
use super::documents::{self, Documents};
use super::plan::{Action, Held, Plan, Step};
use super::{CliError, Env, Exit, Io, Output, ServerArgs};
use crate::keys::{Item, Kind};

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
    let mut failure = None;
    let mut done = 0;
    for step in &plan.steps {
        if let Err(error) = carry_out(step, &args.server, &client).await {
            failure = Some(error);
            break;
        }
        done += 1;
        if human {
            io.line(format_args!(
                "[{done}/{}] {}d {}",
                plan.steps.len(),
                step.verb(),
                step.item
            ))?;
        }
    }
    conclude(&plan, done, failure, human, io)
}

/// Says exactly what was done and what was not.
fn conclude(
    plan: &Plan,
    done: usize,
    failure: Option<CliError>,
    human: bool,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let names = |steps: &[Step]| -> Vec<String> { steps.iter().map(ToString::to_string).collect() };
    let (applied, rest) = (names(&plan.steps[..done]), names(&plan.steps[done..]));
    if !human {
        let mut report = plan.to_json();
        report["applied"] = json!(applied);
        report["not_applied"] = json!(rest);
        report["error"] = json!(failure.as_ref().map(ToString::to_string));
        io.json(&report)?;
    }
    let Some(error) = failure else {
        if human {
            io.line(format_args!("applied {done}, {} unchanged", plan.unchanged))?;
        }
        return Ok(Exit::Ok);
    };
    if human {
        io.line(format_args!(
            "applied {done} of {}: {}",
            plan.steps.len(),
            list(&applied)
        ))?;
        io.line(format_args!("not applied: {}", list(&rest)))?;
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
async fn carry_out(step: &Step, server: &ServerArgs, client: &Client) -> Result<(), CliError> {
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
        Action::Create { source, .. } => format!("create {} ({source})", step.item),
        Action::Update { .. } | Action::Delete { .. } => step.to_string(),
    };
    let reply = client
        .send(method, &path, Some(condition), body.as_ref())
        .await?;
    if reply.status == StatusCode::PRECONDITION_FAILED {
        return Err(CliError::Rejected {
            what,
            reason: "somebody changed it in the meantime; run the command again".to_owned(),
        });
    }
    reply.or_rejected(what).map(|_| ())
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
