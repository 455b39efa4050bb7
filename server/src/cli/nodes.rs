//! Owns `nodes` and `status`: how the server and its proxies do, in tables. Must not know: how it is found out.

use bellwether_xds::nodes::{NodeView, ResourceView, StateView, TypeView, VersionView};
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::segment;
use super::{CliError, Env, Exit, Io, Output, ServerArgs};
use crate::fleet::{FleetStatus, KeyProblem, StoreState};

#[derive(Clone, Debug, Args)]
pub(super) struct NodesArgs {
    /// One node, by its id
    node: Option<String>,
    /// Show the nodes of all fleets
    #[arg(long)]
    all_fleets: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct AcceptArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// `accept-store`
pub(super) async fn accept_store(
    args: &AcceptArgs,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let client = args.server.client(env)?;
    let fleet = &args.server.fleet;
    let path = format!("/v1/fleets/{}/accept-store", segment(fleet));
    let body = client
        .send(http::Method::POST, &path, None, None)
        .await?
        .or_rejected("accept-store")?;
    match args.server.output.output {
        Output::Json => io.json(&body)?,
        Output::Table => io.line(format_args!("the store of fleet {fleet} is taken as it is"))?,
    }
    Ok(Exit::Ok)
}

/// `nodes`
pub(super) async fn nodes(args: &NodesArgs, env: &Env, io: &mut Io<'_>) -> Result<Exit, CliError> {
    let client = args.server.client(env)?;
    let fleet = match args.all_fleets {
        true => String::new(),
        false => format!("?fleet={}", segment(&args.server.fleet)),
    };
    let path = match &args.node {
        Some(node) => format!("/v1/nodes/{}{fleet}", segment(node)),
        None => format!("/v1/nodes{fleet}"),
    };
    let what = args
        .node
        .as_ref()
        .map_or("nodes".to_owned(), |node| format!("node {node}"));
    let body = client.get(&path).await?.or_rejected(&what)?;
    match (args.server.output.output, &args.node) {
        (Output::Json, _) => io.json(&body)?,
        (Output::Table, Some(_)) => {
            let node: NodeView = read(&what, body)?;
            io.line(format_args!(
                "{} of fleet {}, {} at {}",
                node.id, node.group, node.user_agent, node.address
            ))?;
            if !node.identity.is_empty() {
                let labels = node
                    .labels
                    .iter()
                    .map(|(label, is)| format!(", {label}={is}"));
                let labels: String = labels.collect();
                io.line(format_args!("known by its {}{labels}", node.identity))?;
            }
            if !node.withheld.is_empty() {
                let types: Vec<_> = node.withheld.iter().map(|url| short(url)).collect();
                io.line(format_args!(
                    "nothing vouches for it, so it does not get: {}",
                    types.join(", ")
                ))?;
            }
            let rows = node.types.iter().map(type_cells).collect();
            io.table(&["type", "names", "sent", "acked", "rejected"], rows)?;
            let rows = node.types.iter().flat_map(resource_cells).collect();
            io.table(&["type", "resource", "state", "version", "reason"], rows)?;
        }
        (Output::Table, None) => {
            let nodes: Vec<NodeView> = read(&what, body["list"].clone())?;
            let header = [
                "node", "fleet", "agent", "version", "acked", "in sync", "rejected",
            ];
            io.table(&header, nodes.iter().map(node_cells).collect())?;
        }
    }
    Ok(Exit::Ok)
}

fn read<T: DeserializeOwned>(what: &str, body: Value) -> Result<T, CliError> {
    serde_json::from_value(body).map_err(|error| CliError::Rejected {
        what: what.to_owned(),
        reason: format!("the answer can't be read, is the server of another version? {error}"),
    })
}

fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

fn node_cells(node: &NodeView) -> Vec<String> {
    let mut rejected: Vec<String> = node.types.iter().flat_map(rejections).collect();
    if !node.held_back.is_empty() {
        rejected.push(format!("nothing is sent: {}", node.held_back));
    }
    vec![
        node.id.clone(),
        node.group.clone(),
        node.user_agent.clone(),
        newest(node, |view| view.sent.as_ref()),
        newest(node, |view| view.acked.as_ref()),
        yes(node.in_sync),
        rejected.join("; "),
    ]
}

/// The newest revision over all types: a type that did not change stays at the revision that made it.
fn newest(node: &NodeView, pick: fn(&TypeView) -> Option<&VersionView>) -> String {
    let number = |version: &&VersionView| {
        let text = version.revision.split('@').next().unwrap_or_default();
        text.parse::<u64>().unwrap_or(0)
    };
    let newest = node.types.iter().filter_map(pick).max_by_key(number);
    newest.map_or_else(String::new, |version| version.revision.clone())
}

fn resource_cells(view: &TypeView) -> Vec<Vec<String>> {
    let cells = |resource: &ResourceView| {
        let state = match resource.state {
            StateView::Requested => "REQUESTED",
            StateView::DoesNotExist => "DOES_NOT_EXIST",
            StateView::Acked => "ACKED",
            StateView::Nacked => "NACKED",
        };
        let why = view.rejected.iter().find(|why| why.name == resource.name);
        vec![
            short(&view.type_url).to_owned(),
            resource.name.clone(),
            state.to_owned(),
            resource.version.clone(),
            why.map(|why| why.reason.clone()).unwrap_or_default(),
        ]
    };
    view.resources.iter().map(cells).collect()
}

fn short(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

fn type_cells(view: &TypeView) -> Vec<String> {
    let revision = |version: &Option<VersionView>| {
        version
            .as_ref()
            .map_or_else(String::new, |version| version.revision.clone())
    };
    let rejected: Vec<String> = rejections(view).collect();
    let names = if view.wildcard {
        "all".to_owned()
    } else {
        view.names.to_string()
    };
    vec![
        short(&view.type_url).to_owned(),
        names,
        revision(&view.sent),
        revision(&view.acked),
        rejected.join("; "),
    ]
}

fn rejections(view: &TypeView) -> impl Iterator<Item = String> {
    view.rejected
        .iter()
        .map(|rejected| format!("{}: {}", rejected.name, rejected.reason))
}

/// `status`
pub(super) async fn status(
    args: &StatusArgs,
    env: &Env,
    io: &mut Io<'_>,
) -> Result<Exit, CliError> {
    let client = args.server.client(env)?;
    let body = client.get("/v1/status").await?.or_rejected("status")?;
    if args.server.output.output == Output::Json {
        io.json(&body)?;
        return Ok(Exit::Ok);
    }
    let fleets: Vec<FleetStatus> = read("status", body["list"].clone())?;
    let header = [
        "fleet", "prefix", "revision", "store", "keys", "bad keys", "warnings",
    ];
    io.table(&header, fleets.iter().map(status_cells).collect())?;
    for fleet in &fleets {
        problems(io, &fleet.fleet, "bad key", &fleet.problems)?;
        problems(io, &fleet.fleet, "warning", &fleet.warnings)?;
        for line in not_told(fleet) {
            io.line(super::output::clean(&line))?;
        }
    }
    Ok(Exit::Ok)
}

fn status_cells(fleet: &FleetStatus) -> Vec<String> {
    let state = match fleet.store.state {
        StoreState::Connecting => "connecting",
        StoreState::Live => "live",
        StoreState::Disconnected => "disconnected",
        StoreState::Frozen => "frozen",
    };
    let store = match fleet.store.reason.as_str() {
        "" => state.to_owned(),
        reason => format!("{state}: {reason}"),
    };
    let keys: Vec<String> = fleet
        .keys
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    vec![
        fleet.fleet.clone(),
        fleet.prefix.clone(),
        fleet.revision.to_string(),
        store,
        keys.join(", "),
        fleet.problems.len().to_string(),
        fleet.warnings.len().to_string(),
    ]
}

/// What Envoys and gRPC's clients of a fleet can't be told, and settings that are not in force.
fn not_told(fleet: &FleetStatus) -> Vec<String> {
    let name = &fleet.fleet;
    let settings = fleet.settings.problem.iter();
    let settings =
        settings.map(|problem| format!("settings of {name} are not in force: {problem}"));
    let translations = fleet.translations.iter().flat_map(|(client, translation)| {
        let unsupported = translation.unsupported.iter();
        unsupported.map(move |one| format!("{client} in {name}: {}: {}", one.resource, one.reason))
    });
    settings.chain(translations).collect()
}

fn problems(
    io: &mut Io<'_>,
    fleet: &str,
    what: &str,
    problems: &[KeyProblem],
) -> Result<(), CliError> {
    for problem in problems {
        let served = if problem.last_good {
            ", its last good value is served"
        } else {
            ""
        };
        let text = format!(
            "{what} in {fleet}: {}: {}{served}",
            problem.key, problem.reason
        );
        io.line(super::output::clean(&text))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kind_of_client_is_not_told_is_named() {
        let unsupported = crate::views::Unsupported {
            resource: "routes/2".into(),
            reason: "answers 503: plugin x".into(),
        };
        let translation = crate::views::Translation {
            unsupported: vec![unsupported],
            ..Default::default()
        };
        let mut fleet = FleetStatus {
            fleet: "shop".into(),
            ..FleetStatus::default()
        };
        assert!(not_told(&fleet).is_empty());
        fleet.translations.insert("envoy".into(), translation);
        fleet.settings.problem = Some("listeners: no".into());
        let lines = not_told(&fleet);
        assert_eq!(lines[0], "settings of shop are not in force: listeners: no");
        assert_eq!(lines[1], "envoy in shop: routes/2: answers 503: plugin x");
    }
}
