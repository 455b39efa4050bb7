//! Owns one type on one stream: what is subscribed, what the node holds, what is in flight, what it
//! rejected. Must not know: other types, and when it may send.
//!
//! A node that follows everything costs a pointer to the set it holds, however large the set is; only
//! exceptions are kept by name. "Holds" advances when a response is answered, not when it is sent (R73);
//! what an answer rejected is remembered beside it, so that it is not offered again (R24).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::nonce::Nonce;
use super::offer::Holder;
use super::{ACK_PATIENCE, Event, TypeStatus};
use crate::name::{Name, SetVersion, TypeUrl, Version};
use crate::rejection::{Rejected, clean, named_in};
use crate::set::ResourceSet;
use crate::snapshot::Snapshot;
use crate::step::{Part, Published, Step, StepBuilder};
use crate::subscription::Subscription;
use crate::wire::discovery::DeltaDiscoveryRequest;
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
}

/// One type on one stream.
#[derive(Debug)]
pub(super) struct Lane {
    type_url: TypeUrl,
    opened: bool,
    subscription: Subscription,
    held: Option<Arc<ResourceSet>>,
    claims: BTreeMap<String, String>,
    due: BTreeSet<Name>,
    greet: bool,
    /// Everything was asked for anew (R55).
    resend: bool,
    /// Removals that wait until nothing refers to the names.
    withheld: BTreeSet<Name>,
    rejected: BTreeMap<Name, Rejected>,
    sending: Option<Sending>,
    /// Those given up waiting for, oldest first: their answers may still come.
    late: VecDeque<Sending>,
    sent: Option<Mark>,
    acked: Option<Mark>,
}

impl Lane {
    pub(super) fn new(type_url: TypeUrl) -> Self {
        Self {
            type_url,
            opened: false,
            subscription: Subscription::default(),
            held: None,
            claims: BTreeMap::new(),
            due: BTreeSet::new(),
            greet: false,
            resend: false,
            withheld: BTreeSet::new(),
            rejected: BTreeMap::new(),
            sending: None,
            late: VecDeque::new(),
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

    pub(super) fn claims_something(&self) -> bool {
        !self.claims.is_empty()
    }

    pub(super) fn has_withheld(&self) -> bool {
        !self.withheld.is_empty()
    }

    pub(super) fn has_rejected(&self) -> bool {
        !self.rejected.is_empty()
    }

    /// Subscription changes count whatever the nonce says (R29), and beside an ACK or a NACK (R30).
    pub(super) fn on_request(&mut self, request: DeltaDiscoveryRequest) -> Option<Event> {
        let first = !std::mem::replace(&mut self.opened, true);
        if first {
            // R75: later ones are ignored.
            self.claims = request.initial_resource_versions;
        }
        let changed = self.subscription.update(
            first,
            self.type_url.has_legacy_wildcard(),
            request.resource_names_subscribe,
            request.resource_names_unsubscribe,
        );
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
        }
        for name in &changed.dropped {
            self.due.remove(name);
            self.rejected.remove(name);
            self.withheld.remove(name);
        }
        if first {
            // R14: a nonce in a first request is an old stream's. What it rejected it may restate.
            request
                .error_detail
                .iter()
                .for_each(|status| self.restate(status));
            return None;
        }
        self.due.extend(changed.due);
        self.on_answer(&request.response_nonce, request.error_detail.as_ref())
    }

    fn restate(&mut self, status: &Status) {
        for rejection in named_in(status) {
            if let Some(version) = Version::parse(&rejection.version) {
                let reason = rejection.reason.into();
                self.rejected
                    .insert(rejection.name.into(), Rejected { version, reason });
            }
        }
    }

    /// R21, R22. An answer to anything but the newest response changes nothing that is newer (R35), and
    /// one to a response we never sent changes nothing at all (R36).
    fn on_answer(&mut self, nonce: &str, error: Option<&Status>) -> Option<Event> {
        if self
            .sending
            .as_ref()
            .is_some_and(|sending| sending.nonce.is(nonce))
        {
            let mut sending = self.sending.take()?;
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
        let at = self.late.iter().position(|late| late.nonce.is(nonce))?;
        let late = self.late.remove(at)?;
        Some(self.judge(&late, error))
    }

    /// Remembers what an answer rejects, and forgets what it accepts.
    fn judge(&mut self, sending: &Sending, error: Option<&Status>) -> Event {
        let part = sending.part();
        let verdicts = error
            .map(|status| verdicts(part, status))
            .unwrap_or_default();
        for name in part
            .offered
            .iter()
            .map(|(name, _)| name)
            .chain(&part.removed)
        {
            self.rejected.remove(name);
        }
        self.rejected.extend(verdicts.iter().cloned());
        match error {
            None => Event::Acked {
                type_url: self.type_url.clone(),
                resources: part.offered.len(),
            },
            Some(_) => Event::Nacked {
                type_url: self.type_url.clone(),
                rejected: verdicts,
            },
        }
    }

    /// The node now holds the target, except for what it rejected and what is still to be removed.
    fn hold(&mut self, target: &Published, step: &Step) {
        self.held = Some(target.set().clone());
        self.withheld.extend(step.removed_later.iter().cloned());
    }

    /// To be called before anything is polled.
    pub(super) fn on_time(&mut self, now: Instant) {
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

    /// The next response towards `snapshot`, if one is to be sent now.
    pub(super) fn poll_upserts(
        &mut self,
        now: Instant,
        snapshot: &Snapshot,
        nonce: Nonce,
    ) -> Option<Bytes> {
        if let Some(sending) = &mut self.sending {
            if !sending.over {
                return None;
            }
            if !sending.is_last() {
                sending.at += 1;
                sending.nonce = nonce;
                sending.since = now;
                sending.over = false;
                return Some(sending.part().payload.clone());
            }
            if self.is_sent(snapshot) && !self.owes_an_answer() {
                return None;
            }
            self.give_up_waiting();
        }
        if self.is_up_to_date(snapshot) {
            return None;
        }
        let target = self.target(snapshot);
        let step = self.step_to(&target);
        (self.greet, self.resend, self.claims) = (false, false, BTreeMap::new());
        self.due.clear();
        if step.parts.is_empty() {
            self.hold(&target, &step);
            return None;
        }
        Some(self.send(now, target, step, nonce))
    }

    /// Goes on as if the last response had been answered, if it was waited for long enough.
    fn give_up_waiting(&mut self) {
        if let Some(unanswered) = self
            .sending
            .take_if(|sending| sending.over && sending.is_last())
        {
            self.hold(&unanswered.target, &unanswered.step);
            self.late.push_back(unanswered);
            if self.late.len() > MAX_LATE {
                self.late.pop_front();
            }
        }
    }

    /// The removals that were held back, once the session says that nothing refers to the names.
    pub(super) fn poll_removals(
        &mut self,
        now: Instant,
        snapshot: &Snapshot,
        nonce: Nonce,
    ) -> Option<Bytes> {
        self.give_up_waiting();
        if self.withheld.is_empty() || self.sending.is_some() || !self.is_up_to_date(snapshot) {
            return None;
        }
        let target = self.target(snapshot);
        let mut builder = StepBuilder::new(&self.type_url, target.label());
        for name in std::mem::take(&mut self.withheld) {
            if target.set().get(&name).is_none() && self.subscription.wants(&name) {
                builder.remove(&name);
            }
        }
        let step = Step {
            parts: builder.finish(false),
            removed_later: Box::default(),
        };
        (!step.parts.is_empty()).then(|| self.send(now, target, Arc::new(step), nonce))
    }

    fn send(
        &mut self,
        now: Instant,
        target: Arc<Published>,
        step: Arc<Step>,
        nonce: Nonce,
    ) -> Bytes {
        let sending = Sending {
            target,
            step,
            at: 0,
            nonce,
            since: now,
            over: false,
        };
        let payload = sending.part().payload.clone();
        self.sent = Some(mark(&sending.target));
        self.sending = Some(sending);
        payload
    }

    /// The step all others take too, where this node has no exceptions.
    fn step_to(&self, target: &Arc<Published>) -> Arc<Step> {
        let plain = self.subscription.is_wildcard() && self.due.is_empty() && !self.resend;
        if plain && let Some(held) = &self.held {
            let step = target.step_from(held);
            if !self.greet && !self.offers_rejected(&step) {
                return step;
            }
        }
        if plain
            && self.held.is_none()
            && self.claims.is_empty()
            && self.rejected.is_empty()
            && self.subscription.names().is_empty()
        {
            return target.first_step();
        }
        let holder = Holder {
            subscription: &self.subscription,
            held: self.held.as_deref(),
            claims: &self.claims,
            due: &self.due,
            rejected: &self.rejected,
            greet: self.greet,
            resend: self.resend,
        };
        Arc::new(holder.step_to(target))
    }

    fn offers_rejected(&self, step: &Step) -> bool {
        let mut offered = step.parts.iter().flat_map(|part| &part.offered);
        !self.rejected.is_empty()
            && offered.any(|(name, version)| {
                self.rejected
                    .get(name)
                    .is_some_and(|rejected| rejected.version == *version)
            })
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
        let answered = self.sending.as_ref().is_none_or(|sending| sending.over);
        answered && self.withheld.is_empty() && self.is_sent(snapshot)
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

/// Which resources of a response a NACK rejects: those it names, or all of them (R26).
fn verdicts(part: &Part, status: &Status) -> Vec<(Name, Rejected)> {
    let mut reasons: BTreeMap<String, String> = named_in(status)
        .into_iter()
        .map(|named| (named.name, named.reason))
        .collect();
    reasons.retain(|name, _| {
        part.offered
            .iter()
            .any(|(offered, _)| offered.as_str() == name)
    });
    let whole: Arc<str> = clean(&status.message).into();
    let named = !reasons.is_empty();
    part.offered
        .iter()
        .filter_map(|(name, version)| {
            let reason = match reasons.remove(name.as_str()) {
                Some(reason) => reason.into(),
                None if named => return None,
                None => whole.clone(),
            };
            Some((
                name.clone(),
                Rejected {
                    version: *version,
                    reason,
                },
            ))
        })
        .collect()
}
