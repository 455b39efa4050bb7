//! What holds of every snapshot.

use super::*;

fn id(type_url: TypeUrl, name: &str) -> ResourceId {
    ResourceId::new(type_url, name)
}

fn cluster(name: &str, body: &str) -> Resource {
    Resource::from_encoded(id(TypeUrl::CLUSTER, name), body.as_bytes(), Vec::new())
}

fn route(name: &str, to: &str) -> Resource {
    let refers = vec![id(TypeUrl::CLUSTER, to)];
    Resource::from_encoded(id(TypeUrl::ROUTE, name), to.as_bytes(), refers)
}

fn put(upserts: Vec<Resource>) -> Changes {
    Changes {
        upserts,
        removals: Vec::new(),
    }
}

fn remove(removals: Vec<ResourceId>) -> Changes {
    Changes {
        upserts: Vec::new(),
        removals,
    }
}

#[test]
fn a_dangling_reference_is_refused_whole() {
    let problems = Snapshot::default()
        .next("1", put(vec![cluster("b", "1"), route("r", "a")]))
        .unwrap_err();
    assert_eq!(problems.0.len(), 1);
    assert_eq!(
        problems.to_string(),
        "Route r refers to Cluster a, which does not exist"
    );
}

#[test]
fn what_is_referred_to_can_be_removed_only_with_what_refers() {
    let base = Snapshot::default()
        .next(
            "1",
            put(vec![cluster("a", "1"), route("r", "a"), route("s", "a")]),
        )
        .unwrap();
    let a = id(TypeUrl::CLUSTER, "a");
    let r = id(TypeUrl::ROUTE, "r");
    let s = id(TypeUrl::ROUTE, "s");
    let refused = base
        .next("2", remove(vec![a.clone(), r.clone()]))
        .unwrap_err();
    assert_eq!(refused.0, [Problem::StillReferredTo { id: a.clone() }]);
    let gone = base.next("2", remove(vec![a.clone(), r, s])).unwrap();
    assert!(gone.published(&TypeUrl::ROUTE).unwrap().set().is_empty());
    assert!(gone.referred.is_empty());
    let moved = Changes {
        upserts: vec![cluster("b", "1"), route("r", "b"), route("s", "b")],
        removals: vec![a],
    };
    assert!(base.next("2", moved).is_ok());
}

#[test]
fn what_is_wrong_is_said_in_a_line() {
    let base = Snapshot::default();
    let dangling = put(vec![route("r", "a"), route("s", "b")]);
    let text = base.next("1", dangling).unwrap_err().to_string();
    assert!(
        text.contains("which does not exist, and 1 problems more"),
        "{text}"
    );
}

#[test]
fn an_unchanged_type_keeps_its_published_set() {
    let base = Snapshot::default()
        .next("1", put(vec![cluster("a", "1"), route("r", "a")]))
        .unwrap();
    let next = base
        .next("2", put(vec![cluster("a", "1"), route("s", "a")]))
        .unwrap();
    let same = |t: &TypeUrl| Arc::ptr_eq(base.published(t).unwrap(), next.published(t).unwrap());
    assert!(same(&TypeUrl::CLUSTER));
    assert!(!same(&TypeUrl::ROUTE));
    assert_eq!(&**next.published(&TypeUrl::CLUSTER).unwrap().label(), "1");
}

#[test]
fn a_resource_changed_twice_is_refused() {
    let refused = Snapshot::default().next("1", put(vec![cluster("a", "1"), cluster("a", "2")]));
    assert!(matches!(
        refused.unwrap_err().0[..],
        [Problem::Twice { .. }]
    ));
}

#[test]
fn merged_changes_do_what_they_did_one_after_the_other() {
    let first = Changes {
        upserts: vec![cluster("a", "1"), cluster("b", "1")],
        removals: vec![id(TypeUrl::CLUSTER, "c")],
    };
    let later = Changes {
        upserts: vec![cluster("c", "2"), cluster("b", "2")],
        removals: vec![id(TypeUrl::CLUSTER, "a")],
    };
    let base = Snapshot::default()
        .next("1", put(vec![cluster("c", "1")]))
        .unwrap();
    let stepwise = base
        .next("2", first.clone())
        .unwrap()
        .next("3", later.clone())
        .unwrap();
    let at_once = base.next("3", Changes::merged(vec![first, later])).unwrap();
    let version = |s: &Snapshot| s.published(&TypeUrl::CLUSTER).unwrap().set().version();
    assert_eq!(version(&at_once), version(&stepwise));
}

#[test]
fn positions_of_different_stores_are_not_compared() {
    let at = |store, revision| Position { store, revision };
    assert!(at(1, 5).is_behind(&at(1, 6)));
    assert!(!at(1, 6).is_behind(&at(1, 6)));
    assert!(!at(2, 5).is_behind(&at(1, 6)));
    assert_eq!(
        Position::parse(&at(0xcafe, 5).to_string()),
        Some(at(0xcafe, 5))
    );
    assert_eq!(Position::parse("shop@42x"), None);
}

/// R83, R18: the version of endpoints is another when their cluster is, and does not depend on history.
#[test]
fn what_a_client_warms_has_another_version_when_its_parent_has() {
    let endpoints = || {
        let id = id(TypeUrl::ENVOY_ENDPOINTS, "a");
        Resource::from_encoded(id, b"endpoints", Vec::new())
    };
    let cluster = |body: &str| {
        let refers = vec![id(TypeUrl::ENVOY_ENDPOINTS, "a")];
        let id = id(TypeUrl::ENVOY_CLUSTER, "a");
        Resource::from_encoded(id, body.as_bytes(), refers)
    };
    let version = |s: &Snapshot| {
        let published = s.published(&TypeUrl::ENVOY_ENDPOINTS).unwrap();
        published.set().get(&"a".into()).unwrap().version()
    };
    let alone = Snapshot::default()
        .next("1", put(vec![endpoints()]))
        .unwrap();
    let one = alone.next("2", put(vec![cluster("1")])).unwrap();
    let two = one.next("3", put(vec![cluster("2")])).unwrap();
    let versions = [version(&alone), version(&one), version(&two)];
    assert!(versions[0] != versions[1] && versions[1] != versions[2]);
    let at_once = Snapshot::default()
        .next("1", put(vec![cluster("2"), endpoints()]))
        .unwrap();
    assert_eq!(version(&at_once), version(&two));
    let again = two.next("4", put(vec![endpoints()])).unwrap();
    assert_eq!(version(&again), version(&two), "the same content");
    let gone = remove(vec![id(TypeUrl::ENVOY_CLUSTER, "a")]);
    assert_eq!(version(&two.next("5", gone).unwrap()), versions[0]);
}

/// A version of one's own is what state of the world says; only what changed is said under it.
#[test]
fn a_snapshot_can_have_a_version_of_its_own() {
    let first = Snapshot::default()
        .replace("v1", vec![cluster("a", "1"), route("r", "a")])
        .unwrap();
    let next = first
        .replace("v2", vec![cluster("a", "1"), cluster("b", "1")])
        .unwrap();
    let version = |s: &Snapshot, t| s.published(&t).unwrap().version_info();
    assert_eq!(version(&first, TypeUrl::CLUSTER), "v1");
    assert_eq!(version(&next, TypeUrl::CLUSTER), "v2");
    assert!(next.published(&TypeUrl::ROUTE).unwrap().set().is_empty());
}

/// What two releases have in common is there once, and what leads from one to the other costs what
/// differs.
#[test]
fn what_is_there_already_is_not_put_in_again() {
    let endpoints = || {
        let id = id(TypeUrl::ENVOY_ENDPOINTS, "a");
        Resource::from_encoded(id, b"endpoints", Vec::new())
    };
    let warming = || {
        let refers = vec![id(TypeUrl::ENVOY_ENDPOINTS, "a")];
        Resource::from_encoded(id(TypeUrl::ENVOY_CLUSTER, "a"), b"1", refers)
    };
    let all = || vec![cluster("a", "1"), cluster("b", "1"), endpoints(), warming()];
    let first = Snapshot::default().replace("v1", all()).unwrap();
    assert!(first.changes_to(all()).is_empty());

    let mut more = all();
    more[1] = cluster("b", "2");
    let changes = first.changes_to(more);
    assert_eq!(changes.upserts, [cluster("b", "2")]);
    let next = first.next("v2", changes).unwrap();
    let shared = |t: TypeUrl, name: &str| {
        let of = |s: &Snapshot| s.get(&id(t.clone(), name)).unwrap().clone();
        Arc::ptr_eq(&of(&first), &of(&next))
    };
    assert!(shared(TypeUrl::CLUSTER, "a") && !shared(TypeUrl::CLUSTER, "b"));
    assert!(shared(TypeUrl::ENVOY_ENDPOINTS, "a"));

    // Bytes are not all there is to a resource.
    let mut expiring = all();
    expiring[0] = cluster("a", "1").with_ttl(std::time::Duration::from_secs(1));
    assert_eq!(first.changes_to(expiring).upserts.len(), 1);
    let refers = vec![id(TypeUrl::CLUSTER, "b")];
    let referring = Resource::from_encoded(id(TypeUrl::CLUSTER, "a"), b"1", refers);
    let mut other = all();
    other[0] = referring;
    assert_eq!(first.changes_to(other).upserts.len(), 1);
    // What is named twice is refused, whatever of it is there already.
    let twice = vec![cluster("a", "1"), cluster("a", "2")];
    assert!(first.replace("v2", twice).is_err());
}
