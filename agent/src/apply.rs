//! Owns the way from a response to the table: decodes, checks and compiles off to the side, then puts
//! all of it in force with one swap. Must not know: the protocol, sockets.
//!
//! What can't be put in force is rejected by name, and what was in force under that name stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bellwether::name::{Name, TypeUrl};
use bellwether::snapshot::Position;
use bellwether::subscriber::Update;
use bytes::Bytes;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::held::Held;
use crate::table::Table;

/// The only writer of the table.
#[derive(Debug)]
pub struct Applier {
    live: Arc<ArcSwap<Table>>,
    held: watch::Sender<Held>,
    /// Routes that were rejected only because their cluster is not in force, and that cluster.
    waiting: BTreeMap<Name, Name>,
}

impl Applier {
    /// Nothing is in force but what `live` already has.
    #[must_use]
    pub fn new(live: Arc<ArcSwap<Table>>) -> Self {
        let (held, _) = watch::channel(Held::default());
        Self {
            live,
            held,
            waiting: BTreeMap::new(),
        }
    }

    /// What is in force.
    #[must_use]
    pub fn held(&self) -> Held {
        self.held.borrow().clone()
    }

    /// Follows what is in force.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Held> {
        self.held.subscribe()
    }

    /// Remembers the newest position seen.
    pub fn set_position(&self, position: Option<Position>) {
        self.held.send_if_modified(|held| {
            let moved = held.position != position;
            held.position = position;
            moved
        });
    }

    /// Puts what was kept on disk in force. What this build can't take is left out, and said.
    pub fn restore(&mut self, kept: &Held) {
        let mut edit = self.live.load_full().edit();
        let mut held = Held::at(kept.position);
        for (id, resource) in kept.iter() {
            match edit.upsert(&id.type_url, &id.name, &resource.body) {
                Ok(()) => {
                    let body = resource.body.clone();
                    held.insert(&id.type_url, &id.name, &resource.version, body);
                }
                Err(reason) => warn!(resource = %id, reason, "left out a resource kept on disk"),
            }
        }
        self.live.store(edit.finish());
        info!(
            resources = held.len(),
            "serving the last good configuration from disk"
        );
        self.held.send_replace(held);
    }

    /// Puts an update in force; the names that are not, with the reason.
    pub async fn apply(&mut self, update: &Update) -> BTreeMap<Name, String> {
        let started = Instant::now();
        let mut rejected = BTreeMap::new();
        let mut edit = self.live.load_full().edit();
        let mut held = self.held();
        for (at, offer) in update.offers.iter().enumerate() {
            let body = Bytes::copy_from_slice(&offer.body);
            match edit.upsert(&update.type_url, &offer.name, &body) {
                Ok(()) => held.insert(&update.type_url, &offer.name, &offer.version, body),
                Err(reason) => drop(rejected.insert(offer.name.clone(), reason)),
            }
            if at % YIELD_EVERY == YIELD_EVERY - 1 {
                tokio::task::yield_now().await;
            }
        }
        for name in &update.removals {
            edit.remove(&update.type_url, name);
            held.remove(&update.type_url, name);
        }
        if update.type_url == TypeUrl::ROUTE {
            let named = update
                .offers
                .iter()
                .map(|offer| &offer.name)
                .chain(&update.removals);
            named.for_each(|name| drop(self.waiting.remove(name)));
        }
        self.waiting.extend(edit.waiting().clone());
        self.live.store(edit.finish());
        self.held.send_replace(held);
        self.log(update, &rejected, started);
        rejected
    }

    /// Rejected routes whose cluster has come into force since. Each is named once.
    pub fn worth_another_try(&mut self) -> Vec<Name> {
        let table = self.live.load();
        let ready = self
            .waiting
            .extract_if(.., |_, cluster| table.can_forward_to(cluster));
        ready.map(|(route, _)| route).collect()
    }

    fn log(&self, update: &Update, rejected: &BTreeMap<Name, String>, started: Instant) {
        info!(
            r#type = update.type_url.short(),
            revision = update.label,
            changed = update.offers.len() - rejected.len(),
            removed = update.removals.len(),
            rejected = rejected.len(),
            micros = started.elapsed().as_micros(),
            "configuration in force"
        );
        for (name, reason) in rejected {
            warn!(r#type = update.type_url.short(), %name, reason, "rejected a resource; what it replaces stays in force");
        }
    }
}

/// Resources compiled between two chances for others on the same thread: some milliseconds.
const YIELD_EVERY: usize = 200;
