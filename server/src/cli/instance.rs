//! Owns `instance`: keeping one registered, listing and draining them. Must not know: where they are kept.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::{Method, StatusCode, header};
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::client::{Client, Reply, segment};
use super::{CliError, Env, Exit, Io, Output, ServerArgs, output};

/// In the time that a registration holds it is renewed so often: two may fail.
const RENEWALS: u32 = 3;

/// Between two tries while nobody can be reached; or less, where a registration holds for less.
const PAUSE: Duration = Duration::from_secs(1);

/// How long saying goodbye may take. Without it the registration ends by itself.
const GOODBYE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Args)]
pub(super) struct InstanceArgs {
    #[command(subcommand)]
    command: InstanceCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum InstanceCommand {
    /// Register an address of a service, keep it registered, and drain it when told to stop
    Register(Box<RegisterArgs>),
    /// List the instances that proxies are told of
    List {
        /// Only of this service
        #[arg(id = "listed_service", value_name = "SERVICE")]
        service: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Take an instance out of its service, and stop whoever keeps it registered
    Drain {
        /// The service
        #[arg(id = "drained_service", value_name = "SERVICE")]
        service: String,
        /// Its address, or its id where that is another
        #[arg(id = "drained_instance", value_name = "HOST:PORT")]
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Clone, Debug, Args)]
struct RegisterArgs {
    /// The service
    #[arg(id = "instance_service", value_name = "SERVICE")]
    service: String,
    /// The address
    #[arg(id = "instance_address", value_name = "HOST:PORT")]
    address: String,
    /// Seconds after which it is gone if it is not renewed
    #[arg(
        long,
        id = "instance_ttl",
        value_name = "SECONDS",
        default_value = "10"
    )]
    ttl: u32,
    /// How many requests it gets beside others
    #[arg(long, id = "instance_weight", value_name = "N", default_value = "1")]
    weight: u32,
    /// Where it is
    #[arg(long, id = "instance_zone", value_name = "ZONE")]
    zone: Option<String>,
    /// A note for people and programs, which no proxy sees; can be given again
    #[arg(long, id = "instance_meta", value_name = "NAME=TEXT")]
    meta: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// `instance`
pub(super) async fn instance(
    args: &InstanceArgs,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    match &args.command {
        InstanceCommand::Register(args) => register(args, env, io).await,
        InstanceCommand::List { service, server } => {
            list(server, service.as_deref(), env, io).await
        }
        InstanceCommand::Drain {
            service,
            id,
            server,
        } => {
            let path = path(server, service, id);
            let client = server.client(env)?;
            let reply = client.send(Method::DELETE, &path, None, None).await?;
            let gone = reply.or_rejected(format!("{id} of {service}"))?;
            match server.output.output {
                Output::Json => io.json(&gone)?,
                Output::Table => io.line(format_args!("drained {service} {id}"))?,
            }
            Ok(Exit::Ok)
        }
    }
}

async fn list(
    server: &ServerArgs,
    service: Option<&str>,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let query = service.map(|service| format!("?service={}", segment(service)));
    let path = format!("{}{}", base(server), query.unwrap_or_default());
    let reply = server.client(env)?.get(&path).await?;
    let body = reply.or_rejected(format!("instances of {}", server.fleet))?;
    if server.output.output == Output::Json {
        io.json(&body)?;
        return Ok(Exit::Ok);
    }
    let fields = ["service", "id", "address", "weight", "zone", "health"];
    let mut rows = Vec::new();
    for one in body["list"].as_array().into_iter().flatten() {
        let text = |field: &&str| match &one[*field] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let mut row: Vec<String> = fields.iter().map(text).collect();
        // It went without being drained, and so did nearly all the others.
        let alive = one["alive"].as_bool().unwrap_or_default();
        row.push(if alive { "yes" } else { "no, kept" }.to_owned());
        rows.push(row);
    }
    let header = [&fields[..], &["alive"]].concat();
    io.table(&header, rows)?;
    Ok(Exit::Ok)
}

fn base(server: &ServerArgs) -> String {
    format!("/v1/fleets/{}/instances", segment(&server.fleet))
}

fn path(server: &ServerArgs, service: &str, id: &str) -> String {
    format!("{}/{}/{}", base(server), segment(service), segment(id))
}

/// What keeps one instance registered.
struct Registrar {
    client: Client,
    path: String,
    body: Value,
    /// How long one try may take, or the next would come too late.
    patience: Duration,
    /// For people: `users 10.0.0.1:80`
    name: String,
    /// It was registered, and that it failed since was said.
    registered: bool,
    complained: bool,
}

/// What a try came to.
enum Step {
    /// It is registered, with this answer if that is news.
    Registered(Option<Value>),
    /// Somebody drained it.
    Drained,
    /// It has ended meanwhile; another try registers it anew.
    Ended,
    /// Nobody could say.
    Failed(CliError),
}

async fn register(args: &RegisterArgs, env: &Env, io: &mut Io<'_>) -> Result<Exit, CliError> {
    let mut stop = std::pin::pin!(stopped()?);
    let renewal = Duration::from_secs(args.ttl.into()) / RENEWALS;
    let mut registrar = Registrar {
        patience: renewal.max(PAUSE),
        client: args.server.client(env)?,
        path: path(&args.server, &args.service, &args.address),
        body: asked(args)?,
        name: format!("{} {}", args.service, args.address),
        registered: false,
        complained: false,
    };
    loop {
        let step = tokio::select! {
            step = registrar.step() => step?,
            () = &mut stop => return registrar.goodbye(io).await,
        };
        let wait = match &step {
            Step::Registered(_) => renewal,
            Step::Ended => Duration::ZERO,
            Step::Failed(_) => renewal.min(PAUSE),
            Step::Drained => {
                io.line(format_args!("{} was drained", registrar.name))?;
                return Ok(Exit::Ok);
            }
        };
        registrar.say(&step, args, io)?;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = &mut stop => return registrar.goodbye(io).await,
        }
    }
}

impl Registrar {
    async fn step(&mut self) -> Result<Step, CliError> {
        let again = self.registered.then(|| (header::IF_MATCH, "*".to_owned()));
        let sent = self
            .client
            .send(Method::PUT, &self.path, again, Some(&self.body));
        let reply = match tokio::time::timeout(self.patience, sent).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error @ CliError::Unreachable(_))) => return Ok(Step::Failed(error)),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let slow = format!("the server within {} s", self.patience.as_secs());
                return Ok(Step::Failed(CliError::Unreachable(slow)));
            }
        };
        let Reply { status, .. } = reply;
        match (status, self.registered) {
            (StatusCode::GONE, _) => return Ok(Step::Drained),
            (StatusCode::PRECONDITION_FAILED, _) => {
                self.registered = false;
                return Ok(Step::Ended);
            }
            _ => {}
        }
        match reply.or_rejected(&self.name) {
            Ok(body) => {
                let news = !std::mem::replace(&mut self.registered, true);
                Ok(Step::Registered(news.then_some(body)))
            }
            // It will never do. What was fine once is fine again one day.
            Err(error) if status.is_client_error() && !self.registered => Err(error),
            Err(error) => Ok(Step::Failed(error)),
        }
    }

    fn say(&mut self, step: &Step, args: &RegisterArgs, io: &mut Io<'_>) -> Result<(), CliError> {
        match step {
            Step::Registered(Some(body)) => match args.server.output.output {
                Output::Json => io.json(body)?,
                Output::Table => io.line(format_args!(
                    "registered {} in {}, for {} s at a time",
                    self.name, args.server.fleet, args.ttl
                ))?,
            },
            Step::Registered(None) if self.complained => {
                let text = format!("{} is renewed again", self.name);
                writeln!(io.err, "{}", output::clean(&text))?;
            }
            Step::Failed(error) if !self.complained => {
                let text = format!("{} can't be registered: {error}; trying on", self.name);
                writeln!(io.err, "{}", output::clean(&text))?;
            }
            Step::Registered(_) | Step::Failed(_) | Step::Ended | Step::Drained => {}
        }
        self.complained = matches!(step, Step::Failed(_));
        Ok(())
    }

    /// Drains it, so that it gets no more requests. That includes what was asked for and not answered yet.
    async fn goodbye(&self, io: &mut Io<'_>) -> Result<Exit, CliError> {
        let sent = self.client.send(Method::DELETE, &self.path, None, None);
        let reply = tokio::time::timeout(GOODBYE, sent).await.map_err(|_| {
            let seconds = GOODBYE.as_secs();
            CliError::Unreachable(format!(
                "the server within {seconds} s, to drain {}",
                self.name
            ))
        })??;
        // It never was there, or somebody else has done so.
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(Exit::Ok);
        }
        reply.or_rejected(&self.name)?;
        io.line(format_args!("drained {}", self.name))?;
        Ok(Exit::Ok)
    }
}

fn asked(args: &RegisterArgs) -> Result<Value, CliError> {
    let mut meta = Map::new();
    for note in &args.meta {
        let (name, text) = note
            .split_once('=')
            .ok_or_else(|| CliError::Usage(format!("--meta {note:?} is not NAME=TEXT")))?;
        meta.insert(name.to_owned(), json!(text));
    }
    Ok(json!({
        "address": args.address,
        "ttl": args.ttl,
        "weight": args.weight,
        "zone": args.zone.clone().unwrap_or_default(),
        "meta": meta,
    }))
}

/// SIGTERM, or an interrupt.
fn stopped() -> Result<impl Future<Output = ()>, CliError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
