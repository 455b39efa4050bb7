//! What an agent does with a configuration that it can't live with: real agents, a real server, faults on
//! purpose.

mod reports;
pub(crate) mod rig;

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::ask::Named;
use crate::harness::programs::{Agent, Server, eventually};
use crate::harness::supervised::Supervised;
use rig::{is_stable, probation};

/// A route to one node.
fn route(uri: &str, node: &str) -> Value {
    json!({"uri": uri, "upstream": {"type": "roundrobin", "nodes": {node: 1}}})
}

/// Long enough that nothing becomes stable by chance between two steps of a test.
const BRIEF: &str = "300ms";
const ENDLESS: &str = "1h";

/// Two routes that an agent with this fault lives with, and has lived with for long enough.
async fn settled(fault: &str, more: &[&str]) -> (Server, Named, Supervised) {
    let up = Named::start("up").await;
    let server = Server::embedded(&[]).await;
    server.put("routes/1", route("/old", &up.node())).await;
    server.put("routes/2", route("/other", &up.node())).await;
    let options = [&["--probation", BRIEF], more].concat();
    let agent = Agent::faulty(fault, "a", &[&server.xds], &options).await;
    agent.answers("/old", 200, "up").await;
    is_stable(&agent).await;
    (server, up, Supervised::new(agent))
}

/// What the server knows that the node rejected of a resource.
async fn rejection(server: &Server, name: &str) -> Option<String> {
    let nodes = server.nodes().await;
    let types = nodes.first()?["types"].as_array()?.clone();
    let rejected = types.iter().flat_map(|of| of["rejected"].as_array());
    let one = rejected.flatten().find(|one| one["name"] == name)?;
    Some(one["reason"].as_str()?.to_owned())
}

/// The agent comes to rest with its last good, says of what it died, and takes what is new or mended.
async fn ends_with_the_last_good(server: &Server, up: &Named, agent: &mut Supervised) {
    server.put("routes/1", route("/boom", &up.node())).await;
    let reason = agent
        .until("the rejection to be known", async || {
            rejection(server, "routes/1").await
        })
        .await;
    assert!(reason.contains("died 3 times"), "{reason}");
    assert_eq!(agent.restarts, 3);
    let agent = &mut agent.agent;
    assert_eq!(agent.get("/old").await.body, "up");
    assert_eq!(agent.get("/other").await.body, "up");
    assert_eq!(agent.get("/boom").await.status, 404);
    let state = probation(agent).await;
    assert_eq!(state["stable"], true, "{state}");
    assert_eq!(state["quarantined"][0]["name"], "routes/1", "{state}");
    assert_eq!(state["setbacks"][0]["failure"], "crash_loop", "{state}");
    assert_eq!(state["setbacks"][0]["times"], 3);

    // It is remembered, and nothing else suffers from it.
    agent.terminate().await;
    agent.restart().await;
    assert_eq!(agent.get("/old").await.body, "up", "with the first request");
    server.put("routes/3", route("/new", &up.node())).await;
    agent.answers("/new", 200, "up").await;
    assert_eq!(agent.get("/boom").await.status, 404);

    server.put("routes/1", route("/mended", &up.node())).await;
    agent.answers("/mended", 200, "up").await;
    is_stable(agent).await;
    let state = probation(agent).await;
    assert_eq!(state["quarantined"], json!([]));
    assert_eq!(state["setbacks"], json!([]));
    server.nodes_in_sync(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_crashes_its_agent_is_left_by_itself() {
    let (server, up, mut agent) = settled("crash-on=/boom", &[]).await;
    ends_with_the_last_good(&server, &up, &mut agent).await;
}

/// It loads, and only later kills.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_crashes_its_agent_later_is_left_too() {
    let fault = "crash-on=/boom,delay=100ms";
    let (server, up, mut agent) = settled(fault, &[]).await;
    ends_with_the_last_good(&server, &up, &mut agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_hangs_its_agent_is_left_by_itself() {
    let fault = "hang-on=/boom,delay=50ms";
    let (server, up, mut agent) = settled(fault, &["--watchdog", "1s"]).await;
    ends_with_the_last_good(&server, &up, &mut agent).await;
    let said = agent.logs.matches("the watchdog ends this process").count();
    assert_eq!(said, 3, "{}", agent.logs);
    assert!(agent.logs.contains("the data path did not answer"));
}

/// Nothing of the data path is hurt, and nothing would ever change again.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_an_agent_panics_at_is_left_by_itself() {
    let (server, up, mut agent) = settled("panic-on=/boom", &[]).await;
    ends_with_the_last_good(&server, &up, &mut agent).await;
}

/// The very first configuration kills: there is no last good to go back to, and an agent that lives and
/// says what is wrong is better than one that dies for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_never_had_a_good_one_ends_without_any() {
    let up = Named::start("up").await;
    let server = Server::embedded(&[]).await;
    server.put("routes/1", route("/boom", &up.node())).await;
    let fault = "crash-on=/boom,delay=100ms";
    let agent = Agent::faulty(fault, "a", &[&server.xds], &[]).await;
    let mut agent = Supervised::new(agent);
    agent
        .until("the rejection to be known", async || {
            rejection(&server, "routes/1").await
        })
        .await;
    assert_eq!(agent.restarts, 3);
    // Its cluster died with it, and gets another chance with it.
    server.put("routes/1", route("/mended", &up.node())).await;
    agent.agent.answers("/mended", 200, "up").await;
    server.nodes_in_sync(1).await;
}

/// A stop that was meant says nothing against what was in force; a kill does.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_is_no_crash_and_a_kill_on_probation_is_one() {
    let (mut server, up, supervised) = settled("", &[]).await;
    let mut agent = supervised.agent;
    agent.terminate().await;
    agent.set("--probation", ENDLESS);
    agent.restart().await;
    server.put("routes/1", route("/new", &up.node())).await;
    agent.answers("/new", 200, "up").await;
    agent.terminate().await;
    server.kill();
    agent.restart().await;
    assert_eq!(agent.get("/new").await.body, "up", "the newest");
    let state = probation(&agent).await;
    assert_eq!(state["on_probation"], true, "{state}");
    assert_eq!(state["setbacks"], json!([]), "{state}");

    let failed = state["content"].clone();
    agent.kill();
    agent.restart().await;
    assert_eq!(agent.get("/old").await.body, "up", "the last good");
    assert_eq!(agent.get("/new").await.status, 404);
    let state = probation(&agent).await;
    assert_eq!(state["stable"], true, "{state}");
    assert_eq!(state["setbacks"][0]["failure"], "crashed", "{state}");
    assert_eq!(state["setbacks"][0]["content"], failed, "{state}");

    // One kill is no loop: it is tried again.
    server.restart().await;
    agent.answers("/new", 200, "up").await;
}

/// What has lived for long enough is what an agent starts from, however it ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_after_probation_is_nobodys_fault() {
    let (mut server, up, supervised) = settled("", &[]).await;
    let mut agent = supervised.agent;
    server.put("routes/1", route("/new", &up.node())).await;
    agent.answers("/new", 200, "up").await;
    is_stable(&agent).await;
    server.kill();
    agent.kill();
    agent.restart().await;
    assert_eq!(agent.get("/new").await.body, "up");
    assert_eq!(probation(&agent).await["setbacks"], json!([]));
    let metrics = agent.page("/metrics").await.body;
    for line in [
        "bellwether_agent_on_probation 0",
        "bellwether_agent_setbacks 0",
        "bellwether_agent_last_good_age_seconds ",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

/// A machine that was suspended, and an agent that was stopped and goes on, are no reason to end.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_did_not_run_for_a_while_is_not_ended() {
    let up = Named::start("up").await;
    let server = Server::embedded(&[]).await;
    server.put("routes/1", route("/a", &up.node())).await;
    let agent = Agent::start("a", &[&server.xds], &["--watchdog", "500ms"]).await;
    agent.answers("/a", 200, "up").await;
    agent.signal("STOP");
    // Longer than the watchdog waits: nothing can be awaited while it does not run.
    tokio::time::sleep(Duration::from_secs(1)).await;
    agent.signal("CONT");
    server.put("routes/1", route("/b", &up.node())).await;
    agent.answers("/b", 200, "up").await;
    eventually("several turns of the watchdog", || async {
        let state = probation(&agent).await;
        (state["in_force_seconds"].as_u64()? >= 1).then_some(())
    })
    .await;
    assert!(!agent.has_ended(), "{}", agent.log());
}
