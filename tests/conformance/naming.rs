//! Names of federation: R107, R109.

use super::delta::names;
use super::rig::{EDS, Rig};
use super::script::{Delta, Sotw, Variant};

const NEW: &str =
    "xdstp://authority/envoy.config.endpoint.v3.ClusterLoadAssignment/a?env=prod&zone=x";

/// R107, as far as it goes: such a name is a name, to the letter.
#[tokio::test]
async fn r107_a_federated_name_is_subscribed_as_it_is_written() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(EDS, NEW, "1")]).await;
        let mut script = rig.open::<V>().await;
        assert_eq!(script.start(&EDS, &[NEW]).await.bodies(), ["1"]);
        rig.publish(&[(EDS, NEW, "2")]);
        assert_eq!(script.hear().await.bodies(), ["2"]);
    }
}

/// R109: equal after the prefix is not equal.
#[tokio::test]
async fn r109_old_and_new_names_are_different_resources() {
    let old = NEW.strip_prefix("xdstp://authority/").unwrap();
    let rig = Rig::with(&[(EDS, NEW, "new"), (EDS, old, "old"), (EDS, "a", "short")]).await;
    let mut script = rig.open::<Delta>().await;
    for (name, body) in [(NEW, "new"), (old, "old"), ("a", "short")] {
        let heard = script.start(&EDS, &[name]).await;
        assert_eq!(
            (names(&heard), heard.bodies()),
            (vec![name], vec![body.to_owned()])
        );
    }
    rig.publish(&[(EDS, old, "")]);
    rig.publish(&[(EDS, NEW, "new2")]);
    assert_eq!(names(&script.settle().await[0]), [NEW]);
}
