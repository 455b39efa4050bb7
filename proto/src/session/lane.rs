//! Owns one type on one stream: what is subscribed, what the node holds, what is in flight, what it
//! rejected. Must not know: other types, and when it may send.
//!
//! A node that follows everything costs a pointer to the set it holds, however large the set is; only
//! exceptions are kept by name. "Holds" advances when a response is answered, not when it is sent (R73);
//! what an answer rejected is remembered beside it, so that it is not offered again (R24).

mod listing;
mod sending;

pub(super) use sending::{Gate, Stamp};

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::nonce::Nonce;
use super::{ACK_PATIENCE, Event, TypeStatus};
use crate::encoding::{Encoding, Transport};
use crate::name::{Name, ResourceId, SetVersion, TypeUrl, Version};
use crate::rejection::{Rejected, named_in, verdicts};
use crate::resource::Resource;
use crate::set::ResourceSet;
use crate::snapshot::Snapshot;
use crate::step::{Part, Published, Step};
use crate::subscription::{Changed, Subscription, bytes_of};
use crate::wire::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use crate::wire::google::rpc::Status;

/// Unanswered responses whose answers still count: a node that is a minute late is heard.
const MAX_LATE: usize = 4;

/// A version of a type's set, as people and as programs know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Revision or release.
    pub label: Arc<str>,
    /// Hash of the set.
    pub version: SetVersion,
}

/// A step under way. At most one of its parts is on the wire unanswered.
#[derive(Debug)]
struct Sending {
    /// What the node held before.
    from: Option<Arc<ResourceSet>>,
    target: Arc<Published>,
    step: Arc<Step>,
    at: usize,
    nonce: Nonce,
    since: Instant,
    /// Answered, or waited for long enough.
    over: bool,
}

impl Sending {
    fn part(&self) -> &Part {
        &self.step.parts[self.at]
    }

    fn is_last(&self) -> bool {
        self.at + 1 == self.step.parts.len()
    }

    /// Whether the resource has been put on the wire by this step.
    fn has_sent(&self, name: &Name) -> bool {
        let mut parts = self.step.parts.iter().take(self.at + 1);
        parts.any(|part| part.offers(name))
    }
}

/// One type on one stream.
#[derive(Debug)]
pub(super) struct Lane {
    type_url: TypeUrl,
    encoding: Encoding,
    opened: bool,
    /// The node had something when it came.
    resumed: bool,
    subscription: Subscription,
    held: Option<Arc<ResourceSet>>,
    /// What a delta client says it holds, name to version (R75).
    claims: BTreeMap<Name, String>,
    /// What they take in memory.
    claim_bytes: usize,
    /// What a state-of-the-world client says it holds (R17).
    claimed: String,
    due: BTreeSet<Name>,
    greet: bool,
    /// Everything was asked for anew (R55).
    resend: bool,
    /// Removals that wait until nothing refers to the names.
    withheld: BTreeMap<Name, Option<Arc<Resource>>>,
    rejected: BTreeMap<Name, Rejected>,
    /// What the node still has of what it rejected: repeated where everything is (R42), and told.
    kept: BTreeMap<Name, Arc<Resource>>,
    /// Rejected on this stream or an older one, and the node may have had anything before.
    unknown: BTreeSet<Name>,
    sending: Option<Sending>,
    /// Those given up waiting for, oldest first: their answers may still come.
    late: VecDeque<Sending>,
    /// The nonce of the newest response.
    latest: Option<Nonce>,
    /// The node has answered on this stream, so an answer can be waited for.
    answers: bool,
    /// It has answered since the time was last told.
    has_just_answered: bool,
    answered: Option<Instant>,
    /// When what has a time to live is to be refreshed.
    beat_at: Option<Instant>,
    sent: Option<Mark>,
    acked: Option<Mark>,
}

impl Lane {
    pub(super) fn new(type_url: TypeUrl, encoding: Encoding) -> Self {
        Self {
            type_url,
            encoding,
            opened: false,
            resumed: false,
            subscription: Subscription::default(),
            held: None,
            claims: BTreeMap::new(),
            claim_bytes: 0,
            claimed: String::new(),
            due: BTreeSet::new(),
            greet: false,
            resend: false,
            withheld: BTreeMap::new(),
            rejected: BTreeMap::new(),
            kept: BTreeMap::new(),
            unknown: BTreeSet::new(),
            sending: None,
            late: VecDeque::new(),
            latest: None,
            answers: false,
            has_just_answered: false,
            answered: None,
            beat_at: None,
            sent: None,
            acked: None,
        }
    }

    pub(super) fn type_url(&self) -> &TypeUrl {
        &self.type_url
    }

    pub(super) fn name_count(&self) -> usize {
        self.subscription.names().len()
    }

    /// What is kept of the names that requests have said.
    pub(super) fn name_bytes(&self) -> usize {
        self.subscription.bytes() + self.claim_bytes
    }

    pub(super) fn claims_something(&self) -> bool {
        !self.claims.is_empty() || !self.claimed.is_empty()
    }

    pub(super) fn has_withheld(&self) -> bool {
        !self.withheld.is_empty()
    }

    pub(super) fn has_rejected(&self) -> bool {
        !self.rejected.is_empty()
    }

    /// Subscription changes count whatever the nonce says (R29), and beside an ACK or a NACK (R30).
    pub(super) fn on_delta(&mut self, request: DeltaDiscoveryRequest) -> Option<Event> {
        let first = !std::mem::replace(&mut self.opened, true);
        if first {
            // R75: later ones are ignored.
            let claims = request.initial_resource_versions.into_iter();
            self.claims = claims.map(|(name, it)| (Name::from(name), it)).collect();
            let bytes = |(name, version): (&Name, &String)| bytes_of(name) + version.len();
            self.claim_bytes = self.claims.iter().map(bytes).sum();
            self.resumed = !self.claims.is_empty();
        }
        let changed = self.subscription.update(
            first,
            self.type_url.has_legacy_wildcard(),
            request.resource_names_subscribe,
            request.resource_names_unsubscribe,
        );
        self.on_change(first, changed);
        self.on_answer(first, &request.response_nonce, request.error_detail)
    }

    /// A request that answers an older response than the newest says nothing of what is wanted now: the
    /// answer to the newest will say it again (R27, R28). Before there is one, nothing is older: a nonce
    /// is an old stream's (R14).
    pub(super) fn on_sotw(&mut self, request: DiscoveryRequest) -> Option<Event> {
        let first = !std::mem::replace(&mut self.opened, true);
        let nonce = &request.response_nonce;
        let answers_newest = self.latest.is_none_or(|latest| latest.is(nonce));
        if first || nonce.is_empty() || answers_newest {
            let legacy_wildcard = self.type_url.has_legacy_wildcard();
            let changed = self
                .subscription
                .restate(legacy_wildcard, request.resource_names);
            self.on_change(first, changed);
        }
        if first {
            self.resumed = !request.version_info.is_empty();
            self.claimed = request.version_info;
        }
        self.on_answer(first, nonce, request.error_detail)
    }

    fn on_change(&mut self, first: bool, changed: Changed) {
        if changed.wildcard_started {
            self.greet = true;
        }
        if changed.wildcard_started && !first {
            self.resend = true;
            // What was sent for the old subscription may still be on its way, and would be taken for
            // the new one's: each name of it gets a word of its own.
            let unanswered = self.late.iter().flat_map(|late| &late.part().offered);
            self.due.extend(unanswered.map(|(name, _)| name.clone()));
            self.rejected.clear();
            self.kept.clear();
        }
        if !first {
            self.due.extend(changed.due);
        }
        if changed.wildcard_ended || !changed.dropped.is_empty() {
            let wants = |name: &Name| self.subscription.wants(name);
            self.due.retain(wants);
            self.rejected.retain(|name, _| wants(name));
            self.kept.retain(|name, _| wants(name));
            self.withheld.retain(|name, _| wants(name));
        }
    }

    /// R14: a nonce in a first request is an old stream's. What it rejected it may restate.
    fn on_answer(&mut self, first: bool, nonce: &str, error: Option<Status>) -> Option<Event> {
        if first {
            error.iter().for_each(|status| self.restate(status));
            return None;
        }
        self.on_nonce(nonce, error.as_ref())
    }

    fn restate(&mut self, status: &Status) {
        for rejection in named_in(status) {
            if let Some(version) = Version::parse(&rejection.version) {
                let reason = rejection.reason.into();
                let name = Name::from(rejection.name);
                self.unknown.insert(name.clone());
                self.rejected.insert(name, Rejected { version, reason });
            }
        }
    }

    /// R21, R22. An answer to anything but the newest response changes nothing that is newer (R35), and
    /// one to a response we never sent changes nothing at all (R36).
    fn on_nonce(&mut self, nonce: &str, error: Option<&Status>) -> Option<Event> {
        let is_it = |sending: &Sending| sending.nonce.is(nonce);
        if self.sending.as_ref().is_some_and(is_it) {
            let mut sending = self.sending.take()?;
            self.answers = true;
            let event = self.judge(&sending, error);
            sending.over = true;
            self.acked = Some(mark(&sending.target))
                .filter(|_| sending.is_last())
                .or(self.acked.take());
            if sending.is_last() {
                self.hold(&sending.target, &sending.step);
            } else {
                self.sending = Some(sending);
            }
            return Some(event);
        }
        let at = self.late.iter().position(is_it)?;
        let late = self.late.remove(at)?;
        Some(self.judge(&late, error))
    }

    /// Remembers what an answer rejects, and forgets what it accepts.
    fn judge(&mut self, sending: &Sending, error: Option<&Status>) -> Event {
        let part = sending.part();
        let verdicts = error
            .map(|status| verdicts(&part.offered, status))
            .unwrap_or_default();
        // The same request may have let go of a name that it rejects.
        let wanted = verdicts
            .iter()
            .filter(|(name, _)| self.subscription.wants(name));
        let wanted: Vec<_> = wanted.cloned().collect();
        for (name, _) in &wanted {
            self.keep(name, sending.from.as_deref());
        }
        let offered = part.offered.iter().map(|(name, _)| name);
        let bad: HashSet<&Name> = verdicts.iter().map(|(name, _)| name).collect();
        for name in offered.chain(&part.removed) {
            self.rejected.remove(name);
            if !bad.contains(name) {
                self.kept.remove(name);
                self.unknown.remove(name);
            }
        }
        self.offer_the_rest(part, &bad, error);
        self.rejected.extend(wanted);
        self.has_just_answered = true;
        let (type_url, version) = (self.type_url.clone(), mark(&sending.target));
        match error {
            None => Event::Acked {
                type_url,
                version,
                resources: part.offered.len(),
            },
            Some(status) => Event::Nacked {
                type_url,
                version,
                reason: crate::rejection::clean(&status.message),
                rejected: verdicts,
            },
        }
    }

    /// What the node still has of a name that it rejects now. If it rejected what we take it to hold as well,
    /// it has what it had before that.
    fn keep(&mut self, name: &Name, from: Option<&ResourceSet>) {
        if self.rejected.contains_key(name) {
            return;
        }
        match from {
            None if self.resumed => self.unknown.insert(name.clone()),
            _ => self.unknown.remove(name),
        };
        if let Some(good) = from.and_then(|from| from.get(name)) {
            self.kept.insert(name.clone(), good.clone());
        }
    }

    /// R26: a text that names some resources says nothing of the others; Envoy takes them with the rest
    /// or leaves them with the rest, as the fault may be. In delta they would never be said again, so
    /// they are offered once more, without what was rejected. State of the world says them again with
    /// whatever changes next.
    fn offer_the_rest(&mut self, part: &Part, bad: &HashSet<&Name>, error: Option<&Status>) {
        let by_text = error.is_some_and(|status| named_in(status).is_empty());
        if !by_text || self.encoding.transport() != Transport::Delta {
            return;
        }
        let offered = part.offered.iter().map(|(name, _)| name);
        let rest = offered.filter(|name| !bad.contains(name));
        let wanted = rest.filter(|name| self.subscription.wants(name));
        self.due.extend(wanted.cloned());
    }

    /// The node now holds the target, except for what it rejected and what is still to be removed.
    fn hold(&mut self, target: &Published, step: &Step) {
        self.held = Some(target.set().clone());
        let leaving = step.removed_later.iter();
        self.withheld
            .extend(leaving.map(|leaving| (leaving.name.clone(), leaving.resource.clone())));
    }

    /// Whether something that refers to the resource of this name may be sent: it is on the wire (R85),
    /// and a client that says when it is warm has said so. What is not subscribed waits for nothing:
    /// gRPC asks for a cluster only when a route has named it.
    pub(super) fn lets(&self, name: &Name) -> bool {
        let held = self
            .held
            .as_ref()
            .is_some_and(|held| held.get(name).is_some());
        if held || !self.subscription.wants(name) || self.claims.contains_key(name) {
            return true;
        }
        let Some(sending) = &self.sending else {
            return false;
        };
        sending.has_sent(name) && !self.is_waited_for(sending)
    }

    /// Something new is on the wire that the node must warm before others may refer to it.
    pub(super) fn is_warming(&self) -> bool {
        let Some(sending) = self.sending.as_ref().filter(|it| self.is_waited_for(it)) else {
            return false;
        };
        let is_new = |name: &Name| {
            self.held
                .as_ref()
                .is_none_or(|held| held.get(name).is_none())
        };
        let mut offered = sending.part().offered.iter();
        offered.any(|(name, _)| is_new(name))
    }

    /// Envoy answers when it is warm; one that has not answered before may never do, and nothing waits
    /// for that (R86).
    fn is_waited_for(&self, sending: &Sending) -> bool {
        self.type_url.is_warmed() && self.answers && !sending.over
    }

    /// Parents of these have just been sent again: so must they be, if they were before them (R83).
    pub(super) fn follow(&mut self, children: &[ResourceId], snapshot: &Snapshot) {
        let newest = self.target(snapshot);
        let sent = match &self.sending {
            Some(sending) => Some(sending.target.set()),
            None => self.held.as_ref(),
        };
        for ResourceId { name, .. } in children {
            let is_sent = sent.is_some_and(|sent| {
                let (sent, newest) = (sent.get(name), newest.set().get(name));
                sent.is_some() && sent == newest
            });
            if is_sent && self.subscription.wants(name) {
                self.due.insert(name.clone());
            }
        }
    }

    /// To be called before anything is polled.
    pub(super) fn on_time(&mut self, now: Instant) {
        if std::mem::take(&mut self.has_just_answered) {
            self.answered = Some(now);
        }
        if let Some(sending) = &mut self.sending
            && now >= sending.since + ACK_PATIENCE
        {
            sending.over = true;
        }
    }

    /// When [`Lane::on_time`] will have something to say.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        let sending = self.sending.as_ref().filter(|sending| !sending.over)?;
        Some(sending.since + ACK_PATIENCE)
    }

    /// Everything of `snapshot` is on the wire, answered or not.
    pub(super) fn is_sent(&self, snapshot: &Snapshot) -> bool {
        match &self.sending {
            Some(sending) => {
                sending.is_last() && sending.target.set().version() == self.version(snapshot)
            }
            None => self.is_up_to_date(snapshot),
        }
    }

    /// Everything of `snapshot` is answered, removals included.
    pub(super) fn is_settled(&self, snapshot: &Snapshot) -> bool {
        self.withheld.is_empty() && self.is_answered(snapshot)
    }

    /// Everything of `snapshot` but removals that wait is answered.
    pub(super) fn is_answered(&self, snapshot: &Snapshot) -> bool {
        let answered = self.sending.as_ref().is_none_or(|sending| sending.over);
        answered && self.is_sent(snapshot)
    }

    /// Something is on the wire that the node has not answered, however long ago.
    pub(super) fn is_waiting(&self) -> bool {
        self.sending.is_some()
    }

    /// The node may have something of which we do not know what it refers to.
    pub(super) fn has_unknown(&self) -> bool {
        let mut unknown = self.unknown.iter();
        unknown.any(|name| self.rejected.contains_key(name))
            || self.withheld.values().any(Option::is_none)
    }

    /// What must stay at the node for what it has besides the newest: what it has kept, and what could not
    /// be removed yet.
    pub(super) fn needs(&self) -> impl Iterator<Item = &ResourceId> {
        let leaving = self.withheld.values().flatten();
        let old = self.kept.values().chain(leaving);
        old.flat_map(|resource| resource.refers())
    }

    fn is_up_to_date(&self, snapshot: &Snapshot) -> bool {
        let held = self.held.as_ref().map(|held| held.version());
        held == Some(self.version(snapshot)) && !self.owes_an_answer()
    }

    /// Something was asked for, and must be answered even if nothing has changed.
    fn owes_an_answer(&self) -> bool {
        self.greet || !self.due.is_empty()
    }

    fn version(&self, snapshot: &Snapshot) -> SetVersion {
        snapshot
            .published(&self.type_url)
            .map(|published| published.set().version())
            .unwrap_or_default()
    }

    fn target(&self, snapshot: &Snapshot) -> Arc<Published> {
        snapshot
            .published(&self.type_url)
            .cloned()
            .unwrap_or_else(|| {
                let label = snapshot.position().map(|position| position.to_string());
                let nothing = ResourceSet::default();
                Arc::new(Published::new(
                    self.type_url.clone(),
                    nothing,
                    label.unwrap_or_default().into(),
                ))
            })
    }

    pub(super) fn status(&self) -> TypeStatus {
        TypeStatus {
            type_url: self.type_url.clone(),
            wildcard: self.subscription.is_wildcard(),
            names: self.subscription.names().len(),
            sent: self.sent.clone(),
            acked: self.acked.clone(),
            rejected: self
                .rejected
                .iter()
                .map(|(name, why)| (name.clone(), why.clone()))
                .collect(),
        }
    }
}

fn mark(published: &Published) -> Mark {
    Mark {
        label: published.label().clone(),
        version: published.set().version(),
    }
}
