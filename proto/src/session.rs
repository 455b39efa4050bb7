//! Owns the server half of one stream, delta or state of the world: requests, snapshots and the time go
//! in; responses, events and a deadline come out. Must not know: sockets, tasks, which fleet the node
//! belongs to.
//!
//! Each type is an independent [`Lane`] (R6). The session itself keeps what binds them together: nonces
//! that are unique on the stream (R13), and make before break (R84 to R87): a resource is sent only when
//! everything it refers to has been sent, and what is referred to is removed only when nothing that was
//! sent refers to it any more.

mod lane;
mod nonce;
mod offer;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::encoding::{Encoding, Transport};
use crate::name::{Name, ResourceId, TypeUrl, Version};
use crate::rejection::Rejected;
use crate::resource::Resource;
use crate::snapshot::{Position, Snapshot};
use crate::step::{Payload, Twin, encode_nonce};
use crate::wire::core::Node;
use crate::wire::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};

use lane::{Gate, Lane, Stamp};
use nonce::Nonce;

/// How long a response may stay unanswered before what waits for it goes on without (R87). Longer than
/// any client takes to apply; Envoy and gRPC give up waiting for a resource after the same 15 s.
pub const ACK_PATIENCE: Duration = Duration::from_secs(15);

/// Types one stream may subscribe to. There are fewer than 20 in all of xDS.
pub const MAX_TYPES: usize = 32;

/// Names one stream may subscribe to over all types: some 10 MB where names are as long as keys are.
/// How long they may be is for whoever reads the requests to bound.
pub const MAX_NAMES: usize = 100_000;

/// The key in `node.metadata` under which a node says the newest [`Position`] it has seen, so that no
/// server takes it back in time.
pub const POSITION_KEY: &str = "bellwether.position";

/// Why a stream must be ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// R4.
    #[error("the request names no type_url, which an aggregated stream requires")]
    NoType,
    /// A stream of one type's own service is asked for another.
    #[error("this service serves {served} only, not {asked:?}")]
    OtherType {
        /// What the service is for.
        served: TypeUrl,
        /// What the request names.
        asked: String,
    },
    /// R108.
    #[error("resource locators (dynamic parameters) are not supported; subscribe to names")]
    Locators,
    /// See [`MAX_TYPES`].
    #[error("the stream subscribes to more than {MAX_TYPES} types")]
    TooManyTypes,
    /// See [`MAX_NAMES`].
    #[error("the stream subscribes to more than {MAX_NAMES} names")]
    TooManyNames,
}

/// A response to be sent: the shared payload, then the nonce of this stream.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// An encoded response without its nonce, the same bytes for every stream.
    pub payload: Bytes,
    /// Room for one more form of the payload, if other streams send the same.
    pub twin: Option<Twin>,
    /// The encoded nonce field, which completes it.
    pub nonce: Bytes,
}

/// What a request told us, for logs, metrics and the list of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node has put a response in force.
    Acked {
        /// Of this type.
        type_url: TypeUrl,
        /// What it was a response of.
        version: Mark,
        /// How many resources it held.
        resources: usize,
    },
    /// The node has rejected resources.
    Nacked {
        /// Of this type.
        type_url: TypeUrl,
        /// What it was a response of.
        version: Mark,
        /// What the node says, cut and cleaned.
        reason: String,
        /// Which, and why. Empty if the response offered nothing.
        rejected: Vec<(Name, Rejected)>,
    },
}

/// Why a server says nothing to a node. Absence and the past are never an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoldBack {
    /// The server's watch is behind what another server told the node. It will catch up; if it does
    /// not, the store went back in time.
    #[error("the node has seen {seen}, and this server only knows {position}")]
    Behind {
        /// What this server knows.
        position: Position,
        /// What the node has seen.
        seen: Position,
    },
    /// The node holds resources, and this server has not seen a single one since it started (R44).
    #[error("the node holds resources, and its fleet has none in the store")]
    Blank,
}

/// The state of one type, for the list of nodes.
#[derive(Clone, Debug)]
pub struct TypeStatus {
    /// The type.
    pub type_url: TypeUrl,
    /// Whether everything is subscribed.
    pub wildcard: bool,
    /// How many names are subscribed besides.
    pub names: usize,
    /// The newest version sent.
    pub sent: Option<Mark>,
    /// The newest version answered.
    pub acked: Option<Mark>,
    /// What was rejected and has not changed since.
    pub rejected: Vec<(Name, Rejected)>,
}

/// What is known of one resource at a node (R111).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceState {
    /// Subscribed, and not sent or not answered yet.
    Requested,
    /// Subscribed, and there is none: the node was told so.
    DoesNotExist,
    /// Accepted.
    Acked,
    /// Rejected, and not changed since.
    Nacked(Rejected),
}

/// One resource of a node, for client status and the list of nodes.
#[derive(Clone, Debug)]
pub struct ResourceStatus {
    /// The type.
    pub type_url: TypeUrl,
    /// The name.
    pub name: Name,
    /// The version that the node has accepted, as far as is known.
    pub version: Option<Version>,
    /// What became of it.
    pub state: ResourceState,
    /// When the node last answered for the type; `None`: it has not.
    pub answered: Option<Instant>,
}

pub use lane::Mark;

/// A node that reconnects subscribes type by type. Until the types through which traffic enters are
/// among them, or it has had time to name them (R87), we can't know that nothing it has in force needs
/// what is to be removed.
#[derive(Clone, Copy, Debug, Default)]
enum Opening {
    #[default]
    New,
    Until(Instant),
    Over,
}

/// The server half of a stream.
#[derive(Debug)]
pub struct Session {
    transport: Transport,
    encoding: Encoding,
    /// The one type of a stream of that type's own service.
    only: Option<TypeUrl>,
    /// In make-before-break order.
    lanes: Vec<Lane>,
    /// Indexes of the lanes in the order of removals.
    removal: Vec<usize>,
    snapshot: Option<Arc<Snapshot>>,
    /// The newest position the node has seen.
    seen: Option<Position>,
    greeted: bool,
    opening: Opening,
    /// The last one used.
    nonce: Nonce,
    /// Differs from node to node.
    jitter: u8,
}

impl Default for Session {
    fn default() -> Self {
        Self::new(Transport::Delta)
    }
}

impl Session {
    /// An aggregated stream on which nothing was said yet.
    #[must_use]
    pub fn new(transport: Transport) -> Self {
        Self {
            transport,
            encoding: match transport {
                Transport::Delta => Encoding::Delta,
                Transport::Sotw => Encoding::Sotw,
            },
            only: None,
            lanes: Vec::new(),
            removal: Vec::new(),
            snapshot: None,
            seen: None,
            greeted: false,
            opening: Opening::New,
            nonce: Nonce::default(),
            jitter: 0,
        }
    }

    /// A stream of one type's own service: requests need not name the type, and may name no other (R4).
    /// There is no order between the types of several such streams (R88).
    #[must_use]
    pub fn of_type(transport: Transport, only: TypeUrl) -> Self {
        Self {
            only: Some(only),
            opening: Opening::Over,
            ..Self::new(transport)
        }
    }

    /// Takes a request of a delta stream.
    ///
    /// # Errors
    /// The stream must be ended with this refusal.
    ///
    /// # Panics
    /// The stream is not a delta stream.
    pub fn on_request(&mut self, request: DeltaDiscoveryRequest) -> Result<Option<Event>, Refusal> {
        assert_eq!(self.transport, Transport::Delta);
        let locators = &request.resource_locators_subscribe;
        if !locators.is_empty() || !request.resource_locators_unsubscribe.is_empty() {
            return Err(Refusal::Locators);
        }
        let at = self.meet(request.node.as_ref(), &request.type_url)?;
        let event = self.lanes[at].on_delta(request);
        self.check_names()?;
        Ok(event)
    }

    /// Takes a request of a state-of-the-world stream.
    ///
    /// # Errors
    /// The stream must be ended with this refusal.
    ///
    /// # Panics
    /// The stream is not a state-of-the-world stream.
    pub fn on_sotw_request(&mut self, request: DiscoveryRequest) -> Result<Option<Event>, Refusal> {
        assert_eq!(self.transport, Transport::Sotw);
        if !request.resource_locators.is_empty() {
            return Err(Refusal::Locators);
        }
        let at = self.meet(request.node.as_ref(), &request.type_url)?;
        let event = self.lanes[at].on_sotw(request);
        self.check_names()?;
        Ok(event)
    }

    /// The lane that a request is for.
    fn meet(&mut self, node: Option<&Node>, type_url: &str) -> Result<usize, Refusal> {
        let type_url = match &self.only {
            Some(only) if type_url.is_empty() || type_url == only.as_str() => only.clone(),
            Some(served) => {
                return Err(Refusal::OtherType {
                    served: served.clone(),
                    asked: crate::rejection::clean(type_url),
                });
            }
            None if type_url.is_empty() => return Err(Refusal::NoType),
            None => TypeUrl::from(type_url),
        };
        if !self.greeted {
            // R7, R8: only the first request is sure to name the node, and later ones can't change it.
            self.greeted = true;
            if let Some(node) = node {
                self.seen = seen_position(node);
                self.encoding = Encoding::for_node(self.transport, node);
                self.jitter = Version::of(node.id.as_bytes()).last_byte();
            }
        }
        self.lane(type_url)
    }

    /// Bytes in memory of the names that the client has said: what it subscribes to, and before the first
    /// response what it says it holds. Who reads the requests bounds it.
    #[must_use]
    pub fn name_bytes(&self) -> usize {
        self.lanes.iter().map(Lane::name_bytes).sum()
    }

    fn check_names(&self) -> Result<(), Refusal> {
        let names: usize = self.lanes.iter().map(Lane::name_count).sum();
        if names > MAX_NAMES {
            return Err(Refusal::TooManyNames);
        }
        Ok(())
    }

    /// Takes the newest snapshot; those not sent yet are forgotten.
    pub fn on_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        self.snapshot = Some(snapshot);
    }

    /// The next response to send, if there is one. To be called again until there is none.
    pub fn poll(&mut self, now: Instant) -> Option<Outgoing> {
        let snapshot = self.snapshot.clone()?;
        if self.holds_back().is_some() {
            return None;
        }
        for lane in &mut self.lanes {
            lane.on_time(now);
            lane.plan_heartbeat(now, self.jitter);
        }
        let nonce = self.nonce.next();
        let stamp = Stamp { now, nonce };
        let payload = self
            .poll_upserts(stamp, &snapshot)
            .or_else(|| self.poll_removals(stamp, &snapshot))
            .or_else(|| self.poll_heartbeats(stamp, &snapshot))?;
        self.nonce = nonce;
        Some(Outgoing {
            payload: payload.bytes,
            twin: payload.twin,
            nonce: encode_nonce(&nonce.to_string()),
        })
    }

    /// When [`Session::poll`] must be called again even if nothing happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let opening = match self.opening {
            Opening::Until(ends) if self.lanes.iter().any(Lane::has_withheld) => Some(ends),
            Opening::New | Opening::Until(_) | Opening::Over => None,
        };
        self.lanes
            .iter()
            .flat_map(|lane| lane.patience_ends().into_iter().chain(lane.beats_at()))
            .chain(opening)
            .min()
    }

    /// The state of every type, in make-before-break order.
    pub fn status(&self) -> impl Iterator<Item = TypeStatus> {
        self.lanes.iter().map(Lane::status)
    }

    /// Every resource that the node has subscribed to, and what became of it.
    pub fn resources(&self) -> impl Iterator<Item = ResourceStatus> + '_ {
        self.lanes.iter().flat_map(Lane::resources)
    }

    /// Why nothing is said although there is something to say: what we know is less than what the node
    /// knows, so it keeps what it has.
    #[must_use]
    pub fn holds_back(&self) -> Option<HoldBack> {
        let snapshot = self.snapshot.as_ref()?;
        let position = snapshot.position()?;
        if let Some(seen) = self.seen.filter(|seen| position.is_behind(seen)) {
            return Some(HoldBack::Behind { position, seen });
        }
        let claims = self.lanes.iter().any(Lane::claims_something);
        (snapshot.is_blank() && claims).then_some(HoldBack::Blank)
    }

    /// Whether every type is answered at the newest snapshot and nothing is rejected.
    #[must_use]
    pub fn in_sync(&self) -> bool {
        let Some(snapshot) = &self.snapshot else {
            return false;
        };
        let settled = |lane: &Lane| lane.is_settled(snapshot) && !lane.has_rejected();
        self.lanes.iter().all(settled)
    }

    /// Whether the node itself has answered for all of the newest snapshot, with ACK or NACK. What is only
    /// not waited for any more does not count.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        let Some(snapshot) = &self.snapshot else {
            return false;
        };
        let answered = |lane: &Lane| lane.is_settled(snapshot) && !lane.is_waiting();
        self.greeted && self.lanes.iter().all(answered)
    }

    fn lane(&mut self, type_url: TypeUrl) -> Result<usize, Refusal> {
        let key = |lane: &Lane| (lane.type_url().rank(), lane.type_url().clone());
        match self
            .lanes
            .binary_search_by_key(&(type_url.rank(), type_url.clone()), key)
        {
            Ok(at) => Ok(at),
            Err(_) if self.lanes.len() == MAX_TYPES => Err(Refusal::TooManyTypes),
            Err(at) => {
                self.lanes.insert(at, Lane::new(type_url, self.encoding));
                self.removal = (0..self.lanes.len()).collect();
                self.removal
                    .sort_by_key(|at| self.lanes[*at].type_url().removal_rank());
                Ok(at)
            }
        }
    }

    fn is_opening(&mut self, now: Instant) -> bool {
        let entered = self.lanes.iter().any(|lane| lane.type_url().is_entry());
        self.opening = match self.opening {
            Opening::New if !entered => Opening::Until(now + ACK_PATIENCE),
            Opening::Until(ends) if !entered && now < ends => Opening::Until(ends),
            Opening::New | Opening::Until(_) | Opening::Over => Opening::Over,
        };
        matches!(self.opening, Opening::Until(_))
    }

    /// In make-before-break order. While not everything of a type is on the wire, what refers to it
    /// goes as far as what it refers to is there (R85); it does not wait for its own parent (R86), nor
    /// for more than it needs (R87).
    fn poll_upserts(&mut self, stamp: Stamp, snapshot: &Snapshot) -> Option<Payload> {
        let mut blocked = false;
        for at in 0..self.lanes.len() {
            let (earlier, rest) = self.lanes.split_at_mut(at);
            let lane = &mut rest[0];
            let gate = |resource: &Resource| {
                let mut refers = resource.refers().iter();
                refers.all(|id| {
                    let mut lanes = earlier
                        .iter()
                        .filter(|lane| *lane.type_url() == id.type_url);
                    lanes.all(|lane| lane.lets(&id.name))
                })
            };
            let gate: Option<&Gate<'_>> = if blocked && lane.type_url().waits() {
                Some(&gate)
            } else {
                None
            };
            if let Some(payload) = lane.poll_upserts(stamp, snapshot, gate) {
                self.follow(at, snapshot);
                return Some(payload);
            }
            blocked |= !lane.is_sent(snapshot) || lane.is_warming();
        }
        None
    }

    /// R83: what a client warms is sent again after its parent, unless it is still to come.
    fn follow(&mut self, at: usize, snapshot: &Snapshot) {
        let Some(children) = self.lanes[at].type_url().children() else {
            return;
        };
        let sent = self.lanes[at].just_sent();
        let refers = sent.flat_map(|parent| parent.refers());
        let ids: Vec<ResourceId> = refers
            .filter(|id| id.type_url == children)
            .cloned()
            .collect();
        let lane = self
            .lanes
            .iter_mut()
            .find(|lane| *lane.type_url() == children);
        lane.into_iter()
            .for_each(|lane| lane.follow(&ids, snapshot));
    }

    /// Against that order: what refers goes before what is referred to. A node that rejected something
    /// still uses its last good version, so what that refers to is not taken from it; all else is (R87).
    fn poll_removals(&mut self, stamp: Stamp, snapshot: &Snapshot) -> Option<Payload> {
        if self.is_opening(stamp.now) {
            return None;
        }
        let mut needed = HashSet::new();
        for at in &self.removal {
            let lane = &mut self.lanes[*at];
            if let Some(payload) = lane.poll_removals(stamp, snapshot, &needed) {
                return Some(payload);
            }
            if !lane.is_answered(snapshot) || lane.has_unknown() {
                return None;
            }
            needed.extend(lane.needs().cloned());
        }
        None
    }

    fn poll_heartbeats(&mut self, stamp: Stamp, snapshot: &Snapshot) -> Option<Payload> {
        let mut lanes = self.lanes.iter_mut();
        lanes.find_map(|lane| lane.poll_heartbeat(stamp, snapshot))
    }
}

fn seen_position(node: &Node) -> Option<Position> {
    use crate::wire::google::protobuf::value::Kind;
    match node
        .metadata
        .as_ref()?
        .fields
        .get(POSITION_KEY)?
        .kind
        .as_ref()?
    {
        Kind::StringValue(text) => Position::parse(text),
        _ => None,
    }
}
