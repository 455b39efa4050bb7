//! Owns what a lane sends next, and in which words. Must not know: why it may send now.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Lane, MAX_LATE, Sending, mark};
use crate::name::{Name, ResourceId};
use crate::resource::Resource;
use crate::session::nonce::Nonce;
use crate::session::offer::Holder;
use crate::set::{Difference, ResourceSet};
use crate::snapshot::Snapshot;
use crate::step::{Part, Payload, Published, Step, StepBuilder, repeats_everything};

/// Heartbeats in the time a resource lives, so that two may be lost (R93).
const BEATS_PER_LIFE: u32 = 3;

/// Whether everything that a resource refers to is on the wire.
pub(in crate::session) type Gate<'a> = dyn Fn(&Resource) -> bool + 'a;

/// When a response is sent, and under which nonce.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct Stamp {
    pub(in crate::session) now: Instant,
    pub(in crate::session) nonce: Nonce,
}

impl Lane {
    /// The next response towards `snapshot`, if one is to be sent now. With a gate only what it lets
    /// through goes; the rest waits, each resource for itself (R87).
    pub(in crate::session) fn poll_upserts(
        &mut self,
        stamp: Stamp,
        snapshot: &Snapshot,
        gate: Option<&Gate<'_>>,
    ) -> Option<Payload> {
        if let Some(sending) = &mut self.sending {
            if !sending.over {
                return None;
            }
            if !sending.is_last() {
                sending.at += 1;
                sending.nonce = stamp.nonce;
                sending.since = stamp.now;
                sending.over = false;
                self.latest = Some(stamp.nonce);
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
        let newest = self.target(snapshot);
        let (target, due) = match gate {
            None => (newest, std::mem::take(&mut self.due)),
            Some(gate) => self.allowed(&newest, gate)?,
        };
        self.due.retain(|name| !due.contains(name));
        let resumes = self.held.is_none() && self.resumes(&target);
        let step = if resumes {
            Arc::default()
        } else {
            self.step_to(&target, &due)
        };
        (self.greet, self.resend) = (false, false);
        (self.claims, self.claimed) = (BTreeMap::new(), String::new());
        self.claim_bytes = 0;
        if step.parts.is_empty() {
            self.hold(&target, &step);
            if resumes {
                (self.sent, self.acked) = (Some(mark(&target)), Some(mark(&target)));
            }
            return None;
        }
        Some(self.send(stamp, target, step))
    }

    /// R17: a client that follows everything and says that it holds this very version needs nothing.
    fn resumes(&self, target: &Published) -> bool {
        let only_wildcard = self.subscription.is_wildcard() && self.subscription.names().is_empty();
        let whole = repeats_everything(&self.type_url, self.encoding);
        whole && only_wildcard && !self.resend && target.is_version(&self.claimed)
    }

    /// As much of `newest` as may be sent, and the names that can be answered with it. Nothing to a node
    /// that holds nothing yet: it would take what is not sent for gone.
    fn allowed(
        &self,
        newest: &Arc<Published>,
        gate: &Gate<'_>,
    ) -> Option<(Arc<Published>, BTreeSet<Name>)> {
        let held = self.held.as_ref()?;
        if self.greet || self.resend {
            return None;
        }
        let mut set = ResourceSet::clone(held);
        for difference in held.diff(newest.set()) {
            match difference {
                Difference::Upsert(resource) if gate(resource) => {
                    set.insert(resource.clone());
                }
                Difference::Upsert(_) => {}
                Difference::Removed(old) => {
                    set.remove(old.name());
                }
            }
        }
        let may_be_answered = |name: &&Name| newest.set().get(name).is_none_or(|it| gate(it));
        let due: BTreeSet<Name> = self.due.iter().filter(may_be_answered).cloned().collect();
        let anything = set.version() != held.version() || !due.is_empty();
        anything.then(|| (Arc::new(newest.with_set(set)), due))
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

    /// The removals that were held back, except of what is still needed.
    pub(in crate::session) fn poll_removals(
        &mut self,
        stamp: Stamp,
        snapshot: &Snapshot,
        needed: &HashSet<ResourceId>,
    ) -> Option<Payload> {
        self.give_up_waiting();
        if self.withheld.is_empty() || self.sending.is_some() || !self.is_up_to_date(snapshot) {
            return None;
        }
        let target = self.target(snapshot);
        let type_url = &self.type_url;
        let is_needed = |name: &Name| {
            !needed.is_empty() && needed.contains(&ResourceId::new(type_url.clone(), name.clone()))
        };
        let withheld = std::mem::take(&mut self.withheld).into_iter();
        let (stays, goes): (BTreeMap<_, _>, BTreeMap<_, _>) =
            withheld.partition(|(name, _)| is_needed(name));
        self.withheld = stays;
        let gone: Vec<Name> = goes
            .into_keys()
            .filter(|name| target.set().get(name).is_none() && self.subscription.wants(name))
            .collect();
        if gone.is_empty() {
            return None;
        }
        let parts = if repeats_everything(&self.type_url, self.encoding) {
            let payload = self.everything(&target);
            let offered = Box::default();
            let removed = gone.into();
            Box::new([Part {
                payload,
                offered,
                removed,
            }])
        } else {
            let mut builder = StepBuilder::new(&target, self.encoding);
            gone.iter().for_each(|name| builder.remove(name));
            builder.finish(false)
        };
        let step = Step {
            parts,
            removed_later: Box::default(),
        };
        Some(self.send(stamp, target, Arc::new(step)))
    }

    /// The response that repeats everything the node has, and no more.
    fn everything(&self, target: &Published) -> Payload {
        let nobody_is_due = BTreeSet::new();
        let step = if self.has_no_exceptions() && self.subscription.is_wildcard() {
            target.first_step(self.encoding)
        } else {
            Arc::new(self.holder(&nobody_is_due, true).step_to(target))
        };
        step.parts[0].payload.clone()
    }

    /// What keeps alive what has a time to live, when it is time (R91).
    pub(in crate::session) fn poll_heartbeat(
        &mut self,
        stamp: Stamp,
        snapshot: &Snapshot,
    ) -> Option<Payload> {
        if self.beat_at? > stamp.now || self.sending.is_some() || !self.is_up_to_date(snapshot) {
            return None;
        }
        self.beat_at = None;
        let target = self.target(snapshot);
        let plain = self.has_no_exceptions() && self.subscription.is_wildcard();
        let step = if plain {
            target.heartbeat(self.encoding)?
        } else {
            let all = target.set().iter();
            let wanted = all.filter(|it| {
                self.subscription.wants(it.name()) && !self.rejected.contains_key(it.name())
            });
            let kept = self.kept.values();
            let builder = StepBuilder::new(&target, self.encoding);
            Arc::new(builder.heartbeat(wanted.chain(kept))?)
        };
        Some(self.send(stamp, target, step))
    }

    /// Plans the next heartbeat. `jitter`: of 256, how much sooner than it must be, so that a fleet's
    /// do not come at once (R93).
    pub(in crate::session) fn plan_heartbeat(&mut self, now: Instant, jitter: u8) {
        let Some(held) = self.held.as_ref().filter(|held| held.has_expiring()) else {
            self.beat_at = None;
            return;
        };
        if self.beat_at.is_none() && self.encoding.has_ttl() {
            let lives = held.iter().filter_map(|resource| resource.ttl());
            let shortest: Option<Duration> = lives.min();
            self.beat_at = shortest.map(|ttl| {
                let period = ttl / BEATS_PER_LIFE;
                now + period - period / 1024 * u32::from(jitter)
            });
        }
    }

    /// When [`Lane::poll_heartbeat`] will have something to say.
    pub(in crate::session) fn beats_at(&self) -> Option<Instant> {
        self.beat_at.filter(|_| self.sending.is_none())
    }

    fn send(&mut self, stamp: Stamp, target: Arc<Published>, step: Arc<Step>) -> Payload {
        let sending = Sending {
            from: self.held.clone(),
            target,
            step,
            at: 0,
            nonce: stamp.nonce,
            since: stamp.now,
            over: false,
        };
        let payload = sending.part().payload.clone();
        self.sent = Some(mark(&sending.target));
        self.latest = Some(stamp.nonce);
        self.sending = Some(sending);
        payload
    }

    /// What has just been put on the wire, for those that must follow it.
    pub(in crate::session) fn just_sent(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let sending = self.sending.iter();
        sending.flat_map(|sending| {
            let offered = sending.part().offered.iter();
            offered.filter_map(|(name, _)| sending.target.set().get(name))
        })
    }

    fn has_no_exceptions(&self) -> bool {
        self.rejected.is_empty() && self.withheld.is_empty()
    }

    /// The step all others take too, where this node has no exceptions.
    fn step_to(&self, target: &Arc<Published>, due: &BTreeSet<Name>) -> Arc<Step> {
        let whole = repeats_everything(&self.type_url, self.encoding);
        let plain = due.is_empty() && !self.resend && (!whole || self.has_no_exceptions());
        if plain && let Some(held) = &self.held {
            let step = target.step_from(held, self.encoding);
            let wants_all = self.subscription.is_wildcard() || (!whole && self.wants_all_of(&step));
            if !self.greet && wants_all && !self.offers_rejected(&step) {
                return step;
            }
        }
        if plain
            && self.held.is_none()
            && self.claims.is_empty()
            && self.rejected.is_empty()
            && self.subscription.is_wildcard()
            && self.subscription.names().is_empty()
        {
            return target.first_step(self.encoding);
        }
        Arc::new(self.holder(due, self.greet).step_to(target))
    }

    fn holder<'a>(&'a self, due: &'a BTreeSet<Name>, greet: bool) -> Holder<'a> {
        Holder {
            encoding: self.encoding,
            subscription: &self.subscription,
            held: self.held.as_deref(),
            claims: &self.claims,
            due,
            rejected: &self.rejected,
            kept: &self.kept,
            withheld: &self.withheld,
            greet,
            resend: self.resend,
        }
    }

    /// Nodes that have named all that changed take the step that everybody takes.
    fn wants_all_of(&self, step: &Step) -> bool {
        let offered = step.parts.iter().flat_map(|part| &part.offered);
        let removed = step.parts.iter().flat_map(|part| &part.removed);
        let later = step.removed_later.iter().map(|leaving| &leaving.name);
        let mut names = offered.map(|(name, _)| name).chain(removed).chain(later);
        names.all(|name| self.subscription.wants(name))
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
}
