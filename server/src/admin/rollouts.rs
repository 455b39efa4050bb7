//! Owns what people want of rollouts, as HTTP: what is asked is read and checked, and what became of it
//! told. Must not know: the rules of rollouts.

mod asked;
mod overrides;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bellwether_rollout::machine::{Command, Refused, Return};
use bellwether_rollout::policy::preset;
use bellwether_rollout::state::Start;
use bellwether_rollout::{Digest, Policy, Release};
use http::StatusCode;
use serde_json::{Value, json};

use self::asked::{Approval, Back, Reasoned, StartAsked, author, reason};
use super::access::bounded;
use super::answer::{self, Problem};
use super::own::list_of;
use super::query::Query;
use super::releases::PATIENCE;
use super::{AdminState, body};
use crate::release::Releases;
use crate::rollouts::line::MAX_RECORDS;
use crate::rollouts::{Current, Handle, LineError, status};

pub(crate) use self::overrides::{drop_hold, hold, pin, pins, unpin};

/// The policy of a fleet that has none of its own.
const DEFAULT_POLICY: &str = "safe";

/// A fleet in staged mode, and who decides for it.
struct Staged<'a> {
    handle: &'a Handle,
    fleet: String,
}

impl AdminState {
    fn staged(&self, name: &str) -> Result<Staged<'_>, Problem> {
        let fleet = self.fleet(name)?.name;
        match self.rollouts.of(&fleet) {
            Some(handle) => Ok(Staged { handle, fleet }),
            None => Err(Problem::Refused(format!(
                "fleet {fleet:?} is in direct mode: a change of its keys goes to every node at once, and there is nothing to roll out"
            ))),
        }
    }
}

impl Staged<'_> {
    async fn load(&self) -> Result<Current, Problem> {
        bounded(PATIENCE, self.handle.line(&self.fleet).load()).await
    }

    async fn command(&self, command: &Command, who: &str) -> Result<Current, Problem> {
        bounded(PATIENCE, self.handle.command(&self.fleet, command, who)).await
    }

    fn status(&self, current: &Current) -> Value {
        status::status(self.handle, &self.fleet, current)
    }

    /// Does it, and tells how things are then.
    async fn done(&self, command: &Command, who: &str) -> Result<Response, Problem> {
        let current = self.command(command, who).await?;
        Ok(answer::json(&self.status(&current)))
    }

    /// A release by its number: it must be there.
    async fn release(&self, seq: u64) -> Result<Release, Problem> {
        let releases = Releases::new(self.handle.store(), &self.fleet);
        let header = bounded(PATIENCE, releases.header(seq)).await?;
        Ok(Release {
            seq,
            digest: header.digest,
        })
    }

    /// How many nodes there are, by the last word of every server.
    fn nodes(&self) -> Option<u64> {
        let replicas = self.handle.replicas().borrow().clone();
        let said = replicas.servers().values();
        let nodes = said.map(|one| Some(one.fleets.get(&self.fleet)?.report.nodes));
        let nodes: Option<Vec<u64>> = nodes.collect();
        nodes
            .filter(|servers| !servers.is_empty())
            .map(|nodes| nodes.iter().sum())
    }

    /// The policy that is named or written, or the fleet's own.
    fn policy(&self, asked: Option<&Value>) -> Result<Policy, Problem> {
        let own = self.handle.fleet(&self.fleet).and_then(|one| one.policy);
        let policy = match asked {
            None | Some(Value::Null) => own.or_else(|| preset(DEFAULT_POLICY)),
            Some(Value::String(name)) => {
                own.filter(|own| own.name == *name).or_else(|| preset(name))
            }
            Some(written) => Some(asked::policy(written)?),
        };
        let policy = policy.ok_or_else(|| {
            let name = asked.and_then(Value::as_str).unwrap_or_default();
            Problem::Refused(format!(
                "there is no policy {name:?}: name safe, fast, emergency or the fleet's own, or write one"
            ))
        })?;
        match status::unfit(&policy) {
            None => Ok(policy),
            Some(reason) => Err(Problem::Refused(format!(
                "policy {:?}: {reason}",
                policy.name
            ))),
        }
    }
}

/// `GET /v1/fleets/{fleet}/rollout`
pub(crate) async fn show(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
) -> Result<Response, Problem> {
    let staged = state.staged(&fleet)?;
    let current = staged.load().await?;
    Ok(answer::json(&staged.status(&current)))
}

/// `POST /v1/fleets/{fleet}/rollout`: 201 with the status and the plan; 200 with the plan only, if that
/// is what was asked for.
pub(crate) async fn start(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let staged = state.staged(&fleet)?;
    let asked: StartAsked = read(request).await?;
    let policy = staged.policy(asked.policy.as_ref())?;
    let target = staged.release(asked.release.of(&staged.fleet)?).await?;
    if asked.digest.is_some_and(|digest| digest != target.digest) {
        return Err(LineError::OtherContent {
            fleet: staged.fleet,
            seq: target.seq,
        }
        .into());
    }
    let plan = status::plan(&policy, staged.nodes());
    if asked.dry_run {
        return Ok(answer::json(&json!({ "plan": plan })));
    }
    let who = author(&asked.author)?;
    let start = Start {
        target,
        policy,
        author: who.clone(),
        reason: reason(&asked.reason)?,
    };
    let command = match asked.supersede {
        true => Command::Supersede(start),
        false => Command::Start(start),
    };
    let current = staged.command(&command, &who).await?;
    let mut body = staged.status(&current);
    body["plan"] = plan;
    Ok(answer::with_status(StatusCode::CREATED, &body))
}

/// `POST /v1/fleets/{fleet}/rollout/{pause,resume,abort,promote,approve}`
pub(crate) async fn act(
    State(state): State<AdminState>,
    Path((fleet, verb)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let staged = state.staged(&fleet)?;
    if verb == "approve" {
        return approve(&staged, read(request).await?).await;
    }
    let asked: Reasoned = read(request).await?;
    let author = author(&asked.author)?;
    let who = author.clone();
    let command = match verb.as_str() {
        "pause" => Command::Pause {
            author,
            reason: reason(&asked.reason)?,
        },
        "abort" => Command::Abort {
            author,
            reason: reason(&asked.reason)?,
        },
        "resume" => Command::Resume { author },
        "promote" => Command::Promote { author },
        other => {
            return Err(Problem::Unknown(format!(
                "a rollout can be paused, resumed, aborted, promoted and approved, not {other:?}"
            )));
        }
    };
    staged.done(&command, &who).await
}

/// An approval is of what the approver saw: without a word, of what is under way.
async fn approve(staged: &Staged<'_>, asked: Approval) -> Result<Response, Problem> {
    let author = author(&asked.author)?;
    let rollout = staged.load().await?.state.rollout;
    let target = match (asked.digest, rollout) {
        (Some(digest), _) => digest,
        (None, Some(rollout)) => rollout.start.target.digest,
        (None, None) => return Err(LineError::from(Refused::NoRollout).into()),
    };
    let who = author.clone();
    let command = Command::Approve { author, target };
    staged.done(&command, &who).await
}

/// `POST /v1/fleets/{fleet}/rollback`: at once where it can be, else as a rollout like any other.
pub(crate) async fn roll_back(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let staged = state.staged(&fleet)?;
    let asked: Back = read(request).await?;
    let (who, why) = (author(&asked.author)?, reason(&asked.reason)?);
    let to = match &asked.release {
        Some(named) => Some(staged.release(named.of(&staged.fleet)?).await?),
        None => None,
    };
    let command = Command::Return(Return {
        to,
        now: asked.now,
        quarantine: asked.quarantine,
        author: who.clone(),
        reason: why.clone(),
    });
    let line = staged.handle.command(&staged.fleet, &command, &who);
    let Ok(done) = tokio::time::timeout(PATIENCE, line).await else {
        return Err(Problem::Slow {
            what: "the store",
            seconds: PATIENCE.as_secs(),
        });
    };
    match (done, to) {
        (Ok(current), _) => Ok(answer::json(&staged.status(&current))),
        // The world has gone on since it was stable: it proves itself anew.
        (Err(LineError::Refused(Refused::NotLastGood(_))), Some(target)) => {
            let policy = staged.policy(asked.policy.as_ref())?;
            let plan = status::plan(&policy, staged.nodes());
            let start = Start {
                target,
                policy,
                author: who.clone(),
                reason: why,
            };
            let current = staged.command(&Command::Start(start), &who).await?;
            let mut body = staged.status(&current);
            body["plan"] = plan;
            Ok(answer::with_status(StatusCode::CREATED, &body))
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// `GET /v1/fleets/{fleet}/history[?limit=N]`, oldest first.
pub(crate) async fn history(
    State(state): State<AdminState>,
    Path(fleet): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let staged = state.staged(&fleet)?;
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let limit = match query.get("limit") {
        None => MAX_RECORDS,
        Some(limit) => limit
            .parse()
            .map_err(|_| Problem::Refused(format!("not a limit: {limit:?}")))?,
    };
    let line = staged.handle.line(&staged.fleet);
    let records = bounded(PATIENCE, line.history(limit)).await?;
    let list: Vec<Value> = records
        .iter()
        .map(|record| {
            let mut shown = json!(record);
            let texts = record.events.iter().map(ToString::to_string);
            shown["text"] = json!(texts.collect::<Vec<_>>());
            shown
        })
        .collect();
    Ok(answer::json(&list_of(&list)))
}

/// `DELETE /v1/fleets/{fleet}/quarantine/{digest}`: what failed may be tried again.
pub(crate) async fn unquarantine(
    State(state): State<AdminState>,
    Path((fleet, digest)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let staged = state.staged(&fleet)?;
    let asked: Reasoned = read(request).await?;
    let digest: Digest = digest
        .parse()
        .map_err(|error| Problem::Refused(format!("{error}")))?;
    let who = author(&asked.author)?;
    staged.done(&Command::Unquarantine { digest }, &who).await
}

/// `GET /v1/policies`: those that every fleet has, with every stage in full.
pub(crate) async fn policies(State(state): State<AdminState>) -> Response {
    let presets = ["safe", "fast", "emergency"].into_iter();
    let presets = presets.filter_map(preset);
    let own = state.rollouts.policies();
    let list: Vec<Value> = presets.chain(own).map(|one| status::policy(&one)).collect();
    answer::json(&list_of(&list))
}

/// A body of JSON; nothing is an object without fields.
async fn read<T: serde::de::DeserializeOwned>(request: Request<Body>) -> Result<T, Problem> {
    let bytes = body::read(request.into_body()).await?;
    let value = match bytes.is_empty() {
        true => json!({}),
        false => body::parse(&bytes)?,
    };
    serde_json::from_value(value)
        .map_err(|error| Problem::Refused(format!("not what can be asked for here: {error}")))
}

impl From<LineError> for Problem {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Store(error) => Self::Store(error),
            LineError::NoRelease { .. } => Self::Unknown(error.to_string()),
            LineError::Refused(_) | LineError::OtherContent { .. } | LineError::TooLarge { .. } => {
                Self::Refused(error.to_string())
            }
            LineError::Damaged { .. } | LineError::Busy(_) => Self::Unready(error.to_string()),
        }
    }
}
