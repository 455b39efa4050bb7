//! Owns the story: what is shown, in which order, and what must be true for it to go on.
//! Must not know: how processes are started or asked.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::ask::until;
use crate::say;
use crate::stage::Stage;

/// The configuration that is loaded. The upstreams' ports are filled in, as they are chosen at the start.
const SHOP: &str = include_str!("shop.json");

/// Requests sent through each agent while nobody is there to ask.
const ALONE: usize = 100;

/// Tells all of it.
pub(crate) async fn tell(stage: &mut Stage) -> anyhow::Result<()> {
    start(stage).await?;
    load(stage).await?;
    change(stage).await?;
    reject(stage).await?;
    outlive_the_server(stage).await?;
    come_back(stage).await
}

async fn start(stage: &mut Stage) -> anyhow::Result<()> {
    say::chapter(1, "A discovery server, two agents, two upstreams");
    stage.start_server().await?;
    let [xds, admin] = &stage.server.urls;
    say::fact("server", format_args!("xDS {xds}, Admin API {admin}"));
    let store = stage.folder().join("store");
    say::fact("", format_args!("embedded store in {}", store.display()));
    for index in 0..stage.agents.len() {
        stage.start_agent(index).await?;
        let agent = &stage.agents[index];
        let note = ["", ", takes at most 2 endpoints in a cluster"][index];
        let name = format!("agent {}", agent.name);
        say::fact(&name, format_args!("proxy {}{note}", agent.urls[0]));
    }
    say::fact("upstream catalog", &stage.catalog);
    say::fact("upstream checkout", &stage.checkout);
    Ok(())
}

async fn load(stage: &Stage) -> anyhow::Result<()> {
    say::chapter(2, "Load a shop, and send requests through both agents");
    let shop = SHOP
        .replace("$CATALOG", &stage.catalog)
        .replace("$CHECKOUT", &stage.checkout);
    let output = stage.bellwether(&["apply", "-f", "-"], &shop).await?;
    // It shows the whole difference before it begins; here what was done is enough.
    let done: Vec<&str> = output
        .lines()
        .filter(|line| line.starts_with('[') || line.starts_with("applied"))
        .collect();
    say::ran("bellwether apply -f shop.json", &done.join("\n"));
    answered_by(stage, "/products/7", "catalog").await?;
    answered_by(stage, "/offers", "catalog").await?;
    answered_by(stage, "/basket/ann", "checkout").await
}

async fn change(stage: &Stage) -> anyhow::Result<()> {
    say::chapter(
        3,
        "Change a route: both agents have the new version in force",
    );
    let moved = json!({"uri": "/offers", "upstream_id": "checkout"});
    put(stage, "routes/offers", moved).await?;
    acknowledged(stage, "routes/offers").await?;
    say::ran("bellwether nodes", &stage.bellwether(&["nodes"], "").await?);
    answered_by(stage, "/offers", "checkout").await
}

async fn reject(stage: &Stage) -> anyhow::Result<()> {
    say::chapter(
        4,
        "Offer three endpoints to both: agent b takes two at most, and says so",
    );
    let (checkout, port) = (stage.checkout.as_str(), stage.checkout.rsplit(':').next());
    let port = port.unwrap_or_default();
    // Of weight 0, as nobody listens there.
    let (second, third) = (format!("127.0.0.2:{port}"), format!("127.0.0.3:{port}"));
    let three = json!({"nodes": {checkout: 1, second: 0, third: 0}});
    put(stage, "upstreams/checkout", three).await?;
    let reason = until("agent b rejects what it was offered", async || {
        let nodes = stage.admin("/v1/nodes").await?;
        let first = rejections(&nodes, "b").into_iter().next();
        first.with_context(|| format!("/v1/nodes lists no rejection: {nodes}"))
    })
    .await?;
    ensure!(
        reason.contains("limit of 2"),
        "it rejects for another reason: {reason}"
    );
    until("agent a has it in force", async || {
        in_sync(&stage.admin("/v1/nodes").await?, "a")
    })
    .await?;
    say::ran("bellwether nodes", &stage.bellwether(&["nodes"], "").await?);
    say::line("   Traffic is untouched: agent a serves the new one, agent b what it had.");
    answered_by(stage, "/offers", "checkout").await?;
    answered_by(stage, "/products/7", "catalog").await?;
    say::line("   A value that it can take heals it.");
    put(stage, "upstreams/checkout", json!({"nodes": {checkout: 1}})).await?;
    acknowledged(stage, "upstreams/checkout").await
}

async fn outlive_the_server(stage: &mut Stage) -> anyhow::Result<()> {
    say::chapter(5, "Kill the server: traffic flows");
    stage.server.kill();
    for (index, agent) in stage.agents.iter().enumerate() {
        for count in 0..ALONE {
            let reply = stage.through(index, "/products/7").await?;
            ensure!(
                reply.status == 200,
                "agent {} answered {count} requests without the server, and then {reply}",
                agent.name
            );
        }
        say::fact(
            &format!("agent {}", agent.name),
            format_args!("{ALONE} of {ALONE} requests answered"),
        );
    }
    say::line(
        "   Kill agent b too, and start it with the server still gone: it serves from its disk.",
    );
    stage.kept_on_disk(1, "routes/basket").await?;
    stage.agents[1].kill();
    stage.start_agent(1).await?;
    answered_by(stage, "/basket/ann", "checkout").await
}

async fn come_back(stage: &mut Stage) -> anyhow::Result<()> {
    say::chapter(
        6,
        "Start the server again: the agents come back, and changes arrive",
    );
    stage.start_server().await?;
    let back = json!({"uri": "/offers", "service_id": "shop"});
    put(stage, "routes/offers", back).await?;
    acknowledged(stage, "routes/offers").await?;
    say::ran("bellwether nodes", &stage.bellwether(&["nodes"], "").await?);
    answered_by(stage, "/offers", "catalog").await
}

/// Prints what a person may want to do next.
pub(crate) fn what_to_try(stage: &Stage) {
    let [a, b] = &stage.agents;
    let binary = std::env::current_exe().unwrap_or_default();
    say::line(format_args!(
        "\nAll of it runs until Ctrl-C. Try it, in another terminal:\n\n  \
           export BELLWETHER_ADMIN={admin} BELLWETHER_ADMIN_KEY={key}\n  \
           bellwether() {{ '{binary}' bellwether \"$@\"; }}\n\n  \
           curl {a}/products/7\n  \
           curl {b}/basket/ann\n  \
           curl -H 'Host: eu.partners.example' {b}/hello\n\n  \
           bellwether status\n  \
           bellwether nodes b\n  \
           bellwether get routes\n  \
           echo '{{\"uri\":\"/hello\",\"upstream_id\":\"catalog\"}}' | bellwether put routes hello -f -\n  \
           curl {a}/hello\n  \
           bellwether delete routes hello\n  \
           curl {pages}/config_dump",
        admin = stage.server.urls[1],
        key = stage.key,
        binary = binary.display(),
        a = a.urls[0],
        b = b.urls[0],
        pages = a.urls[1],
    ));
}

/// Writes a resource by the command line.
async fn put(stage: &Stage, item: &str, value: Value) -> anyhow::Result<()> {
    let (kind, id) = item.split_once('/').context("an item is KIND/ID")?;
    let args = ["put", kind, id, "-f", "-"];
    let output = stage.bellwether(&args, &value.to_string()).await?;
    say::ran(
        &format!("echo '{value}' | bellwether {}", args.join(" ")),
        &output,
    );
    Ok(())
}

/// Waits until both agents have an item as it stands in force.
async fn acknowledged(stage: &Stage, item: &str) -> anyhow::Result<()> {
    let row = stage.admin(&format!("/apisix/admin/{item}")).await?;
    let revision = row["modifiedIndex"]
        .as_u64()
        .context("a row has no modifiedIndex")?;
    let what = format!("both agents have revision {revision} in force");
    until(&what, async || {
        let nodes = stage.admin("/v1/nodes").await?;
        for agent in &stage.agents {
            in_sync(&nodes, agent.name)?;
            let acked = types(&nodes, agent.name)
                .filter_map(|of| revision_of(of["acked"]["revision"].as_str()?));
            ensure!(
                acked.max() >= Some(revision),
                "agent {} has not: {nodes}",
                agent.name
            );
        }
        Ok(())
    })
    .await
}

/// Sends a request through both agents until the right upstream answers, and shows what it says.
async fn answered_by(stage: &Stage, path: &str, upstream: &str) -> anyhow::Result<()> {
    for (index, agent) in stage.agents.iter().enumerate() {
        let what = format!(
            "{path} through agent {} is answered by {upstream}",
            agent.name
        );
        let reply = until(&what, async || {
            let reply = stage.through(index, path).await?;
            let right = reply.status == 200 && reply.body.starts_with(upstream);
            ensure!(right, "{reply}");
            Ok(reply)
        })
        .await?;
        say::fact(
            &format!("GET {path}"),
            format_args!("through {}: {reply}", agent.name),
        );
    }
    Ok(())
}

/// The revision in a version for people, `REVISION@STORE`.
fn revision_of(version: &str) -> Option<u64> {
    version.split('@').next()?.parse().ok()
}

fn node<'a>(nodes: &'a Value, id: &str) -> &'a Value {
    let list = nodes["list"].as_array();
    let found = list.and_then(|list| list.iter().find(|node| node["id"] == id));
    found.unwrap_or(&Value::Null)
}

fn types<'a>(nodes: &'a Value, id: &str) -> impl Iterator<Item = &'a Value> {
    node(nodes, id)["types"].as_array().into_iter().flatten()
}

fn in_sync(nodes: &Value, id: &str) -> anyhow::Result<()> {
    ensure!(
        node(nodes, id)["in_sync"] == true,
        "agent {id} is not in sync: {nodes}"
    );
    Ok(())
}

/// What a node rejected, with the reason.
fn rejections(nodes: &Value, id: &str) -> Vec<String> {
    types(nodes, id)
        .filter_map(|of| of["rejected"].as_array())
        .flatten()
        .map(|rejected| format!("{}: {}", rejected["name"], rejected["reason"]))
        .collect()
}
