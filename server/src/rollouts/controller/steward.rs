//! Owns one fleet during one term: takes what was seen to the next state and writes it. Must not know:
//! what a state means, or how nodes are watched.

use std::sync::Arc;
use std::time::Duration;

use bellwether_rollout::machine::{Command, Step, take_over, tick};
use bellwether_rollout::state::Start;
use bellwether_rollout::{Evidence, Millis, Release};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::super::StagedFleet;
use super::super::gates::Gates;
use super::super::leader::Term;
use super::super::line::{self, Current, Line, LineError};
use super::super::mirror::{Mirrored, Of, mirror};
use super::super::report::Told;
use super::Context;
use super::housekeeping;
use crate::clock::unix_ms;
use crate::keys;
use crate::store::{Commit, Revision, StoreError};

/// How often it is looked whether time alone changes something.
const LOOK: Duration = Duration::from_secs(1);

/// How long what this one wrote may take to be told to it. If it never is, the store is one of an earlier
/// time, and what it says counts.
const TOLD: Duration = Duration::from_secs(10);

/// Looks after one fleet. It ends with the term.
pub(super) struct Steward {
    context: Arc<Context>,
    fleet: StagedFleet,
    line: Line,
    since: Instant,
    gates: Gates,
    /// What this one wrote last: nothing is concluded from what was before.
    written: Revision,
    /// When.
    wrote: Instant,
    took_over: bool,
    trouble: Option<String>,
    /// Work that takes longer, one of a kind at a time.
    aside: JoinSet<()>,
    next_cut: Instant,
    next_housekeeping: Instant,
}

impl Steward {
    pub(super) fn new(context: Arc<Context>, fleet: StagedFleet, term: Term) -> Self {
        let line = Line::new(context.store.clone(), &fleet.name);
        let now = Instant::now();
        Self {
            context,
            line,
            since: term.since,
            gates: Gates::default(),
            written: Revision(0),
            wrote: now,
            took_over: false,
            trouble: None,
            aside: JoinSet::new(),
            next_cut: now,
            next_housekeeping: now + housekeeping::FIRST,
            fleet,
        }
    }

    pub(super) async fn run(mut self) {
        let store = self.context.store.clone();
        let mut states = mirror(store, Of::Key(keys::state(&self.fleet.name)));
        let mut replicas = self.context.replicas.clone();
        loop {
            let state = states.borrow_and_update().clone();
            // What this one reads from it is what the others will: it is all that was written.
            let is_told = state.revision >= self.written || self.wrote.elapsed() > TOLD;
            if state.live && is_told {
                self.look(&state).await;
            }
            self.tell();
            replicas.borrow_and_update();
            tokio::select! {
                () = sleep(LOOK) => {}
                _ = states.changed() => {}
                _ = replicas.changed() => {}
                () = self.gates.changed() => {}
            }
        }
    }

    async fn look(&mut self, mirrored: &Mirrored) {
        let entry = mirrored.entries.get(&keys::state(&self.fleet.name));
        let current = match entry.map(|heard| &heard.kv) {
            Some(kv) => match self.line.parse(&kv.value, kv.mod_revision) {
                Ok(current) => current,
                Err(error) => {
                    self.trouble = Some(error.to_string());
                    return;
                }
            },
            // Nothing to look after, and somebody's first release may begin something.
            None => line::none_yet(),
        };
        let rollout = current.state.rollout.as_deref();
        self.gates.follow(&self.fleet.name, rollout);
        let now = Millis(unix_ms());
        if !self.took_over && current.at > Revision(0) {
            match take_over(&current.state, now) {
                Some(step) => return self.write(&current, &step).await,
                None => self.took_over = true,
            }
        }
        if let Some(step) = tick(
            &current.state,
            &self.evidence(&current),
            &self.gates.verdict(Instant::now()),
            now,
        ) {
            return self.write(&current, &step).await;
        }
        self.trouble = None;
        self.cut(&current);
        self.keep_house(&current);
    }

    fn evidence(&self, current: &Current) -> Evidence {
        let exposure = current.state.rollout.as_ref().map_or(0, |one| one.exposure);
        let replicas = self.context.replicas.borrow();
        replicas.evidence(&self.fleet.name, exposure, self.since, Instant::now())
    }

    /// The term, if it still is one.
    fn term(&self) -> Option<Term> {
        let term = self.context.terms.borrow().clone()?;
        (term.since == self.since && Instant::now() < term.until).then_some(term)
    }

    async fn write(&mut self, current: &Current, step: &Step) {
        let Some(term) = self.term() else {
            return;
        };
        let who = &self.context.server;
        match self.line.write(current, step, who, vec![term.fence]).await {
            Ok(Commit::Applied(at)) => {
                self.took_over = true;
                (self.written, self.wrote) = (at, Instant::now());
                self.trouble = None;
                line::log(&self.fleet.name, who, &step.events);
            }
            // Somebody else wrote, or leads: the store will tell.
            Ok(Commit::Conflict) => sleep(LOOK / 10).await,
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &LineError) {
        let reason = error.to_string();
        if self.trouble.as_ref() != Some(&reason) {
            tracing::warn!(fleet = self.fleet.name, reason, "can't decide");
        }
        self.trouble = Some(reason);
    }

    /// Says what only the leader knows.
    fn tell(&self) {
        let told = Told {
            gates: self.gates.told(Instant::now()),
            trouble: self.trouble.clone(),
        };
        self.context.told.send_if_modified(|all| {
            let known = all.get(&self.fleet.name);
            if known.cloned().unwrap_or_default() == told {
                return false;
            }
            let all = Arc::make_mut(all);
            if told == Told::default() {
                all.remove(&self.fleet.name);
            } else {
                all.insert(self.fleet.name.clone(), told);
            }
            true
        });
    }

    /// Cuts a release of keys that have been quiet, and rolls it out, where the fleet wants it so.
    fn cut(&mut self, current: &Current) {
        let now = Instant::now();
        while self.aside.try_join_next().is_some() {}
        let idle = current.state.hold.is_none() && self.aside.is_empty();
        let (Some(drafts), Some(quiet), Some(policy)) = (
            &self.context.drafts,
            self.fleet.cut_after,
            &self.fleet.policy,
        ) else {
            return;
        };
        if !idle || now < self.next_cut {
            return;
        }
        self.next_cut = now + LOOK;
        let (drafts, policy) = (drafts.clone(), policy.clone());
        let (line, fleet, server) = (
            self.line.clone(),
            self.fleet.name.clone(),
            self.context.server.clone(),
        );
        self.aside.spawn(async move {
            let release: Release = match drafts.cut_if_quiet(&fleet, quiet).await {
                Ok(Some(release)) => release,
                Ok(None) => return,
                Err(reason) => return tracing::warn!(fleet, reason, "no release was cut"),
            };
            let start = Start {
                target: release,
                policy,
                author: server.clone(),
                reason: format!("keys were quiet for {} s", quiet.as_secs()),
            };
            begin(&line, &Command::Start(start), &server, &fleet).await;
        });
    }

    fn keep_house(&mut self, current: &Current) {
        let now = Instant::now();
        if now < self.next_housekeeping || !self.aside.is_empty() {
            return;
        }
        self.next_housekeeping = now + housekeeping::INTERVAL;
        let reported = self.context.replicas.borrow().in_use(&self.fleet.name);
        let (store, fleet) = (self.context.store.clone(), self.fleet.clone());
        let (line, current) = (self.line.clone(), current.clone());
        self.aside.spawn(async move {
            housekeeping::keep(store, &fleet, &line, &current, reported).await;
        });
    }
}

/// Starts what was cut by itself: nobody else will. A store that is away is waited for.
async fn begin(line: &Line, start: &Command, server: &str, fleet: &str) {
    loop {
        match line.command(start, server, &Evidence::default()).await {
            Ok(_) => return,
            Err(LineError::Store(StoreError::Unavailable { .. }) | LineError::Busy(_)) => {
                sleep(LOOK).await;
            }
            Err(error) => return tracing::warn!(fleet, %error, "a release is not rolled out"),
        }
    }
}
