//! Owns the step that is computed for one stream alone: names instead of everything, a resume, explicit
//! subscriptions, rejected content left out. Must not know: nonces, time, other types.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::encoding::Encoding;
use crate::name::Name;
use crate::rejection::Rejected;
use crate::resource::Resource;
use crate::set::{Difference, ResourceSet};
use crate::step::{Leaving, Published, Step, StepBuilder, repeats_everything};
use crate::subscription::Subscription;

/// What a lane knows of its node when it computes a step for it.
pub(super) struct Holder<'a> {
    pub(super) encoding: Encoding,
    pub(super) subscription: &'a Subscription,
    /// What the node holds; `None` before the first response.
    pub(super) held: Option<&'a ResourceSet>,
    /// What the node said it holds when it connected, name to version (R75).
    pub(super) claims: &'a BTreeMap<Name, String>,
    /// Names that must be answered whatever is held (R67).
    pub(super) due: &'a BTreeSet<Name>,
    pub(super) rejected: &'a BTreeMap<Name, Rejected>,
    /// What the node still has of what it rejected.
    pub(super) kept: &'a BTreeMap<Name, Arc<Resource>>,
    /// What is still to be removed.
    pub(super) withheld: &'a BTreeMap<Name, Option<Arc<Resource>>>,
    /// Answer even if there is nothing to say (R57, R80).
    pub(super) greet: bool,
    /// Everything is sent, whatever is held (R55); what is held and gone is still removed.
    pub(super) resend: bool,
}

/// What is to be said of a name.
enum Word {
    Upsert(Arc<Resource>),
    /// Gone; may have to wait until nothing refers to it. What it was, if that is known.
    Removed(Option<Arc<Resource>>),
    /// Asked for and not there (R72): an answer, which need not wait.
    Absent,
}

impl Holder<'_> {
    pub(super) fn step_to(&self, target: &Published) -> Step {
        let mut words = BTreeMap::new();
        match self.held {
            Some(held) => self.differences(held, target.set(), &mut words),
            None => self.first(target.set(), &mut words),
        }
        if self.resend && self.subscription.is_wildcard() {
            let all = target.set().iter();
            words.extend(
                all.map(|resource| (resource.name().clone(), Word::Upsert(resource.clone()))),
            );
        }
        for name in self.due {
            let word = target
                .set()
                .get(name)
                .cloned()
                .map_or(Word::Absent, Word::Upsert);
            words.insert(name.clone(), word);
        }
        words.retain(|name, word| !self.is_known_bad(name, word));
        self.encode(target, words)
    }

    fn differences(
        &self,
        held: &ResourceSet,
        target: &ResourceSet,
        words: &mut BTreeMap<Name, Word>,
    ) {
        for difference in held.diff(target) {
            let (name, word) = match difference {
                Difference::Upsert(resource) => (resource.name(), Word::Upsert(resource.clone())),
                Difference::Removed(old) => (old.name(), Word::Removed(Some(old.clone()))),
            };
            if self.subscription.wants(name) {
                words.insert(name.clone(), word);
            }
        }
    }

    /// R75 to R80. The claims are no subscription: what is not wanted is not answered (R76).
    fn first(&self, target: &ResourceSet, words: &mut BTreeMap<Name, Word>) {
        let mut offer = |resource: &Arc<Resource>| {
            let name = resource.name();
            let claimed = self.claims.get(name);
            if claimed.is_none_or(|version| *version != resource.version().to_string()) {
                words.insert(name.clone(), Word::Upsert(resource.clone()));
            }
        };
        if self.subscription.is_wildcard() {
            target.iter().for_each(&mut offer);
        } else {
            let names = self.subscription.names().iter();
            names
                .filter_map(|name| target.get(name))
                .for_each(&mut offer);
        }
        for name in self
            .subscription
            .names()
            .iter()
            .filter(|name| target.get(name).is_none())
        {
            words.insert(name.clone(), Word::Absent);
        }
        // What was rejected and is gone since is removed too, so that the node can forget it.
        for name in self.claims.keys().chain(self.rejected.keys()) {
            if self.subscription.wants(name) && target.get(name).is_none() {
                words.insert(name.clone(), Word::Removed(None));
            }
        }
    }

    /// R24: rejected content is not sent again, unless it is asked for by name (R82).
    fn is_known_bad(&self, name: &Name, word: &Word) -> bool {
        let Word::Upsert(resource) = word else {
            return false;
        };
        let rejected = self.rejected.get(name);
        rejected.is_some_and(|rejected| rejected.version == resource.version())
            && !self.due.contains(name)
    }

    fn encode(&self, target: &Published, words: BTreeMap<Name, Word>) -> Step {
        let waits = target.type_url().is_referred_to();
        let mut removed_later = Vec::new();
        let mut builder = StepBuilder::new(target, self.encoding);
        for (name, word) in words {
            match word {
                Word::Upsert(resource) => builder.upsert(&resource),
                Word::Removed(resource) if waits => removed_later.push(Leaving { name, resource }),
                Word::Removed(_) | Word::Absent => builder.remove(&name),
            }
        }
        if repeats_everything(target.type_url(), self.encoding) {
            self.repeat(target.set(), &removed_later, &mut builder);
        }
        Step {
            parts: builder.finish(self.greet),
            removed_later: removed_later.into(),
        }
    }

    /// R42: everything the node is to have, changed or not: what it rejected as it was before, and what
    /// leaves until it may.
    fn repeat(&self, target: &ResourceSet, leaving: &[Leaving], builder: &mut StepBuilder<'_>) {
        let wanted = |name: &Name| self.subscription.wants(name);
        for resource in target.iter().filter(|it| wanted(it.name())) {
            let name = resource.name();
            if self.is_known_bad(name, &Word::Upsert(resource.clone())) {
                builder.instead(resource, self.kept.get(name).map(|kept| &**kept));
            } else {
                builder.repeat(resource);
            }
        }
        let now = leaving
            .iter()
            .filter_map(|leaving| leaving.resource.as_ref());
        let before = self.withheld.values().flatten();
        let mut repeated = BTreeSet::new();
        for resource in now.chain(before) {
            let name = resource.name();
            if target.get(name).is_none() && wanted(name) && repeated.insert(name) {
                builder.leaving(resource);
            }
        }
    }
}
