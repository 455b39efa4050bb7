//! Owns what vouches for a node: its certificate by the rules, its bearer token, or both if they agree.
//! Must not know: which fleets there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether::rejection::clean;
use bellwether_xds::{Certificate, Peer, Status};
use tokio::sync::watch;

use super::rules::Rules;
use super::tokens::Tokens;
use crate::fleets::Served;

/// What is known of a node, and not by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// The fleet it belongs to; `None`: whoever vouches for it does not say.
    pub fleet: Option<String>,
    /// What can be said of it.
    pub labels: BTreeMap<String, String>,
    /// Who says so, for people: `certificate spiffe://example.org/gateway`, `token of line 3`.
    pub by: String,
}

/// What vouches for nodes, latest wins. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Identities {
    /// Which certificate is of which fleet.
    pub rules: Option<watch::Receiver<Arc<Rules>>>,
    /// Which token is of which fleet.
    pub tokens: Option<watch::Receiver<Arc<Tokens>>>,
    /// Changes after either did, or the fleets that are served.
    pub changes: Option<watch::Receiver<()>>,
}

impl Identities {
    /// What there is now. A task says when it changes, or when `served` does, for as long as anybody wants
    /// to know.
    #[must_use]
    pub fn noticing(self, served: &Served) -> Self {
        let (say, changes) = watch::channel(());
        let (mut of_rules, mut of_tokens) = (self.rules.clone(), self.tokens.clone());
        let mut of_fleets = Some(served.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = changed(&mut of_rules) => {}
                    () = changed(&mut of_tokens) => {}
                    () = changed(&mut of_fleets) => {}
                    () = say.closed() => return,
                }
                say.send_replace(());
            }
        });
        Self {
            changes: Some(changes),
            ..self
        }
    }

    /// Who a node is. `None`: nothing vouches for it, and nothing has to.
    ///
    /// # Errors
    /// It must be known, and is not; or what vouches for it contradicts itself.
    pub(super) fn identify(&self, peer: &Peer) -> Result<Option<Trusted>, Status> {
        let by_token = self.by_token(peer)?;
        let trusted = match (self.by_certificate(peer), by_token) {
            (Ok(Some(certificate)), Some(token)) => Some(both(certificate, token)?),
            // The certificate is good, only not for this.
            (Ok(None) | Err(_), Some(token)) => Some(token),
            (certificate, None) => certificate?,
        };
        let is_known = trusted
            .as_ref()
            .is_some_and(|trusted| trusted.fleet.is_some());
        if self.are_required() && !is_known {
            return Err(Status::unauthenticated(self.wanted()));
        }
        Ok(trusted)
    }

    fn are_required(&self) -> bool {
        self.rules.is_some() || self.tokens.is_some()
    }

    fn wanted(&self) -> &'static str {
        match (&self.rules, &self.tokens) {
            (Some(_), Some(_)) => {
                "nothing vouches for this node; it needs a client certificate or a bearer token"
            }
            (Some(_), None) => "nothing vouches for this node; it needs a client certificate",
            (None, _) => "nothing vouches for this node; it needs a bearer token",
        }
    }

    fn by_token(&self, peer: &Peer) -> Result<Option<Trusted>, Status> {
        let (Some(tokens), Some(token)) = (&self.tokens, &peer.token) else {
            return Ok(None);
        };
        let found = tokens.borrow().find(token.as_str());
        found
            .map(Some)
            .ok_or_else(|| Status::unauthenticated("the bearer token is not known here"))
    }

    fn by_certificate(&self, peer: &Peer) -> Result<Option<Trusted>, Status> {
        let Some(certificate) = &peer.certificate else {
            return Ok(None);
        };
        match &self.rules {
            Some(rules) => {
                let found = rules.borrow().find(certificate);
                found.map(Some).ok_or_else(|| unknown(certificate))
            }
            None => Ok(Some(Trusted {
                fleet: None,
                labels: BTreeMap::new(),
                by: format!("certificate {}", clean(&names(certificate))),
            })),
        }
    }
}

async fn changed<T>(value: &mut Option<watch::Receiver<T>>) {
    if let Some(value) = value
        && value.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

fn both(certificate: Trusted, token: Trusted) -> Result<Trusted, Status> {
    if certificate.fleet.is_some() && certificate.fleet != token.fleet {
        return Err(Status::permission_denied(
            "the client certificate and the bearer token are of different fleets",
        ));
    }
    let mut labels = token.labels;
    labels.extend(certificate.labels);
    Ok(Trusted {
        fleet: token.fleet,
        labels,
        by: format!("{} and {}", certificate.by, token.by),
    })
}

fn names(certificate: &Certificate) -> String {
    let names: Vec<_> = certificate.names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn unknown(certificate: &Certificate) -> Status {
    let text = match certificate.names[..] {
        [] => "the client certificate has no URI and no DNS name".to_owned(),
        _ => format!(
            "no rule says which fleet the client certificate's names are of: {}",
            clean(&names(certificate))
        ),
    };
    Status::permission_denied(text)
}
