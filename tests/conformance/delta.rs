//! What is said on delta streams: R58 to R74.

use bellwether::name::TypeUrl;
use bellwether::wire::discovery::DeltaDiscoveryRequest;

use super::rig::{EDS, LDS, RDS, Rig};
use super::script::{Delta, Heard, Script};

pub fn names(heard: &Heard) -> Vec<&str> {
    let all = heard.resources.iter();
    all.map(|resource| resource.name.as_str()).collect()
}

/// Nothing on either list twice, and nothing on both.
fn is_plain(heard: &Heard) {
    let removed = heard.removed.iter().map(String::as_str);
    let mut all: Vec<_> = names(heard).into_iter().chain(removed).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "R61, R62: {heard:?}");
}

#[tokio::test]
async fn r58_r59_r63_a_response_has_only_what_differs_each_with_name_and_version() {
    let rig = Rig::with(&[(LDS, "a", "1"), (LDS, "b", "1"), (LDS, "c", "1")]).await;
    let mut script = rig.open::<Delta>().await;
    let first = script.start(&LDS, &[]).await;
    assert_eq!(names(&first), ["a", "b", "c"]);
    rig.publish(&[(LDS, "a", "2"), (LDS, "c", "")]);
    let second = script.hear().await;
    assert_eq!(names(&second), ["a"], "R58");
    assert_eq!(second.removed, ["c"], "R63");
    let all = first.resources.iter().chain(&second.resources);
    for resource in all {
        assert!(
            !resource.name.is_empty() && !resource.version.is_empty(),
            "R59"
        );
        assert!(resource.resource.is_some());
    }
    let version = |heard: &Heard, name: &str| {
        let mut all = heard.resources.iter();
        all.find(|it| it.name == name).unwrap().version.clone()
    };
    assert_ne!(version(&first, "a"), version(&second, "a"));
    assert_eq!(
        version(&first, "a"),
        version(&first, "b"),
        "of the content alone"
    );
}

/// R60: a resource is always sent whole, however little of it has changed.
#[tokio::test]
async fn r60_a_resource_is_sent_whole() {
    let long = "x".repeat(10_000);
    let rig = Rig::with(&[(EDS, "a", &long)]).await;
    let mut script = rig.open::<Delta>().await;
    script.start(&EDS, &["a"]).await;
    let changed = format!("{long}y");
    rig.publish(&[(EDS, "a", &changed)]);
    assert_eq!(script.hear().await.bodies(), [changed]);
}

/// Whatever is asked for at once, and however often.
#[tokio::test]
async fn r61_r62_no_name_is_twice_in_a_response() {
    let rig = Rig::with(&[(LDS, "a", "1"), (LDS, "b", "1")]).await;
    let mut script = rig.open::<Delta>().await;
    script
        .subscribe(&LDS, &["*", "a", "a", "x", "x", "*", "b"])
        .await;
    let first = script.hear().await;
    is_plain(&first);
    assert_eq!(
        (names(&first), &first.removed[..]),
        (vec!["a", "b"], &["x".to_owned()][..])
    );
    script.ack(&first).await;
    rig.publish(&[(LDS, "a", "")]);
    rig.publish(&[(LDS, "a", "2"), (LDS, "x", "1")]);
    rig.publish(&[(LDS, "x", "")]);
    script.subscribe(&LDS, &["a", "x", "b"]).await;
    for heard in script.settle().await {
        is_plain(&heard);
    }
    // A name that is subscribed and unsubscribed by the same request.
    script.change(&LDS, &["a", "x"], &["a", "x"]).await;
    for heard in script.settle().await {
        is_plain(&heard);
    }
}

/// R66, R54: of what is not subscribed by name nothing can be unsubscribed.
#[tokio::test]
async fn r54_r66_phantom_unsubscribes_are_ignored() {
    let rig = Rig::with(&[(LDS, "a", "1"), (EDS, "a", "1")]).await;
    let mut script = rig.open::<Delta>().await;
    script.start(&LDS, &[]).await;
    script.unsubscribe(&LDS, &["a", "never"]).await;
    script.start(&EDS, &["a"]).await;
    script.unsubscribe(&EDS, &["never", "*"]).await;
    script.silence().await;
    rig.publish(&[(LDS, "a", "2"), (EDS, "a", "2")]);
    assert_eq!(script.settle().await.len(), 2);
}

/// The client may have lost it, whatever it was sent.
#[tokio::test]
async fn r67_r82_what_is_subscribed_is_answered_though_it_was_sent_before() {
    let rig = Rig::with(&[(LDS, "a", "1"), (EDS, "a", "1")]).await;
    let mut script = rig.open::<Delta>().await;
    script.start(&EDS, &["a"]).await;
    assert_eq!(script.start(&EDS, &["a"]).await.bodies(), ["1"], "R67");
    script.start(&LDS, &[]).await;
    assert_eq!(
        script.start(&LDS, &["a"]).await.bodies(),
        ["1"],
        "R67 under a wildcard"
    );
    // R82: the first request says that it is held, and asks for it all the same on the next.
    let mut again = rig.open::<Delta>().await;
    let version = script.start(&EDS, &["a"]).await.resources[0]
        .version
        .clone();
    again
        .say(DeltaDiscoveryRequest {
            type_url: EDS.to_string(),
            resource_names_subscribe: vec!["a".into()],
            initial_resource_versions: [("a".to_owned(), version)].into(),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    again.silence().await;
    assert_eq!(again.start(&EDS, &["a"]).await.bodies(), ["1"], "R82");
}

#[tokio::test]
async fn r68_unsubscribing_is_not_answered() {
    let rig = Rig::with(&[(EDS, "a", "1"), (EDS, "b", "1")]).await;
    let mut script = rig.open::<Delta>().await;
    script.start(&EDS, &["a", "b"]).await;
    script.unsubscribe(&EDS, &["a"]).await;
    script.silence().await;
    rig.publish(&[(EDS, "a", "2"), (EDS, "b", "2")]);
    assert_eq!(names(&script.hear().await), ["b"]);
}

#[tokio::test]
async fn r69_unsubscribing_a_name_under_a_wildcard_is_answered() {
    let rig = Rig::with(&[(LDS, "a", "1"), (LDS, "b", "1")]).await;
    let mut script = rig.open::<Delta>().await;
    script.start(&LDS, &["*", "a", "x"]).await;
    script.unsubscribe(&LDS, &["a", "x"]).await;
    let heard = script.hear().await;
    assert_eq!(
        (names(&heard), &heard.removed[..]),
        (vec!["a"], &["x".to_owned()][..])
    );
    script.ack(&heard).await;
    rig.publish(&[(LDS, "a", "2")]);
    assert_eq!(
        names(&script.hear().await),
        ["a"],
        "the wildcard still covers it"
    );
}

#[tokio::test]
async fn r70_what_was_unsubscribed_is_sent_again_when_it_is_subscribed_again() {
    let rig = Rig::with(&[(EDS, "a", "1")]).await;
    let mut script = rig.open::<Delta>().await;
    script.start(&EDS, &["a"]).await;
    script.unsubscribe(&EDS, &["a"]).await;
    script.silence().await;
    assert_eq!(script.start(&EDS, &["a"]).await.bodies(), ["1"]);
}

#[tokio::test]
async fn r71_r72_an_absent_name_is_reported_at_once_and_remembered() {
    let rig = Rig::with(&[(EDS, "a", "1")]).await;
    let mut script = rig.open::<Delta>().await;
    let first = script.start(&EDS, &["a", "x"]).await;
    assert_eq!(
        (names(&first), &first.removed[..]),
        (vec!["a"], &["x".to_owned()][..])
    );
    // Of a type of which there is nothing at all, too.
    assert_eq!(script.start(&RDS, &["r"]).await.removed, ["r"]);
    script.silence().await;
    rig.publish(&[(EDS, "x", "1"), (RDS, "r", "1")]);
    let heard = script.settle().await;
    let came: Vec<_> = heard.iter().flat_map(names).collect();
    assert_eq!(came, ["x", "r"]);
}

/// R73: a second change is sent once the first is answered, and the first is not sent twice.
#[tokio::test]
async fn r73_what_is_in_flight_is_neither_repeated_nor_taken_for_accepted() {
    let rig = Rig::with(&[(EDS, "a", "1"), (EDS, "b", "1")]).await;
    let mut script = rig.open::<Delta>().await;
    script.start(&EDS, &["a", "b"]).await;
    rig.publish(&[(EDS, "a", "2")]);
    let first = script.hear().await;
    rig.publish(&[(EDS, "b", "2")]);
    script.silence().await;
    script.nack(&first, "no").await;
    let second = script.hear().await;
    assert_eq!(names(&second), ["b"], "and a is not repeated");
    script.ack(&second).await;
    script.silence().await;
    assert_eq!(rejected(&rig, &EDS).await, ["a"]);
}

/// R74: what an older response offered stays accepted.
#[tokio::test]
async fn r74_a_nack_is_of_the_response_it_names_and_no_other() {
    let rig = Rig::with(&[(EDS, "a", "1"), (EDS, "b", "1")]).await;
    let mut script = rig.open::<Delta>().await;
    let first = script.start(&EDS, &["a", "b"]).await;
    rig.publish(&[(EDS, "a", "2")]);
    let second = script.hear().await;
    script.nack(&second, "a is bad").await;
    script.nack(&first, "b was bad too").await;
    script.silence().await;
    assert_eq!(rejected(&rig, &EDS).await, ["a"]);
    follows_on(&rig, &mut script).await;
}

async fn follows_on(rig: &Rig, script: &mut Script<Delta>) {
    rig.publish(&[(EDS, "a", "3"), (EDS, "b", "3")]);
    assert_eq!(names(&script.hear().await), ["a", "b"]);
}

/// What the only node there is has rejected, by the list of nodes.
pub async fn rejected(rig: &Rig, type_url: &TypeUrl) -> Vec<String> {
    let nodes = rig.nodes.list().await;
    assert_eq!(nodes.len(), 1);
    let of_type = nodes[0].types.iter();
    let of_type = of_type.filter(|it| it.type_url == type_url.as_str());
    let rejected = of_type.flat_map(|it| it.rejected.iter().map(|why| why.name.clone()));
    rejected.collect()
}
