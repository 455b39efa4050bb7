//! Owns which fleet a node of the discovery port belongs to, and what it may have of it. Must not know:
//! how configuration becomes snapshots, or how they are streamed.
//!
//! What vouches for a node outranks what the node says of itself (R10): its certificate or its bearer
//! token names the fleet, and `node.cluster` may only agree. Where identities are configured a node
//! without one gets nothing. Secrets go to identified nodes only.

mod identity;
mod rules;
mod tokens;

use std::collections::BTreeMap;

use bellwether::rejection::clean;
use bellwether::wire::core::Node;
use bellwether_xds::nodes::Identity;
use bellwether_xds::{Admission, Admitted, Peer, Status};
use tokio::sync::watch;

use crate::fleet::Fleet;
use crate::fleets::Served;
use crate::views::{SECRETS, Secrets};

pub use identity::{Identities, Trusted};
pub use rules::{BadRules, Rules};
pub use tokens::{BadTokens, TOKEN_FILE_LINE, Tokens};

/// The fleets of this server by name, each with what its nodes get.
#[derive(Clone, Debug)]
pub struct Fleets {
    served: Served,
    identities: Identities,
    /// Whether nodes that nothing vouches for get secrets too.
    secrets_for_anyone: bool,
}

impl Fleets {
    /// A node gets what its kind of client gets in its fleet.
    #[must_use]
    pub fn new(served: Served, identities: Identities, secrets_for_anyone: bool) -> Self {
        Self {
            served,
            identities,
            secrets_for_anyone,
        }
    }

    /// With one fleet every node is in it; with several it must name one of them.
    fn by_its_own_word(
        fleets: &BTreeMap<String, Fleet>,
        vouched_for: Option<&Trusted>,
        node: &Node,
    ) -> Result<String, Status> {
        let only = fleets.first_key_value().filter(|_| fleets.len() == 1);
        if let Some((only, _)) = only {
            return Ok(only.clone());
        }
        if let Some(Trusted { by, .. }) = vouched_for {
            return Err(Status::permission_denied(format!(
                "the {by} of node {:?} does not say of which fleet it is, and there are several",
                clean(&node.id),
            )));
        }
        if fleets.contains_key(&node.cluster) {
            return Ok(node.cluster.clone());
        }
        Err(Status::not_found(format!(
            "node {:?} names fleet {:?} in node.cluster, and there is no such fleet",
            clean(&node.id),
            clean(&node.cluster),
        )))
    }

    /// `node.cluster` may be anything that is no other fleet: in Envoy it is the name of a service.
    fn by_identity(
        fleets: &BTreeMap<String, Fleet>,
        fleet: String,
        by: &str,
        node: &Node,
    ) -> Result<String, Status> {
        let named = &node.cluster;
        if *named != fleet && fleets.contains_key(named) {
            return Err(Status::permission_denied(format!(
                "node {:?} names fleet {named:?} in node.cluster, and its {by} is of fleet {fleet:?}",
                clean(&node.id),
            )));
        }
        if !fleets.contains_key(&fleet) {
            return Err(Status::not_found(format!(
                "the {by} of node {:?} is of fleet {fleet:?}, which is not served here",
                clean(&node.id),
            )));
        }
        Ok(fleet)
    }
}

impl Admission for Fleets {
    fn admit(&self, peer: &Peer, node: &Node) -> Result<Admitted, Status> {
        let trusted = self.identities.identify(peer)?;
        let fleets = self.served.borrow().clone();
        let fleet = match &trusted {
            Some(Trusted {
                fleet: Some(fleet),
                by,
                ..
            }) => Self::by_identity(&fleets, fleet.clone(), by, node)?,
            other => Self::by_its_own_word(&fleets, other.as_ref(), node)?,
        };
        let secrets = if trusted.is_some() || self.secrets_for_anyone {
            Secrets::Given
        } else {
            Secrets::Withheld
        };
        let feed = fleets[&fleet].feed(&node.user_agent_name, secrets);
        let mut admitted = Admitted::new(fleet, feed);
        match trusted {
            Some(trusted) => {
                admitted.identity = trusted.by;
                admitted.labels = trusted.labels;
            }
            None if self.secrets_for_anyone => {}
            None => admitted.withheld = SECRETS.to_vec(),
        }
        Ok(admitted)
    }

    fn changes(&self) -> Option<watch::Receiver<()>> {
        let mut changes = self.identities.changes.clone()?;
        changes.mark_unchanged();
        Some(changes)
    }

    fn still(&self, peer: &Peer, node: &Identity) -> Result<(), Status> {
        let is_as_before = match self.identities.identify(peer)? {
            Some(trusted) => {
                let same = |fleet: &String| *fleet == node.group;
                trusted.fleet.as_ref().is_none_or(same) && trusted.labels == node.labels
            }
            None => node.identity.is_empty(),
        };
        if !is_as_before {
            return Err(Status::unavailable(
                "what vouches for this node says something else of it now; it is to connect again",
            ));
        }
        // The only fleet takes everybody; a fleet that came later takes those who have always named it.
        let named = &node.said.cluster;
        let by_its_own_word = node.identity.is_empty() && *named != node.group;
        if by_its_own_word && self.served.borrow().contains_key(named) {
            return Err(Status::unavailable(format!(
                "this node names fleet {named:?}, which is there now; it is to connect again"
            )));
        }
        Ok(())
    }

    fn may_see(&self, peer: &Peer) -> Result<Option<String>, Status> {
        match self.identities.identify(peer)? {
            Some(trusted) => Ok(trusted.fleet),
            None if self.secrets_for_anyone => Ok(None),
            // Names of consumers and of certificates are in it.
            None => Err(Status::unauthenticated(
                "client status says what others hold; nothing vouches for this caller",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bellwether_xds::{Certificate, Code, SubjectName, Token};
    use tokio::sync::watch;

    use super::*;
    use crate::fleets::Definition;
    use crate::keys::Prefix;
    use crate::store::Store;
    use crate::store::etcd::{EtcdConfig, EtcdStore};

    const TOKENS: &str = "0123456789abcdef-of-a fleet=a zone=eu\n0123456789abcdef-of-c fleet=c\n";
    const RULES: &str = r#"
        [[identity]]
        san = "spiffe://test/a/*"
        fleet = "a"
        labels = { tier = "edge" }
        [[identity]]
        san = ["b.test", "*.b.test"]
        fleet = "b"
    "#;

    fn value<T>(value: T) -> watch::Receiver<Arc<T>> {
        watch::channel(Arc::new(value)).1
    }

    fn fleets(names: &[&str], rules: bool, tokens: bool, anyone: bool) -> Fleets {
        let store = EtcdStore::new(EtcdConfig {
            endpoints: vec!["http://127.0.0.1:1".into()],
            ..EtcdConfig::default()
        });
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        let fleet = |name: &&str| {
            let prefix = Prefix::new(&format!("/{name}")).unwrap();
            let fleet = Fleet::idle(name, Definition::direct(prefix), store.clone());
            ((*name).to_owned(), fleet)
        };
        let identities = Identities {
            rules: rules.then(|| value(Rules::read(RULES).unwrap())),
            tokens: tokens.then(|| value(Tokens::read(TOKENS).unwrap())),
            changes: None,
        };
        let served = Arc::new(names.iter().map(fleet).collect());
        Fleets::new(watch::channel(served).1, identities, anyone)
    }

    fn of(cluster: &str) -> Node {
        Node {
            id: "n".into(),
            cluster: cluster.into(),
            ..Node::default()
        }
    }

    fn with_certificate(names: &[SubjectName]) -> Peer {
        Peer {
            certificate: Some(Arc::new(Certificate {
                names: names.to_vec(),
                ..Certificate::default()
            })),
            ..Peer::default()
        }
    }

    fn uri(name: &str) -> Peer {
        with_certificate(&[SubjectName::Uri(name.into())])
    }

    fn token(token: &str) -> Peer {
        Peer {
            token: Some(Token::from(token)),
            ..Peer::default()
        }
    }

    fn refused(fleets: &Fleets, peer: &Peer, cluster: &str) -> (Code, String) {
        let status = fleets.admit(peer, &of(cluster)).unwrap_err();
        (status.code(), status.message().to_owned())
    }

    /// R10.
    #[test]
    fn a_certificate_outranks_what_a_node_says() {
        let fleets = fleets(&["a", "b"], true, false, false);
        let gateway = uri("spiffe://test/a/gateway");
        for cluster in ["", "a", "front-proxy"] {
            let admitted = fleets.admit(&gateway, &of(cluster)).unwrap();
            assert_eq!(admitted.group, "a");
            assert_eq!(admitted.labels["tier"], "edge");
            assert!(admitted.identity.contains("spiffe://test/a/gateway"));
            assert!(admitted.withheld.is_empty());
        }
        let (code, text) = refused(&fleets, &gateway, "b");
        assert_eq!(code, Code::PermissionDenied);
        assert!(
            text.contains("names fleet \"b\"") && text.contains("of fleet \"a\""),
            "{text}"
        );
        let dns = with_certificate(&[SubjectName::Dns("x.b.test".into())]);
        assert_eq!(fleets.admit(&dns, &of("")).unwrap().group, "b");
    }

    #[test]
    fn where_identities_are_configured_everybody_needs_one() {
        let fleets = fleets(&["a", "b"], true, true, true);
        assert_eq!(
            refused(&fleets, &Peer::default(), "a").0,
            Code::Unauthenticated
        );
        assert_eq!(
            refused(&fleets, &token("0123456789abcdef"), "a").0,
            Code::Unauthenticated
        );
        let (code, text) = refused(&fleets, &uri("spiffe://test/x"), "a");
        assert_eq!(code, Code::PermissionDenied);
        assert!(text.contains("spiffe://test/x"), "{text}");
        assert_eq!(
            refused(&fleets, &token("0123456789abcdef-of-c"), "").0,
            Code::NotFound
        );
    }

    #[test]
    fn a_token_names_fleet_and_labels() {
        let fleets = fleets(&["a", "b"], false, true, false);
        let peer = token("0123456789abcdef-of-a");
        let admitted = fleets.admit(&peer, &of("")).unwrap();
        assert_eq!(
            (admitted.group.as_str(), admitted.labels["zone"].as_str()),
            ("a", "eu")
        );
        assert!(!admitted.identity.contains("0123456789abcdef"));
        assert_eq!(refused(&fleets, &peer, "b").0, Code::PermissionDenied);
    }

    #[test]
    fn certificate_and_token_must_agree() {
        let fleets = fleets(&["a", "b"], true, true, false);
        let with = |names: &[SubjectName]| Peer {
            token: Some(Token::from("0123456789abcdef-of-a")),
            ..with_certificate(names)
        };
        let both = with(&[SubjectName::Uri("spiffe://test/a/x".into())]);
        let admitted = fleets.admit(&both, &of("")).unwrap();
        assert_eq!(admitted.labels.len(), 2);
        let contrary = with(&[SubjectName::Dns("b.test".into())]);
        assert_eq!(refused(&fleets, &contrary, "").0, Code::PermissionDenied);
        // A certificate that no rule names adds nothing and takes nothing.
        let stranger = with(&[SubjectName::Dns("x.test".into())]);
        assert_eq!(fleets.admit(&stranger, &of("")).unwrap().group, "a");
    }

    #[test]
    fn secrets_are_for_identified_nodes() {
        let unnamed = fleets(&["a"], false, false, false);
        let withheld = unnamed.admit(&Peer::default(), &of("")).unwrap().withheld;
        assert_eq!(withheld, SECRETS);
        // Without rules whoever our authorities have signed for is identified.
        assert!(
            unnamed
                .admit(&uri("x"), &of(""))
                .unwrap()
                .withheld
                .is_empty()
        );
        let open = fleets(&["a"], false, false, true);
        assert!(
            open.admit(&Peer::default(), &of(""))
                .unwrap()
                .withheld
                .is_empty()
        );
    }
}
