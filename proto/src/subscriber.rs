//! Owns the client half of a delta stream: what is held, what was rejected, what to say next.
//! Must not know: sockets, how a resource is put in force, where it is kept.
//!
//! A resource counts as held once it is in force, never when it has only arrived; what was rejected is
//! not held, and what was held before it stays (the last good one). After a reconnect the first
//! requests restate both, so that a server sends only what differs (R75) and not what is known to be
//! bad (R24).

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::content::{CONTENT_KEY, Content};
use crate::name::{Name, TypeUrl};
use crate::rejection::{clean, to_status};
use crate::session::POSITION_KEY;
use crate::snapshot::Position;
use crate::wire::core::Node;
use crate::wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use crate::wire::google::protobuf::{Struct, Value, value::Kind};
use crate::wire::google::rpc::Status;

/// A resource as it was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its name.
    pub name: Name,
    /// Opaque (R20).
    pub version: String,
    /// The encoded message.
    pub body: Bytes,
}

/// What a response asks for. It is answered with [`Subscriber::applied`].
#[derive(Debug)]
pub struct Update {
    /// The type of all of it.
    pub type_url: TypeUrl,
    /// What people call the version (R19).
    pub label: String,
    /// To be put in force.
    pub offers: Vec<Offer>,
    /// To be taken out of force.
    pub removals: Vec<Name>,
    /// Offered, but not even well formed: name to version and reason.
    malformed: BTreeMap<Name, (String, String)>,
    nonce: String,
    stream: u64,
}

/// What a node follows and holds of one type.
#[derive(Debug, Default)]
struct Lane {
    held: BTreeMap<Name, String>,
    rejected: BTreeMap<Name, (String, String)>,
    answered: bool,
}

/// The client half of delta streams, one after the other, that follow everything of some types.
#[derive(Debug)]
pub struct Subscriber {
    node: Node,
    lanes: BTreeMap<TypeUrl, Lane>,
    position: Option<Position>,
    content: Option<Content>,
    stream: u64,
}

impl Subscriber {
    /// A node that will follow all resources of `types` and holds none.
    #[must_use]
    pub fn new(node: Node, types: &[TypeUrl]) -> Self {
        let lanes = types
            .iter()
            .map(|type_url| (type_url.clone(), Lane::default()))
            .collect();
        Self {
            node,
            lanes,
            position: None,
            content: None,
            stream: 0,
        }
    }

    /// Something that is in force already, from an earlier run.
    pub fn restore(&mut self, type_url: &TypeUrl, name: Name, version: String) {
        if let Some(lane) = self.lanes.get_mut(type_url) {
            lane.held.insert(name, version);
        }
    }

    /// A position that was seen elsewhere than on these streams: in an earlier run, or in what the node
    /// was told beside them.
    pub fn see_position(&mut self, position: Option<Position>) {
        self.position = Position::newest(self.position, position);
    }

    /// What the node has in force, to be said on the next stream; `None` if nobody can tell.
    pub fn set_content(&mut self, content: Option<Content>) {
        self.content = content;
    }

    /// The newest position seen. A server that is behind it will wait.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Whether every type was answered once since this subscriber was made.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.lanes.values().all(|lane| lane.answered)
    }

    /// What was rejected and not replaced since: type, name, version, reason.
    pub fn rejected(&self) -> impl Iterator<Item = (&TypeUrl, &Name, &str, &str)> {
        self.lanes.iter().flat_map(|(type_url, lane)| {
            let of_type = lane.rejected.iter();
            of_type.map(move |(name, (version, reason))| {
                (type_url, name, version.as_str(), reason.as_str())
            })
        })
    }

    /// The first requests of a new stream, one for each type in make-before-break order. Answers to
    /// responses of earlier streams will not be sent any more (R9).
    pub fn connect(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.stream += 1;
        let mut node = Some(self.identity());
        let mut types: Vec<_> = self.lanes.iter().collect();
        types.sort_by_key(|(type_url, _)| type_url.rank());
        types
            .into_iter()
            .map(|(type_url, lane)| DeltaDiscoveryRequest {
                node: node.take(),
                type_url: type_url.to_string(),
                resource_names_subscribe: vec!["*".to_owned()],
                initial_resource_versions: lane
                    .held
                    .iter()
                    .map(|(name, version)| (name.to_string(), version.clone()))
                    .collect(),
                error_detail: (!lane.rejected.is_empty()).then(|| to_status(&lane.rejected)),
                ..DeltaDiscoveryRequest::default()
            })
            .collect()
    }

    fn identity(&self) -> Node {
        let mut node = self.node.clone();
        for (key, said) in [
            (POSITION_KEY, self.position.map(|it| it.to_string())),
            (CONTENT_KEY, self.content.map(|it| it.to_string())),
        ] {
            let Some(said) = said else { continue };
            let value = Value {
                kind: Some(Kind::StringValue(said)),
            };
            let metadata = node.metadata.get_or_insert_with(Struct::default);
            metadata.fields.insert(key.to_owned(), value);
        }
        node
    }

    /// Asks for resources by name although they were rejected: what they lacked is there now. An
    /// explicit request is always answered (R67, R82).
    #[must_use]
    pub fn ask_for(type_url: &TypeUrl, names: &[Name]) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: type_url.to_string(),
            resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
            ..DeltaDiscoveryRequest::default()
        }
    }

    /// Reads a response of the newest stream.
    ///
    /// # Errors
    /// The response can't be taken at all; the error is the NACK to send.
    pub fn on_response(
        &mut self,
        response: DeltaDiscoveryResponse,
    ) -> Result<Update, Box<DeltaDiscoveryRequest>> {
        let type_url = TypeUrl::from(response.type_url.as_str());
        if let Some(reason) = self.nonsense(&type_url, &response) {
            return Err(Box::new(DeltaDiscoveryRequest {
                type_url: response.type_url,
                response_nonce: response.nonce,
                error_detail: Some(Status {
                    code: 3,
                    message: clean(&reason),
                    details: Vec::new(),
                }),
                ..DeltaDiscoveryRequest::default()
            }));
        }
        let mut offers = Vec::with_capacity(response.resources.len());
        let mut malformed = BTreeMap::new();
        for resource in response.resources {
            let name = Name::from(resource.name.as_str());
            match read(&type_url, resource) {
                Ok(offer) => offers.push(offer),
                Err(version_and_reason) => drop(malformed.insert(name, version_and_reason)),
            }
        }
        Ok(Update {
            type_url,
            label: response.system_version_info,
            offers,
            removals: response
                .removed_resources
                .iter()
                .map(|name| name.as_str().into())
                .collect(),
            malformed,
            nonce: response.nonce,
            stream: self.stream,
        })
    }

    /// R61, R62, and types nobody asked for.
    fn nonsense(&self, type_url: &TypeUrl, response: &DeltaDiscoveryResponse) -> Option<String> {
        if !self.lanes.contains_key(type_url) {
            return Some(format!("type {type_url:?} was not subscribed"));
        }
        let mut seen = BTreeSet::new();
        let named = response.resources.iter().map(|resource| &resource.name);
        for name in named.chain(&response.removed_resources) {
            if name.is_empty() {
                return Some("a resource has no name".to_owned());
            }
            if !seen.insert(name) {
                return Some(format!("{name} is named twice in one response"));
            }
        }
        None
    }

    /// Records that an update is in force, except for what is in `rejected` (name to reason). The ACK
    /// or NACK to send, or `None` if the stream it answers is gone.
    ///
    /// A removal can be rejected too: the resource stays held, and the next stream says so. A NACK has no
    /// word for it.
    pub fn applied(
        &mut self,
        update: &Update,
        rejected: BTreeMap<Name, String>,
    ) -> Option<DeltaDiscoveryRequest> {
        let lane = self.lanes.get_mut(&update.type_url)?;
        lane.answered = true;
        let mut verdicts = update.malformed.clone();
        for offer in &update.offers {
            lane.rejected.remove(&offer.name);
            match rejected.get(&offer.name) {
                Some(reason) => {
                    let verdict = (offer.version.clone(), clean(reason));
                    verdicts.insert(offer.name.clone(), verdict);
                }
                None => drop(lane.held.insert(offer.name.clone(), offer.version.clone())),
            }
        }
        for name in &update.removals {
            lane.rejected.remove(name);
            if !rejected.contains_key(name) {
                lane.held.remove(name);
            }
        }
        lane.rejected.extend(verdicts.clone());
        self.see_position(Position::parse(&update.label));
        (update.stream == self.stream).then(|| DeltaDiscoveryRequest {
            type_url: update.type_url.to_string(),
            response_nonce: update.nonce.clone(),
            error_detail: (!verdicts.is_empty()).then(|| to_status(&verdicts)),
            ..DeltaDiscoveryRequest::default()
        })
    }
}

/// One entry of a response; `Err` is its version and what is wrong with it.
fn read(type_url: &TypeUrl, resource: Resource) -> Result<Offer, (String, String)> {
    let Some(any) = resource.resource else {
        return Err((resource.version, "it has no body".to_owned()));
    };
    if any.type_url != type_url.as_str() {
        let reason = format!("its body is a {}, not a {type_url}", clean(&any.type_url));
        return Err((resource.version, reason));
    }
    Ok(Offer {
        name: resource.name.into(),
        version: resource.version,
        body: any.value,
    })
}
