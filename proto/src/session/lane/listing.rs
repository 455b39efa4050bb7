//! Owns what is said of each resource of a lane when somebody asks. Must not know: who asks.

use std::collections::BTreeSet;

use super::Lane;
use crate::name::Name;
use crate::session::{ResourceState, ResourceStatus};

impl Lane {
    /// Every resource that is subscribed, in the order of names.
    pub(in crate::session) fn resources(&self) -> impl Iterator<Item = ResourceStatus> + '_ {
        let mut names: BTreeSet<Name> = self.subscription.names().clone();
        if self.subscription.is_wildcard() {
            let sending = self.sending.iter().map(|sending| sending.target.set());
            let sets = self.held.iter().chain(sending);
            names.extend(sets.flat_map(|set| set.iter().map(|it| it.name().clone())));
        }
        names.into_iter().map(|name| {
            let held = self.held.as_ref().and_then(|held| held.get(&name));
            let state = self.state(&name, held.is_some());
            let version = match &state {
                ResourceState::Nacked(rejected) => {
                    let good = self.kept.get(&name).or(held).map(|it| it.version());
                    good.filter(|good| *good != rejected.version)
                }
                ResourceState::Acked => held.map(|it| it.version()),
                ResourceState::Requested | ResourceState::DoesNotExist => None,
            };
            ResourceStatus {
                type_url: self.type_url.clone(),
                name,
                version,
                state,
                answered: self.answered,
            }
        })
    }

    fn state(&self, name: &Name, held: bool) -> ResourceState {
        let in_flight = self.sending.iter().filter(|sending| !sending.over);
        let mut unanswered = in_flight.chain(&self.late);
        if let Some(rejected) = self.rejected.get(name) {
            ResourceState::Nacked(rejected.clone())
        } else if unanswered.any(|sending| sending.has_sent(name)) {
            ResourceState::Requested
        } else if held {
            ResourceState::Acked
        } else if self.held.is_some() && !self.due.contains(name) {
            ResourceState::DoesNotExist
        } else {
            ResourceState::Requested
        }
    }
}
