//! Owns what the nodes of each kind are served: agents the native types, Envoys and programs with gRPC's
//! own xDS client what those come to for them besides. Must not know: how it is translated, who is
//! connected.
//!
//! A kind is translated from the moment its first node connects, by one task, from then on step by step.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bellwether::snapshot::{Changes, Snapshot};
use bellwether_envoy::settings::Kind;
use bellwether_envoy::{Client, Settings, Translator, Unsupported};
use bellwether_xds::SnapshotFeed;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;
use tracing::{error, info, warn};

/// Resources that can't be expressed named in the log at once; the status lists them all.
const LOGGED_UNSUPPORTED: usize = 20;

/// The settings of a fleet, latest wins.
pub type SettingsFeed = watch::Receiver<Arc<Settings>>;

/// What is known of one kind's translation.
#[derive(Clone, Debug, Default)]
pub struct ViewStatus {
    /// Resources served besides the native ones.
    pub resources: u64,
    /// What can't be expressed for this kind of client, in the order of names.
    pub unsupported: Vec<Unsupported>,
}

/// The views of one fleet.
#[derive(Clone, Debug)]
pub struct Views {
    fleet: Arc<str>,
    native: SnapshotFeed,
    settings: SettingsFeed,
    envoy: Arc<OnceLock<View>>,
    grpc: Arc<OnceLock<View>>,
}

#[derive(Debug)]
struct View {
    feed: SnapshotFeed,
    status: watch::Receiver<Arc<ViewStatus>>,
}

impl Views {
    /// Of a fleet whose native snapshots and settings are these.
    #[must_use]
    pub fn new(fleet: &str, native: SnapshotFeed, settings: SettingsFeed) -> Self {
        Self {
            fleet: fleet.into(),
            native,
            settings,
            envoy: Arc::default(),
            grpc: Arc::default(),
        }
    }

    /// What a node with this user agent is served.
    #[must_use]
    pub fn feed(&self, user_agent: &str) -> SnapshotFeed {
        let kind = self.settings.borrow().kind(user_agent);
        match kind {
            Kind::Native => self.native.clone(),
            Kind::Envoy => self.view(&self.envoy, Client::Envoy).feed.clone(),
            Kind::Grpc => self.view(&self.grpc, Client::Grpc).feed.clone(),
        }
    }

    /// How the translation for a kind does; `None` as long as no node of it was there.
    #[must_use]
    pub fn status(&self, client: Client) -> Option<Arc<ViewStatus>> {
        let view = match client {
            Client::Envoy => self.envoy.get(),
            Client::Grpc => self.grpc.get(),
        };
        view.map(|view| view.status.borrow().clone())
    }

    fn view<'a>(&self, view: &'a OnceLock<View>, client: Client) -> &'a View {
        view.get_or_init(|| {
            let (sender, feed) = watch::channel(None);
            let (statuses, status) = watch::channel(Arc::default());
            let worker = Worker {
                fleet: self.fleet.clone(),
                client,
                native: self.native.clone(),
                settings: self.settings.clone(),
                translator: Translator::new(client, Settings::clone(&self.settings.borrow())),
                translated: Snapshot::default(),
                feed: sender,
                status: statuses,
            };
            info!(fleet = %self.fleet, ?client, "the first node of its kind: translating for it");
            tokio::spawn(worker.run());
            View { feed, status }
        })
    }
}

/// Translates for one kind.
struct Worker {
    fleet: Arc<str>,
    client: Client,
    native: SnapshotFeed,
    settings: SettingsFeed,
    translator: Translator,
    translated: Snapshot,
    feed: watch::Sender<Option<Arc<Snapshot>>>,
    status: watch::Sender<Arc<ViewStatus>>,
}

impl Worker {
    async fn run(mut self) {
        self.native.mark_changed();
        loop {
            tokio::select! {
                Ok(()) = self.native.changed() => {}
                Ok(()) = self.settings.changed() => {}
                // The server goes down; whoever is connected keeps what there is until it has.
                else => std::future::pending().await,
            }
            let settings = self.settings.borrow_and_update().clone();
            let native = self.native.borrow_and_update().clone();
            let Some(native) = native else {
                continue;
            };
            // A runtime of one thread has nobody to go on meanwhile.
            if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
                tokio::task::block_in_place(|| self.translate(&settings, &native));
            } else {
                self.translate(&settings, &native);
            }
        }
    }

    fn translate(&mut self, settings: &Settings, native: &Snapshot) {
        let started = Instant::now();
        let configured = self.translator.configure(settings.clone());
        let updated = self.translator.update(native);
        let changes = Changes::merged(vec![configured, updated]);
        let count = changes.upserts.len() + changes.removals.len();
        let label = native
            .position()
            .map(|position| position.to_string())
            .unwrap_or_default();
        match self.translated.next(label, changes) {
            Ok(next) => self.translated = next,
            Err(problems) => {
                let first = problems.first().map(ToString::to_string);
                error!(
                    fleet = %self.fleet,
                    client = ?self.client,
                    count = problems.len(),
                    first = first.unwrap_or_default(),
                    "translated resources contradict each other, which is a defect of this server; the last ones are served on"
                );
                return;
            }
        }
        self.report();
        let view = native.with(&self.translated);
        self.feed.send_replace(Some(Arc::new(view)));
        if count > 0 {
            info!(
                fleet = %self.fleet,
                client = ?self.client,
                resources = count,
                micros = started.elapsed().as_micros(),
                "configuration translated"
            );
        }
    }

    fn report(&self) {
        let mut unsupported: Vec<Unsupported> = self.translator.unsupported().cloned().collect();
        unsupported.sort();
        unsupported.dedup();
        let known = self.status.borrow().clone();
        let is_new = |it: &&Unsupported| known.unsupported.binary_search(it).is_err();
        for new in unsupported.iter().filter(is_new).take(LOGGED_UNSUPPORTED) {
            warn!(
                fleet = %self.fleet,
                client = ?self.client,
                resource = %new.resource,
                reason = new.what,
                "can't be expressed for this kind of client"
            );
        }
        self.status.send_replace(Arc::new(ViewStatus {
            resources: self.translator.len() as u64,
            unsupported,
        }));
    }
}
