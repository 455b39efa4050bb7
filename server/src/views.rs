//! Owns what each kind of client of a fleet gets: the native resources, and what is made of them for
//! Envoy and for gRPC; each without secrets too, for nodes that nothing vouches for. One task for each
//! view, which does nothing until the first client comes that gets it. Must not know: who the clients
//! are, or how anything is translated.

mod curtain;
mod render;
mod secret;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether::snapshot::Snapshot;
use bellwether_envoy::settings::Kind;
use bellwether_envoy::{Client, Settings};
use bellwether_rollout::content;
use bellwether_xds::SnapshotFeed;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::settings::SettingsFeed;
pub use render::render;
pub use worker::SECRETS;
use worker::{Work, Worker};

/// What the clients of one fleet get. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Views {
    native: SnapshotFeed,
    settings: SettingsFeed,
    envoy: View,
    grpc: View,
    /// What needs a secret fails closed there, and so it does in what is made of it.
    native_without_secrets: View,
    envoy_without_secrets: View,
    grpc_without_secrets: View,
}

/// What one kind of client gets.
#[derive(Clone, Debug)]
struct View {
    name: &'static str,
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

impl View {
    /// The first who wants it sets the work going.
    fn want(&self) -> SnapshotFeed {
        self.wanted.send_if_modified(|wanted| {
            let first = !*wanted;
            *wanted = true;
            first
        });
        self.feed.clone()
    }
}

impl Views {
    /// The views of a fleet, and what must run for them.
    fn prepare(fleet: &str, native: SnapshotFeed, settings: SettingsFeed) -> (Self, Vec<Worker>) {
        let mut workers = Vec::new();
        let mut one = |name, work, secrets, native: &SnapshotFeed| {
            let (feed, views) = watch::channel(None);
            let (report, reports) = watch::channel(Translation::default());
            let (wanted, wants) = watch::channel(false);
            workers.push(Worker {
                fleet: fleet.into(),
                view: name,
                work,
                secrets,
                native: native.clone(),
                settings: settings.clone(),
                wanted: wants,
                feed,
                report,
                made: Snapshot::default(),
            });
            View {
                name,
                feed: views,
                wanted: Arc::new(wanted),
                report: reports,
            }
        };
        let translate = |client| Work::Translate(client, None);
        let (envoy, grpc) = (translate(Client::Envoy), translate(Client::Grpc));
        let envoy = one("envoy", envoy, Secrets::Given, &native);
        let grpc = one("grpc", grpc, Secrets::Given, &native);
        let hide = Work::Hide(Box::default());
        let less = one("native_without_secrets", hide, Secrets::Withheld, &native);
        let mut from_less =
            |name, client| one(name, translate(client), Secrets::Withheld, &less.feed);
        let envoy_without_secrets = from_less("envoy_without_secrets", Client::Envoy);
        let grpc_without_secrets = from_less("grpc_without_secrets", Client::Grpc);
        let views = Self {
            native,
            settings,
            envoy,
            grpc,
            native_without_secrets: less,
            envoy_without_secrets,
            grpc_without_secrets,
        };
        (views, workers)
    }

    /// Starts to offer the views of a fleet, for as long as `tasks` are there.
    #[must_use]
    pub fn start(
        fleet: &str,
        native: SnapshotFeed,
        settings: SettingsFeed,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let (views, workers) = Self::prepare(fleet, native, settings);
        for worker in workers {
            tasks.spawn(worker.run());
        }
        views
    }

    /// Views that nothing is done for.
    #[must_use]
    pub fn idle() -> Self {
        Self::prepare("", watch::channel(None).1, watch::channel(None).1).0
    }

    /// The kind of a client that calls itself `user_agent`.
    #[must_use]
    pub fn view(&self, user_agent: &str, secrets: Secrets) -> content::View {
        let kind = match &*self.settings.borrow() {
            Some(in_force) => in_force.settings.kind(user_agent),
            None => Settings::default().kind(user_agent),
        };
        match (secrets, kind) {
            (Secrets::Given, Kind::Native) => content::View::Native,
            (Secrets::Given, Kind::Envoy) => content::View::Envoy,
            (Secrets::Given, Kind::Grpc) => content::View::Grpc,
            (Secrets::Withheld, Kind::Native) => content::View::NativeWithoutSecrets,
            (Secrets::Withheld, Kind::Envoy) => content::View::EnvoyWithoutSecrets,
            (Secrets::Withheld, Kind::Grpc) => content::View::GrpcWithoutSecrets,
        }
    }

    /// What a client gets that calls itself `user_agent`. The first of its kind sets the work going.
    #[must_use]
    pub fn feed(&self, user_agent: &str, secrets: Secrets) -> SnapshotFeed {
        let view = self.view(user_agent, secrets);
        if secrets == Secrets::Withheld {
            let _ = self.native_without_secrets.want();
        }
        match view {
            content::View::Native => self.native.clone(),
            content::View::Envoy => self.envoy.want(),
            content::View::Grpc => self.grpc.want(),
            content::View::NativeWithoutSecrets => self.native_without_secrets.want(),
            content::View::EnvoyWithoutSecrets => self.envoy_without_secrets.want(),
            content::View::GrpcWithoutSecrets => self.grpc_without_secrets.want(),
        }
    }

    /// How the views do that somebody has asked for.
    #[must_use]
    pub fn translations(&self) -> BTreeMap<String, Translation> {
        [
            &self.envoy,
            &self.grpc,
            &self.native_without_secrets,
            &self.envoy_without_secrets,
            &self.grpc_without_secrets,
        ]
        .into_iter()
        .filter(|view| *view.wanted.borrow())
        .map(|view| (view.name.to_owned(), view.report.borrow().clone()))
        .collect()
    }

    /// What is in force, to be made into a release: the native resources and the settings. `None` before
    /// the first sync, and where a store may have been wiped.
    #[must_use]
    pub fn in_force(&self) -> Option<(Arc<Snapshot>, Settings)> {
        let native = self.native.borrow().clone()?;
        let settings = self.settings.borrow().clone()?;
        (!native.is_blank()).then(|| (native, settings.settings.clone()))
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

#[cfg(test)]
mod tests;
