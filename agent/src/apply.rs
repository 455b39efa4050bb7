//! Owns the way from a response to the table: decodes, checks and compiles off to the side, then puts
//! all of it in force with one swap. Must not know: the protocol, sockets.
//!
//! What can't be put in force is rejected by name, and what was in force under that name stays. So is what
//! this agent died of before, without a look at it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bellwether::content::Content;
use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::snapshot::Position;
use bellwether::subscriber::Update;
use bytes::Bytes;
use tokio::sync::watch;
use tracing::{info, warn};

#[cfg(debug_assertions)]
use crate::fault::Fault;
use crate::held::Held;
use crate::probation::{Guard, REFUSAL, States};
use crate::table::Table;

/// The only writer of the table.
#[derive(Debug)]
pub struct Applier {
    live: Arc<ArcSwap<Table>>,
    held: watch::Sender<Held>,
    /// Routes that were rejected only because their cluster is not in force, and that cluster.
    waiting: BTreeMap<Name, Name>,
    /// Asked before each change; without it nothing is refused or noted.
    guard: Option<Guard>,
    #[cfg(debug_assertions)]
    fault: Fault,
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
            guard: None,
            #[cfg(debug_assertions)]
            fault: Fault::from_environment(),
        }
    }

    /// From now on nothing is changed without asking.
    pub fn set_guard(&mut self, guard: Guard) {
        self.guard = Some(guard);
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

    /// Remembers a position, unless a newer one was seen.
    pub fn see_position(&self, position: Option<Position>) {
        see(&self.held, position);
    }

    /// Does the same for somebody who is told of positions elsewhere.
    pub fn positions(&self) -> impl Fn(Position) + Send + Sync + use<> {
        let held = self.held.clone();
        move |position| see(&held, Some(position))
    }

    /// Puts what was kept on disk in force. What this build can't take is left out, and said.
    pub fn restore(&mut self, kept: &Held) {
        let mut edit = self.live.load_full().edit();
        let mut held = Held::at(kept.position);
        for (id, resource) in kept.iter() {
            #[cfg(debug_assertions)]
            self.fault.touches(&id.type_url, &resource.body);
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
            "serving the configuration kept on disk"
        );
        self.held.send_replace(held);
    }

    /// Puts an update in force; the names that are not, with the reason.
    pub async fn apply(&mut self, update: &Update) -> BTreeMap<Name, String> {
        let started = Instant::now();
        let mut rejected = self.refused(update);
        let is_guarded = self.ask_guard(update, &rejected).await;
        let mut edit = self.live.load_full().edit();
        let mut held = self.held();
        for (at, offer) in update.offers.iter().enumerate() {
            if rejected.contains_key(&offer.name) {
                continue;
            }
            let body = Bytes::copy_from_slice(&offer.body);
            #[cfg(debug_assertions)]
            self.fault.touches(&update.type_url, &body);
            match edit.upsert(&update.type_url, &offer.name, &body) {
                Ok(()) => held.insert(&update.type_url, &offer.name, &offer.version, body),
                Err(reason) => drop(rejected.insert(offer.name.clone(), reason)),
            }
            if at % YIELD_EVERY == YIELD_EVERY - 1 {
                tokio::task::yield_now().await;
            }
        }
        for name in &update.removals {
            if !rejected.contains_key(name) {
                edit.remove(&update.type_url, name);
                held.remove(&update.type_url, name);
            }
        }
        if update.type_url == TypeUrl::ROUTE {
            let offered = update.offers.iter().map(|offer| &offer.name);
            let named = offered.chain(&update.removals);
            named.for_each(|name| drop(self.waiting.remove(name)));
        }
        self.waiting.extend(edit.waiting().clone());
        self.live.store(edit.finish());
        let content = self.publish(held);
        if let Some(guard) = &mut self.guard
            && (is_guarded || guard.has_released())
        {
            guard.after(content).await;
        }
        self.log(update, &rejected, started);
        rejected
    }

    /// What this agent died of.
    fn refused(&mut self, update: &Update) -> BTreeMap<Name, String> {
        let Some(guard) = &mut self.guard else {
            return BTreeMap::new();
        };
        let refused = states(update)
            .filter(|(name, version)| {
                let id = ResourceId::new(update.type_url.clone(), (*name).clone());
                guard.refuses(&id, *version)
            })
            .map(|(name, _)| (name.clone(), REFUSAL.to_owned()));
        refused.collect()
    }

    /// Tells the guard what is about to change, if anything is. Whether it is to be told the end of it.
    async fn ask_guard(&mut self, update: &Update, refused: &BTreeMap<Name, String>) -> bool {
        let changes = self.changes(update, refused);
        let (Some(guard), Some((content, names))) = (&mut self.guard, changes) else {
            return false;
        };
        guard.before(content, names).await;
        true
    }

    /// What all will be called, and what is about to change; `None` if nothing is.
    fn changes(
        &self,
        update: &Update,
        refused: &BTreeMap<Name, String>,
    ) -> Option<(Option<Content>, States)> {
        let held = self.held();
        let allowed = states(update).filter(|(name, _)| !refused.contains_key(*name));
        let mut changes = allowed
            .map(|(name, version)| {
                (
                    ResourceId::new(update.type_url.clone(), name.clone()),
                    version,
                )
            })
            .filter(|(id, version)| held.version(id) != *version)
            .peekable();
        changes.peek()?;
        if !self.guard.as_ref().is_some_and(Guard::wants_names) {
            return Some((None, States::new()));
        }
        let (mut then, mut names) = (held.clone(), States::new());
        for (id, version) in changes {
            match version {
                Some(version) => then.insert(&id.type_url, &id.name, version, Bytes::new()),
                None => then.remove(&id.type_url, &id.name),
            }
            names.insert(id, version.map(str::to_owned));
        }
        Some((then.content(), names))
    }

    /// Lets everybody see what is in force; its name.
    fn publish(&self, mut held: Held) -> Option<Content> {
        let content = held.content();
        self.held.send_modify(|before| {
            // Somebody may have been told of a newer position meanwhile.
            held.position = Position::newest(held.position, before.position);
            *before = held;
        });
        content
    }

    /// What was rejected and would be taken now: routes whose cluster has come into force since, and what
    /// is refused no more. Each is named once.
    pub fn worth_another_try(&mut self) -> BTreeMap<TypeUrl, Vec<Name>> {
        let mut again: BTreeMap<TypeUrl, Vec<Name>> = BTreeMap::new();
        let released = self.guard.iter_mut().flat_map(Guard::take_again);
        released.for_each(|id| again.entry(id.type_url).or_default().push(id.name));
        let table = self.live.load();
        let ready = self
            .waiting
            .extract_if(.., |_, cluster| table.can_forward_to(cluster));
        let routes: Vec<Name> = ready.map(|(route, _)| route).collect();
        if !routes.is_empty() {
            again.entry(TypeUrl::ROUTE).or_default().extend(routes);
        }
        again
    }

    fn log(&self, update: &Update, rejected: &BTreeMap<Name, String>, started: Instant) {
        info!(
            r#type = update.type_url.short(),
            revision = update.label,
            offered = update.offers.len(),
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

/// What names stand for in an update: a version, or that they are gone.
fn states(update: &Update) -> impl Iterator<Item = (&Name, Option<&str>)> {
    let offers = update.offers.iter();
    let offers = offers.map(|offer| (&offer.name, Some(&*offer.version)));
    offers.chain(update.removals.iter().map(|name| (name, None)))
}

fn see(held: &watch::Sender<Held>, position: Option<Position>) {
    held.send_if_modified(|held| {
        let newest = Position::newest(held.position, position);
        let moved = held.position != newest;
        held.position = newest;
        moved
    });
}

/// Resources compiled between two chances for others on the same thread: some milliseconds.
const YIELD_EVERY: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::probation::{Keeper, boot};
    use crate::table::{Limits, Matching};
    use bellwether::name::Version;
    use bellwether::subscriber::Subscriber;
    use bellwether::wire::core::Node;
    use bellwether::wire::discovery::{DeltaDiscoveryResponse, Resource};
    use bellwether::wire::google::protobuf::Any;
    use bellwether::wire::native::{self, route};
    use prost::Message;
    use std::time::Duration;

    fn body(status: u32) -> Vec<u8> {
        let respond = native::DirectResponse {
            status,
            ..native::DirectResponse::default()
        };
        let route = native::Route {
            paths: vec!["/a".into()],
            action: Some(route::Action::Respond(respond)),
            ..native::Route::default()
        };
        route.encode_to_vec()
    }

    fn update(offers: &[(&str, Vec<u8>)], removals: &[&str]) -> Update {
        let mut subscriber = Subscriber::new(Node::default(), &TypeUrl::NATIVE);
        let resource = |(name, body): &(&str, Vec<u8>)| Resource {
            name: (*name).to_owned(),
            version: Version::of(body).to_string(),
            resource: Some(Any {
                type_url: TypeUrl::ROUTE.to_string(),
                value: body.clone().into(),
            }),
            ..Resource::default()
        };
        let response = DeltaDiscoveryResponse {
            type_url: TypeUrl::ROUTE.to_string(),
            resources: offers.iter().map(resource).collect(),
            removed_resources: removals.iter().map(ToString::to_string).collect(),
            ..DeltaDiscoveryResponse::default()
        };
        subscriber.on_response(response).unwrap()
    }

    /// What this agent died of is not even decoded, and a removal that it died of is not done.
    #[tokio::test]
    async fn what_killed_before_is_refused_until_it_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        // No route at all, as only decoding would find out.
        let bad = b"\xff".to_vec();
        let version = Version::of(&bad);
        let (kind, zeros) = (TypeUrl::ROUTE, "0".repeat(32));
        let noted = format!(
            r#"{{"phase":"trying","crashes":2,"content":"{zeros}","tried":[],"setbacks":[],"quarantine":[],
            "changing":[{{"type":"{kind}","name":"bad","version":"{version}"}},
                        {{"type":"{kind}","name":"needed","version":null}}]}}"#
        );
        disk.save_attempt(noted.as_bytes()).unwrap();
        let mut good = Held::default();
        let needed = body(200);
        let its_version = Version::of(&needed).to_string();
        good.insert(&kind, &"needed".into(), &its_version, needed.into());
        disk.save(crate::disk::Kept::LastGood, &good).unwrap();

        let boot = boot(&disk);
        let table = Table::empty(Limits::default(), Matching::default());
        let mut applier = Applier::new(Arc::new(ArcSwap::new(table)));
        applier.restore(boot.held.as_ref().unwrap());
        let probation = Duration::from_secs(60);
        let (keeper, guard) = Keeper::new(disk, boot, applier.watch(), probation);
        applier.set_guard(guard);
        let (_stop, stopped) = watch::channel(false);
        let status = keeper.watch();
        tokio::spawn(keeper.run(stopped));

        let killing = update(&[("bad", bad), ("other", body(201))], &["needed"]);
        let rejected = applier.apply(&killing).await;
        let refused: Vec<_> = rejected
            .iter()
            .map(|(name, why)| (name.as_str(), &**why))
            .collect();
        assert_eq!(refused, [("bad", REFUSAL), ("needed", REFUSAL)]);
        let names = |applier: &Applier| {
            let held = applier.held();
            let names: Vec<_> = held.iter().map(|(id, _)| id.name.to_string()).collect();
            names
        };
        assert_eq!(names(&applier), ["needed", "other"]);
        assert_eq!(status.borrow().quarantine.len(), 2);

        assert_eq!(
            applier
                .apply(&update(&[("bad", body(202))], &[]))
                .await
                .len(),
            0
        );
        let again = applier.worth_another_try();
        assert_eq!(again, BTreeMap::from([(kind, vec![Name::from("needed")])]));
        assert_eq!(applier.apply(&update(&[], &["needed"])).await.len(), 0);
        assert_eq!(names(&applier), ["bad", "other"]);
    }
}
