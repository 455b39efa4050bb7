//! Owns the command line: what can be asked, and how a command ends. Must not know: how anything is done;
//! `serve` and `inspect` are handed back to the binary, everything else speaks the public Admin API.
//!
//! Exit codes: 0 done, 1 it differs, is not there or was rejected by the server, 2 the command can't be
//! understood or nobody could be reached.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

mod apply;
mod client;
mod documents;
mod fleet;
mod fleet_settings;
pub mod inspect;
mod instance;
mod nodes;
mod output;
mod overrides;
mod plan;
mod port;
mod redact;
mod release;
mod resources;
mod rollout;
mod serve;
mod settings;
mod store_url;
mod summary;

pub use inspect::InspectArgs;
pub use output::Io;
pub use port::{ClientAuthArg, PortArgs, SecretsArg};
pub use serve::{FleetArg, NamedStore, ServeArgs, StoreArgs};
pub use store_url::{BadStoreUrl, StoreUrl};

use client::Client;

use crate::admin::{Role, read_keys};

/// The environment, as far as it is ours.
pub type Env = BTreeMap<String, String>;

/// The variable that holds the API key of the commands that talk to a server.
pub const ADMIN_KEY_VARIABLE: &str = "BELLWETHER_ADMIN_KEY";

#[derive(Debug, Parser)]
#[command(
    name = "bellwether",
    version,
    about = "A discovery service for fleets of proxies",
    after_help = "Every option is an environment variable too: --admin-listen is BELLWETHER_ADMIN_LISTEN.\n\
                  The API key is never an option: it is BELLWETHER_ADMIN_KEY, or a file."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a discovery server
    Serve(Box<ServeArgs>),
    /// Show the resources of a kind, or one of them
    Get(resources::GetArgs),
    /// Create or replace one resource
    Put(resources::PutArgs),
    /// Delete one resource
    Delete(resources::DeleteArgs),
    /// Make the server's configuration what files say
    Apply(apply::ApplyArgs),
    /// Show what `apply` would change; exit code 1 if there is something
    Diff(apply::DiffArgs),
    /// Show, write or reset the settings of a fleet: what APISIX's keys don't say to Envoy and gRPC
    Settings(fleet_settings::SettingsArgs),
    /// Define, list, show and delete fleets
    Fleet(fleet::FleetArgs),
    /// Show the connected nodes, or one of them
    Nodes(nodes::NodesArgs),
    /// Cut, list, show and compare releases
    Release(release::ReleaseArgs),
    /// Roll a release out in stages, watch it, stop it, take it back
    Rollout(rollout::RolloutArgs),
    /// Go back to what was good before, at once
    Rollback(rollout::RollbackArgs),
    /// Give some nodes a release of their own
    Pin(overrides::PinArgs),
    /// End that
    Unpin(overrides::UnpinArgs),
    /// Let nothing go forward; going back is always possible
    Freeze(overrides::FreezeArgs),
    /// End that
    Unfreeze(overrides::UnfreezeArgs),
    /// Register, list and drain the instances of services
    Instance(instance::InstanceArgs),
    /// Show how the server and its fleets do
    Status(nodes::StatusArgs),
    /// Take a fleet's store as it is, although it contradicts what was seen before
    AcceptStore(nodes::AcceptArgs),
    /// Look at an APISIX prefix in a store, without writing and without a server
    Inspect(InspectArgs),
}

/// Where the server is, and how to print what it says.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server's Admin API
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9180")]
    admin: String,
    /// A file with the API key, instead of BELLWETHER_ADMIN_KEY
    #[arg(long, value_name = "FILE")]
    admin_key_file: Option<PathBuf>,
    /// The fleet
    #[arg(
        long = "fleet",
        id = "admin_fleet",
        value_name = "NAME",
        default_value = "default"
    )]
    fleet: String,
    #[command(flatten)]
    output: OutputArgs,
}

/// How to print.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputArgs {
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) output: Output,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people; without lines in a pipe
    Table,
    /// For programs
    Json,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok,
    /// It differs, is not there, or was rejected by the server.
    Failed,
    /// The command can't be understood, or nobody could be reached.
    Unusable,
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Unusable => 2,
        }
    }
}

/// What is left to do after the command line was read.
#[derive(Debug)]
pub enum Run {
    /// Nothing.
    Finished(Exit),
    /// Run a server.
    Serve(Box<ServeArgs>),
    /// Open the store and call [`inspect::run`].
    Inspect(Box<InspectArgs>),
}

/// Why a command failed. Says what happened and, where it helps, what to do.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command, a file or a setting can't be used as it stands.
    #[error("{0}")]
    Usage(String),
    /// Nobody answered.
    #[error("can't reach {0}")]
    Unreachable(String),
    /// The server said no.
    #[error("{what}: {reason}")]
    Rejected {
        /// What was tried.
        what: String,
        /// The server's words.
        reason: String,
    },
    /// What was printed could not be.
    #[error("can't write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    /// How the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Rejected { .. } => Exit::Failed,
            Self::Usage(_) | Self::Unreachable(_) | Self::Output(_) => Exit::Unusable,
        }
    }
}

/// Reads the command line and does what talks to a server.
pub async fn run(args: impl IntoIterator<Item = OsString>, env: &Env, io: &mut Io<'_>) -> Run {
    let cli = match read(args, env) {
        Ok(cli) => cli,
        Err(error) => return Run::Finished(refuse(&error, io)),
    };
    let done = match cli.command {
        Command::Serve(args) => return Run::Serve(args),
        Command::Inspect(args) => return Run::Inspect(Box::new(args)),
        Command::Get(args) => resources::get(&args, env, io).await,
        Command::Put(args) => resources::put(&args, env, io).await,
        Command::Delete(args) => resources::delete(&args, env, io).await,
        Command::Apply(args) => apply::apply(&args, env, io).await,
        Command::Diff(args) => match apply::diff(&args, env, io).await {
            Ok(exit) => Ok(exit),
            // 1 says that something differs, so it can't say that the answer is not known.
            Err(error) => {
                report(&error, io);
                Ok(Exit::Unusable)
            }
        },
        Command::Settings(args) => fleet_settings::settings(&args, env, io).await,
        Command::Fleet(args) => fleet::fleet(&args, env, io).await,
        Command::Nodes(args) => nodes::nodes(&args, env, io).await,
        Command::Release(args) => release::release(&args, env, io).await,
        Command::Rollout(args) => rollout::rollout(&args, env, io).await,
        Command::Rollback(args) => rollout::rollback(&args, env, io).await,
        Command::Pin(args) => overrides::pin(&args, env, io).await,
        Command::Unpin(args) => overrides::unpin(&args, env, io).await,
        Command::Freeze(args) => overrides::freeze(&args, env, io).await,
        Command::Unfreeze(args) => overrides::unfreeze(&args, env, io).await,
        Command::Instance(args) => instance::instance(&args, env, io).await,
        Command::Status(args) => nodes::status(&args, env, io).await,
        Command::AcceptStore(args) => nodes::accept_store(&args, env, io).await,
    };
    Run::Finished(done.unwrap_or_else(|error| report(&error, io)))
}

/// Prints an error and says how the process ends.
pub fn report(error: &CliError, io: &mut Io<'_>) -> Exit {
    // If the error can't be printed there is nobody left to tell.
    let _ = writeln!(io.err, "error: {}", output::clean(&error.to_string()));
    error.exit()
}

fn refuse(error: &clap::Error, io: &mut Io<'_>) -> Exit {
    let (out, exit): (&mut dyn std::io::Write, Exit) = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => (&mut *io.out, Exit::Ok),
        _ => (&mut *io.err, Exit::Unusable),
    };
    // As above.
    let _ = write!(out, "{error}");
    exit
}

fn read(args: impl IntoIterator<Item = OsString>, env: &Env) -> Result<Cli, clap::Error> {
    let args = args.into_iter().collect();
    let matches = settings::layered(Cli::command(), args, env)?;
    Cli::from_arg_matches(&matches)
}

impl ServerArgs {
    /// A client for the server they name.
    fn client(&self, env: &Env) -> Result<Client, CliError> {
        let key = match (&self.admin_key_file, env.get(ADMIN_KEY_VARIABLE)) {
            (Some(file), _) => key_in(file)?,
            (None, Some(key)) => key.clone(),
            (None, None) => {
                return Err(CliError::Usage(format!(
                    "no API key: set {ADMIN_KEY_VARIABLE} or name a file by --admin-key-file"
                )));
            }
        };
        Client::new(&self.admin, &key)
    }

    /// The path of the fleet's configuration.
    fn path(&self, rest: &str) -> String {
        match self.fleet.as_str() {
            crate::fleet::DEFAULT_FLEET => format!("/apisix/admin/{rest}"),
            fleet => format!("/fleets/{}/apisix/admin/{rest}", client::segment(fleet)),
        }
    }
}

/// The key of a key file that may do most: the first admin's, else the first.
fn key_in(file: &std::path::Path) -> Result<String, CliError> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| CliError::Usage(format!("can't read the key file {name}: {error}")))?;
    let keys = read_keys(&text)
        .map_err(|bad| CliError::Usage(format!("in the key file {name}, {bad}")))?;
    let admin = keys.iter().find(|(role, _)| *role == Role::Admin);
    admin
        .or(keys.first())
        .map(|(_, key)| (*key).to_owned())
        .ok_or_else(|| CliError::Usage(format!("there is no key in {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
