//! Owns the command line of `inspect`: what to look at and how to print it. Must not know: how a store is
//! opened, or what is looked for.

use std::sync::Arc;

use clap::Args;

use super::output::clean;
use super::{CliError, Exit, Io, Output, OutputArgs, StoreArgs};
use crate::catalog::inspect::{EtcdLoad, Inspection, Proxies, inspect};
use crate::fleet::KeyProblem;
use crate::keys::Prefix;
use crate::store::{Store, StoreError};

/// Keys with problems, and warnings, that a table shows; `--output json` has all of them.
const PROBLEMS_SHOWN_MAX: usize = 20;

/// The options of `inspect`.
#[derive(Clone, Debug, Args)]
pub struct InspectArgs {
    /// Where to look.
    #[command(flatten)]
    pub store: StoreArgs,
    /// The prefix of the configuration
    #[arg(long, value_name = "PREFIX", default_value = "/apisix", value_parser = Prefix::new)]
    pub prefix: Prefix,
    /// How many proxies read it today, for the estimate of the load
    #[arg(long, value_name = "COUNT", default_value_t = Proxies::default().proxies)]
    pub proxies: u64,
    /// How many workers a proxy has
    #[arg(long, value_name = "COUNT", default_value_t = Proxies::default().workers)]
    pub workers: u64,
    /// How many Bellwether servers there would be
    #[arg(long, value_name = "COUNT", default_value_t = Proxies::default().servers)]
    pub servers: u64,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Reads the prefix once and prints what is there. Writes nothing.
///
/// # Errors
/// The store can't be read, or has nothing under the prefix.
pub async fn run(
    args: &InspectArgs,
    store: Arc<dyn Store>,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let url = &args.store.store;
    let reading = store
        .read(&args.prefix.range())
        .await
        .map_err(|error| match error {
            StoreError::Unavailable { reason } => CliError::Unreachable(format!("{url}: {reason}")),
            other => CliError::Usage(format!("{url}: {other}")),
        })?;
    if reading.entries.is_empty() {
        return Err(CliError::Rejected {
            what: format!("inspect {url}"),
            reason: format!(
                "there is nothing under {}; name another by --prefix",
                args.prefix
            ),
        });
    }
    let proxies = Proxies {
        proxies: args.proxies,
        workers: args.workers,
        servers: args.servers,
    };
    let inspection = inspect(&args.prefix, &reading, &proxies);
    match args.output.output {
        Output::Json => io.json(&inspection)?,
        Output::Table => print(&inspection, io)?,
    }
    Ok(Exit::Ok)
}

fn print(found: &Inspection, io: &mut Io<'_>) -> Result<(), CliError> {
    io.line(format_args!(
        "{} at revision {}: {} keys, {}",
        found.prefix,
        found.revision,
        found.keys,
        size(found.bytes)
    ))?;
    io.line("")?;
    let counts = found.counts.iter().filter(|(_, count)| **count > 0);
    let rows = counts
        .map(|(kind, count)| vec![kind.clone(), count.to_string()])
        .collect();
    io.table(&["kind", "count"], rows)?;
    io.line("")?;
    agent(found, io)?;
    problems("bad key", &found.problems, io)?;
    problems("warning", &found.warnings, io)?;
    io.line("")?;
    load(found, io)
}

/// What the agent would and would not do.
fn agent(found: &Inspection, io: &mut Io<'_>) -> Result<(), CliError> {
    if !found.plugins.is_empty() {
        let rows = found.plugins.iter().map(|plugin| {
            let run = if plugin.run_by_agent {
                "yes"
            } else {
                "no: routes answer 503"
            };
            vec![
                plugin.name.clone(),
                plugin.routes.to_string(),
                run.to_owned(),
            ]
        });
        io.table(&["plugin", "routes", "run by the agent"], rows.collect())?;
        io.line("")?;
    }
    let routes = &found.routes;
    io.line(format_args!(
        "routes an agent forwards: {}",
        routes.forwarded
    ))?;
    io.line(format_args!(
        "routes it answers itself: {}",
        routes.answered
    ))?;
    io.line(format_args!(
        "routes it refuses (503, a plugin is missing): {}",
        routes.plugin_missing
    ))?;
    let not_run = &found.not_run;
    let mut lacks = vec![
        ("routes with a filter_func".to_owned(), not_run.filter_funcs),
        (
            "routes and services with a script".to_owned(),
            not_run.scripts,
        ),
        ("stream routes".to_owned(), not_run.stream_routes),
    ];
    let named = |what: &str, name: &String| format!("upstreams with {what} {name}");
    lacks.extend(
        not_run
            .discovery
            .iter()
            .map(|(name, n)| (named("discovery", name), *n)),
    );
    lacks.extend(
        not_run
            .schemes
            .iter()
            .map(|(name, n)| (named("scheme", name), *n)),
    );
    for (what, count) in lacks.into_iter().filter(|(_, count)| *count > 0) {
        io.line(clean(&format!("not run by the agent: {count} {what}")))?;
    }
    Ok(())
}

fn problems(what: &str, problems: &[KeyProblem], io: &mut Io<'_>) -> Result<(), CliError> {
    for problem in problems.iter().take(PROBLEMS_SHOWN_MAX) {
        io.line(clean(&format!(
            "{what}: {}: {}",
            problem.key, problem.reason
        )))?;
    }
    match problems.len().saturating_sub(PROBLEMS_SHOWN_MAX) {
        0 => Ok(()),
        more => io.line(format_args!("{what}: {more} more, --output json shows all")),
    }
}

fn load(found: &Inspection, io: &mut Io<'_>) -> Result<(), CliError> {
    let load = &found.load;
    let proxies = &load.proxies;
    io.line(format_args!(
        "estimated load on etcd, {} proxies with {} workers each, or {} Bellwether servers:",
        proxies.proxies, proxies.workers, proxies.servers
    ))?;
    let row = |name: &str, load: &EtcdLoad| {
        vec![
            name.to_owned(),
            load.connections.to_string(),
            load.watches.to_string(),
            size(load.watcher_bytes),
            load.logins.to_string(),
            format!("{:.1} s", load.login_seconds),
            size(load.read_bytes),
        ]
    };
    let header = [
        "clients",
        "connections",
        "watches",
        "memory",
        "logins",
        "login time",
        "read at start",
    ];
    let rows = vec![
        row("proxies, older APISIX", &load.today_connection_a_directory),
        row("proxies, newer APISIX", &load.today),
        row("Bellwether", &load.with_bellwether),
    ];
    io.table(&header, rows)
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut rest = bytes;
    while rest >= 10 * 1024 && unit + 1 < UNITS.len() {
        rest /= 1024;
        unit += 1;
    }
    format!("{rest} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (10_239, "10239 B"),
            (10_240, "10 KiB"),
            (1 << 30, "1024 MiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
