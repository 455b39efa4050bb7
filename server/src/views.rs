//! Owns what each kind of client of a fleet gets: the native resources, and what is made of them for
//! Envoy and for gRPC. One task for each kind, which does nothing until the first such client comes.
//! Must not know: who the clients are, or how anything is translated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bellwether::name::TypeUrl;
use bellwether::resource::Resource;
use bellwether::snapshot::{Changes, Snapshot};
use bellwether_envoy::settings::Kind;
use bellwether_envoy::{Client, Settings, Translator};
use bellwether_xds::SnapshotFeed;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::settings::SettingsFeed;

/// Native resources that are worth moving off the other tasks' thread: some 10 ms of translating.
const MANY_RESOURCES: usize = 500;

/// Resources that can't be expressed named in the log at once; the status lists them all.
const LOGGED_UNSUPPORTED: usize = 20;

/// What the clients of one fleet get. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Views {
    native: SnapshotFeed,
    settings: SettingsFeed,
    envoy: View,
    /// For Envoys that nothing vouches for: routes carry the credentials of consumers, so it is made
    /// without consumers and certificates. What needs them refuses every request.
    envoy_without_secrets: View,
    grpc: View,
}

/// What one kind of client gets.
#[derive(Clone, Debug)]
struct View {
    feed: SnapshotFeed,
    wanted: Arc<watch::Sender<bool>>,
    report: watch::Receiver<Translation>,
}

/// What operators see of one kind's translation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Translation {
    /// Resources served, by short type: `Listener` 2.
    pub resources: BTreeMap<String, u64>,
    /// What of the configuration this kind of client can't be told.
    pub unsupported: Vec<Unsupported>,
}

/// Something that can't be expressed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unsupported {
    /// The native resource: `routes/1`.
    pub resource: String,
    /// What can't be expressed, and what becomes of it.
    pub reason: String,
}

/// Whether a client gets keys and credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// Something vouches for it.
    Given,
    /// Nothing does.
    Withheld,
}

/// Does the work for one kind of client.
#[derive(Debug)]
struct Worker {
    fleet: Arc<str>,
    client: Client,
    secrets: Secrets,
    native: SnapshotFeed,
    settings: SettingsFeed,
    wanted: watch::Receiver<bool>,
    feed: watch::Sender<Option<Arc<Snapshot>>>,
    report: watch::Sender<Translation>,
    translator: Option<Translator>,
    made: Snapshot,
}

impl Views {
    /// The views of a fleet, and what must run for them.
    fn prepare(fleet: &str, native: SnapshotFeed, settings: SettingsFeed) -> (Self, [Worker; 3]) {
        let one = |client, secrets| {
            let (feed, views) = watch::channel(None);
            let (report, reports) = watch::channel(Translation::default());
            let (wanted, wants) = watch::channel(false);
            let worker = Worker {
                fleet: fleet.into(),
                client,
                secrets,
                native: native.clone(),
                settings: settings.clone(),
                wanted: wants,
                feed,
                report,
                translator: None,
                made: Snapshot::default(),
            };
            let view = View {
                feed: views,
                wanted: Arc::new(wanted),
                report: reports,
            };
            (view, worker)
        };
        let (envoy, for_envoy) = one(Client::Envoy, Secrets::Given);
        let (envoy_without_secrets, for_others) = one(Client::Envoy, Secrets::Withheld);
        // gRPC's clients are told no secret anyway.
        let (grpc, for_grpc) = one(Client::Grpc, Secrets::Given);
        let views = Self {
            native,
            settings,
            envoy,
            envoy_without_secrets,
            grpc,
        };
        (views, [for_envoy, for_others, for_grpc])
    }

    /// Starts to offer the views of a fleet. It goes on until the process ends.
    #[must_use]
    pub fn start(fleet: &str, native: SnapshotFeed, settings: SettingsFeed) -> Self {
        let (views, workers) = Self::prepare(fleet, native, settings);
        for worker in workers {
            tokio::spawn(worker.run());
        }
        views
    }

    /// Views that nothing is done for.
    #[cfg(test)]
    pub(crate) fn idle() -> Self {
        Self::prepare("", watch::channel(None).1, watch::channel(None).1).0
    }

    /// What a client gets that calls itself `user_agent`. The first of its kind sets the work going.
    #[must_use]
    pub fn feed(&self, user_agent: &str, secrets: Secrets) -> SnapshotFeed {
        let kind = match &*self.settings.borrow() {
            Some(in_force) => in_force.settings.kind(user_agent),
            None => Settings::default().kind(user_agent),
        };
        let view = match kind {
            Kind::Native => return self.native.clone(),
            Kind::Envoy if secrets == Secrets::Withheld => &self.envoy_without_secrets,
            Kind::Envoy => &self.envoy,
            Kind::Grpc => &self.grpc,
        };
        view.wanted.send_if_modified(|wanted| {
            let first = !*wanted;
            *wanted = true;
            first
        });
        view.feed.clone()
    }

    /// How the translations do that somebody has asked for.
    #[must_use]
    pub fn translations(&self) -> BTreeMap<String, Translation> {
        let views = [
            ("envoy", &self.envoy),
            ("envoy_without_secrets", &self.envoy_without_secrets),
            ("grpc", &self.grpc),
        ];
        views
            .into_iter()
            .filter(|(_, view)| *view.wanted.borrow())
            .map(|(name, view)| (name.to_owned(), view.report.borrow().clone()))
            .collect()
    }

    /// What there is to say of the fleet's settings.
    #[must_use]
    pub fn settings(&self) -> crate::settings::SettingsStatus {
        let in_force = self.settings.borrow();
        in_force
            .as_ref()
            .map(|in_force| in_force.status.clone())
            .unwrap_or_default()
    }
}

impl Worker {
    async fn run(mut self) {
        // An error, here and below, means that nobody can want or say anything any more.
        if self.wanted.wait_for(|wanted| *wanted).await.is_err() {
            return;
        }
        info!(fleet = %self.fleet, client = ?self.client, "the first of its kind: translating for it");
        loop {
            let native = self.native.borrow_and_update().clone();
            let settings = self.settings.borrow_and_update().clone();
            if let (Some(native), Some(settings)) = (native, settings) {
                match self.secrets {
                    Secrets::Given => self.on_change(&native, &settings.settings),
                    Secrets::Withheld => {
                        let less = native.denying(&[TypeUrl::CERTIFICATE, TypeUrl::CONSUMER]);
                        self.on_change(&less, &settings.settings);
                    }
                }
            }
            let goes_on = tokio::select! {
                changed = self.native.changed() => changed.is_ok(),
                changed = self.settings.changed() => changed.is_ok(),
            };
            if !goes_on {
                break;
            }
        }
        // Whoever serves goes on with what there is.
        std::future::pending::<()>().await;
    }

    fn on_change(&mut self, native: &Snapshot, settings: &Settings) {
        let resources: usize = native.types().map(|published| published.set().len()).sum();
        // A runtime of one thread has nobody to go on meanwhile.
        let has_others = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
        if resources > MANY_RESOURCES && has_others {
            tokio::task::block_in_place(|| self.publish(native, settings));
        } else {
            self.publish(native, settings);
        }
    }

    fn publish(&mut self, native: &Snapshot, settings: &Settings) {
        // A store that may have been wiped takes nothing from anybody (R44).
        if native.is_blank() {
            self.feed.send_replace(Some(Arc::new(native.clone())));
            return;
        }
        let started = Instant::now();
        let label = native
            .position()
            .map(|at| at.to_string())
            .unwrap_or_default();
        let changes = self.translate(native, settings);
        let resources = changes.upserts.len() + changes.removals.len();
        match self.made.next(label.as_str(), changes) {
            Ok(next) => self.made = next,
            Err(problems) => {
                let first = problems
                    .first()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                error!(
                    fleet = %self.fleet,
                    client = ?self.client,
                    count = problems.len(),
                    first,
                    "translated resources contradict each other, which is a defect of this server; all is translated again"
                );
                self.again(native, settings, &label);
            }
        }
        debug!(
            fleet = %self.fleet,
            client = ?self.client,
            resources,
            micros = started.elapsed().as_micros(),
            "configuration translated"
        );
        self.feed
            .send_replace(Some(Arc::new(native.with(&self.made))));
        self.say();
    }

    fn translate(&mut self, native: &Snapshot, settings: &Settings) -> Changes {
        let Some(translator) = &mut self.translator else {
            let mut translator = Translator::new(self.client, settings.clone());
            let changes = translator.update(native);
            self.translator = Some(translator);
            return changes;
        };
        let configured = translator.configure(settings.clone());
        Changes::merged(vec![configured, translator.update(native)])
    }

    /// From nothing. If that is no better, what was made before is served on.
    fn again(&mut self, native: &Snapshot, settings: &Settings, label: &str) {
        let mut translator = Translator::new(self.client, settings.clone());
        let all: Vec<Resource> = translator.update(native).upserts;
        self.translator = Some(translator);
        let changes = self.made.changes_to(all);
        if let Ok(next) = self.made.next(label, changes) {
            self.made = next;
        }
    }

    fn say(&self) {
        let Some(translator) = &self.translator else {
            return;
        };
        let mut unsupported: Vec<Unsupported> = translator
            .unsupported()
            .map(|one| Unsupported {
                resource: one.resource.name.to_string(),
                reason: one.what.clone(),
            })
            .collect();
        unsupported.sort();
        unsupported.dedup();
        self.log_new(&unsupported);
        let resources = self
            .made
            .types()
            .map(|published| {
                let name = published.type_url().short().to_owned();
                (name, published.set().len() as u64)
            })
            .collect();
        self.report.send_replace(Translation {
            resources,
            unsupported,
        });
    }

    /// What can't be expressed since now is worth a line; what could not before is not.
    fn log_new(&self, unsupported: &[Unsupported]) {
        let known = self.report.borrow().clone();
        let is_new = |one: &&Unsupported| known.unsupported.binary_search(one).is_err();
        let mut new = unsupported.iter().filter(is_new);
        for one in new.by_ref().take(LOGGED_UNSUPPORTED) {
            warn!(
                fleet = %self.fleet,
                client = ?self.client,
                resource = one.resource,
                reason = one.reason,
                "can't be expressed for this kind of client"
            );
        }
        let more = new.count();
        if more > 0 {
            warn!(fleet = %self.fleet, client = ?self.client, more, "and more, which the status names");
        }
    }
}

#[cfg(test)]
mod tests;
