//! Owns the server half of one delta stream: requests, snapshots and the time go in; responses, events
//! and a deadline come out. Must not know: sockets, tasks, which fleet the node belongs to.
//!
//! Each type is an independent [`Lane`] (R6). The session itself keeps what binds them together: nonces
//! that are unique on the stream (R13), and make before break (R84 to R87): a type is sent only when
//! everything it may refer to has been sent at the same snapshot, and what is referred to is removed
//! only when nothing that was sent refers to it any more.

mod lane;
mod nonce;
mod offer;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::name::{Name, TypeUrl};
use crate::rejection::Rejected;
use crate::snapshot::{Position, Snapshot};
use crate::step::encode_nonce;
use crate::wire::core::Node;
use crate::wire::discovery::DeltaDiscoveryRequest;

use lane::Lane;
use nonce::Nonce;

/// How long a response may stay unanswered before what waits for it goes on without (R87). Longer than
/// any client takes to apply; Envoy and gRPC give up waiting for a resource after the same 15 s.
pub const ACK_PATIENCE: Duration = Duration::from_secs(15);

/// Types one stream may subscribe to. There are fewer than 20 in all of xDS.
pub const MAX_TYPES: usize = 32;

/// Names one stream may subscribe to over all types: some 10 MB.
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
    /// An encoded `DeltaDiscoveryResponse` without its nonce, the same bytes for every stream.
    pub payload: Bytes,
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
        /// How many resources it held.
        resources: usize,
    },
    /// The node has rejected resources.
    Nacked {
        /// Of this type.
        type_url: TypeUrl,
        /// Which, and why.
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

/// The server half of a delta stream.
#[derive(Debug, Default)]
pub struct Session {
    lanes: Vec<Lane>,
    snapshot: Option<Arc<Snapshot>>,
    /// The newest position the node has seen.
    seen: Option<Position>,
    greeted: bool,
    opening: Opening,
    /// The last one used.
    nonce: Nonce,
}

impl Session {
    /// A stream on which nothing was said yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a request.
    ///
    /// # Errors
    /// The stream must be ended with this refusal.
    pub fn on_request(&mut self, request: DeltaDiscoveryRequest) -> Result<Option<Event>, Refusal> {
        if request.type_url.is_empty() {
            return Err(Refusal::NoType);
        }
        if !self.greeted {
            // R7, R8: only the first request is sure to name the node, and later ones can't change it.
            self.greeted = true;
            self.seen = request.node.as_ref().and_then(seen_position);
        }
        let at = self.lane(TypeUrl::from(request.type_url.as_str()))?;
        let event = self.lanes[at].on_request(request);
        if self.lanes.iter().map(Lane::name_count).sum::<usize>() > MAX_NAMES {
            return Err(Refusal::TooManyNames);
        }
        Ok(event)
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
        self.lanes.iter_mut().for_each(|lane| lane.on_time(now));
        let nonce = self.nonce.next();
        let payload = self
            .poll_upserts(now, &snapshot, nonce)
            .or_else(|| self.poll_removals(now, &snapshot, nonce))?;
        self.nonce = nonce;
        Some(Outgoing {
            payload,
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
            .filter_map(Lane::patience_ends)
            .chain(opening)
            .min()
    }

    /// The state of every type, in make-before-break order.
    pub fn status(&self) -> impl Iterator<Item = TypeStatus> {
        self.lanes.iter().map(Lane::status)
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

    fn lane(&mut self, type_url: TypeUrl) -> Result<usize, Refusal> {
        let key = |lane: &Lane| (lane.type_url().rank(), lane.type_url().clone());
        match self
            .lanes
            .binary_search_by_key(&(type_url.rank(), type_url.clone()), key)
        {
            Ok(at) => Ok(at),
            Err(_) if self.lanes.len() == MAX_TYPES => Err(Refusal::TooManyTypes),
            Err(at) => {
                self.lanes.insert(at, Lane::new(type_url));
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

    /// In make-before-break order; a lane waits until everything before it is on the wire (R85), not
    /// until it is acknowledged (R86).
    fn poll_upserts(&mut self, now: Instant, snapshot: &Snapshot, nonce: Nonce) -> Option<Bytes> {
        for lane in &mut self.lanes {
            if let Some(payload) = lane.poll_upserts(now, snapshot, nonce) {
                return Some(payload);
            }
            if !lane.is_sent(snapshot) {
                return None;
            }
        }
        None
    }

    /// Against that order: what refers goes before what is referred to. A node that rejected something
    /// may still use what its last good version refers to, so nothing is taken from it.
    fn poll_removals(&mut self, now: Instant, snapshot: &Snapshot, nonce: Nonce) -> Option<Bytes> {
        if self.is_opening(now) {
            return None;
        }
        for lane in self.lanes.iter_mut().rev() {
            if let Some(payload) = lane.poll_removals(now, snapshot, nonce) {
                return Some(payload);
            }
            if !lane.is_settled(snapshot) || lane.has_rejected() {
                return None;
            }
        }
        None
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
