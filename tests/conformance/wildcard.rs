//! Following everything: R47 to R57.

use bellwether::name::TypeUrl;

use super::delta::names;
use super::rig::{CDS, EDS, LDS, RDS, Rig, SDS};
use super::script::{Delta, Sotw, Variant};

/// R47, R55: explicitly it works for every type, and anew each time.
#[tokio::test]
async fn r47_r55_a_star_is_everything_and_a_new_one_everything_again() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let thing = TypeUrl::from("type.googleapis.com/example.Thing");
        let every = [CDS, EDS, LDS, RDS, SDS, TypeUrl::ROUTE, thing];
        let world = every.iter().cloned();
        let world: Vec<_> = world
            .map(|it| [(it.clone(), "a", "1"), (it, "b", "1")])
            .collect();
        let rig = Rig::with(&world.concat()).await;
        let mut script = rig.open::<V>().await;
        for type_url in &every {
            assert_eq!(
                script.start(type_url, &["*"]).await.bodies(),
                ["1", "1"],
                "{type_url}"
            );
        }
        script.silence().await;
        for type_url in &every {
            script.unsubscribe(type_url, &["*"]).await;
            script.settle().await;
            assert_eq!(
                script.start(type_url, &["*"]).await.bodies(),
                ["1", "1"],
                "{type_url}"
            );
        }
        let changes: Vec<_> = every.iter().map(|it| (it.clone(), "new", "2")).collect();
        rig.publish(&changes);
        assert_eq!(script.settle().await.len(), every.len());
    }
}

/// R48, R49: naming nothing from the start means everything for listeners and clusters, and for our own
/// types; for what is only ever named it means nothing.
#[tokio::test]
async fn r48_r49_naming_nothing_means_everything_where_the_type_has_that() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let of_all = [CDS, LDS, TypeUrl::ROUTE, TypeUrl::CLUSTER];
        let of_none = [EDS, RDS, SDS];
        let world = of_all.iter().chain(&of_none);
        let world: Vec<_> = world.map(|it| (it.clone(), "a", "1")).collect();
        let rig = Rig::with(&world).await;
        let mut script = rig.open::<V>().await;
        for type_url in &of_none {
            script.subscribe(type_url, &[]).await;
        }
        script.silence().await;
        for type_url in &of_all {
            assert_eq!(
                script.start(type_url, &[]).await.bodies(),
                ["1"],
                "{type_url}"
            );
        }
    }
}

/// R49: once something was named, nothing means nothing.
#[tokio::test]
async fn r49_naming_nothing_later_means_nothing() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(LDS, "a", "1"), (LDS, "b", "1")]).await;
        let mut script = rig.open::<V>().await;
        script.start(&LDS, &["a"]).await;
        script.unsubscribe(&LDS, &["a"]).await;
        script.settle().await;
        script.subscribe(&LDS, &[]).await;
        script.settle().await;
        rig.publish(&[(LDS, "a", "2"), (LDS, "b", "2")]);
        let heard = script.settle().await;
        assert!(heard.iter().all(|it| it.bodies().is_empty()), "{heard:?}");
    }
}

/// The specification's example, step by step.
#[tokio::test]
async fn r50_the_walk_of_state_of_the_world() {
    let rig = Rig::with(&[(LDS, "A", "A1"), (LDS, "B", "B1")]).await;
    let mut script = rig.open::<Sotw>().await;
    assert_eq!(script.start(&LDS, &[]).await.bodies(), ["A1", "B1"], "[]");
    assert_eq!(
        script.start(&LDS, &["*", "A"]).await.bodies(),
        ["A1", "B1"],
        "[*, A]"
    );
    rig.publish(&[(LDS, "B", "B2")]);
    let heard = script.settle().await;
    assert_eq!(heard[0].bodies(), ["A1", "B2"]);
    script.unsubscribe(&LDS, &["*"]).await;
    script.settle().await;
    rig.publish(&[(LDS, "B", "B3")]);
    let heard = script.settle().await;
    assert!(
        heard.iter().all(|it| it.bodies() == ["A1"]),
        "[A]: {heard:?}"
    );
    rig.publish(&[(LDS, "A", "A2")]);
    assert_eq!(script.settle().await.last().unwrap().bodies(), ["A2"]);
    script.unsubscribe(&LDS, &["A"]).await;
    script.silence().await;
    rig.publish(&[(LDS, "A", "A3"), (LDS, "B", "B4")]);
    let heard = script.settle().await;
    assert!(
        heard.iter().all(|it| it.bodies().is_empty()),
        "[] again: {heard:?}"
    );
}

/// The specification's example, step by step.
#[tokio::test]
async fn r51_r53_the_walk_of_delta() {
    let rig = Rig::with(&[(LDS, "A", "A1"), (LDS, "B", "B1")]).await;
    let mut script = rig.open::<Delta>().await;
    assert_eq!(
        script.start(&LDS, &[]).await.bodies(),
        ["A1", "B1"],
        "unset: *"
    );
    assert_eq!(script.start(&LDS, &["A"]).await.bodies(), ["A1"], "* and A");
    rig.publish(&[(LDS, "B", "B2")]);
    assert_eq!(script.settle().await[0].bodies(), ["B2"], "R53");
    script.unsubscribe(&LDS, &["*"]).await;
    script.settle().await;
    rig.publish(&[(LDS, "A", "A3"), (LDS, "B", "B3")]);
    assert_eq!(script.settle().await[0].bodies(), ["A3"], "A");
    script.unsubscribe(&LDS, &["A"]).await;
    script.silence().await;
    rig.publish(&[(LDS, "A", "A4"), (LDS, "B", "B4")]);
    script.silence().await;
}

/// The specification's two wordings of the first request of a legacy wildcard differ in whether it may
/// unsubscribe something: both are one.
#[tokio::test]
async fn r52_a_first_request_that_only_unsubscribes_begins_a_wildcard() {
    let rig = Rig::with(&[(CDS, "a", "1")]).await;
    let mut script = rig.open::<Delta>().await;
    script.unsubscribe(&CDS, &["x"]).await;
    assert_eq!(script.hear().await.bodies(), ["1"]);
}

/// R54: of a wildcard only the star itself can be unsubscribed.
#[tokio::test]
async fn r54_a_member_of_a_wildcard_can_not_be_unsubscribed() {
    let rig = Rig::with(&[(LDS, "a", "1"), (LDS, "b", "1")]).await;
    let mut script = rig.open::<Delta>().await;
    script.start(&LDS, &["*"]).await;
    script.unsubscribe(&LDS, &["a"]).await;
    script.silence().await;
    rig.publish(&[(LDS, "a", "2")]);
    assert_eq!(names(&script.hear().await), ["a"]);
}

/// R57: a client that waits for everything waits for an answer.
#[tokio::test]
async fn r57_everything_of_nothing_is_an_empty_response_once() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::start().await;
        let mut script = rig.open::<V>().await;
        for (type_url, names) in [(CDS, &[][..]), (LDS, &["*"]), (EDS, &["*"])] {
            let first = script.start(&type_url, names).await;
            assert!(first.resources.is_empty() && first.removed.is_empty());
        }
        rig.publish(&[(RDS, "r", "1")]);
        script.silence().await;
        // R56: who names something gets the answer to that.
        let mut script = rig.open::<V>().await;
        script.start(&LDS, &["a"]).await;
        rig.publish(&[(LDS, "a", "1")]);
        assert_eq!(script.hear().await.bodies(), ["1"]);
    }
}
