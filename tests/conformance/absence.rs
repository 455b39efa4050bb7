//! What does not exist, what may not be had, and what clients say of it: R94 to R101.

use bellwether::name::TypeUrl;
use bellwether::wire::core::Node;
use bellwether_xds::{Admission, Admitted, Groups, Peer, Status};

use super::delta::rejected;
use super::rig::{CDS, EDS, LDS, Rig, SDS};
use super::script::{Delta, Sotw, Variant};

/// `google.rpc.Code`
const NOT_FOUND: i32 = 5;
const PERMISSION_DENIED: i32 = 7;

/// R94, R96, R97: at once, and once.
#[tokio::test]
async fn r94_r96_r97_what_does_not_exist_is_said_once_and_holds_until_it_does() {
    let rig = Rig::with(&[(EDS, "a", "a1")]).await;
    let mut script = rig.open::<Sotw>().await;
    let first = script.start(&EDS, &["a", "x"]).await;
    assert_eq!(first.bodies(), ["a1"]);
    assert_eq!(first.errors(), [("x", NOT_FOUND)]);
    rig.publish(&[(EDS, "a", "a2")]);
    let second = script.hear().await;
    assert_eq!(
        (second.bodies(), second.errors()),
        (vec!["a2".to_owned()], vec![])
    );
    script.ack(&second).await;
    rig.publish(&[(EDS, "x", "x1")]);
    let third = script.hear().await;
    assert_eq!(
        (third.bodies(), third.errors()),
        (vec!["x1".to_owned()], vec![])
    );
}

/// R97, R99: in delta a removal, which every client knows, is all it takes.
#[tokio::test]
async fn r97_r99_in_delta_what_does_not_exist_is_a_removal() {
    let rig = Rig::start().await;
    let mut script = rig.open::<Delta>().await;
    let first = script.start(&EDS, &["x"]).await;
    assert_eq!(
        (&first.removed[..], first.errors()),
        (&["x".to_owned()][..], vec![])
    );
}

/// R97, R98, R99: what a client may not have is an error of its own in either variant, beside what older
/// clients know; and nobody else's resources are concerned.
#[tokio::test]
async fn r97_r98_r99_what_is_denied_is_said_so_and_is_the_only_thing_missing() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let groups = Groups::by(|_, _| String::new());
        let rig = Rig::admitting(groups.clone(), NoSecrets(groups)).await;
        rig.publish(&[(SDS, "s", "secret"), (CDS, "a", "a1"), (CDS, "b", "b1")]);
        let mut script = rig.open::<V>().await;
        let denied = script.start(&SDS, &["s", "x"]).await;
        assert_eq!(denied.resources, []);
        let errors = [("s", PERMISSION_DENIED), ("x", PERMISSION_DENIED)];
        assert_eq!(
            denied.errors(),
            errors,
            "and it does not say which of them is there"
        );
        if V::METHOD == Delta::METHOD {
            assert_eq!(denied.removed, ["s", "x"]);
        }
        assert_eq!(script.start(&CDS, &[]).await.bodies(), ["a1", "b1"], "R98");
        rig.publish(&[(SDS, "s", "another")]);
        script.silence().await;
        // Of all of what is denied there is nothing.
        let mut script = rig.open::<V>().await;
        assert_eq!(script.start(&SDS, &["*"]).await.resources, []);
    }
}

/// R98: what is missing by name keeps nothing else from being there.
#[tokio::test]
async fn r98_a_name_that_is_missing_takes_no_other_away() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(LDS, "a", "a1"), (LDS, "b", "b1")]).await;
        let mut script = rig.open::<V>().await;
        assert_eq!(script.start(&LDS, &["*", "x"]).await.bodies(), ["a1", "b1"]);
    }
}

/// R101: what clients write goes to logs and lists, so it is cut and cleaned first.
#[tokio::test]
async fn r101_texts_of_clients_are_cut_and_cleaned() {
    on::<Delta>().await;
    on::<Sotw>().await;
    async fn on<V: Variant>() {
        let rig = Rig::with(&[(EDS, "a", "1")]).await;
        let mut script = rig.open::<V>().await;
        let text = format!(
            "\u{1b}[31mred\r\nnext line\u{202e} {}",
            "x".repeat(400 << 10)
        );
        script.node = Some(Node {
            id: text.clone(),
            user_agent_name: text.clone(),
            ..Node::default()
        });
        script.subscribe(&EDS, &["a"]).await;
        let first = script.hear().await;
        script.nack(&first, &text).await;
        script.silence().await;
        assert_eq!(rejected(&rig, &EDS).await, ["a"]);
        let node = rig.nodes.list().await.remove(0);
        let reason = &node.types[0].rejected[0].reason;
        let mut said = vec![reason.clone(), node.id.clone(), node.user_agent.clone()];
        said.extend(rig.seen.lines());
        for text in said {
            assert!(text.len() < 2000, "{} bytes", text.len());
            assert!(!text.contains(char::is_control), "{text:?}");
        }
        assert!(reason.contains("next line"));
    }
}

/// Keeps secrets from everybody.
struct NoSecrets(Groups);

impl Admission for NoSecrets {
    fn admit(&self, peer: &Peer, node: &Node) -> Result<Admitted, Status> {
        Ok(Admitted {
            withheld: vec![TypeUrl::ENVOY_SECRET],
            ..self.0.admit(peer, node)?
        })
    }
}
