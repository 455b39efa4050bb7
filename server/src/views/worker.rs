//! Owns the making of one view: a task that follows the native resources and the settings, has the view
//! made anew where they differ, and publishes it. Must not know: how anything is translated, or who gets
//! it.

use std::sync::Arc;
use std::time::Instant;

use bellwether::name::TypeUrl;
use bellwether::snapshot::{Changes, Snapshot};
use bellwether_envoy::{Client, Settings, Translator};
use bellwether_xds::SnapshotFeed;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use super::curtain::Curtain;
use super::{Secrets, Translation, Unsupported};
use crate::settings::SettingsFeed;

/// The types whose resources hold keys and credentials.
pub const SECRETS: [TypeUrl; 3] = [
    TypeUrl::CERTIFICATE,
    TypeUrl::CONSUMER,
    TypeUrl::ENVOY_SECRET,
];

/// Native resources that are worth moving off the other tasks' thread: some 10 ms of translating.
const MANY_RESOURCES: usize = 500;

/// Resources that can't be expressed named in the log at once; the status lists them all.
const LOGGED_UNSUPPORTED: usize = 20;

/// What is made of the native resources.
#[derive(Debug)]
pub(super) enum Work {
    /// Envoy's resources, for a kind of client.
    Translate(Client, Option<Box<Translator>>),
    /// The same without secrets.
    Hide(Box<Curtain>),
}

/// Does the work for one view.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) fleet: Arc<str>,
    /// What the view is called in the log and in the status.
    pub(super) view: &'static str,
    pub(super) work: Work,
    /// Where translations stand that are made from resources without secrets, nothing else does either.
    pub(super) secrets: Secrets,
    pub(super) native: SnapshotFeed,
    pub(super) settings: SettingsFeed,
    pub(super) wanted: watch::Receiver<bool>,
    pub(super) feed: watch::Sender<Option<Arc<Snapshot>>>,
    pub(super) report: watch::Sender<Translation>,
    pub(super) made: Snapshot,
}

impl Work {
    pub(super) fn update(&mut self, native: &Snapshot, settings: &Settings) -> Changes {
        match self {
            Self::Hide(curtain) => curtain.update(native),
            Self::Translate(_, Some(translator)) => {
                let configured = translator.configure(settings.clone());
                Changes::merged(vec![configured, translator.update(native)])
            }
            Self::Translate(client, none) => none
                .insert(Box::new(Translator::new(*client, settings.clone())))
                .update(native),
        }
    }

    fn forget(&mut self) {
        *self = match self {
            Self::Hide(_) => Self::Hide(Box::default()),
            Self::Translate(client, _) => Self::Translate(*client, None),
        };
    }

    fn unsupported(&self) -> Vec<Unsupported> {
        let one = |resource: String, reason: &String| Unsupported {
            resource,
            reason: reason.clone(),
        };
        match self {
            Self::Hide(curtain) => curtain
                .notes()
                .map(|(id, note)| one(id.name.to_string(), note))
                .collect(),
            Self::Translate(_, translator) => translator
                .iter()
                .flat_map(|translator| translator.unsupported())
                .map(|said| one(said.resource.name.to_string(), &said.what))
                .collect(),
        }
    }
}

impl Worker {
    pub(super) async fn run(mut self) {
        // An error, here and below, means that nobody can want or say anything any more.
        if self.wanted.wait_for(|wanted| *wanted).await.is_err() {
            return;
        }
        info!(fleet = %self.fleet, view = self.view, "the first of its kind: its view is made from now on");
        loop {
            let native = self.native.borrow_and_update().clone();
            let settings = self.settings.borrow_and_update().clone();
            let settings = match self.work {
                // Nothing of it depends on them.
                Work::Hide(_) => Some(settings.unwrap_or_default()),
                Work::Translate(..) => settings,
            };
            if let (Some(native), Some(settings)) = (native, settings) {
                self.on_change(&native, &settings.settings);
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
            let blank = self.withheld(native.clone());
            self.feed.send_replace(Some(Arc::new(blank)));
            return;
        }
        let started = Instant::now();
        let label = native
            .position()
            .map(|at| at.to_string())
            .unwrap_or_default();
        let changes = self.work.update(native, settings);
        let resources = changes.upserts.len() + changes.removals.len();
        match self.made.next(label.as_str(), changes) {
            Ok(next) => self.made = next,
            Err(reason) => {
                error!(
                    fleet = %self.fleet,
                    view = self.view,
                    %reason,
                    "translated resources contradict each other, which is a defect of this server; all is translated again"
                );
                self.again(native, settings, &label);
            }
        }
        debug!(
            fleet = %self.fleet,
            view = self.view,
            resources,
            micros = started.elapsed().as_micros(),
            "configuration translated"
        );
        // Who sees what is served finds in the status why it is so.
        self.say();
        let whole = self.whole(native);
        self.feed.send_replace(Some(Arc::new(whole)));
    }

    /// What is served.
    fn whole(&self, native: &Snapshot) -> Snapshot {
        let whole = match self.work {
            Work::Translate(..) => native.with(&self.made),
            // There was something, though it may all be hidden.
            Work::Hide(_) => match native.position() {
                Some(position) => self.made.clone().at(position).trusted(),
                None => self.made.clone().trusted(),
            },
        };
        self.withheld(whole)
    }

    /// Said once for all who get this view, so that they share what is sent of it.
    fn withheld(&self, snapshot: Snapshot) -> Snapshot {
        match self.secrets {
            Secrets::Given => snapshot,
            Secrets::Withheld => snapshot.denying(&SECRETS),
        }
    }

    /// From nothing. If that is no better, what was made before is served on.
    fn again(&mut self, native: &Snapshot, settings: &Settings, label: &str) {
        self.work.forget();
        let all = self.work.update(native, settings).upserts;
        let changes = self.made.changes_to(all);
        if let Ok(next) = self.made.next(label, changes) {
            self.made = next;
        }
    }

    fn say(&self) {
        let mut unsupported = self.work.unsupported();
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
                view = self.view,
                resource = one.resource,
                reason = one.reason,
                "can't be told to clients of this kind"
            );
        }
        let more = new.count();
        if more > 0 {
            warn!(fleet = %self.fleet, view = self.view, more, "and more, which the status names");
        }
    }
}
