//! Delta streams that go on where an older one ended: R75 to R82.

use std::collections::BTreeMap;

use bellwether::name::{TypeUrl, Version};
use bellwether::wire::discovery::DeltaDiscoveryRequest;

use super::delta::names;
use super::rig::{EDS, LDS, Rig};
use super::script::{Delta, Script};

/// The first request of a client that holds these bodies under these names.
async fn resume(script: &mut Script<Delta>, of: &TypeUrl, asked: &[&str], held: &[(&str, &str)]) {
    let version = |body: &str| Version::of(body.as_bytes()).to_string();
    let held = held.iter();
    script
        .say(DeltaDiscoveryRequest {
            type_url: of.to_string(),
            resource_names_subscribe: asked.iter().map(ToString::to_string).collect(),
            initial_resource_versions: held
                .map(|(name, body)| ((*name).to_owned(), version(body)))
                .collect(),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
}

#[tokio::test]
async fn r75_r77_r78_r79_a_resume_is_sent_what_differs_and_what_is_gone() {
    let rig = Rig::with(&[(LDS, "same", "1"), (LDS, "changed", "2"), (LDS, "new", "1")]).await;
    for asked in [&[][..], &["*"], &["same", "changed", "new", "gone"]] {
        let mut script = rig.open::<Delta>().await;
        let held = [("same", "1"), ("changed", "1"), ("gone", "1")];
        resume(&mut script, &LDS, asked, &held).await;
        let heard = script.hear().await;
        assert_eq!(names(&heard), ["changed", "new"], "R77, R79");
        assert_eq!(heard.removed, ["gone"], "R78");
        script.ack(&heard).await;
        // R75: on a later request it means nothing.
        script
            .say(DeltaDiscoveryRequest {
                type_url: LDS.to_string(),
                initial_resource_versions: BTreeMap::from([("new".into(), "x".into())]),
                ..DeltaDiscoveryRequest::default()
            })
            .await;
        script.silence().await;
    }
}

/// R75: it belongs to the first request of the type, not of the stream.
#[tokio::test]
async fn r75_each_type_may_resume() {
    let rig = Rig::with(&[(LDS, "a", "1"), (EDS, "a", "1"), (EDS, "b", "2")]).await;
    let mut script = rig.open::<Delta>().await;
    script.start(&LDS, &[]).await;
    resume(&mut script, &EDS, &["a", "b"], &[("a", "1"), ("b", "1")]).await;
    assert_eq!(names(&script.hear().await), ["b"]);
}

#[tokio::test]
async fn r76_what_is_held_is_not_subscribed() {
    let rig = Rig::with(&[(EDS, "a", "1"), (EDS, "b", "2")]).await;
    let mut script = rig.open::<Delta>().await;
    let held = [("a", "0"), ("b", "1"), ("gone", "1")];
    resume(&mut script, &EDS, &["a"], &held).await;
    let first = script.hear().await;
    assert_eq!((names(&first), first.removed.len()), (vec!["a"], 0));
    script.ack(&first).await;
    rig.publish(&[(EDS, "b", "3")]);
    script.silence().await;
}

/// R80: who follows everything is answered, who names what it has is not.
#[tokio::test]
async fn r80_a_resume_without_a_difference() {
    let rig = Rig::with(&[(LDS, "a", "1"), (EDS, "a", "1")]).await;
    let mut script = rig.open::<Delta>().await;
    resume(&mut script, &LDS, &["*"], &[("a", "1")]).await;
    let first = script.hear().await;
    assert!(first.resources.is_empty() && first.removed.is_empty());
    script.ack(&first).await;
    resume(&mut script, &EDS, &["a"], &[("a", "1")]).await;
    script.silence().await;
    rig.publish(&[(EDS, "a", "2")]);
    assert_eq!(script.hear().await.bodies(), ["2"]);
}

/// R81: a node that holds 90,000 resources names them all, with versions: some 6 MB.
#[tokio::test]
async fn r81_a_first_request_may_be_megabytes() {
    let rig = Rig::with(&[(LDS, "a", "1")]).await;
    let mut script = rig.open::<Delta>().await;
    let names: Vec<String> = (0..90_000).map(|n| format!("listener/{n:020}")).collect();
    let held: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    resume(&mut script, &LDS, &["*"], &held).await;
    let mut gone = 0;
    for heard in script.settle().await {
        gone += heard.removed.len();
    }
    assert_eq!(gone, names.len());
}
