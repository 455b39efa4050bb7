//! Owns who is an instance of one service, and which of them proxies are told of. Must not know: keys,
//! other services, time.
//!
//! An instance that is gone without having been drained stays known. While enough of those that are known
//! live, the living are in force; when nearly all are gone at once it is not they that failed but what keeps
//! them registered, and then all that are known stay in force. So an empty set never takes the place of
//! another, unless everybody in it was drained.
//!
//! Of those whose keys were written without the Admin API nobody can tell whether they were drained. The
//! last ones stay all the same: all that went within a minute before nobody was left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::wire::native;

use super::instance::Instance;

/// Of so many that are known, one must live for the living to be believed: of up to four, a single one.
const KNOWN_TO_ONE_ALIVE: usize = 4;

/// What goes without a word within this time before nobody is left goes for one reason: some leases.
const AT_ONCE: Duration = Duration::from_secs(60);

/// Whether so many of so many that are known are believed to be all that live.
pub(super) fn believes(alive: usize, known: usize) -> bool {
    alive.saturating_mul(KNOWN_TO_ONE_ALIVE) >= known
}

/// The instances of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    members: BTreeMap<Arc<str>, Member>,
    counts: Counts,
}

/// How many there are, of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    alive: usize,
    known: usize,
    lost: usize,
}

/// One instance, by what is said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Member {
    /// Its key is there.
    live: Option<Arc<Instance>>,
    /// The store says that it is known.
    known: Option<Arc<Instance>>,
    /// This server saw it go, and the store never said that it is known: whoever wrote its key did so
    /// without the Admin API.
    remembered: Option<(Arc<Instance>, Instant)>,
    /// The store says that it was drained, so that its end says nothing.
    drained: bool,
}

impl Member {
    fn instance(&self) -> Option<&Arc<Instance>> {
        let remembered = self.remembered.as_ref().map(|(instance, _)| instance);
        self.live.as_ref().or(self.known.as_ref()).or(remembered)
    }
}

/// What became of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Registered, or changed.
    Up(Instance),
    /// Its key is gone.
    Down,
    /// The store says that it is known.
    Known(Instance),
    /// The store says that it was drained.
    Drained,
    /// The store says nothing of it any more.
    Forgotten,
}

impl Service {
    /// Takes what became of one of them.
    pub fn on(&mut self, id: &str, event: Event, now: Instant) {
        let member = match self.members.get_mut(id) {
            Some(member) => member,
            None => self.members.entry(id.into()).or_default(),
        };
        match event {
            Event::Up(instance) => {
                member.live = Some(Arc::new(instance));
                member.remembered = None;
                member.drained = false;
                self.remember(|_| false);
            }
            Event::Down => {
                let was = member.live.take();
                if member.known.is_none() && !member.drained && was.is_some() {
                    member.remembered = was.map(|was| (was, now));
                    self.remember(|since| now.saturating_duration_since(since) <= AT_ONCE);
                }
            }
            Event::Known(instance) => {
                member.known = Some(Arc::new(instance));
                member.remembered = None;
                member.drained = false;
            }
            Event::Drained => {
                member.known = None;
                member.remembered = None;
                member.drained = true;
            }
            Event::Forgotten => {
                member.known = None;
                member.drained = false;
            }
        }
        let is_told_of = |member: &Member| member.drained || member.instance().is_some();
        if !self.members.get(id).is_some_and(is_told_of) {
            self.members.remove(id);
        }
        let all = || self.members.values();
        self.counts = Counts {
            alive: all().filter(|one| one.live.is_some()).count(),
            known: all().filter(|one| one.instance().is_some()).count(),
            lost: all()
                .filter(|one| one.live.is_none() && one.known.is_some())
                .count(),
        };
    }

    /// Of those that this server alone remembers, keeps these. The others are gone for good.
    fn remember(&mut self, keep: impl Fn(Instant) -> bool) {
        self.members.retain(|_, member| {
            member.remembered.take_if(|(_, since)| !keep(*since));
            member.drained || member.instance().is_some()
        });
    }

    /// How many live.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.counts.alive
    }

    /// How many are known, alive or not.
    #[must_use]
    pub fn known(&self) -> usize {
        self.counts.known
    }

    /// How many have gone and are known to the store.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.counts.lost
    }

    /// Whether nothing is said of any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether the living alone are in force.
    #[must_use]
    pub fn believes_the_living(&self) -> bool {
        match self.alive() {
            0 => self.known() == 0,
            alive => believes(alive, alive + self.lost()),
        }
    }

    /// Those that proxies are told of, by id, and whether each lives.
    pub fn in_force(&self) -> impl Iterator<Item = (&str, &Instance, bool)> {
        let all = !self.believes_the_living();
        let nobody = self.alive() == 0;
        self.members.iter().filter_map(move |(id, member)| {
            let alive = member.live.is_some();
            let stays = all && (nobody || member.remembered.is_none());
            let instance = member.instance()?;
            (alive || stays).then_some((&**id, &**instance, alive))
        })
    }

    /// The same as endpoints, by address, each once.
    #[must_use]
    pub fn endpoints(&self) -> Vec<native::Endpoint> {
        // With none that is well, it says more of how that is found out than of them.
        let look = self.in_force().any(|(_, instance, _)| instance.healthy);
        let mut endpoints = BTreeMap::new();
        for (_, instance, _) in self.in_force() {
            let endpoint = instance.endpoint(look);
            let found = endpoints
                .entry((instance.host.as_str(), instance.port))
                .or_insert_with(|| endpoint.clone());
            if found.weight < endpoint.weight {
                *found = endpoint;
            }
        }
        endpoints.into_values().collect()
    }
}
