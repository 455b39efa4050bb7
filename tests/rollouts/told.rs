//! Owns the tests of what people see and say: the Admin API and the command line.

use serde_json::{Value, json};

use super::rig::{Member, Nodes, cut, embedded, leader, stable};
use crate::admin::api::{ADMIN, Api, VIEWER};
use crate::cli::{Ran, bellwether_as};
use crate::harness::programs::eventually;
use crate::store::Subject;
use bellwether_server::rollouts::Rollouts;

/// A fleet in staged mode with three releases, the first of which is stable.
struct Shop {
    api: Api,
    member: Member,
    _folder: Subject,
}

impl Shop {
    async fn open(nodes: Nodes) -> Self {
        let (folder, store) = embedded().await;
        let first = cut(&store, 1).await;
        stable(&store, first).await;
        cut(&store, 2).await;
        cut(&store, 3).await;
        let member = Member::over(store.clone(), "a", nodes).await;
        leader(std::slice::from_ref(&member)).await;
        let rollouts = Rollouts::of_stores(vec![member.handle.clone()]);
        Self {
            api: Api::with_rollouts(store, rollouts).await,
            member,
            _folder: folder,
        }
    }

    async fn run(&self, line: &str) -> Ran {
        self.run_as(ADMIN, line).await
    }

    async fn run_as(&self, key: &str, line: &str) -> Ran {
        bellwether_as(key, &self.api.base, line, "").await
    }

    async fn status(&self) -> Value {
        let ran = self.run("rollout status shop --output json").await;
        ran.ends(0).json()
    }

    async fn waits_for(&self, what: &str) -> Value {
        eventually(what, || async {
            let status = self.status().await;
            status["waits_for"]
                .to_string()
                .contains(what)
                .then_some(status)
        })
        .await
    }
}

/// A policy as a person writes it, quick enough for a test.
fn written(folder: &tempfile::TempDir, more: &str) -> String {
    let path = folder.path().join("quick.toml");
    let text = format!(
        "name = \"quick\"\nsoak = \"300ms\"\nprobation = \"10ms\"\n{more}\n[[stages]]\nname = \"first\"\npercent = 0\nmin_nodes = 1\nbake = \"300ms\"\n[[stages]]\nname = \"all\"\npercent = 100\npace = 50\nbake = \"300ms\"\n"
    );
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn a_release_is_rolled_out_and_back_by_the_command_line() {
    let shop = Shop::open(Nodes::Healthy).await;
    let folder = tempfile::tempdir().unwrap();
    let policy = written(&folder, "");
    let start = format!("rollout start shop@2 --policy {policy} --author ann -m change");
    let plan = shop.run(&format!("{start} --dry-run")).await.ends(0);
    assert!(plan.out.contains("policy quick: 2 stages"), "{}", plan.out);
    assert!(plan.out.contains("EXPOSED AT HALT"), "{}", plan.out);
    let started = shop.run(&start).await.ends(0);
    assert!(
        started.out.contains("rollout 1 of shop@2 is scheduled"),
        "{}",
        started.out
    );
    let watched = shop.run("rollout status shop --watch").await.ends(0);
    let lines: Vec<&str> = watched.out.lines().collect();
    assert!(lines.len() > 2, "{lines:?}");
    assert_eq!(
        *lines.last().unwrap(),
        "shop@2 is stable, nothing is under way"
    );
    let history = shop.run("rollout history shop").await.ends(0).out;
    for text in [
        "release 2 is rolled out: change",
        "stage first: 1 nodes",
        "succeeded",
        "ann",
    ] {
        assert!(history.contains(text), "{text}: {history}");
    }
    let last = shop
        .run("rollout history shop --limit 1 --output json")
        .await;
    assert_eq!(last.ends(0).json()["total"], 1);

    let back = shop.run("rollback shop -m slow --author bob").await.ends(0);
    assert!(back.out.contains("rolling back to shop@1"), "{}", back.out);
    shop.member.reaches("over").await;
    assert_eq!(shop.status().await["stable"]["name"], "shop@1");
    let already = shop.run("rollback shop@1 -m again").await.ends(1);
    assert!(
        already.err.contains("release 1 is already stable"),
        "{}",
        already.err
    );
    // What was never stable goes like any other.
    let staged = shop.run("rollback shop@3 -m further").await.ends(0);
    assert!(
        staged.out.contains("rolled out in stages"),
        "{}",
        staged.out
    );
    assert_eq!(shop.status().await["rollout"]["policy"], "safe");
}

#[tokio::test]
async fn a_rollout_shows_what_it_waits_for_and_does_as_it_is_told() {
    let shop = Shop::open(Nodes::Hang).await;
    let folder = tempfile::tempdir().unwrap();
    let policy = written(&folder, "approvals = 1\n");
    shop.run(&format!(
        "rollout start shop@2 --policy {policy} --author ann -m change"
    ))
    .await
    .ends(0);
    shop.waits_for("approvals: 0 of 1").await;
    let own = shop.run("rollout approve shop --author ann").await.ends(1);
    assert!(own.err.contains("can't approve"), "{}", own.err);
    shop.run("rollout approve shop --author bob").await.ends(0);
    shop.waits_for("0 nodes of 1 are stable, 1 must be").await;
    let shown = shop.run("rollout status shop").await.ends(0).out;
    for text in [
        "→",
        "first",
        "EXPOSED",
        "a leads, of 1 servers",
        "by ann: change",
    ] {
        assert!(
            shown.to_uppercase().contains(&text.to_uppercase()),
            "{text}: {shown}"
        );
    }
    let paused = shop
        .run("rollout pause shop --author bob -m look")
        .await
        .ends(0);
    assert!(paused.out.contains("is paused"), "{}", paused.out);
    shop.waits_for("a person: bob: look").await;
    shop.run("freeze shop -m holiday --author ops --for 1h")
        .await
        .ends(0);
    let held = shop.run("rollout resume shop").await.ends(1);
    assert!(
        held.err.contains("nothing goes forward: ops said: holiday"),
        "{}",
        held.err
    );
    shop.run("unfreeze shop").await.ends(0);
    shop.run("rollout resume shop").await.ends(0);
    // A hotfix takes its place, another one waits.
    let queued = shop.run("rollout start shop@3 -m next").await.ends(0);
    assert!(
        queued
            .out
            .contains("shop@3 is next, after rollout 1 of shop@2"),
        "{}",
        queued.out
    );
    shop.run("rollout start shop@3 --hotfix -m now")
        .await
        .ends(0);
    assert_eq!(shop.status().await["rollout"]["target"]["name"], "shop@3");
    shop.member.nodes.send_replace(Nodes::Reject);
    shop.member.reaches("over").await;
    let again = shop.run("rollout start shop@3 -m again").await.ends(1);
    assert!(again.err.contains("quarantined"), "{}", again.err);
    shop.run("rollout unquarantine shop@3 -m fixed")
        .await
        .ends(0);
    assert_eq!(shop.status().await["quarantined"], json!([]));
    shop.run("rollout start shop@3 -m again").await.ends(0);
    shop.run("rollout abort shop -m no").await.ends(0);
    shop.member.reaches("over").await;
    let none = shop.run("rollout promote shop").await.ends(1);
    assert!(none.err.contains("no rollout is under way"), "{}", none.err);
}

#[tokio::test]
async fn pins_and_freezes_are_set_and_ended() {
    let shop = Shop::open(Nodes::Healthy).await;
    let pinned = shop
        .run("pin --node n1 shop@2 -m look --for 2h --author ann")
        .await
        .ends(0);
    assert!(pinned.out.contains("node=n1"), "{}", pinned.out);
    shop.run("pin --label region=eu shop@3 -m look")
        .await
        .ends(0);
    assert_eq!(shop.status().await["pins"].as_array().unwrap().len(), 2);
    shop.run("pin --node n1 shop@9 -m look").await.ends(1);
    shop.run("pin shop@2 -m look").await.ends(2);
    shop.run("unpin --node n1 --fleet shop").await.ends(0);
    let gone = shop.run("unpin --node n1 --fleet shop").await.ends(1);
    assert!(gone.err.contains("nothing is pinned"), "{}", gone.err);

    let planned = "freeze shop -m holiday --from 2099-12-24T00:00:00Z --for 48h";
    shop.run(planned).await.ends(0);
    let status = shop.status().await;
    assert!(status["hold"].is_null());
    assert_eq!(status["planned"][0]["reason"], "holiday");
    let shown = shop.run("rollout status shop").await.ends(0).out;
    assert!(
        shown.contains("from 2099-12-24T00:00:00Z until 2099-12-26"),
        "{shown}"
    );
    shop.run("unfreeze shop").await.ends(1);
    shop.run("unfreeze shop --planned").await.ends(0);
    shop.run("freeze shop -m now --until 2001-01-01")
        .await
        .ends(2);
    assert!(
        shop.status().await["planned"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn who_may_look_may_not_decide_and_a_direct_fleet_has_nothing_to_decide() {
    let shop = Shop::open(Nodes::Healthy).await;
    for line in [
        "rollout start shop@2 -m x",
        "rollback shop -m x",
        "rollout pause shop -m x",
        "pin --node n shop@2 -m x",
        "unpin --node n --fleet shop",
        "freeze shop -m x",
        "unfreeze shop",
    ] {
        let refused = shop.run_as(VIEWER, line).await.ends(1);
        assert!(refused.err.contains("viewer"), "{line}: {}", refused.err);
    }
    shop.run_as(VIEWER, "rollout status shop").await.ends(0);
    let direct = shop.run("rollout status default").await.ends(1);
    assert!(direct.err.contains("direct mode"), "{}", direct.err);
    for (line, said) in [
        ("rollout start shop@2", "say why"),
        ("rollout start shop@7 -m x", "has no release 7"),
        (
            "rollout start shop@2 -m x --policy slow",
            "no policy \"slow\"",
        ),
    ] {
        let refused = shop.run(line).await.ends(1);
        assert!(refused.err.contains(said), "{line}: {}", refused.err);
    }
    let bad = r#"{"release":2,"reason":"x","policy":{"name":"p","stages":[{"name":"all","percent":100,"gates":[{"query":{"name":"q","url":"ftp://x","query":"1","max_milli":1}}]}]}}"#;
    let reply = shop
        .api
        .raw(
            "POST",
            "/v1/fleets/shop/rollout",
            &[("x-api-key", ADMIN)],
            bad,
        )
        .await
        .is(400);
    assert!(reply.error().contains("gate \"q\""), "{}", reply.error());
    let policies = shop
        .api
        .raw("GET", "/v1/policies", &[("x-api-key", VIEWER)], "")
        .await
        .is(200);
    let names: Vec<&str> = policies.body["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|policy| policy["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["safe", "fast", "emergency"]);
}

/// What the documentation says of policies is what they are.
#[test]
fn the_documented_policies_are_policies() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_to_string(root.join("docs/rollouts.md")).unwrap();
    for name in ["safe", "fast", "emergency"] {
        let policy = bellwether_rollout::policy::preset(name).unwrap();
        let shown = json!(policy);
        for stage in shown["stages"].as_array().unwrap() {
            let number = |field: &str| stage[field].as_u64().unwrap_or(0);
            let row = format!(
                "| `{name}` | {} | {} | {} | {} | {} | {} | {} | {} |",
                stage["name"].as_str().unwrap(),
                stage["percent"],
                number("min_nodes"),
                number("pace"),
                stage["bake"].as_str().unwrap(),
                shown["soak"].as_str().unwrap(),
                shown["probation"].as_str().unwrap(),
                policy.approvals,
            );
            assert!(docs.contains(&row), "{row}");
        }
    }
}
