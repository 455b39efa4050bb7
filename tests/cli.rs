//! Owns the tests of the command line: real commands against a real Admin API. Must not know: the commands' inside.

use std::ffi::OsString;
use std::path::Path;

use bellwether_server::cli::{Env, Io, Run, inspect, run};
use bellwether_xds::nodes::Identity;
use serde_json::{Value, json};

use crate::admin::api::{ADMIN, Api, VIEWER};

/// How a command ended and what it printed.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn ends(self, code: u8) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

pub(crate) async fn bellwether_as(key: &str, base: &str, line: &str, input: &str) -> Ran {
    let env = Env::from([
        ("BELLWETHER_ADMIN_KEY".to_owned(), key.to_owned()),
        ("BELLWETHER_ADMIN".to_owned(), base.to_owned()),
    ]);
    let args = std::iter::once("bellwether")
        .chain(line.split_whitespace())
        .map(OsString::from);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut io = Io {
        input: &mut input.as_bytes(),
        out: &mut out,
        err: &mut err,
        terminal: false,
    };
    let code = match run(args, &env, &mut io).await {
        Run::Finished(exit) => exit.code(),
        Run::Serve(_) | Run::Inspect(_) => panic!("not for a server"),
    };
    Ran {
        code,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

async fn bellwether(api: &Api, line: &str) -> Ran {
    bellwether_as(ADMIN, &api.base, line, "").await
}

#[tokio::test]
async fn settings_are_shown_written_and_reset() {
    let api = Api::start().await;
    let defaults = bellwether(&api, "settings").await.ends(0).json();
    let mine = r#"{"listeners":[{"name":"web","port":10000}]}"#;
    let put = bellwether_as(ADMIN, &api.base, "settings -f -", mine).await;
    assert_eq!(put.ends(0).out, "changed settings of default\n");
    let shown = bellwether(&api, "settings").await.ends(0).json();
    assert_eq!(shown["listeners"][0]["port"], 10000);
    let other = bellwether(&api, "settings --fleet shop").await.ends(0);
    assert_eq!(other.json(), defaults);

    for (input, key, said) in [
        (r#"{"listenrs":[]}"#, ADMIN, "unknown field `listenrs`"),
        ("{}", VIEWER, "viewer"),
    ] {
        let refused = bellwether_as(key, &api.base, "settings -f -", input).await;
        let refused = refused.ends(1);
        assert!(refused.err.contains(said), "{refused:?}");
    }
    let broken = bellwether_as(ADMIN, &api.base, "settings -f -", "{").await;
    assert!(broken.ends(2).err.contains("not JSON"));
    bellwether(&api, "settings -f x --reset").await.ends(2);
    let nobody = bellwether(&api, "settings --fleet nobody").await.ends(1);
    assert!(nobody.err.contains("no fleet \"nobody\""), "{nobody:?}");

    let reset = bellwether(&api, "settings --reset").await.ends(0);
    assert_eq!(reset.out, "reset settings of default\n");
    assert_eq!(bellwether(&api, "settings").await.json(), defaults);
    bellwether(&api, "settings --reset").await.ends(1);
}

const SHOP: &str = r#"{
    "routes": [{"id": "cart", "uri": "/cart", "upstream_id": "backend"}, {"id": 2, "uri": "/2", "service_id": "s"}],
    "services": [{"id": "s", "upstream_id": "backend"}],
    "upstreams": [{"id": "backend", "nodes": {"127.0.0.1:80": 1}}]
}"#;

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn get_put_and_delete() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = write(
        folder.path(),
        "u.json",
        r#"{"nodes":{"127.0.0.1:80":1}, "name": "n"}"#,
    );
    let ran = bellwether(&api, &format!("put upstreams 1 -f {file}"))
        .await
        .ends(0);
    assert_eq!(ran.out, "created upstreams/1\n");
    let ran = bellwether_as(
        ADMIN,
        &api.base,
        "put upstream 1 -f -",
        r#"{"nodes":{}, "name":"n"}"#,
    )
    .await;
    assert_eq!(ran.ends(0).out, "changed upstreams/1\n");
    let ran = bellwether(&api, "get upstreams").await.ends(0);
    let words: Vec<&str> = ran.out.split_whitespace().collect();
    assert_eq!(words[..4], ["ID", "NAME", "WHAT", "REVISION"]);
    assert_eq!(words[4..10], ["1", "n", "roundrobin", "of", "0", "nodes"]);
    let ran = bellwether(&api, "get upstreams 1").await.ends(0);
    assert_eq!(ran.json()["name"], "n");
    let ran = bellwether(&api, "get upstreams 1 --output json")
        .await
        .ends(0);
    assert_eq!(ran.json()["key"], "/apisix/upstreams/1");

    api.call("PUT", "routes/1", json!({"uri": "/", "upstream_id": "1"}))
        .await
        .is(201);
    let ran = bellwether(&api, "delete upstreams 1").await.ends(1);
    assert_eq!(
        ran.err,
        "error: delete upstreams/1: can not delete this upstream, route [1] is still using it now (status 400)\n"
    );
    bellwether(&api, "delete upstreams 1 --force").await.ends(0);
    let ran = bellwether(&api, "get upstreams 1").await.ends(1);
    assert_eq!(ran.err, "error: upstreams/1: Key not found (status 404)\n");
    let ran = bellwether(&api, "get upstreams --fleet nowhere")
        .await
        .ends(1);
    assert!(
        ran.err.contains("there is no fleet \"nowhere\" here"),
        "{}",
        ran.err
    );
    bellwether(&api, &format!("put upstreams 1 -f {file} --fleet shop"))
        .await
        .ends(0);
    assert!(api.stored("/shop/upstreams/1").await.is_some());
}

#[tokio::test]
async fn what_can_not_be_done_says_what_to_do() {
    let api = Api::start().await;
    for (key, base, line, code, text) in [
        ("guess", api.base.as_str(), "diff -f -", 2, "is not JSON"),
        (
            ADMIN,
            "http://127.0.0.1:1",
            "get routes",
            2,
            "is `bellwether serve` running there?",
        ),
        (ADMIN, "https://x", "get routes", 2, "has https"),
        (
            "guess",
            &api.base,
            "get routes",
            1,
            "failed to check token: wrong apikey",
        ),
        (
            VIEWER,
            &api.base,
            "delete routes 1",
            1,
            "invalid method for role viewer",
        ),
        (
            ADMIN,
            &api.base,
            "get wizards",
            2,
            "there is no kind \"wizards\"; the kinds are routes, ",
        ),
        (
            ADMIN,
            &api.base,
            "apply -f /nowhere",
            2,
            "can't read /nowhere",
        ),
        (ADMIN, &api.base, "put routes 1 -f -", 2, "is not JSON"),
        (ADMIN, &api.base, "frobnicate", 2, "frobnicate"),
        (ADMIN, &api.base, "get", 2, "<KIND>"),
    ] {
        let ran = bellwether_as(key, base, line, "").await.ends(code);
        assert!(ran.err.contains(text), "{line}: {}", ran.err);
        assert!(!ran.err.contains(ADMIN), "{}", ran.err);
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut io = Io {
        input: &mut std::io::empty(),
        out: &mut out,
        err: &mut err,
        terminal: false,
    };
    let args = ["bellwether", "get", "routes"].map(OsString::from);
    assert!(
        matches!(run(args, &Env::new(), &mut io).await, Run::Finished(exit) if exit.code() == 2)
    );
    assert!(
        String::from_utf8(err)
            .unwrap()
            .contains("BELLWETHER_ADMIN_KEY")
    );
    bellwether(&api, "--help").await.ends(0);
}

#[tokio::test]
async fn apply_does_what_differs_and_then_nothing() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "shop.json", SHOP);
    let ran = bellwether(&api, &format!("diff -f {file}")).await.ends(1);
    assert!(
        ran.out
            .ends_with("4 to create, 0 to change, 0 to delete, 0 unchanged\n"),
        "{}",
        ran.out
    );
    bellwether(&api, &format!("apply -f {file} --dry-run"))
        .await
        .ends(0);
    assert!(api.store.read("/apisix/").await.unwrap().entries.is_empty());

    let ran = bellwether(&api, &format!("apply -f {file}")).await.ends(0);
    let done: Vec<&str> = ran
        .out
        .lines()
        .filter(|line| line.starts_with('['))
        .collect();
    assert_eq!(
        done,
        [
            "[1/4] created upstreams/backend",
            "[2/4] created services/s",
            "[3/4] created routes/2",
            "[4/4] created routes/cart",
        ]
    );
    let revision = api.store.get("/x").await.unwrap().1;
    let ran = bellwether(&api, &format!("apply -f {file}")).await.ends(0);
    assert_eq!(ran.out, "nothing to do, 4 unchanged\n");
    assert_eq!(
        api.store.get("/x").await.unwrap().1,
        revision,
        "nothing was written"
    );
    bellwether(&api, &format!("diff -f {file}")).await.ends(0);

    let changed = SHOP
        .replace("\"/cart\"", "\"/basket\"")
        .replace(", {\"id\": 2, \"uri\": \"/2\", \"service_id\": \"s\"}", "");
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.json", &changed);
    let folder = folder.path().display();
    let ran = bellwether(&api, &format!("diff -f {folder} --prune --output json"))
        .await
        .ends(1)
        .json();
    assert_eq!(ran["steps"][0]["action"], "change");
    assert!(
        ran["steps"][0]["diff"]
            .as_str()
            .unwrap()
            .contains("+  \"uri\": \"/basket\"")
    );
    assert_eq!(ran["steps"][1]["id"], "2");
    let ran = bellwether(&api, &format!("apply -f {folder} --prune --output json"))
        .await
        .ends(0)
        .json();
    assert_eq!(
        ran["applied"],
        json!(["change routes/cart", "delete routes/2"])
    );
    assert_eq!(ran["not_applied"], json!([]));
    api.get("routes/2").await.is(404);
    assert_eq!(api.get("routes/cart").await.body["value"]["uri"], "/basket");
}

#[tokio::test]
async fn a_partial_failure_says_what_was_done() {
    let api = Api::start().await;
    let bad = SHOP.replace(
        "{\"id\": \"s\", \"upstream_id\": \"backend\"}",
        "{\"id\": \"s\", \"upstream_id\": \"none\"}",
    );
    let line = "apply -f -";
    let ran = bellwether_as(ADMIN, &api.base, line, &bad).await.ends(1);
    assert!(
        ran.out.ends_with(
            "applied 1 of 4: create upstreams/backend\n\
             not applied: create services/s, create routes/2, create routes/cart\n"
        ),
        "{}",
        ran.out
    );
    assert_eq!(
        ran.err,
        "error: create services/s (-): failed to fetch upstream info by upstream id [none], response code: 404 (status 400)\n"
    );
    api.get("upstreams/backend").await.is(200);
    api.get("routes/cart").await.is(404);
    let ran = bellwether_as(ADMIN, &api.base, line, SHOP).await.ends(0);
    assert!(ran.out.ends_with("applied 3, 1 unchanged\n"), "{}", ran.out);
}

#[tokio::test]
async fn what_get_prints_can_be_applied() {
    let api = Api::start().await;
    bellwether_as(ADMIN, &api.base, "apply -f -", SHOP)
        .await
        .ends(0);
    let mut value = bellwether(&api, "get routes cart").await.ends(0).json();
    value["kind"] = json!("route");
    let ran = bellwether_as(ADMIN, &api.base, "apply -f -", &value.to_string())
        .await
        .ends(0);
    assert_eq!(ran.out, "nothing to do, 1 unchanged\n");
    value["priority"] = json!(7);
    bellwether_as(ADMIN, &api.base, "apply -f -", &value.to_string())
        .await
        .ends(0);
    assert_eq!(api.get("routes/cart").await.body["value"]["priority"], 7);
}

#[tokio::test]
async fn nodes_and_status() {
    let api = Api::start().await;
    let identity = |id: &str, fleet: &str| Identity {
        id: id.into(),
        group: fleet.into(),
        user_agent: "bellwether-agent 0.1.0".into(),
        address: "127.0.0.1:1".into(),
        ..Identity::default()
    };
    let _a = api.nodes.register(identity("a", "default")).await;
    let _b = api.nodes.register(identity("b", "shop")).await;
    let ran = bellwether(&api, "nodes").await.ends(0);
    assert!(
        ran.out.contains(" a ") && !ran.out.contains(" b "),
        "{}",
        ran.out
    );
    let ran = bellwether(&api, "nodes --all-fleets --output json")
        .await
        .ends(0);
    assert_eq!(ran.json()["total"], 2);
    let ran = bellwether(&api, "nodes a").await.ends(0);
    assert!(
        ran.out
            .starts_with("a of fleet default, bellwether-agent 0.1.0 at 127.0.0.1:1\n")
    );
    let ran = bellwether(&api, "nodes z").await.ends(1);
    assert_eq!(
        ran.err,
        "error: node z: no node \"z\" is connected (status 404)\n"
    );
    let ran = bellwether(&api, "status").await.ends(0);
    assert!(ran.out.contains("connecting"), "{}", ran.out);
    assert_eq!(
        bellwether(&api, "status --output json")
            .await
            .ends(0)
            .json()["total"],
        2
    );
}

#[tokio::test]
async fn inspect_reads_and_does_not_write() {
    let api = Api::start().await;
    bellwether_as(ADMIN, &api.base, "apply -f -", SHOP)
        .await
        .ends(0);
    api.write_key("/apisix/routes/bad", "{").await;
    let before = api.store.get("/x").await.unwrap().1;
    let inspect = async |line: &str| {
        let line = format!("bellwether inspect {line}");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io {
            input: &mut std::io::empty(),
            out: &mut out,
            err: &mut err,
            terminal: false,
        };
        let args = line.split_whitespace().map(OsString::from);
        let Run::Inspect(args) = run(args, &Env::new(), &mut io).await else {
            panic!("not an inspection");
        };
        let exit = inspect::run(&args, api.store.clone(), &mut io).await;
        (exit, String::from_utf8(out).unwrap())
    };
    let (exit, out) = inspect("--proxies 100 --workers 8 --output json").await;
    assert_eq!(exit.unwrap().code(), 0);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["counts"]["routes"], 2);
    assert_eq!(found["problems"][0]["key"], "/apisix/routes/bad");
    assert_eq!(found["load"]["today"]["connections"], 800);
    let (exit, out) = inspect("").await;
    assert_eq!(exit.unwrap().code(), 0);
    assert!(out.contains("bad key: /apisix/routes/bad: "), "{out}");
    assert!(out.contains(" Bellwether "), "{out}");
    let (exit, _) = inspect("--prefix /nothing").await;
    let error = exit.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("there is nothing under /nothing"),
        "{error}"
    );
    assert_eq!(error.exit().code(), 1);
    assert_eq!(api.store.get("/x").await.unwrap().1, before);
}
