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

/// R107: context parameters are a set, so one order of them is another's name.
#[tokio::test]
async fn r107_parameters_in_another_order_are_the_same_name() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(EDS, "xdstp://a/t/x?zone=1&env=2", "1")]).await;
        let mut script = rig.open::<V>().await;
        let heard = script.start(&EDS, &["xdstp://a/t/x?env=2&zone=1"]).await;
        assert_eq!(heard.bodies(), ["1"]);
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
