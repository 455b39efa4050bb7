//! Make before break, to a client that warms what it is given: R83 to R88.

use super::rig::{CDS, EDS, LDS, RDS, Rig};
use super::script::{Delta, Heard, Script, Sotw, Variant, types};

const WORLD: [(bellwether::name::TypeUrl, &str, &str); 4] = [
    (CDS, "x", "x1->x"),
    (EDS, "x", "ex1"),
    (LDS, "l", "l1->r"),
    (RDS, "r", "r1->x"),
];

/// As Envoy does: all clusters and listeners, and what they refer to by name.
async fn envoy<V: Variant>(rig: &Rig) -> Script<V> {
    let mut script = rig.open::<V>().await;
    script.start(&CDS, &[]).await;
    script.start(&EDS, &["x", "y"]).await;
    script.start(&LDS, &[]).await;
    script.start(&RDS, &["r"]).await;
    script.silence().await;
    script
}

/// Whether a response has a cluster, in whichever variant.
fn has(heard: &Heard, body: &str) -> bool {
    heard.bodies().iter().any(|it| it == body)
}

/// What is warmed must come again after its parent, though it has not changed.
#[tokio::test]
async fn r83_endpoints_follow_their_cluster_and_routes_their_listener() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&WORLD).await;
        let mut script = envoy::<V>(&rig).await;
        rig.publish(&[(CDS, "x", "x2->x"), (LDS, "l", "l2->r")]);
        let heard = script.settle().await;
        assert_eq!(types(&heard), [CDS, EDS, LDS, RDS]);
        assert_eq!(heard[1].bodies(), ["ex1"]);
        assert_eq!(heard[3].bodies(), ["r1->x"]);
        // What was not its child is left alone.
        rig.publish(&[(CDS, "z", "z1"), (LDS, "m", "m1")]);
        assert_eq!(types(&script.settle().await), [CDS, LDS]);
    }
}

#[tokio::test]
async fn r84_what_is_referred_to_comes_first_and_goes_last() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&WORLD).await;
        let mut script = envoy::<V>(&rig).await;
        rig.publish(&[
            (RDS, "r", "r2->y"),
            (EDS, "y", "ey1"),
            (CDS, "y", "y1->y"),
            (EDS, "x", ""),
            (CDS, "x", ""),
        ]);
        let heard = script.settle().await;
        let at = |what: &str, is: &dyn Fn(&Heard) -> bool| {
            let found = heard.iter().position(is);
            found.unwrap_or_else(|| panic!("{what}: {heard:#?}"))
        };
        let gone = |type_url: &bellwether::name::TypeUrl| {
            heard.iter().rposition(|it| it.is(type_url)).unwrap()
        };
        let cluster = at("cluster", &|it| it.is(&CDS) && has(it, "y1->y"));
        let endpoints = at("endpoints", &|it| it.is(&EDS) && has(it, "ey1"));
        let route = at("route", &|it| it.is(&RDS) && has(it, "r2->y"));
        let order = [cluster, endpoints, route, gone(&CDS), gone(&EDS)];
        assert!(order.is_sorted(), "{heard:#?}");
        let last = &heard[gone(&CDS)];
        assert!(
            last.removed == ["x"] || last.bodies() == ["y1->y"],
            "{last:?}"
        );
        assert!(gone(&CDS) > route, "{heard:#?}");
        // While the route to it was there, the cluster was.
        let whole = heard[..route]
            .iter()
            .filter(|it| it.is(&CDS) && V::METHOD == Sotw::METHOD);
        assert!(whole.clone().all(|it| has(it, "x1->x")), "{heard:#?}");
        assert!(heard[..route].iter().all(|it| it.removed.is_empty()));
    }
}

/// R85, R86: a route to a new cluster waits until Envoy says that it is warm, which it says only when it
/// has the endpoints: they wait for nothing.
#[tokio::test]
async fn r85_r86_routes_wait_for_a_warm_cluster_and_endpoints_for_nothing() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&WORLD).await;
        let mut script = envoy::<V>(&rig).await;
        rig.publish(&[
            (CDS, "y", "y1->y"),
            (EDS, "y", "ey1"),
            (EDS, "x", "ex2"),
            (RDS, "r", "r2->x,y"),
        ]);
        let heard = script.so_far().await;
        assert_eq!(types(&heard), [CDS, EDS]);
        assert_eq!(heard[1].bodies(), ["ex2", "ey1"]);
        script.ack(&heard[1]).await;
        script.silence().await;
        script.ack(&heard[0]).await;
        assert_eq!(script.settle().await[0].bodies(), ["r2->x,y"]);
    }
}

/// R85 with an older answer about clusters missing: the new cluster can't be sent, so neither can a route
/// to it. Only those that need it wait (R87).
#[tokio::test]
async fn r85_r87_a_route_waits_while_its_cluster_can_not_be_sent_and_no_other_does() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&WORLD).await;
        rig.publish(&[(RDS, "s", "s1->x")]);
        let mut script = envoy::<V>(&rig).await;
        script.start(&RDS, &["s"]).await;
        rig.publish(&[(CDS, "x", "x2->x")]);
        let unanswered = script.hear().await;
        assert!(unanswered.is(&CDS));
        script.settle().await;
        rig.publish(&[(CDS, "y", "y1->y"), (EDS, "y", "ey1"), (RDS, "r", "r2->y")]);
        rig.publish(&[(RDS, "s", "s2->x")]);
        let heard = script.settle().await;
        let routes: Vec<_> = heard
            .iter()
            .filter(|it| it.is(&RDS))
            .map(Heard::bodies)
            .collect();
        assert_eq!(routes, [["s2->x"]], "{heard:#?}");
        assert!(
            !heard.iter().any(|it| it.is(&CDS)),
            "at most one is unanswered"
        );
        script.ack(&unanswered).await;
        let heard = script.settle().await;
        assert_eq!(heard[0].type_url, CDS.as_str());
        assert!(has(heard.last().unwrap(), "r2->y"), "{heard:#?}");
    }
}

/// R87: no client is waited for for ever. This takes as long as the server's patience, 15 s.
#[tokio::test]
async fn r87_what_waits_for_an_answer_goes_on_by_the_clock() {
    let rig = Rig::with(&WORLD).await;
    let mut script = envoy::<Sotw>(&rig).await;
    rig.publish(&[
        (CDS, "y", "y1->y"),
        (EDS, "y", "ey1"),
        (RDS, "r", "r2->y"),
        (CDS, "x", ""),
        (EDS, "x", ""),
    ]);
    // It never answers about clusters.
    let clusters = script.hear().await;
    assert!(has(&clusters, "y1->y") && has(&clusters, "x1->x"));
    let endpoints = script.hear().await;
    script.ack(&endpoints).await;
    script.silence().await;
    let route = script.hear().await;
    assert!(has(&route, "r2->y"), "{route:?}");
    script.ack(&route).await;
    let clusters = script.hear().await;
    assert_eq!(
        clusters.bodies(),
        ["y1->y"],
        "and what nothing needs any more goes"
    );
}

/// R87: what a node has kept of what it rejected keeps what it refers to, and nothing else.
#[tokio::test]
async fn r87_a_rejected_route_holds_back_only_what_it_still_uses() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&WORLD).await;
        rig.publish(&[
            (CDS, "y", "y1->y"),
            (EDS, "y", "ey1"),
            (CDS, "z", "z1"),
            (RDS, "r", "r1->x"),
        ]);
        let mut script = envoy::<V>(&rig).await;
        rig.publish(&[
            (RDS, "r", "bad->z"),
            (CDS, "x", ""),
            (EDS, "x", ""),
            (CDS, "y", ""),
            (EDS, "y", ""),
        ]);
        let bad = script.hear().await;
        assert!(bad.is(&RDS), "{bad:?}");
        script.nack(&bad, "no").await;
        let heard = script.settle().await;
        assert_eq!(types(&heard), [CDS, EDS], "{heard:#?}");
        let is_delta = V::METHOD == Delta::METHOD;
        match is_delta {
            true => assert_eq!(
                (&heard[0].removed[..], &heard[1].removed[..]),
                (&["y".to_owned()][..], &["y".to_owned()][..])
            ),
            false => assert_eq!(heard[0].bodies(), ["x1->x", "z1"]),
        }
        rig.publish(&[(RDS, "r", "good->z")]);
        let heard = script.settle().await;
        assert_eq!(types(&heard), [RDS, CDS, EDS], "{heard:#?}");
        match is_delta {
            true => assert_eq!(heard[1].removed, ["x"]),
            false => assert_eq!(heard[1].bodies(), ["z1"]),
        }
    }
}

/// R88: there is no order between streams, and none of one type waits for another's.
#[tokio::test]
async fn r88_streams_of_one_type_wait_for_no_other() {
    let rig = Rig::with(&WORLD).await;
    let cds = "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters";
    let rds = "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes";
    let mut clusters = rig.open_at::<Sotw>(cds).await;
    let mut routes = rig.open_at::<Sotw>(rds).await;
    clusters.start(&CDS, &[]).await;
    routes.start(&RDS, &["r"]).await;
    rig.publish(&[
        (CDS, "y", "y1->y"),
        (EDS, "y", "ey1"),
        (RDS, "r", "r2->y"),
        (CDS, "x", ""),
    ]);
    assert_eq!(routes.hear().await.bodies(), ["r2->y"]);
    let first = clusters.hear().await;
    assert!(has(&first, "y1->y"), "never answered, and nobody waits");
}
